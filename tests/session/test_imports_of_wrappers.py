"""An import of a wrapper in the app gets the live generation's text, at whatever moment it comes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from generating import importable
from lastgood.session.watch import WatchProgram, watch
from lastgood.store.journal import JournalStore
from lastgood.watch_events import RollbackFailed
from real_project import DEADLINE, MORE, FakeFactory, RealProject, Told

STORE = {"shop/__init__.py": "def name() -> str: ...\n", "shop/stock.py": "def count() -> int: ...\n"}
Start = Callable[..., WatchProgram]


@pytest.fixture(autouse=True)
def _the_output_can_be_imported(project: RealProject) -> Iterator[None]:
    with importable(project.root, "generated"), importable(project.root, "other"):
        yield


def load(name: str = "generated.pricing") -> Any:
    return importlib.import_module(name)


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("generated", "other")]:
        del sys.modules[name]


class Warming:
    """What is done while a cycle warms, all wrappers being promoted, and whether it fails then."""

    def __init__(
        self, factory: FakeFactory, look: Callable[[], object], *, fails: bool = True, at: str = "probe"
    ) -> None:
        self.seen: list[Any] = []

        def act() -> None:
            self.seen.append(look())
            if fails:
                raise LookupError("mine")

        factory.call(at, act)

    @property
    def only(self) -> Any:
        (seen,) = self.seen
        return seen


@pytest.mark.parametrize("at", ["create", "init", "probe"])
async def test_a_first_import_before_a_failure_keeps_nothing_of_what_failed(
    project: RealProject, start: Start, factory: FakeFactory, at: str
) -> None:
    async with start() as session:
        project.save("pricing.py", MORE)
        warming = Warming(factory, load, at=at)
        assert not await session.reload_now()
        assert warming.only is load()
        assert not hasattr(load(), "more")
        assert load().__file__ == str(project.output / "pricing.py")
        assert await session.reload_now()
        assert importlib.reload(load()).more


async def test_in_a_cycle_that_succeeds_it_is_the_live_generation_too_until_the_swap(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start() as session:
        project.save("pricing.py", MORE)
        warming = Warming(factory, lambda: hasattr(load(), "more"), fails=False)
        assert await session.reload_now()
        assert warming.only is False
        forget()
        assert load().more


async def test_a_reload_before_a_failure_gives_what_is_live(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start() as session:
        wrapper = load()
        project.save("pricing.py", MORE)
        Warming(factory, lambda: importlib.reload(wrapper))
        assert not await session.reload_now()
        assert not hasattr(wrapper, "more")


async def test_other_threads_are_no_exception(project: RealProject, start: Start, factory: FakeFactory) -> None:
    async with start() as session:
        project.save("pricing.py", MORE)
        pause = factory.pause("probe")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.reload_now)
            with trio.fail_after(DEADLINE):
                await pause.reached.wait()
            assert not hasattr(await trio.to_thread.run_sync(load), "more")
            pause.go()


async def test_a_wrapper_that_is_new_comes_with_the_swap(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start() as session:
        for path, text in STORE.items():
            project.save(path, text)
        project.configure("pricing", "shop", "shop.stock")

        def look() -> None:
            for name in ("generated.shop", "generated.shop.stock"):
                with pytest.raises(ModuleNotFoundError):
                    load(name)

        Warming(factory, look)
        assert not await session.reload_now()
        with pytest.raises(ModuleNotFoundError):
            load("generated.shop.stock")
        assert await session.reload_now()
        assert load("generated.shop.stock").count


async def test_a_wrapper_that_is_removed_goes_with_the_swap(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    for path, text in STORE.items():
        project.save(path, text)
    project.configure("pricing", "shop", "shop.stock")
    async with start() as session:
        project.configure("pricing")
        warming = Warming(factory, lambda: load("generated.shop.stock"))
        assert not await session.reload_now()
        assert warming.only.count
        forget()
        warming = Warming(factory, lambda: load("generated.shop.stock"), fails=False)
        assert await session.reload_now()
        assert warming.only.count
        forget()
        with pytest.raises(ModuleNotFoundError):
            load("generated.shop.stock")


async def test_another_output_directory_comes_with_the_swap(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start() as session:
        project.configure("pricing", output="other")

        def look() -> None:
            with pytest.raises(ModuleNotFoundError):
                load("other.pricing")
            assert load("generated.pricing").quote

        Warming(factory, look, fails=False)
        assert await session.reload_now()
        assert load("other.pricing").quote
        project.save("pricing.py", MORE)
        warming = Warming(factory, lambda: importlib.reload(load("other.pricing")))
        assert not await session.reload_now()
        assert not hasattr(warming.only, "more")


async def test_an_undo_is_a_cycle_like_any_other(project: RealProject, start: Start, factory: FakeFactory) -> None:
    async with start() as session:
        project.save("pricing.py", MORE)
        assert await session.reload_now()
        warming = Warming(factory, load)
        assert not await session.undo()
        assert warming.only.more
        forget()
        warming = Warming(factory, lambda: hasattr(load(), "more"), fails=False)
        assert await session.undo()
        assert warming.only
        forget()
        assert not hasattr(load(), "more")


async def test_after_a_rollback_that_failed_it_is_still_the_live_generation(
    project: RealProject, start: Start, factory: FakeFactory, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    async with start() as session:
        project.save("pricing.py", MORE)
        Warming(factory, lambda: None)
        with monkeypatch.context() as patch:
            patch.setattr(JournalStore, "undo", fail)
            assert not await session.reload_now()
        await told.next(RollbackFailed)
        assert b"more" in project.tree()["pricing.py"]
        assert not hasattr(load(), "more")
        forget()
        Warming(factory, lambda: None)
        assert not await session.reload_now()  # which has mended it first
        assert b"more" not in project.tree()["pricing.py"]
        assert not hasattr(load(), "more")


async def test_before_the_first_generation_there_is_nothing_else_to_import(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start():
        pass
    project.save("pricing.py", MORE)
    warming = Warming(factory, load, fails=False)
    async with start():
        assert warming.only.more


async def test_two_sessions_have_each_its_own(
    project: RealProject, start: Start, factory: FakeFactory, tmp_path: Path
) -> None:
    second = RealProject(tmp_path / "second")
    second.configure("pricing", output=str(project.root / "other"))
    theirs = FakeFactory()
    async with (  # no cycles but those that are asked for
        start(debounce=1000, max_wait=1000) as session,
        watch(
            second.config_file,
            create_bridge=theirs.create_bridge,
            set_as_global=False,
            debounce=1000,
            max_wait=1000,
        ) as another,
    ):
        second.save("pricing.py", MORE)
        assert await another.reload_now()
        project.save("pricing.py", MORE)
        warming = Warming(factory, lambda: (load(), load("other.pricing")))
        assert not await session.reload_now()
        assert [hasattr(each, "more") for each in warming.only] == [False, True]


async def test_the_end_of_a_session_leaves_nothing(project: RealProject, start: Start, factory: FakeFactory) -> None:
    before = list(sys.meta_path)
    async with start() as session:
        assert len(sys.meta_path) == len(before) + 2
        project.save("pricing.py", MORE)
        factory.call("probe", session.close)
        assert not await session.reload_now()
    assert sys.meta_path == before
    assert not hasattr(load(), "more")
