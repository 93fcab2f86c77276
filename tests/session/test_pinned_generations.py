"""A live generation runs the bytes it was staged from, whatever becomes of the files; with real workers."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import trio

from lastgood import GenerationError, RemoteError
from lastgood.session.watch import WatchProgram, watch
from lastgood.store.generations import KEPT
from real_project import DEADLINE, RealProject, Told

PRICING = """\
def quote() -> int:
    from helper import RATE
    return RATE

def broken() -> None:
    raise ValueError("as staged")
"""


@pytest.fixture
def real(project: RealProject, told: Told) -> Callable[..., WatchProgram]:
    project.save("pricing.py", PRICING)
    project.save("helper.py", "RATE = 2\n")
    return lambda: watch(project.config_file, on_event=told, debounce=0.01)


async def test_a_module_imported_late_is_the_staged_one(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            project.save("helper.py", "RATE = (\n")
            project.save("pricing.py", "def quote(:\n")
            failure = await told.failure()
            assert isinstance(failure.error, GenerationError)
            assert await session.handle.call("pricing", "quote") == 2


async def test_tracebacks_name_the_users_file_and_show_the_staged_lines(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            path = project.save("pricing.py", "# everything moved\n" * 9 + "def quote(:\n")
            await told.failure()
            with pytest.raises(RemoteError) as caught:
                await session.handle.call("pricing", "broken")
    assert f'File "{path}", line 6, in broken' in caught.value.traceback
    assert 'raise ValueError("as staged")' in caught.value.traceback


async def test_an_edit_of_the_same_size_and_time_runs_new_code(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            for rate in range(3, 8):
                path = project.save("helper.py", f"RATE = {rate}\n")
                os.utime(path, (10**9, 10**9))
                await told.success()
                assert await session.handle.call("pricing", "quote") == rate


async def test_of_generations_that_nobody_runs_the_last_good_ones_are_kept(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    kept = project.root / ".lastgood" / "generated" / "generations" / "manifests"
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            for rate in range(3, 10):
                project.save("helper.py", f"RATE = {rate}\n")
                await told.success()
                project.save("pricing.py", PRICING + "(")
                await told.failure()
                project.save("pricing.py", PRICING)
                await told.success()
            assert session.generation == 15
            assert len(list(kept.iterdir())) == KEPT
