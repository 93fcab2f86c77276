"""A loss of power while several sessions are at work on one project: each of them starts again, and nothing is mixed."""

from __future__ import annotations

from collections.abc import Callable, KeysView, Sequence

import pytest

from lastgood.store.output_directory import OutputDirectory
from lastgood.testing import ROOT, World, world
from power_loss import PageCache, left_by_power_losses, tree_of

CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'
ONE = "def quote(sku: str) -> float: ...\n"
TWO = "def quote(sku: str) -> float: ...\ndef more(sku: str) -> str: ...\n"
THREE = "def quite(sku: str) -> int: ...\n"
BROKEN = "def quote("

On = Callable[[PageCache], World]
Act = Callable[[World, World], None]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> On:
    """The first session on a file system that knows what a loss of power could take."""

    def on(files: PageCache) -> World:
        monkeypatch.setattr(world, "MemoryFiles", lambda _now: files)
        return World({})

    return on


def both(on: On, files: PageCache) -> tuple[World, World]:
    first = on(files)
    first.start()
    second = World({}, beside=first)
    second.start()
    assert (first.role, second.role) == ("leader", "follower")
    return first, second


def edit(session: World, text: str) -> None:
    session.write("pricing.py", text)
    session.advance(0.2)


def join(first: World, _: World) -> None:
    World({}, beside=first).start()


def leave(_: World, second: World) -> None:
    second.close()


def tell_a_generation(first: World, _: World) -> None:
    edit(first, TWO)


def tell_a_failure(first: World, _: World) -> None:
    edit(first, BROKEN)


def ask_for_a_reload(_: World, second: World) -> None:
    assert second.reload_now()


def ask_for_an_undo(first: World, second: World) -> None:
    edit(first, TWO)
    assert second.undo()


def beat(first: World, _: World) -> None:
    first.advance(5.0)


def lead(first: World, second: World) -> None:
    first.kill()
    second.advance(2.0)
    assert second.role == "leader"


def begin_anew(first: World, second: World) -> None:
    """Its files are gone, as if somebody had removed them."""
    for path in [each for each in first._disk.names if {"leader", "followers"} & {*each.parts}]:
        first._disk.unlink(path)
    second.advance(5.0)


CHEAP: tuple[Act, ...] = (join, leave, tell_a_failure, beat)
COSTLY: tuple[Act, ...] = (tell_a_generation, ask_for_a_reload, ask_for_an_undo, lead, begin_anew)
TRIED = [
    *(pytest.param(act, False, id=act.__name__) for act in CHEAP),
    *(pytest.param(act, True, id=f"{act.__name__}, all", marks=pytest.mark.torture) for act in (*CHEAP, *COSTLY)),
]


def check(files: PageCache, on: On, ends: Sequence[KeysView[str]], known: set[object]) -> None:
    """Start two sessions, have one ask the other, edit, and end the one that leads; once for all that are alike."""
    key = frozenset((path, file.data, file.mode) for path, file in files.names.items())
    if key in known:
        return
    known.add(key)
    OutputDirectory.claim(files, ROOT / "generated", 9).release()
    assert tree_of(files, ROOT / "generated").keys() in ends
    files.put(ROOT / "pricing.py", ONE.encode())
    first, second = both(on, files)
    assert first.generation == second.generation
    edit(first, THREE)
    assert second.reload_now()
    for session in (first, second):
        assert session.bridge is not None
        assert (session.status.stale, session.bridge.sources["pricing"]) == (False, THREE)
    first.close()
    second.advance(2.0)
    assert second.role == "leader"
    assert second.generation > first.generation
    second.close()
    assert files.children(ROOT / ".lastgood/generated/followers") == []
    assert [name for name in files.children(ROOT / ".lastgood/generated") if name.endswith(".new")] == []


@pytest.mark.parametrize(("act", "every"), TRIED)
@pytest.mark.timeout(3600)
def test_sessions_start_again_from_one_generation_or_the_other(on: On, act: Act, every: bool) -> None:
    files = PageCache()
    files.put(ROOT / "lastgood.toml", CONFIG.encode())
    files.put(ROOT / "pricing.py", ONE.encode())
    first, second = both(on, files)
    files.flush()
    begun, before = len(files.changes), tree_of(files, ROOT / "generated")
    act(first, second)
    ends = [before.keys(), tree_of(files, ROOT / "generated").keys()]
    states, known = 0, set[object]()
    for how, left in left_by_power_losses(files, begun, every=every, samples=2 if every else 0):
        states += 1
        try:
            check(left, on, ends, known)
        except Exception as error:
            raise AssertionError(how) from error
    assert states > 1
    print(f"{act.__name__}: {states} states, of which {len(known)} differ")
