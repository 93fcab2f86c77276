"""A module that is imported only when a function runs has to compile all the same, unless it did not before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from lastgood import RemoteError
from lastgood.session.watch import WatchProgram, watch
from real_project import DEADLINE, RealProject, Told

PRICING = """\
try:
    import caught
except SyntaxError:
    caught = None

def quote() -> int:
    import pack.helper
    return pack.helper.RATE

def late() -> int:
    import importlib
    return importlib.import_module("dyna" + "mic").RATE

def foreign() -> int:
    import foreign
    return foreign.RATE
"""
BROKEN = "def broken(:\n"


@pytest.fixture
def real(project: RealProject, told: Told) -> Callable[..., WatchProgram]:
    project.save("pricing.py", PRICING)
    project.save("caught.py", "")
    project.save("pack/__init__.py", "")
    project.save("pack/helper.py", "RATE = 2\n")
    project.save("foreign.py", BROKEN)
    return lambda: watch(project.config_file, on_event=told, debounce=0.01)


@pytest.mark.parametrize("name", ["pack/helper.py", "pack/__init__.py"])
async def test_a_broken_module_that_a_function_imports_does_not_go_live(
    project: RealProject, told: Told, real: Callable[..., WatchProgram], name: str
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            path = project.save(name, f"RATE = 3\n{BROKEN}")
            failure = await told.failure()
            assert failure.effect == "warm"
            assert isinstance(failure.error, RemoteError)
            assert failure.error.type_name == "SyntaxError"
            assert f'File "{path}", line 2' in failure.error.traceback
            assert "pinned.py" not in failure.error.traceback
            assert "imported when a function runs" in failure.error.traceback
            assert await session.handle.call("pricing", "quote") == 2
            project.save(name, "RATE = 4\n")
            await told.success()


async def test_a_new_module_counts(project: RealProject, told: Told, real: Callable[..., WatchProgram]) -> None:
    with trio.fail_after(DEADLINE):
        async with real():
            await told.success()
            project.save("another.py", BROKEN)
            project.save("pricing.py", f"{PRICING}\ndef more() -> int:\n    import another\n    return another.RATE\n")
            assert "another.py" in str((await told.failure()).error)
            project.save("another.py", "RATE = 1\n")
            await told.success()


async def test_what_was_broken_before_may_stay_so_until_it_is_mended(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            project.save("foreign.py", f"# of another Python\n{BROKEN}")
            await told.success()
            project.save("foreign.py", "RATE = 5\n")
            await told.success()
            project.save("foreign.py", BROKEN)
            await told.failure()
            assert await session.handle.call("pricing", "foreign") == 5


async def test_an_error_that_the_program_catches_is_its_own_affair(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            project.save("caught.py", BROKEN)
            await told.success()
            assert await session.handle.call("pricing", "quote") == 2


async def test_after_an_undo_the_next_edit_is_compared_with_what_is_live(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            project.save("pack/helper.py", "RATE = 3\n")
            await told.success()
            assert await session.undo()
            await told.success()
            project.save("pack/helper.py", BROKEN)
            assert (await told.failure()).effect == "warm"
            project.save("pack/helper.py", "RATE = 2\n")
            await told.success()
            project.save("foreign.py", f"# of another Python\n{BROKEN}")
            await told.success()


async def test_a_null_byte_is_no_syntax_error_on_every_python_and_counts_as_one(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real():
            await told.success()
            project.save("foreign.py", "RATE = '\0'\n")
            await told.success()
            project.save("pack/helper.py", "RATE = '\0'\n")
            assert "null bytes" in str((await told.failure()).error)
