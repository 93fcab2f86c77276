"""Exceptions of a source are caught by their classes through wrappers: builtin ones and the source's own, over reloads."""

from __future__ import annotations

import asyncio
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from generating import importable
from lastgood import RemoteError, direct, watch
from lastgood.cli.commands import generate
from real_project import DEADLINE, RealProject

SHOP = '''
from dataclasses import dataclass

from errors import ShopError as ShopError

@dataclass(frozen=True)
class Item:
    sku: str

class OutOfStock(ShopError, LookupError):
    """There is none left."""
    status = 404

    def __init__(self, item: Item, left: int):
        super().__init__(item, left)
        self.item = item
        self.left = left

    def __str__(self):
        return f"no {self.item.sku}, {self.left} left"

def buy(sku: str) -> int:
    try:
        {}[sku]
    except KeyError as error:
        raise OutOfStock(Item(sku), 0) from error
    return 1

def fail(name: str) -> None:
    import builtins
    arguments = {
        "UnicodeDecodeError": ("utf-8", b"a", 0, 1, "bad"), "UnicodeEncodeError": ("ascii", "a", 0, 1, "bad"),
        "UnicodeTranslateError": ("a", 0, 1, "bad"), "ExceptionGroup": ("several", [ValueError()]),
        "BaseExceptionGroup": ("several", [KeyboardInterrupt()]),
    }
    raise getattr(builtins, name)(*arguments.get(name, ("text",)))

def names() -> list[str]:
    import builtins
    return [name for name, kind in vars(builtins).items()
            if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__name__ == name]
'''
ERRORS = "class ShopError(Exception):\n    pass\n"
BARE = {
    "StopIteration",
    "StopAsyncIteration",
    "GeneratorExit",
    "SystemExit",
    "KeyboardInterrupt",
    "BaseExceptionGroup",
    "BaseException",
}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[RealProject]:
    files = {"shop.py": SHOP, "errors.py": ERRORS}
    config = '[modules.shop]\n[output]\ndir = "generated"\nstyle = "{}"\n[runtime.process]\nspare = false\n'
    project = RealProject(
        tmp_path, {**files, "lastgood.toml": config.format("async"), "sync.toml": config.format("sync")}
    )
    with importable(project.root, "generated"):
        yield project
    for name in ("shop", "errors"):
        sys.modules.pop(name, None)


def wrapper() -> Any:
    return importlib.import_module("generated.shop")


def check(error: Any) -> None:
    shop = wrapper()
    assert isinstance(error, shop.OutOfStock)
    assert isinstance(error, shop.ShopError)
    assert issubclass(type(error), LookupError)
    assert issubclass(type(error), RemoteError)
    assert (error.type_name, str(error), error.status) == ("shop.OutOfStock", "no apple, 0 left", 404)
    assert (error.item, error.left, error.args) == (shop.Item("apple"), 0, (shop.Item("apple"), 0))
    assert isinstance(error.__cause__, KeyError)
    text = "".join(traceback.format_exception(error))
    for line in ("{}[sku]", "raise OutOfStock(Item(sku), 0) from error", "generated.shop.OutOfStock: no apple, 0 left"):
        assert line in text
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert files[-1].name == "shop.py"
    assert set(files[:-1]) == {Path(__file__)}


async def check_all(call: Callable[[str], Any], names: list[str]) -> None:
    import builtins

    for name in names:
        with pytest.raises(RemoteError if name in BARE else getattr(builtins, name)) as caught:
            await call(name)
        assert isinstance(caught.value, RemoteError)
        assert (type(caught.value) is RemoteError) is (name in BARE)


async def test_under_trio(shop: RealProject) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(shop.root / "lastgood.toml", on_event=lambda _: None):
            with pytest.raises(wrapper().OutOfStock) as caught:
                await wrapper().buy("apple")
            check(caught.value)
            await check_all(wrapper().fail, await wrapper().names())


