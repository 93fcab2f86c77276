"""Wrappers that are older than their sources; what ``direct()`` makes of that is in test_direct.py."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import pytest

from lastgood import InProcessBridge
from lastgood.config import ModuleConfig, decode_config
from lastgood.session.older_wrappers import missing_wrappers, older_wrappers
from lastgood.wrappers import ModuleSource, wrap_modules
from wrappers.corpus import PACKAGES, sources

SHOP = """
import contextlib, enum, functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional, TypedDict

class Level(enum.Enum):
    HIGH = 3
    LOW = 1

class Code(enum.StrEnum):
    A = enum.auto()

class At(NamedTuple):
    x: int = 0

class Options(TypedDict):
    late: bool

class More(Options):
    early: bool

@dataclass
class Quote:
    sku: str
    price: float = 0.5
    parts: list[int] = field(default_factory=list)
    __kept: int = 1

    @classmethod
    def free(cls, sku: str) -> "Quote": ...

@dataclass
class Coupon:
    sku: str

def number() -> int: ...
def quote(level: Level = Level.HIGH, at: Optional[At] = None) -> Quote: ...
def every(code: Code, more: More, coupon: Coupon) -> list[Quote]: ...

@functools.lru_cache
def cached(sku: str) -> int: ...
"""


def differences(root: Path, before: str, after: str, base: str = "") -> list[str]:
    """What is said of a wrapper of ``before`` beside the source ``after``; ``base`` is the module of that name."""
    config = decode_config(b'[modules.shop]\n[output]\ndir = "generated"\n', root / "lastgood.toml")
    (root / "generated").mkdir()
    (root / "shop.py").write_text(after)
    (root / "base.py").write_text(base)
    beside = ModuleSource("base", root / "base.py", base.encode(), False, ModuleConfig())
    module = ModuleSource("shop", root / "shop.py", before.encode(), False, config.modules["shop"])
    (root / "generated" / "shop.py").write_bytes(wrap_modules([module], find={"base": beside}.get).files["shop.py"])
    bridge = InProcessBridge(import_path=[root], modules=["shop"], fresh=True)
    bridge.start()
    texts = [*older_wrappers(config, bridge)]
    bridge.stop()
    return [text.partition("shop.py: ")[2].removesuffix('. Run "lastgood generate".') for text in texts]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("-> int: ...\ndef quote", "-> Quote: ...\ndef quote", "number has other types"),
        ("-> Quote: ...", "-> Coupon: ...", "quote has other types"),
        ("-> Quote: ...", "-> Quote | None: ...", "quote has other types"),
        ("-> list[Quote]", "-> list[Coupon]", "every has other types"),
        ("Optional[At] = None", "At = At()", "quote has other types"),
        ("HIGH = 3", "HIGH = 4", "Level has other values"),
        ("price: float = 0.5", "price: float = 1.5", "Quote has other defaults"),
        ("price: float = 0.5", "price: float", "Quote has other defaults"),
        ("x: int = 0", "x: int = 1", "At has other defaults"),
        ("late: bool", "late: bool\n    never: bool", "Options has other fields"),
        ("__kept: int = 1", "__kept: int = 2", "Quote has other defaults"),
        ("early: bool", "sooner: bool", "More has other fields"),
        (
            "    @classmethod",
            "    @staticmethod\n    def twice() -> int: ...\n\n    @classmethod",
            "Quote.twice is new",
        ),
        ("def number()", "@functools.lru_cache\ndef new() -> int: ...\n\ndef number()", "new is new"),
        ("def cached(sku: str)", "def cached(sku: str, count: int = 1)", "cached has other parameters"),
        ("def cached(sku: str)", "def cached(sku: bytes)", "cached has other types"),
    ],
)
def test_what_differs(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SHOP
    assert differences(tmp_path, SHOP, SHOP.replace(old, new, 1)) == [told]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("Optional[At] = None", "None | At = None"),
        ("= 0.5", "= 1 / 2"),
        ("default_factory=list", "default_factory=lambda: []"),
        ("level: Level = Level.HIGH", "level: Level = Level.LOW"),
        ("def number()", "@contextlib.contextmanager\ndef held(): yield\n\ndef number()"),
        (
            "def number()",
            "@functools.lru_cache\n@contextlib.asynccontextmanager\nasync def held() -> Any: yield\n\ndef number()",
        ),
        # Made a class method by what decorates it, as pydantic does with a validator.
        (
            "    @classmethod",
            "    @(lambda function: classmethod(function))\n    def check(cls): ...\n\n    @classmethod",
        ),
    ],
)
def test_what_does_not(tmp_path: Path, old: str, new: str) -> None:
    assert differences(tmp_path, SHOP, SHOP.replace(old, new, 1)) == []


BASE = "class Base:\n    @staticmethod\n    def make() -> int: ...\n"
DRIVER = """
import sys
from base import Base

Driver = None
if sys.platform == "of another machine":
    class Driver(Base): ...
"""


def test_a_class_that_is_none_on_this_platform_is_not_gone(tmp_path: Path) -> None:
    here = DRIVER.replace('"of another machine"', "sys.platform")
    there = tmp_path / "there"
    there.mkdir()
    assert differences(there, here, DRIVER, BASE) == []
    assert "Driver.make" in (there / "generated" / "shop.py").read_text()
    gone = tmp_path / "gone"
    gone.mkdir()
    assert differences(gone, here, DRIVER.partition("Driver = ")[0], BASE) == ["Driver.make is gone"]


def test_a_validator_of_a_pydantic_model_is_not_new(tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    model = """
import pydantic

class Order(pydantic.BaseModel):
    sku: str

    @pydantic.field_validator("sku")
    @classmethod
    def check(cls, value: str) -> str:
        return value

    @classmethod
    def free(cls) -> "Order": ...
"""
    assert differences(tmp_path, model, model) == []


def test_no_wrapper_of_a_well_known_module_is_older_than_it(tmp_path: Path) -> None:
    chosen = {source.name: source for source in sources() if source.name.partition(".")[0] in PACKAGES}
    for name in [*chosen]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                importlib.import_module(name)
            except (ImportError, AssertionError):  # it is for another platform
                del chosen[name]
    for name, data in wrap_modules([*chosen.values()], find=chosen.get).files.items():
        path = tmp_path / "generated" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    tables = "".join(f'[modules."{name}"]\n' for name in chosen)
    config = decode_config(f'{tables}[output]\ndir = "generated"\n'.encode(), tmp_path / "lastgood.toml")
    bridge = InProcessBridge(modules=config.modules)
    bridge.start()
    assert len(config.modules) > 150
    assert missing_wrappers(config) == []
    assert [*older_wrappers(config, bridge)] == []
    bridge.stop()


def test_members_are_of_the_type_that_makes_their_values(tmp_path: Path) -> None:
    text = """
import enum
from datetime import timedelta

class Length(timedelta, enum.Enum):
    DAY = 1
    ODD = 1, 30

class Share(float, enum.Enum):
    ALL = 1

def f(length: Length, share: Share) -> None: ...
"""
    same, other = tmp_path / "same", tmp_path / "other"
    same.mkdir()
    other.mkdir()
    assert differences(same, text, text) == []
    assert differences(other, text, text.replace("1, 30", "1, 31")) == ["Length has other values"]
