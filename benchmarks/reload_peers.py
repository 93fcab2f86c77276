"""Who is measured by ``reload.py``: lastgood and other reloaders, each a process of its own that is asked by HTTP.

Each is as quick as its options let it be, and works on a copy of the program that is its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "DEBOUNCE",
    "ENVIRONMENT",
    "LASTGOOD",
    "PEERS",
    "Kind",
    "Running",
    "free_port",
    "installed",
    "missing",
    "tool",
]

DEBOUNCE = 0.02
ENVIRONMENT = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
HERE = Path(__file__).parent
AGAIN = (
    "import sys, watchfiles\n"
    "watchfiles.run_process(sys.argv[1], target=sys.argv[2], target_type='command', debounce=20, step=5)"
)


@dataclass(frozen=True)
class Kind:
    """A reloader: its command for a project, a port and a file for its answer, and the modules that it needs.

    ``by_file``: its answer is in the file; ``in_place``: it sees no saves by rename; ``tells``: it is lastgood.
    """

    name: str
    command: Callable[[Path, int, Path], list[str]]
    needs: tuple[str, ...] = ()
    by_file: bool = False
    in_place: bool = False
    tells: bool = False


def tool(name: str) -> str:
    """The command of an installed package, beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def _run_process(root: Path, port: int, _: Path) -> list[str]:
    return [sys.executable, "-c", AGAIN, str(root), f"{sys.executable} plain.py {port}"]


def _uvicorn(_root: Path, port: int, _: Path) -> list[str]:
    quick = ["--reload", "--reload-delay", "0.01", "--log-level", "critical"]
    return [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), *quick]


def _granian(_root: Path, port: int, _: Path) -> list[str]:
    quick = ["--reload", "--reload-tick", "50", "--reload-ignore-worker-failure", "--no-log"]
    return [tool("granian"), "--interface", "asgi", "--port", str(port), *quick, "main:app"]


def _jurigged(root: Path, port: int, _: Path) -> list[str]:
    return [sys.executable, "-m", "jurigged", "-w", str(root), "-d", str(DEBOUNCE), "plain.py", str(port)]


def _uvicorn_hmr(_root: Path, port: int, _: Path) -> list[str]:
    return [tool("uvicorn-hmr"), "main:app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "critical"]


def _hmr(_root: Path, _port: int, answer: Path) -> list[str]:
    return [tool("hmr"), "once.py", str(answer)]


def _autoreload(_root: Path, port: int, _: Path) -> list[str]:
    return [sys.executable, str(HERE / "reload_notebook.py"), str(port)]


def installed(python: str = sys.executable, name: str = "lastgood") -> Kind:
    """The lastgood that an interpreter has."""
    app = str(HERE / "reload_app.py")
    return Kind(name, lambda root, port, _: [python, app, str(root), str(port), str(DEBOUNCE)], tells=True)


LASTGOOD = installed()
PEERS = (
    Kind("run_process", _run_process, ("watchfiles",)),
    Kind("uvicorn --reload", _uvicorn, ("uvicorn", "watchfiles")),
    Kind("granian --reload", _granian, ("granian", "watchfiles")),
    Kind("jurigged", _jurigged, ("jurigged",), in_place=True),
    Kind("uvicorn-hmr", _uvicorn_hmr, ("uvicorn_hmr",)),
    Kind("%autoreload", _autoreload, ("IPython",)),
    Kind("hmr", _hmr, ("reactivity",), by_file=True),
)


def missing(kind: Kind) -> list[str]:
    """Return what has to be installed for a reloader."""
    return [name for name in kind.needs if importlib.util.find_spec(name) is None]


class Running:
    """One reloader, started on a project."""

    def __init__(self, kind: Kind, root: Path) -> None:
        self.kind, self.root = kind, root
        self.told: list[dict[str, Any]] = []
        self._file = root.with_name(f"{root.name}.answer")
        self.start()

    def start(self) -> None:
        """Start it, and do not wait until it answers."""
        self._file.unlink(missing_ok=True)
        self.port = free_port()
        self.process = subprocess.Popen(
            self.kind.command(self.root, self.port, self._file),
            cwd=self.root,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get("SHOW_STDERR") else subprocess.DEVNULL,
            start_new_session=True,
        )

    def ask(self, timeout: float = 30.0, path: str = "/") -> str | None:
        """Return what it answers now; None if nothing does."""
        if self.kind.by_file:
            return self._file.read_text() if self._file.exists() and self.process.poll() is None else None
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
                connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                data = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return None
        head, _, body = data.partition(b"\r\n\r\n")
        return body.decode() if b" 200 " in head.partition(b"\r\n")[0] else f"error {body.decode()}" if head else None

    def wait_for(self, answer: str, timeout: float = 20.0) -> float:
        """Ask until an answer comes, and return when it came, by the monotonic clock."""
        end = time.perf_counter() + timeout
        while self.ask() != answer:
            if time.perf_counter() > end:
                raise TimeoutError(f"{self.kind.name} has not answered {answer!r} within {timeout:.0f} s")
            time.sleep(0.002)
        return time.perf_counter()

    def hear(self) -> list[dict[str, Any]]:
        """Return all that lastgood's app has noted so far."""
        self.told += json.loads(self.ask(path="/told") or "[]")
        return self.told

    def success_after(self, moment: float) -> dict[str, Any]:
        """Wait for the success that follows a moment."""
        end = time.perf_counter() + 60
        while time.perf_counter() < end:
            for note in self.hear():
                if note["what"] == "success" and note["at"] > moment:
                    return note
            time.sleep(0.005)
        raise TimeoutError("lastgood has told no success")

    def stalled(self, since: float, until: float) -> tuple[float, float]:
        """Return for how many milliseconds the app's loop was late between two moments: by its own doing, and in all."""
        notes = (note for note in self.hear() if note["what"] == "late")
        late = [note for note in notes if since < note["at"] and note["at"] - note["by"] < until]
        return sum(note["own"] for note in late) * 1000, sum(note["by"] for note in late) * 1000

    def stop(self) -> None:
        """End it, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
