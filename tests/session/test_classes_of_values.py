"""Values keep the class that they were of, between the app and a worker, also over edits that add such classes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from generating import importable
from lastgood.session.watch import watch
from real_project import DEADLINE, RealProject

PRICING = """
from __future__ import annotations
import abc
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING
import v1, v2
if TYPE_CHECKING:
    from zoo import Cat

@dataclass
class Base:
    name: str

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> int: ...

@dataclass
class Square(Shape):
    side: int
    def area(self) -> int:
        return self.side ** 2

@dataclass(slots=True)
class Scaled:
    by: InitVar[int]
    size: int = 1
    def __post_init__(self, by: int) -> None:
        self.size *= by

def pet(kind: str) -> Base:
    import zoo
    return getattr(zoo, kind)("x")

def shape() -> Shape:
    return Square(3)

def scaled() -> Scaled:
    return Scaled(2, 3)

def users() -> list[v1.User | v2.User]:
    return [v1.User(1), v2.User(1)]

def cat(cat: Cat) -> str:
    return f"{type(cat).__module__} {cat}"

def text(value: object) -> str:
    return f"{type(value).__module__} {value}"
"""
USER = "from dataclasses import dataclass\n@dataclass\nclass User:\n    n: int\n"
ZOO = "from dataclasses import dataclass\nfrom pricing import Base\n@dataclass\nclass Cat(Base):\n    lives: int = 9\n"
TOM = "@dataclass\nclass Tom(Cat):\n    mice: int = 3\n"


@pytest.fixture(autouse=True)
def _project(project: RealProject) -> Iterator[None]:
    project.save("pricing.py", PRICING)
    project.save("zoo.py", ZOO)
    project.save("v1.py", USER)
    project.save("v2.py", USER)
    with importable(project.root, "generated"):
        yield


def load(name: str) -> Any:
    return importlib.import_module(f"generated.{name}")


async def test_a_value_is_of_the_class_that_it_was_of(project: RealProject) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, debounce=1000, max_wait=1000) as session:
            pricing, zoo = load("pricing"), load("zoo")
            cat = await pricing.pet("Cat")
            assert cat == zoo.Cat("x", 9)
            assert await pricing.text(cat) == await pricing.cat(cat) == "zoo Cat(name='x', lives=9)"
            assert await pricing.shape() == pricing.Square(3)
            assert await pricing.users() == [load("v1").User(1), load("v2").User(1)]
            assert [await pricing.text(load(name).User(2)) for name in ("v1", "v2")] == ["v1 User(n=2)", "v2 User(n=2)"]
            assert [await pricing.text(each) for each in (await pricing.scaled(), pricing.Scaled(2, 5))] == [
                "pricing Scaled(size=6)",
                "pricing Scaled(size=10)",
            ]
            project.save("zoo.py", ZOO + TOM)
            assert await session.reload_now()
            assert await pricing.pet("Tom") == zoo.Tom("x", 9, 3)
