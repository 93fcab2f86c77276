"""Output directories on real files, as earlier generations and their users have left them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lastgood.store.disk import Disk
from lastgood.store.file_system import digest_of
from lastgood.store.header import with_header
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting
from lastgood.store.trees import make_directories, remove_tree, staged_place


class Killed(BaseException):
    """The process is gone: nothing may catch this, and nothing is done any more."""


Tree = dict[str, tuple[bytes, int, int]]
OLD = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "old",
    "removed.py": "goes",
    "emptied/deep/mod.py": "goes, and its directories",
    "edited.py": "generated",
    "file.py": "a directory in the next",
    "directory.py/file.py": "a file in the next",
}
NEW = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "new",
    "edited.py": "generated anew",
    "cloned.py": "generated anew",
    "fresh/deep/mod.py": "new, with its directories",
    "file.py/within.py": "was a file",
    "directory.py": "was a directory",
}
COMMITTED = with_header("cloned.py", "committed, and in no manifest")


def claim(path: Path, pid: int = 1) -> OutputDirectory:
    return OutputDirectory.claim(Disk(), path, pid)


def staged(output: OutputDirectory, texts: dict[str, str]) -> Promoting:
    where = output.home / "stage-1"
    for name, text in texts.items():
        make_directories(Disk(), (where / name).parent)
        Disk().write(staged_place(where, name), with_header(name, text))
    return Promoting(output, where, digests_of(texts))


def digests_of(texts: dict[str, str]) -> dict[str, str]:
    return {name: digest_of(with_header(name, text)) for name, text in texts.items()}


def promote(output: OutputDirectory, texts: dict[str, str]) -> None:
    promoting = staged(output, texts)
    promoting.apply()
    promoting.commit()
    promoting.sweep()
    remove_tree(Disk(), promoting.stage)


def put_bytecode(path: Path) -> None:
    """As imports of every wrapper leave it."""
    for source in [*path.rglob("*.py")]:
        (source.parent / "__pycache__").mkdir(exist_ok=True)
        (source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc").write_bytes(b"bytecode")


def bytecode(path: Path) -> set[str]:
    """The wrappers that have some."""
    return {
        (each.parent.parent / f"{each.name.split('.')[0]}.py").relative_to(path).as_posix()
        for each in path.rglob("__pycache__/*.pyc")
    }


def project(path: Path, texts: dict[str, str] = OLD) -> Tree:
    """An output directory as an earlier generation and its user have left it."""
    path.parent.mkdir(parents=True)
    output = claim(path)
    promote(output, texts)
    output.release()
    (path / "cloned.py").write_bytes(COMMITTED)
    (path / "edited.py").write_text("edited by hand\n")
    (path / "notes.txt").write_text("somebody else's\n")
    for number, file in enumerate(sorted(path.rglob("*.*"))):
        os.chmod(file, 0o600 + 8 * number)
        os.utime(file, ns=(10**18 + number, 10**18 + number))
    os.chmod(path / "emptied", 0o750)
    os.chmod(path / "emptied" / "deep", 0o700)
    return tree(path)


def tree(path: Path) -> Tree:
    """Every file with its bytes, mode and time, every directory with its mode; caches left out."""
    found: Tree = {}
    for each in sorted(path.rglob("*")):
        if "__pycache__" in each.parts:
            continue
        seen = each.lstat()
        mode = stat.S_IMODE(seen.st_mode)
        found[each.relative_to(path).as_posix()] = (
            (b"", mode, 0) if each.is_dir() else (each.read_bytes(), mode, seen.st_mtime_ns)
        )
    return found


def files_of(found: Tree) -> set[str]:
    return {name for name, (_, _, modified) in found.items() if modified}


def home(path: Path) -> Path:
    return path.parent / ".lastgood" / path.name


def leftovers(path: Path) -> list[str]:
    return sorted({each.name for each in home(path).iterdir()} - {"lock", "pid", "manifest.json", "kept"})


def kept(path: Path) -> list[bytes]:
    """The copies of replaced files that may have been edited."""
    return [each.read_bytes() for each in sorted((home(path) / "kept").rglob("*")) if each.is_file()]


def forget_kept(path: Path) -> None:
    remove_tree(Disk(), home(path) / "kept")
