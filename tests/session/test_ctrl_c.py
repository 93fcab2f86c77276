"""Ctrl-C in a session: it leaves bare, and nothing is left."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from lastgood.config import Config
from lastgood.errors import BridgeError, Disposed
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram
from lastgood.store.disk import Disk
from lastgood.wrappers import Generated
from real_project import QUOTE, FakeFactory, RealProject, Told, assert_another_starts, assert_nothing_is_left


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


async def press_and_wait() -> None:
    press_ctrl_c()
    await trio.sleep_forever()


def pressing_in_promote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a promotion, which runs in a thread."""
    link = Disk.link

    def press_and_link(self: Disk, source: Path, target: Path) -> None:
        monkeypatch.setattr(Disk, "link", link)
        trio.from_thread.run_sync(press_ctrl_c)
        link(self, source, target)

    monkeypatch.setattr(Disk, "link", press_and_link)


@pytest.mark.parametrize("point", ["on_event", "generate", "promote", "create", "init", "probe"])
def test_ctrl_c_during_the_start_leaves_bare_and_undoes_it(
    point: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on_event(event: Any) -> None:
        told(event)
        if point == "on_event":
            press_ctrl_c()

    async def generate(_: Config, stage: Path) -> Generated:
        await factory.pass_by("generate")
        await trio.Path(stage / "pricing.py").write_text(QUOTE)
        return Generated(("pricing.py",))

    if point == "promote":
        pressing_in_promote(monkeypatch)
    factory.call(point, press_and_wait)
    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(start(on_event=on_event, generate=generate))
    assert type(caught.value) is KeyboardInterrupt
    assert not project.output.exists()
    assert all(bridge.disposed for bridge in factory.bridges)
    assert [event.type for event in told.events] == ["reload-start"]
    assert_nothing_is_left(project)
    trio.run(assert_another_starts, project)


@pytest.mark.parametrize("point", ["body", "promote", "create", "init", "probe", "dispose"])
def test_ctrl_c_during_a_session_leaves_bare(
    point: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with start() as session:
            project.save("pricing.py", QUOTE.replace("1.0", "2.0") + "def more() -> None: ...\n")
            if point == "promote":
                pressing_in_promote(monkeypatch)
            factory.call(point, press_ctrl_c if point == "dispose" else press_and_wait)
            if point == "body":
                press_ctrl_c()
            with suppress(trio.Cancelled):
                await session.reload_now()
            pytest.fail("Ctrl-C was lost")

    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(main)
    assert type(caught.value) is KeyboardInterrupt
    assert all(bridge.disposed for bridge in factory.bridges)
    assert_nothing_is_left(project)
    trio.run(assert_another_starts, project)


@pytest.mark.parametrize("hook", ["create_bridge", "probe"])
@pytest.mark.parametrize("at_start", [True, False], ids=["at the start", "later"])
def test_ctrl_c_ends_a_plain_hook_that_blocks(
    hook: str, at_start: bool, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    blocking = [at_start]
    ended: list[str] = []

    def plain(argument: Any) -> object:
        if blocking[0]:
            try:
                press_ctrl_c()
            finally:
                ended.append(hook)
        return factory.create_bridge(argument) if hook == "create_bridge" else None

    async def main() -> None:
        async with start(**{hook: plain}) as session:
            blocking[0] = True
            await session.reload_now()
            pytest.fail("Ctrl-C was lost")

    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(main)
    assert type(caught.value) is KeyboardInterrupt
    assert ended == [hook]
    assert all(bridge.disposed for bridge in factory.bridges)
    assert_nothing_is_left(project)
    trio.run(assert_another_starts, project)


@pytest.mark.parametrize("way", ["leave", "raise", "cancel"])
def test_ctrl_c_during_the_last_drain_ends_it_and_is_not_lost(
    way: str, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    """Also when the body had left by an error, or by a cancel that ends around it."""
    failed: list[BaseException] = []

    async def call(session: Session) -> None:
        try:
            await session.handle.call("pricing", "wait")
        except BridgeError as error:
            failed.append(error)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with start(drain_timeout=3600) as session:
                    nursery.start_soon(call, session)
                    await factory.latest.in_flight.wait()
                    nursery.start_soon(press_when_closing, session)
                    if way == "raise":
                        raise ValueError("mine")
                    if way == "cancel":
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
        pytest.fail("Ctrl-C was lost")

    async def press_when_closing(session: Session) -> None:
        with pytest.raises(Disposed):
            while session.bridge is not None:
                await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        # From a task of the test's it would be raised right there; so it comes as from a keyboard, while all tasks wait.
        trio.lowlevel.current_trio_token().run_sync_soon(press_ctrl_c)

    with pytest.raises(BaseExceptionGroup) as caught:  # the test's own nursery makes the group
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
    assert str(failed[0]) == "The call was cut off by Ctrl-C."
    assert factory.latest.disposed


def test_ctrl_c_in_the_dispose_of_a_drained_bridge_is_not_an_error_of_the_session(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> None:
        async with start() as session, trio.open_nursery() as nursery:
            nursery.start_soon(session.handle.call, "pricing", "wait")
            first = factory.latest
            await first.in_flight.wait()
            assert await session.reload_now()
            factory.call("dispose", press_ctrl_c)
            first.answer.set()
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:  # the nursery in the body makes the group
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
    assert all(bridge.disposed for bridge in factory.bridges)
    assert_nothing_is_left(project)
