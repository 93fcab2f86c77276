"""The cached bytecode of a wrapper goes with it, so that no process imports an older one."""

from __future__ import annotations

import py_compile
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.session.watch import WatchProgram
from real_project import QUOTE, FakeFactory, RealProject

MORE = QUOTE + "def more() -> None: ...\n"


def imported(project: RealProject) -> Path:
    """The bytecode that an import of the wrapper leaves, valid by its own digest whatever the times say."""
    wrapper = project.output / "pricing.py"
    cached = py_compile.compile(
        str(wrapper), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert cached is not None
    return Path(cached)


def write(project: RealProject) -> None:
    project.save("pricing.py", MORE)


def remove(project: RealProject) -> None:
    project.configure()


@pytest.mark.parametrize("change", [write, remove])
async def test_it_goes_when_the_wrapper_is_written_or_removed(
    change: Callable[[RealProject], None], project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    async with start() as session:
        cached = imported(project)
        assert cached.exists()
        change(project)
        assert await session.reload_now()
        assert not cached.exists()


async def test_it_goes_when_the_wrapper_is_restored(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    made: list[Path] = []

    def import_and_fail() -> None:
        assert b"more" in project.tree()["pricing.py"]
        made.append(imported(project))
        raise LookupError("mine")

    async with start() as session:
        project.save("pricing.py", MORE)
        factory.call("create", import_and_fail)
        assert not await session.reload_now()
        assert b"more" not in project.tree()["pricing.py"]
        assert [cached.exists() for cached in made] == [False]
