"""Models of pydantic cross as other instances do, with what pydantic keeps of them besides their fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from declaring import declaring, imported_as
from lastgood.config import ModuleConfig
from lastgood.wrappers import ModuleSource, wrap_modules
from sides import Sides

pytest.importorskip("pydantic")

PYDANTIC = """
import pydantic

class Order(pydantic.BaseModel):
    model_config = {"extra": "allow"}
    size: int = pydantic.Field(1, alias="theSize")
    name: str = "x"
    _secret: int = 3
    @pydantic.field_validator("size")
    def scaled(cls, value):
        return value * 2
"""
PYDANTIC_WRAPPER = """
from dataclasses import dataclass

@dataclass(kw_only=True)
class Order:
    size: int = 1
    name: str = "x"
"""


def test_a_model_of_pydantic_keeps_what_was_given_its_extra_values_and_private_attributes() -> None:
    with imported_as("orders", PYDANTIC) as source, declaring("orders", PYDANTIC_WRAPPER) as wrapper:
        sides = Sides(source, wrapper)
        made = source.Order(theSize=2, colour="red")
        made._secret = 4
        came = sides.to_app(made)
        assert (came.size, came.colour) == (4, "red")
        back = sides.to_worker(came)
        assert back == made
        assert back.model_dump(exclude_unset=True) == {"size": 4, "colour": "red"}
        assert back._secret == 4
        built = sides.to_worker(wrapper.Order(size=3))
        assert built.model_dump(exclude_unset=True) == {"size": 6}


ROOTS = """
import pydantic

class Tags(pydantic.RootModel[list[int]]):
    @pydantic.field_validator("root")
    @classmethod
    def one_more(cls, value):
        return [*value, 0]

class Secret(pydantic.RootModel[int]):
    _secret: int = 3

class Page(pydantic.BaseModel):
    tags: Tags
    by_name: dict[str, Tags] = {}
"""


def test_a_root_model_of_pydantic_comes_back_as_it_was() -> None:
    wrapped = wrap_modules([ModuleSource("roots", Path("/roots.py"), ROOTS.encode(), False, ModuleConfig())])
    text = wrapped.files["roots.py"].decode()
    with imported_as("roots", ROOTS) as source, imported_as("generated_roots", text) as wrapper:
        sides = Sides(source, wrapper)
        made, came, back = sides.there_and_back("Page(tags=[1], by_name={'a': Tags([])})")
        assert back == made
        assert came == wrapper.Page(tags=wrapper.Tags([1, 0]), by_name={"a": wrapper.Tags(root=[0])})
        assert sides.to_worker(wrapper.Tags([1])) == source.Tags([1])
        secret = source.Secret(1)
        secret._secret = 4
        assert sides.to_worker(sides.to_app(secret))._secret == 4


GENERIC = """
import typing
import pydantic

T = typing.TypeVar("T")

class Page(pydantic.BaseModel, typing.Generic[T]):
    items: list[T]

class Numbers(Page[int]):
    total: int = 0
"""
GENERIC_WRAPPER = """
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

@dataclass(kw_only=True)
class Page(Generic[T]):
    items: list[T]

@dataclass(kw_only=True)
class Numbers(Page[int]):
    total: int = 0
"""


def test_a_generic_model_of_pydantic_keeps_its_parameters(caplog: pytest.LogCaptureFixture) -> None:
    with imported_as("pages", GENERIC) as source, declaring("pages", GENERIC_WRAPPER) as wrapper:
        sides = Sides(source, wrapper)
        made = source.Page[source.Page[int]](items=[source.Page[int](items=[1])])
        came = sides.to_app(made)
        assert came == wrapper.Page(items=[wrapper.Page(items=[1])])
        back = sides.to_worker(came)
        assert (back, type(back), type(back.items[0])) == (made, type(made), source.Page[int])
        assert type(sides.to_worker(sides.to_app(source.Numbers(items=[1])))) is source.Numbers
        assert type(sides.to_worker(wrapper.Page[int](items=[1]))) is source.Page
    assert caplog.messages == []
