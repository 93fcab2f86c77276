"""A loss of power at any point of a whole session: its first cycle, an edit, an undo, another output directory."""

from __future__ import annotations

import errno
import operator
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from lastgood.store.generations import DamagedGeneration, GenerationStore
from lastgood.store.output_directory import OutputDirectory
from lastgood.testing import ROOT, World, world
from power_loss import PageCache, Tree, left_by_power_losses, tree_of

CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'
QUOTE = "def quote(sku: str) -> float: ...\n"
FILES = {"lastgood.toml": CONFIG, "pricing.py": QUOTE, "stock.py": "def left(sku: str) -> int: ...\n"}
OUTPUTS = ("generated", "wrappers")

On = Callable[[PageCache], World]
Act = Callable[[World], None]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> On:
    """A session on a file system that knows what a loss of power could take."""

    def on(files: PageCache) -> World:
        monkeypatch.setattr(world, "MemoryFiles", lambda _now: files)
        return World({})

    return on


def project(on: On, files: PageCache | None = None) -> tuple[PageCache, World]:
    """A session that has been through two generations, and everything of it on the disk."""
    files = PageCache() if files is None else files
    for name, text in FILES.items():
        files.put(ROOT / name, text.encode())
    session = on(files)
    session.start()
    edit(session, "pricing.py", QUOTE + "def more(sku: str) -> str: ...\n")
    files.flush()
    return files, session


def edit(session: World, name: str, text: str) -> None:
    session.write(name, text)
    session.advance(0.1)
    assert not session.status.stale


def undo(session: World) -> None:
    assert session.undo()


JOURNEYS: dict[str, Act] = {
    "edit": lambda session: edit(session, "pricing.py", "def quite(sku: str) -> int: ...\n"),
    "module": lambda session: edit(session, "lastgood.toml", "[modules.stock]\n" + CONFIG),
    "undo": undo,
    "directory": lambda session: edit(session, "lastgood.toml", CONFIG.replace("generated", "wrappers")),
}


def trees(files: PageCache) -> tuple[Tree, ...]:
    return tuple(tree_of(files, ROOT / name) for name in OUTPUTS)


def check(files: PageCache, on: On, ends: list[tuple[Tree, ...]], good: set[object]) -> None:
    """Recover, look, start a session, and undo its last good generation; once for all that are alike after the recovery."""
    for name in OUTPUTS:
        if files.is_dir(ROOT / ".lastgood" / name):
            OutputDirectory.claim(files, ROOT / name, 2).release()
    assert trees(files) in ends
    key = frozenset((path, file.data, file.mode) for path, file in files.names.items())
    if key in good:
        return
    for name in OUTPUTS:
        store = GenerationStore(files, ROOT / ".lastgood" / name)
        for each in store.history():
            store.open(store.path(each))
    session = on(files)
    session.start()
    live = session.generation
    edit(session, "pricing.py", QUOTE + "def last(sku: str) -> float: ...\n")
    assert session.undo()
    assert session.generation > live
    session.close()
    good.add(key)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.torture)], ids=["barriers", "all"])
@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_session_comes_back_to_one_generation_or_the_other(on: On, journey: str, every: bool) -> None:
    files, session = project(on)
    begun, before = len(files.changes), trees(files)
    JOURNEYS[journey](session)
    after, states, good = trees(files), 0, set[object]()
    ends = [before, after]
    if journey == "directory":
        ends.append((before[0], after[1]))  # the former one is emptied when the new one is committed for good
    for how, left in left_by_power_losses(files, begun, every=every, samples=20 if every else 0):
        states += 1
        try:
            check(left, on, ends, good)
        except Exception as error:
            raise AssertionError(how) from error
    assert states > 20


@pytest.mark.parametrize(("journey", "number"), [("edit", 4), ("undo", 5)], ids=["what it names", "its own name"])
def test_without_a_barrier_of_the_history_no_undo_can_be_relied_on(on: On, journey: str, number: int) -> None:
    files, session = project(on)
    known, before = len(files.barriers), trees(files)
    files.skips = partial(operator.eq, known + number)
    JOURNEYS[journey](session)
    assert len(files.barriers) == known + 6, "four of the promotion, and two of the history"
    ends = [before, trees(files)]

    def is_bad(left: PageCache) -> bool:
        try:
            check(left, on, ends, set())
        except DamagedGeneration:
            return True
        return False

    assert any(is_bad(left) for _, left in left_by_power_losses(files, files.barriers[known + number], every=False))


class Failing(PageCache):
    """A disk that can flush nothing more of one directory."""

    broken: Path | None = None

    def barrier(self, paths: Sequence[Path]) -> None:
        if self.broken in paths:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().barrier(paths)


def test_the_former_output_directory_is_emptied_only_when_the_new_one_is_committed_for_good(on: On) -> None:
    files = Failing()
    _, session = project(on, files)
    generated, _ = trees(files)

    def break_down() -> None:
        files.broken = ROOT / ".lastgood" / "wrappers"

    session.at("warm", 1, break_down)
    session.write("lastgood.toml", CONFIG.replace("generated", "wrappers"))
    session.advance(0.1)
    assert trees(files)[0] == generated
    assert "pricing.py" in trees(files)[1]
    files.broken = None
    session.close()
    next_session = on(files)
    next_session.start()
    assert "pricing.py" not in trees(files)[0]