def test_under_asyncio(shop: RealProject) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), watch(shop.root / "lastgood.toml", on_event=lambda _: None):
            with pytest.raises(wrapper().OutOfStock) as caught:
                await wrapper().buy("apple")
            check(caught.value)
            await check_all(wrapper().fail, await wrapper().names())

    asyncio.run(main())


@pytest.mark.parametrize("run", [watch, direct])
def test_of_plain_wrappers(shop: RealProject, run: Any) -> None:
    async def call(name: str) -> None:
        wrapper().fail(name)

    if run is direct:
        with suppress(SystemExit):
            generate.main([str(shop.root / "sync.toml")])
    with run(shop.root / "sync.toml", **({"on_event": lambda _: None} if run is watch else {})):
        with pytest.raises(wrapper().OutOfStock) as caught:
            wrapper().buy("apple")
        check(caught.value)
        names = [
            name
            for name in wrapper().names()
            if run is watch or name not in ("KeyboardInterrupt", "BaseExceptionGroup")
        ]
        asyncio.run(check_all(call, names))


async def test_an_exception_that_is_handled_by_the_app_is_the_context_only_if_there_is_no_other(
    shop: RealProject,
) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(shop.root / "lastgood.toml", on_event=lambda _: None):
            caught: list[BaseException] = []
            for name, argument in (("fail", "ValueError"), ("buy", "apple")):
                try:
                    raise RuntimeError("of the app")
                except RuntimeError:
                    with pytest.raises(RemoteError) as info:
                        await getattr(wrapper(), name)(argument)
                    caught.append(info.value)
            assert isinstance(caught[0].__context__, RuntimeError)
            assert isinstance(caught[1].__context__, KeyError)


EDITS = [
    SHOP.replace("status = 404", "status = 410"),
    SHOP.replace("class OutOfStock(ShopError, LookupError)", "class OutOfStock(ShopError)"),
    SHOP.replace("class OutOfStock(ShopError, LookupError)", "class OutOfStock(ShopError, KeyError)"),
    SHOP.replace(
        "class OutOfStock(ShopError, LookupError)", "class Missing(ShopError):\n    pass\n\nclass OutOfStock(Missing)"
    ),
    SHOP.replace("        self.left = left\n", "        self.left = left\n        self.more: int = 3\n"),
    SHOP,
]


async def test_a_class_that_was_taken_by_name_catches_after_any_number_of_edits(shop: RealProject) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(shop.root / "lastgood.toml", on_event=lambda _: None) as session:
            taken, above = wrapper().OutOfStock, wrapper().ShopError
            with pytest.raises(taken):
                await wrapper().buy("apple")
            for text in EDITS:
                shop.save("shop.py", text)
                assert await session.reload_now()
                for kind in (taken, above):
                    with pytest.raises(kind) as caught:
                        await wrapper().buy("apple")
                assert wrapper().OutOfStock is taken
                assert isinstance(caught.value, LookupError) is issubclass(taken, LookupError)
                assert taken.status == (410 if "410" in text else 404)


@pytest.mark.parametrize("code", ["return OutOfStock(Item('a'), 1)", "return [{'x': OutOfStock(Item('a'), 1)}]"])
async def test_one_that_is_returned_is_an_error_that_names_it(shop: RealProject, code: str) -> None:
    shop.save(
        "shop.py", SHOP + f"\ndef give():\n    {code}\n\ndef take(error) -> str:\n    return type(error).__name__\n"
    )
    with trio.fail_after(DEADLINE):
        async with watch(shop.root / "lastgood.toml", on_event=lambda _: None):
            with pytest.raises(Exception, match=r"result.*shop\.OutOfStock cannot cross from the worker"):
                await wrapper().give()
            with pytest.raises(Exception, match=r"argument.*shop\.OutOfStock cannot cross to the worker"):
                await wrapper().take(wrapper().OutOfStock("a", 1))
