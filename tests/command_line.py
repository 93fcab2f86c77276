"""The command in a project that a session has been in."""

from __future__ import annotations

from collections.abc import Callable

import trio

from lastgood.session.watch import watch as watch_program
from real_project import QUOTE, FakeFactory, RealProject
from running import Ran

__all__ = ["TWO", "Run", "two_generations"]

Run = Callable[..., Ran]

TWO = QUOTE.replace("sku: str", "sku: str, number: int")


def two_generations(project: RealProject) -> None:
    """A session has been there."""

    async def session() -> None:
        async with watch_program(project.config_file, create_bridge=FakeFactory().create_bridge) as session:
            project.save("pricing.py", TWO)
            assert await session.reload_now()

    trio.run(session)
