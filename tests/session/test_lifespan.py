"""``watch().lifespan()``: a session for as long as an ASGI app runs, and the app's own lifespan inside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from lastgood import ReloadError
from lastgood.errors import Disposed, GenerationError
from lastgood.session.watch import WatchProgram
from real_project import BROKEN, MINE, MORE, QUOTE, RealProject, assert_nothing_is_left

Start = Callable[..., WatchProgram]

APP = object()


ON_BOTH = pytest.mark.parametrize("run", [trio.run, lambda function: asyncio.run(function())], ids=["trio", "asyncio"])


@ON_BOTH
def test_the_session_lives_as_long_as_the_app(run: Callable[..., None], project: RealProject, start: Start) -> None:
    async def main() -> None:
        lifespan = start().lifespan()
        for _ in range(2):  # an app may be started again
            async with lifespan(APP) as state:
                (session,) = state.values()
                assert state == {"lastgood": session}
                project.save("pricing.py", MORE)
                assert await session.settle()
            with pytest.raises(Disposed):
                await session.settle()

    run(main)


async def test_the_app_s_own_lifespan_is_inside(start: Start) -> None:
    order: list[str] = []

    @asynccontextmanager
    async def own(app: object) -> AsyncIterator[dict[str, Any]]:
        assert app is APP
        order.append("begins")
        yield {"database": "open"}
        order.append("ends")
        assert program.session is not None
        assert not program.session.status.stale

    program = start()
    async with program.lifespan(own)(APP) as state:
        assert state == {"database": "open", "lastgood": program.session}
        order.append("serves")
    assert order == ["begins", "serves", "ends"]


async def test_one_without_a_state_has_the_session(start: Start) -> None:
    @asynccontextmanager
    async def own(_: object) -> AsyncIterator[None]:
        yield

    async with start().lifespan(own)(APP) as state:
        assert list(state) == ["lastgood"]


async def test_what_the_app_s_own_raises_leaves_as_itself(start: Start) -> None:
    @asynccontextmanager
    async def own(_: object) -> AsyncIterator[None]:
        yield
        raise MINE

    with pytest.raises(LookupError) as raised:
        async with start().lifespan(own)(APP):
            pass
    assert raised.value is MINE


async def test_a_start_that_fails_fails_the_app(project: RealProject, start: Start) -> None:
    project.save("pricing.py", BROKEN)
    with pytest.raises(GenerationError):
        async with start().lifespan()(APP):
            pass


@ON_BOTH
def test_with_wait_for_first_the_app_starts_when_an_edit_has_mended_it(
    run: Callable[..., None], project: RealProject, start: Start
) -> None:
    order: list[str] = []

    def mend(event: object) -> None:
        if isinstance(event, ReloadError):
            order.append(f"failed, generation {event.live_generation} is live")
            project.save("pricing.py", QUOTE)

    @asynccontextmanager
    async def own(_: object) -> AsyncIterator[None]:
        order.append("begins")
        yield

    async def main() -> None:
        project.save("pricing.py", BROKEN)
        async with start(wait_for_first=True, on_event=mend).lifespan(own)(APP) as state:
            assert order == ["failed, generation None is live", "begins"]
            assert (state["lastgood"].generation, state["lastgood"].status.stale) == (1, False)
            project.save("pricing.py", MORE)
            assert await state["lastgood"].settle()

    run(main)


def test_an_app_that_is_cancelled_while_it_waits_for_the_first_leaves_nothing(
    project: RealProject, start: Start
) -> None:
    project.save("pricing.py", BROKEN)

    async def main() -> None:
        failed = asyncio.Event()

        async def serve() -> None:
            async with start(wait_for_first=True, on_event=notice).lifespan()(APP):
                raise AssertionError("nothing is live")

        def notice(event: object) -> None:
            if isinstance(event, ReloadError):
                failed.set()

        serving = asyncio.ensure_future(serve())
        await failed.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(main())
    assert_nothing_is_left(project)
