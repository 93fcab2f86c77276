"""A running session: the hooks, and calls through its handle and through wrappers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.errors import BridgeError, GenerationError, ModuleFailure, NoRuntimeBridge
from lastgood.session.watch import WatchProgram
from lastgood.wrappers import Generated
from real_project import DEADLINE, QUOTE, FakeFactory, RealProject, Told, in_virtual_time

# --- the hooks --------------------------------------------------------------------------------------------------


async def test_create_bridge_gets_the_config_of_its_cycle(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:
        project.save("shop.py", QUOTE)
        project.configure("pricing", "shop")
        assert await session.reload_now()
    assert [list(config.modules) for config in factory.configs] == [["pricing"], ["pricing", "shop"]]
    assert factory.configs[1].output.dir == project.output


async def test_hooks_may_be_plain(start: Callable[..., WatchProgram]) -> None:
    class Plain:
        log: list[str] = []  # noqa: RUF012  # one bridge is all there is

        def init(self) -> None:
            self.log.append("init")

        async def call(self, *_: object) -> str:
            return "plain"

        async def dispose(self) -> None:
            self.log.append("dispose")

    bridge = Plain()
    async with start(create_bridge=lambda _: bridge, probe=lambda probed: probed.log.append("probe")) as session:
        assert session.bridge is bridge
        assert await session.handle.call("pricing", "quote") == "plain"
    assert bridge.log == ["init", "probe", "dispose"]


async def test_a_bridge_needs_no_init(start: Callable[..., WatchProgram]) -> None:
    class Bare:
        async def call(self, *_: object) -> str:
            return "bare"

        async def dispose(self) -> None: ...

    async with start(create_bridge=lambda _: Bare(), probe=None) as session:
        assert await session.handle.call("pricing", "quote") == "bare"


def write(stage: Path) -> Generated:
    (stage / "deep").mkdir()
    (stage / "deep" / "own.py").write_text("own = True\n")
    (stage / "not-listed.py").write_text("")
    return Generated(("deep/own.py",), ("mind the gap",))


class Generators:
    """The shapes that a generator may have; ``threads`` in which they ran."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def plain(self, _: Config, stage: Path) -> Generated:
        self.threads.append(threading.get_ident())
        return write(stage)

    async def awaited(self, config: Config, stage: Path) -> Generated:
        await trio.lowlevel.checkpoint()
        return self.plain(config, stage)

    async def __call__(self, config: Config, stage: Path) -> Generated:
        return await self.awaited(config, stage)

    def gives_awaitable(self, config: Config, stage: Path) -> Awaitable[Generated]:
        return self.awaited(config, stage)


