"""The programs that ``reload.py`` edits: small projects, made on the fly, whose ``main.answer()`` says which version runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SERVED", "Program", "dataclasses", "heavy", "many", "one", "places", "save"]

SERVED = '''

async def app(scope, receive, send):
    """The program as an ASGI application, for the servers."""
    while scope["type"] == "lifespan":
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
    try:
        status, body = 200, answer()
    except Exception as error:
        status, body = 500, type(error).__name__
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body.encode()})
'''

PLAIN = '''\
"""The program behind a bare socket, for reloaders of plain scripts."""

import socket
import sys

import main


def serve(port):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(reply())


def reply():
    try:
        return b"HTTP/1.0 200 OK\\r\\n\\r\\n" + main.answer().encode()
    except Exception as error:
        return b"HTTP/1.0 500 Error\\r\\n\\r\\n" + type(error).__name__.encode()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
'''

ONCE = '''\
"""The program for reloaders that run a script again: it leaves its answer in a file."""

import os
import sys

import main

with open(sys.argv[1] + ".new", "w") as file:
    file.write(main.answer())
os.replace(sys.argv[1] + ".new", sys.argv[1])
'''


@dataclass(frozen=True)
class Program:
    """The files of a project, of which ``edited`` changes from version to version.

    ``text`` gives the edited file at a version, and ``main.answer()`` the version; ``wrapped`` are the modules that lastgood wraps.
    """

    files: Mapping[str, str]
    edited: str
    text: Callable[[int], str]
    wrapped: tuple[str, ...] = field(default=("main",))

    def write(self, root: Path) -> None:
        """Make the project, at version 0."""
        root.mkdir(parents=True)
        for name, text in {**self.files, self.edited: self.text(0), "plain.py": PLAIN, "once.py": ONCE}.items():
            (root / name).write_text(text)
        tables = "".join(f"[modules.{name}]\n" for name in self.wrapped)
        tables = tables.replace("[modules.main]\n", '[modules.main]\nfunctions = ["answer"]\n')
        (root / "lastgood.toml").write_text(f'{tables}[output]\ndir = "generated"\n')

    def edit(self, root: Path, version: int, *, in_place: bool = False) -> None:
        """Save the edited file at a version."""
        save(root / self.edited, self.text(version), in_place=in_place)


def save(path: Path, text: str, *, in_place: bool = False, modified: float | None = None) -> None:
    """Save a file by rename, as many editors do, or in place, as others. ``modified``: its modification time, if not now."""
    fresh = path if in_place else path.with_name(f".{path.name}.swp")
    fresh.write_text(text)
    if modified is not None:
        os.utime(fresh, (modified, modified))
    if not in_place:
        fresh.replace(path)


def _main(imports: list[str], edited: str) -> str:
    lines = "\n".join(f"from {name} import version" if name == edited else f"import {name}" for name in imports)
    return f"{lines}\n\n\ndef answer() -> str:\n    return str(version())\n{SERVED}"


def _versioned(header: str = "") -> Callable[[int], str]:
    """The edited module. No two versions in a row have one length: who relies on cached bytecode would take the old one."""
    return lambda version: f"{header}\n\ndef version() -> int:\n    return {version}  {'#' * (version % 9 + 1)}\n"


STDLIB = "import argparse\nimport decimal\nimport json\nimport os\n"


def one() -> Program:
    """One module, and four modules of the standard library."""
    return Program({"main.py": _main(["m0"], "m0")}, "m0.py", _versioned(STDLIB))


def heavy(library: str, where: str) -> Program:
    """One edited module, and pandas (or the like): ``before`` it, at its head, or ``after`` it, by another module."""
    if where == "before":
        return Program({"main.py": _main(["edited"], "edited")}, "edited.py", _versioned(f"import {library}\n"))
    files = {"main.py": _main(["edited", "tables"], "edited"), "tables.py": f"import {library}\n"}
    return Program(files, "edited.py", _versioned())


def places(seconds: float, place: str) -> Program:
    """Local imports that take ``seconds`` of a processor: eight modules, and a light one at the top, middle and bottom."""
    burn = f"import time\n\nEND = time.process_time() + {seconds / 8}\nwhile time.process_time() < END:\n    pass\n"
    slow = [f"slow{number}" for number in range(8)]
    files = {f"{name}.py": burn for name in slow}
    files |= {f"{name}.py": _versioned()(0) for name in ("top", "middle", "bottom")}
    files["main.py"] = _main(["top", *slow[:4], "middle", *slow[4:], "bottom"], place)
    return Program(files, f"{place}.py", _versioned())


def many(count: int, edited: int = 0) -> Program:
    """``count`` modules of the standard library's, each wrapped, of which one is edited."""
    names = [f"m{number}" for number in range(count)]
    files = {f"{name}.py": _versioned(STDLIB)(0) for name in names}
    files["main.py"] = _main(names, names[edited])
    return Program(files, f"m{edited}.py", _versioned(STDLIB), ("main", *names))


def dataclasses(count: int, edited: int) -> Program:
    """``count`` local modules of ten dataclasses each, of which one is edited."""
    each = "\n\n".join(
        f"@dataclass\nclass D{number}:\n    a: int = {number}\n    b: str = ''\n    c: float = 0.5\n    d: tuple[int, ...] = ()\n"
        for number in range(10)
    )
    names = [f"d{number}" for number in range(count)]
    header = f"from dataclasses import dataclass\n\n\n{each}"
    files = {f"{name}.py": _versioned(header)(0) for name in names}
    files["main.py"] = _main(names, names[edited])
    return Program(files, f"{names[edited]}.py", _versioned(header))
