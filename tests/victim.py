"""A project whose ``.lastgood/`` somebody has prepared, and each way to prepare one of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from lastgood.cli.commands import main
from real_project import RealProject

__all__ = [
    "PLANTED",
    "PRECIOUS",
    "Entry",
    "Forgery",
    "Victim",
    "content",
    "dangling",
    "directory",
    "fifo",
    "hard_link",
    "huge",
    "link",
]

PLANTED = b"import pathlib; pathlib.Path(__file__).with_name('executed').touch()\n"
PRECIOUS = b"# hand-written\n"

Entry = Mapping[str, object]


class Victim:
    """A project with a hand-written file in its output directory, and files of the user's beside it."""

    def __init__(self, top: Path) -> None:
        self.project = RealProject(top / "project")
        self.home = self.project.root / ".lastgood" / "generated"
        self.outside = top / "outside"
        for directory in (self.home, self.outside, self.project.output):
            directory.mkdir(parents=True)
        for file in (
            self.outside / "precious",
            self.outside / "pricing.cpython-311.pyc",
            self.project.output / "mine.py",
        ):
            file.write_bytes(PRECIOUS)
        os.chmod(self.outside / "precious", 0o600)

    def commit(self, name: str, data: bytes | str | object) -> None:
        """Put a file into ``.lastgood/generated/``."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = data if isinstance(data, bytes | str) else json.dumps(data)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def journal(self, *entries: Entry, stage: str = "stage-1") -> None:
        rows = [{"to": "", "digest": "", "mode": 0o777, "kept": "", **entry} for entry in entries]
        self.commit("journal.json", {"version": 1, "entries": rows, "had_manifest": True, "stage": stage})
        for number in range(len(entries)):
            self.commit(f"backup/{number}", PLANTED)
        self.commit("backup/manifest.json", {"version": 1, "files": {"mine.py": ""}})

    def untouched(self) -> dict[str, tuple[int, bytes]]:
        """What no command may change: all there is outside, and what the user wrote."""
        files = [*self.outside.rglob("*"), self.project.output / "mine.py", self.project.root / "pricing.py"]
        stats = {path: path.lstat() for path in files}
        return {str(p): (s.st_mode, p.read_bytes() if p.is_file() else b"") for p, s in stats.items()}

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, str(self.project.config_file)])


Forgery = Callable[[Victim], None]


def link(name: str, target: str = "") -> Forgery:
    def forge(victim: Victim) -> None:
        path = victim.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(victim.outside / target if target else victim.outside, path)

    return forge


def hard_link(name: str) -> Forgery:
    def forge(victim: Victim) -> None:
        (victim.home / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(victim.outside / "precious", victim.home / name)

    return forge


def fifo(name: str) -> Forgery:
    def forge(victim: Victim) -> None:
        (victim.home / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(victim.home / name)

    return forge


def directory(name: str) -> Forgery:
    return lambda victim: victim.commit(f"{name}/within", b"")


def content(name: str, data: object) -> Forgery:
    return lambda victim: victim.commit(name, data)


def huge(name: str) -> Forgery:
    def forge(victim: Victim) -> None:
        victim.commit(name, b"")
        os.truncate(victim.home / name, 1 << 40)

    return forge


def dangling(name: str) -> Forgery:
    return lambda victim: os.symlink(victim.outside / "nowhere", victim.home / name)
