"""A package that writes into itself when it is imported does not reload for ever."""

from __future__ import annotations

import pytest
import trio

from lastgood.errors import RunawayError
from lastgood.session.watch import watch
from lastgood.watch_events import Runaway
from real_project import DEADLINE, QUOTE, RealProject, Told

WRITES = """
import time, pathlib
pathlib.Path(__file__).with_name({name!r}).write_text(str(time.time()))
"""


@pytest.mark.parametrize("name", ["_version.py", "errors.log"])
async def test_it_is_reloaded_five_times_and_then_left_alone(name: str, project: RealProject, told: Told) -> None:
    project.save("shop/__init__.py", QUOTE)
    project.configure("shop")
    project.save("lastgood.toml", project.config_file.read_text() + '[watch]\ninclude = ["*.log"]\n')
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=told, debounce=0.01) as session:
            await told.success()
            project.save("shop/__init__.py", WRITES.format(name=name) + QUOTE)
            runaway = await told.next(Runaway)
            assert (runaway.files, runaway.cycles) == ((project.root / "shop" / name,), 5)
            assert isinstance(session.status.error, RunawayError)
            project.save("shop/__init__.py", QUOTE)
            await told.success()
            assert not session.status.stale
