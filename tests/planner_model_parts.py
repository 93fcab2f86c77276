"""What ``planner_model.py`` is made of: the files outside, what may happen there, and a cycle as it is seen from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

from lastgood import effects
from lastgood.planner.watch_set import Snapshot, WatchSet

SRC, LIB = Path("/p/src"), Path("/p/lib")
PLUGIN = Path("/p/plugin.py")
"""What bridges load late. It is never edited."""
FILES = {SRC / "a.py": SRC, SRC / "b.py": SRC, LIB / "c.py": LIB}
ERROR = ValueError("no")
VERSIONS = st.sampled_from(["0", "1", None])
HAPPENINGS = (
    *("nothing", "nothing", "save", "edit", "read", "flip", "request", "undo", "lose", "late", "close"),
    *("stick", "return", "store", "alone", "drained"),
)
MEANWHILE = st.tuples(st.sampled_from(HAPPENINGS), st.sampled_from([*FILES]), VERSIONS)


@dataclass
class CycleModel:
    """One cycle, as it is seen from outside."""

    number: int
    start: dict[Path, str | None]
    """What was on disk, as far as it had been told, when the cycle started."""
    used: dict[Path, str | None] = field(default_factory=dict)
    """The bytes that its stage read."""
    reached: list[effects.Action] = field(default_factory=list)
    undone: list[effects.Action] = field(default_factory=list)
    watch: WatchSet = field(default_factory=lambda: WatchSet((SRC,)))
    read: Snapshot = field(default_factory=dict)
    over: bool = False
    undoes: bool = False
    """It brings back the generation before, and attempts nothing that is on disk."""
    overlap: bool = True
    """Its bridge may be there while the one before is."""
    superseded: bool = False
    """It is undone for the sake of an edit."""
    waits: bool = False
    """Its stage only waits for the thread of an earlier one."""


class Settling(dict[int, dict[Path, str | None]]):
    """Callers of ``settle()``: what was on disk at each call, without what has been edited since."""

    begun = 0

    def begin(self, disk: dict[Path, str | None]) -> int:
        ticket = -1 - self.begun
        self.begun += 1
        self[ticket] = dict(disk)
        return ticket

    def edited(self, path: Path) -> None:
        for disk in self.values():
            disk.pop(path, None)

    def answered(self, ticket: int, succeeded: bool, attempted: Snapshot) -> bool:
        """What was on disk has been attempted, if the answer is that it is live. False: ``ticket`` is another caller's."""
        if ticket not in self:
            return False
        disk = self.pop(ticket)
        for path, root in FILES.items() if succeeded else ():
            if path in disk and root in attempted:
                assert attempted[root].get(path) == disk[path]
        return True


def look_at(disk: Mapping[Path, str | None], roots: Iterable[Path]) -> Snapshot:
    standing = {path: digest for path, digest in disk.items() if digest is not None}
    read = {root: {path: digest for path, digest in standing.items() if FILES[path] == root} for root in roots}
    return {root: {PLUGIN: "0"} if root == PLUGIN else files for root, files in read.items()}
