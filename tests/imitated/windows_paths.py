"""lastgood with the paths of Windows, imitated: a program that exchanges what paths are, then plays projects in memory.

``test_windows.py`` runs it in a process of its own. There is a drive, ``\\`` parts directories, and case does not count. Everything
that is not lastgood's own is loaded before, since it reads real files.
"""

from __future__ import annotations

import importlib
import ntpath
import os
import sys
import sysconfig
from collections.abc import Mapping
from typing import Any

CONFIG = r"""
python_import_path = ['src\lib', 'src\more']
[modules.'shop.pricing']
[modules.rates]
[output]
dir = 'app\generated'
"""
RATES = '''"""Rates,
of two lines."""
from dataclasses import dataclass
@dataclass
class Rate:
    """A rate.

    Of more lines.
    """
    percent: float
    words: str = """one
two"""
'''
PRICING = r"""
import os
import rates
from pathlib import Path
def quote(rate: rates.Rate, file: Path = Path('a/b'), other: str = 'a\\b', more: str = os.path.join('a', 'b')) -> float: ...
"""


def imitate() -> None:
    """From here on, lastgood is another one, with these paths."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lastgood", "pathlib")]:
        del sys.modules[name]

    def abspath(path: str | os.PathLike[str]) -> str:
        return ntpath.normpath(ntpath.join("C:\\work", path))

    paths = sysconfig.get_paths()  # of the interpreter that runs; asked again, it would look for them in Windows
    sysconfig.get_path = paths.__getitem__  # type: ignore[assignment]  # the imitation
    ntpath.abspath = abspath  # type: ignore[assignment]  # what it does on Windows alone
    os.name, os.sep, os.altsep, os.path = "nt", "\\", "/", ntpath
    sys.modules["os.path"] = ntpath
    sys.platform = "win32"


def check(what: str, holds: object) -> None:
    assert holds, what
    print("ok", what)


def world_of(config: str, files: Mapping[str, str]) -> Any:
    return importlib.import_module("lastgood.testing").World({"lastgood.toml": config, **files})


def played(config: str, end: str = "\n") -> dict[str, str]:
    """Return the wrappers that a world has after an edit that was broken, and mended. Lines of the sources have this end."""
    files = {"shop/__init__.py": "", "shop/pricing.py": PRICING, "rates.py": RATES}
    world = world_of(
        config.replace("\n", end), {f"src/lib/{name}": text.replace("\n", end) for name, text in files.items()}
    )
    world.start()
    world.write("src/lib/rates.py", "class Rate(:\n")
    check("a broken edit", not world.settle())
    world.write("src/lib/rates.py", (RATES + "    since: int = 0\n").replace("\n", end))
    check("a mended one", world.settle() and world.leftovers == ())
    return {path: text for path, text in world.files.items() if path.startswith("app/")}


def main() -> None:
    expected = played(CONFIG.replace("\\", "/"))
    check("wrappers", len(expected) == 4 and not any("\r" in text for text in expected.values()))
    check("… of lines that end as on Windows", played(CONFIG.replace("\\", "/"), "\r\n") == expected)
    imitate()
    check("with backslashes in the config, wrappers are the same", played(CONFIG) == expected)
    check("… and with slashes", played(CONFIG.replace("\\", "/"), "\r\n") == expected)
    roots = importlib.import_module("lastgood.testing.world").ROOT
    check(f"paths of Windows: {roots!r}", type(roots).__name__ == "WindowsPath")

    # Two modules whose names differ in case are two, and their wrappers one file.
    world = world_of(
        CONFIG.replace("'shop.pricing'", "Rates"), {"src/lib/rates.py": RATES, "src/more/Rates.py": "A: int = 1\n"}
    )
    try:
        world.start()
    except Exception as error:
        check(str(error), "rates.py: it is the same file as Rates.py on macOS and Windows; rename one" in str(error))
    else:
        raise AssertionError("one of them is lost")
    check("nothing was made", not [path for path in world.files if path.startswith("app/")])
    print("all of it holds")


if __name__ == "__main__":
    main()
