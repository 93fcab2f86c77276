"""A session whose bridges are called from several threads and loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from flavours import DEADLINE
from lastgood.errors import NoRuntimeBridge
from lastgood.runtime import get_runtime_bridge
from lastgood.session.watch import WatchProgram, watch
from real_project import RealProject
from session_bridges import Bridges, Main, Run, session_threads


@pytest.fixture
def bridges() -> Bridges:
    return Bridges()


@pytest.fixture
def program(project: RealProject, bridges: Bridges) -> WatchProgram:
    return watch(project.config_file, create_bridge=bridges.create, debounce=0.01)


@pytest.fixture
def no_session_is_left(project: RealProject) -> Iterator[None]:
    yield
    assert session_threads() == []
    assert project.leftovers() == []
    with pytest.raises(NoRuntimeBridge):
        get_runtime_bridge()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a function on a loop of that kind, within the deadline."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def run(main: Main) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(DEADLINE):
                await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    return run
