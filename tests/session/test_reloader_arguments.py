"""What create_bridge_reloader() refuses, and what it takes besides async functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from flavours import Flavour
from lastgood.errors import BridgeError
from lastgood.session.reloader import create_bridge_reloader
from reloaded_bridges import Bridge, Factory

pytestmark = pytest.mark.usefixtures("cleared_registry")


@pytest.mark.parametrize(
    ("missing", "says"), [("call", r"no call\(\)"), ("dispose", r"no dispose\(\)"), ("", "the class")]
)
def test_what_is_no_bridge_is_refused(flavour: Flavour, missing: str, says: str) -> None:
    async def main() -> None:
        async with await create_bridge_reloader(Factory()) as reloader:
            first = reloader.current
            wrong: Any = type("Wrong", (Bridge,), {missing: None} if missing else {})
            reloader._create_bridge = lambda: wrong() if missing else wrong
            with pytest.raises(BridgeError, match=says):
                await reloader.reload()
            assert reloader.current is first

    flavour.run(main)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(3, "must be callable, not int"), (lambda _config: Bridge(), r"called as create_bridge\(\), but it takes \(_c")],
)
def test_a_factory_that_cannot_be_called_is_refused(flavour: Flavour, wrong: Any, says: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=says):
            await create_bridge_reloader(wrong)

    flavour.run(main)


def test_a_decorated_factory_is_called_as_its_decorator_is(flavour: Flavour) -> None:
    def injecting(function: Callable[[int], Bridge]) -> Callable[[], Bridge]:
        @functools.wraps(function)
        def factory(*args: Any) -> Bridge:
            return function(3, *args)

        return factory

    async def main() -> None:
        async with await create_bridge_reloader(injecting(lambda number: Bridge(number))) as reloader:
            assert reloader.current.number == 3

    flavour.run(main)


def test_a_plain_init_and_dispose_do(flavour: Flavour, caplog: pytest.LogCaptureFixture) -> None:
    class Plain:
        def __init__(self) -> None:
            self.log: list[str] = []

        async def call(self, *_: object) -> None: ...

        def init(self) -> None:
            self.log.append("init")

        def dispose(self) -> None:
            self.log.append("disposed")

    async def main() -> None:
        create: Any = Plain
        async with await create_bridge_reloader(create) as reloader:
            first: Any = reloader.current
            await reloader.reload()
            assert first.log == ["init", "disposed"]

    flavour.run(main)
    assert not caplog.records
