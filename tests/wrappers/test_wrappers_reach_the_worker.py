"""What is wrapped is callable, and what is excluded is refused: the wrappers and the worker obey one selection."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config, load_config
from lastgood.errors import BridgeError
from lastgood.sources.contents import Contents
from lastgood.sources.finder import Finder, Interpreter
from lastgood.sources.pinning import Pinner
from lastgood.sources.resolution import resolve_modules
from lastgood.store.disk import Disk
from lastgood.wrappers.process.extractor import HereExtractor, WrapInputs, wrapper_texts

SOURCES = {
    "shop/__init__.py": """\
from shop.prices import quote as quote
from .prices import Desk
import os
import shop.prices as _prices

again = _prices.quote
make = _prices.Desk.make

def here() -> str:
    return "here"
""",
    "shop/prices.py": """\
import functools
import math
from decimal import Decimal

__all__ = ["quote", "Desk", "Special", "area", "cached", "later", "wrapped", "desk", "bound", "part", "short", "made"]

def quote(sku: str = "a", *, quantity: int = 1) -> str:
    return sku * quantity

def hidden() -> int:
    return 1

def _private() -> int:
    return 2

@functools.lru_cache
def cached(n: int = 3) -> int:
    return n

async def later(n: int = 4) -> int:
    return n

area = quote
wrapped = functools.lru_cache(quote)

class Desk:
    limit = 3

    def __init__(self) -> None: ...

    @staticmethod
    def open(n: int = 5) -> int:
        return n

    @classmethod
    def make(cls, n: int = 6) -> int:
        return n

    @classmethod
    def _secret(cls) -> int:
        return 0

    def _price(cls: object = None, n: int = 7) -> int:
        return n

    price = classmethod(_price)
    also = open

    def close(n: int = 8) -> int:
        return n

    close = staticmethod(close)

    class Drawer:
        @staticmethod
        def pull() -> str:
            return "pulled"

class Special(Desk):
    @staticmethod
    def more() -> int:
        return 1

    @functools.cache
    @staticmethod
    def kept() -> int:
        return 2

    @functools.singledispatchmethod
    @classmethod
    def chosen(cls, n: object = None) -> int:
        return 3

    assigned = staticmethod(functools.partial(quote, "b"))

class Till:
    def __call__(self, n: int = 9) -> int:
        return n

    def count(self, n: int = 10) -> int:
        return n

desk = Till()
bound = desk.count
part = functools.partial(quote, "c")
short = lambda n=11: n

def _make(n):
    def inner():
        return n
    return inner

made = _make(12)
""",
    "picky.py": """\
def one() -> int:
    return 1

def two() -> int:
    return 2

def three_old() -> int:
    return 3

class Kept:
    @staticmethod
    def a() -> int:
        return 1

    @staticmethod
    def b() -> int:
        return 2

class Dropped:
    @staticmethod
    def a() -> int:
        return 1
""",
}

CONFIG = """\
python_import_path = ["src"]
[modules.shop]
[modules."shop.prices"]
[modules.picky]
classes = ["Kept"]
exclude = ["two", "Kept.b"]
exclude_patterns = ["*_old"]
[output]
dir = "generated"
"""

REFUSED = [
    ("shop.prices", "_private"),
    ("shop.prices", "Desk._secret"),
    ("shop.prices", "Desk.__init__"),
    ("shop.prices", "math.sqrt"),
    ("shop.prices", "desk.count"),
    ("shop.prices", "bound.__self__.count"),
    ("shop", "os.system"),
    ("picky", "two"),
    ("picky", "three_old"),
    ("picky", "Kept.b"),
    ("picky", "Dropped.a"),
    ("os", "getcwd"),
]


def wrapped_names(text: str) -> list[str]:
    """The dotted names of a wrapper's functions."""

    def names(body: list[ast.stmt], prefix: str) -> list[str]:
        found = []
        for node in body:
            if isinstance(node, ast.AsyncFunctionDef):
                found.append(prefix + node.name)
            elif isinstance(node, ast.ClassDef):
                found += names(node.body, f"{prefix}{node.name}.")
        return found

    return names(ast.parse(text).body, "")


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        file = tmp_path / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    config = tmp_path / "lastgood.toml"
    config.write_text(CONFIG)
    return config


@pytest.fixture
def config(config_file: Path) -> Config:
    return load_config(config_file)


async def test_every_wrapped_name_is_callable_and_what_is_excluded_is_refused(config: Config) -> None:
    finder = Finder(Disk(), config.python_import_path, Interpreter())
    modules = resolve_modules(config, finder)
    inputs = WrapInputs.of(Pinner(Contents(Disk())).pin(config, modules, finder), config, modules)
    texts, generated, _ = wrapper_texts(HereExtractor(), inputs, finder.python)
    assert generated.failures == ()
    wrapped = {
        "shop": wrapped_names(texts["shop/__init__.py"].decode()),
        "shop.prices": wrapped_names(texts["shop/prices.py"].decode()),
        "picky": wrapped_names(texts["picky.py"].decode()),
    }
    assert {"here", "quote", "again", "make", "Desk.open", "Desk.make"} <= set(wrapped["shop"])
    prices = {"quote", "cached", "later", "wrapped", "Desk.open", "Desk.Drawer.pull"}
    prices |= {"Desk.price", "Desk.also", "Desk.close"}
    prices |= {"Special.kept", "Special.assigned", "desk", "bound", "part", "short", "made"}
    assert prices | {"Special.more", "Special.open", "Special.Drawer.pull"} <= set(wrapped["shop.prices"])
    assert wrapped["picky"] == ["one", "Kept.a"]

    bridge = ProcessBridge.from_config(config)
    with trio.fail_after(30):
        try:
            await bridge.init()
            for module, names in wrapped.items():
                for name in names:
                    await bridge.call(module, name, (None,) if name.endswith(".chosen") else (), {})
            for module, name in REFUSED:
                assert name not in wrapped.get(module, ())
                with pytest.raises(BridgeError, match=r"not|no "):
                    await bridge.call(module, name, (), {})
        finally:
            await bridge.dispose()