@pytest.mark.parametrize(
    ("shape", "in_thread"),
    [("plain", True), ("awaited", False), ("__self__", False), ("gives_awaitable", False)],
    ids=["plain", "async", "async __call__", "plain that gives an awaitable"],
)
async def test_a_generator_writes_what_is_promoted(
    shape: str, in_thread: bool, project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    generators = Generators()
    generate = generators if shape == "__self__" else getattr(generators, shape)
    async with start(generate=generate):
        good = await told.success()
    assert (generators.threads[0] != threading.get_ident()) == in_thread
    assert good.written == (Path("deep/own.py"),)
    assert good.warnings == ("mind the gap",)
    assert project.tree() == {"deep/own.py": b"own = True\n"}


async def test_the_failures_of_a_generator_make_one_generation_error(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    failures: list[ModuleFailure] = []

    def generate(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text(f"# {len(failures)}\n")
        return Generated(("pricing.py",), (), tuple(failures))

    async with start(generate=generate) as session:
        await told.success()
        failures += [ModuleFailure("pricing", Path("/p.py"), 3, "boom"), ModuleFailure("shop", None, None, "gone")]
        assert not await session.reload_now()
        error = (await told.failure()).error
        assert isinstance(error, GenerationError)
        assert error.failures == tuple(failures)
        assert project.tree() == {"pricing.py": b"# 0\n"}


# --- bridges and leases -----------------------------------------------------------------------------------------


async def test_a_handle_taken_before_a_swap_reaches_the_new_bridge_after_it(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:
        mine, published = session.handle, runtime.get_runtime_bridge()
        assert session.bridge is factory.latest
        assert (await mine.call("pricing", "quote"), await published.call("pricing", "quote")) == (1, 1)
        assert await session.reload_now()
        assert (await mine.call("pricing", "quote"), await published.call("pricing", "quote")) == (2, 2)
        assert mine.bridge is published.bridge is session.bridge is factory.latest
        assert factory.bridges[0].disposed


async def test_a_session_that_is_not_published_has_its_handle_all_the_same(start: Callable[..., WatchProgram]) -> None:
    async with start(set_as_global=False) as session:
        with pytest.raises(NoRuntimeBridge, match=r"^No runtime bridge configured\n"):
            runtime.get_runtime_bridge()
        assert await session.handle.call("pricing", "quote") == 1


async def test_a_wrapper_imported_before_a_swap_reaches_the_new_bridge_after_it(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project.root)
    async with start() as session:
        wrapper: Any = import_module("generated.pricing")
        try:
            assert await wrapper.quote("a") == 1
            assert await session.reload_now()
            assert await wrapper.quote("b") == 2
        finally:
            for name in ("generated", "generated.pricing"):
                sys.modules.pop(name)
    assert [bridge.calls for bridge in factory.bridges] == [
        [("pricing", "quote", ("a",), {})],
        [("pricing", "quote", ("b",), {})],
    ]


async def test_a_call_in_flight_keeps_the_old_bridge_until_it_returns(start: Callable[..., WatchProgram]) -> None:
    answers: list[int] = []
    async with start(drain_timeout=DEADLINE) as session:
        first = session.bridge

        async def call() -> None:
            answers.append(await session.handle.call("pricing", "wait"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await first.in_flight.wait()
            assert await session.reload_now()
            assert session.bridge is not first
            assert not first.disposed
            assert await session.handle.call("pricing", "quote") == 2
            first.answer.set()
        assert answers == [1]
        await trio.testing.wait_all_tasks_blocked()
        assert first.disposed


def test_a_call_that_does_not_end_is_cut_off_after_drain_timeout(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> None:
        async with start(drain_timeout=7) as session, trio.open_nursery() as nursery:
            began = trio.current_time()

            async def call() -> None:
                with pytest.raises(BridgeError, match="it had not ended 7 s after its bridge was replaced"):
                    await session.handle.call("pricing", "wait")
                assert trio.current_time() - began >= 7
                nursery.cancel_scope.cancel()

            nursery.start_soon(call)
            await factory.latest.in_flight.wait()
            assert await session.reload_now()
            await trio.sleep_forever()

    in_virtual_time(main)
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_at_most_two_bridges_drain_and_the_oldest_is_cut_off(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    cut: list[str] = []
    async with start(drain_timeout=3600) as session:

        async def call() -> None:
            try:
                await session.handle.call("pricing", "wait")
            except BridgeError as error:
                cut.append(str(error))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
                await factory.latest.in_flight.wait()
                assert await session.reload_now()
            await trio.testing.wait_all_tasks_blocked()
            assert [bridge.disposed for bridge in factory.bridges] == [True, False, False, False]
            assert len(cut) == 1
            assert "two later bridges" in cut[0]
            for bridge in factory.bridges:
                bridge.answer.set()
    assert len(cut) == 1


async def test_a_call_from_another_thread_is_an_error_that_says_so(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:

        def elsewhere() -> None:
            with pytest.raises(BridgeError, match="Call it from there"):
                trio.run(session.handle.call, "pricing", "quote")

        await trio.to_thread.run_sync(elsewhere)
        factory.latest.thread_safe = True  # type: ignore[attr-defined]  # a bridge may say so
        call = partial(session.handle.call, "pricing", "quote")
        assert await trio.to_thread.run_sync(lambda: trio.run(call)) == 1
