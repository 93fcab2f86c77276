"""Results whose plain data would do for several types come as what they are, through wrappers and real workers."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from generating import generated, importable, running
from lastgood import ReturnTypeError, clear_runtime_bridge, set_runtime_bridge, watch
from lastgood.bridges.worker.values.known import Known
from lastgood.config import Style
from lastgood.runtime import get_runtime_bridge
from real_project import RealProject
from wrapping import load, run, text_of, wrap

PETS = """
from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple, Optional, TypedDict, Union

from tales import Tale


class Color(enum.Enum):
    RED = 1

class Size(enum.Enum):
    SMALL = 1

class Mood(str, enum.Enum):
    GOOD = "good"

class Point(NamedTuple):
    x: int
    y: int

Pair = namedtuple("Twins", "x y")

@dataclass(frozen=True)
class Cat:
    name: str

@dataclass(frozen=True)
class Dog:
    name: str

@dataclass
class Home:
    pets: list[Cat | Dog]
    main: Cat | Dog | None = None
    paint: Color | int = 0

@dataclass(frozen=True)
class Shape:
    size: int

@dataclass(frozen=True, slots=True)
class Square(Shape):
    pass

@dataclass(frozen=True, slots=True)
class Circle(Shape):
    pass

class Siamese(Cat):
    pass

@dataclass(frozen=True)
class Bird:
    name: str

class Card(TypedDict):
    name: str

VALUES = {
    "cat": Cat("x"), "dog": Dog("x"), "siamese": Siamese("x"), "bird": Bird("x"), "dict": {"name": "x"}, "none": None,
    "one": 1, "red": Color.RED, "small": Size.SMALL, "good": Mood.GOOD, "text": "good", "ok": HTTPStatus.OK, "tale": Tale("x"),
    "point": Point(1, 2), "pair": Pair(1, 2), "tuple": (1, 2), "square": Square(1), "circle": Circle(1), "shape": Shape(1),
}

def cat_or_dog(key: str) -> Cat | Dog: return VALUES[key]
def old(key: str) -> Optional[Union[Cat, Dog]]: return VALUES[key]
def cat_or_dict(key: str) -> Cat | dict[str, str]: return VALUES[key]
def cat_or_card(key: str) -> Card | Cat: return VALUES[key]
def cat_or_tale(key: str) -> Cat | Tale: return VALUES[key]
def color_or_int(key: str) -> Color | int: return VALUES[key]
def color_or_size(key: str) -> Color | Size: return VALUES[key]
def mood_or_text(key: str) -> Mood | str: return VALUES[key]
def status_or_int(key: str) -> HTTPStatus | int: return VALUES[key]
def point_or_tuple(key: str) -> Point | tuple[int, int]: return VALUES[key]
def point_or_pair(key: str) -> Point | Pair: return VALUES[key]
def shape(key: str) -> Shape: return VALUES[key]
def areas(*shapes: Square | Circle) -> list[int]: return [each.size for each in shapes]
def several(*keys: str) -> list[Cat | Dog]: return [VALUES[key] for key in keys]
def lists(*keys: str) -> list[Cat] | list[Dog]: return [VALUES[key] for key in keys]
def by_name(key: str) -> dict[str, Color | int]: return {"a": VALUES[key]}
def by_pet(*keys: str) -> dict[Cat | Dog, int]: return {VALUES[key]: 1 for key in keys}
def set_of(*keys: str) -> frozenset[Color | Size | int]: return frozenset(VALUES[key] for key in keys)
def home() -> Home: return Home([Cat("a"), Dog("a")], Dog("b"), Color.RED)
def anything(key: str) -> tuple[Cat | Dog, Any, dict, list[object]]:
    return VALUES[key], [VALUES[key]], {"a": VALUES[key]}, [(VALUES[key],)]
async def later(key: str) -> Cat | Dog: return VALUES[key]
def sure(key: str) -> Cat | int | None: return VALUES[key]
class Desk:
    @staticmethod
    def pet(key: str) -> Cat | Dog: return VALUES[key]
"""
TALES = "from _tales import Tale"
_TALES = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Tale:
    name: str
Tale.__module__ = "tales"
"""
FILES = {"pets.py": PETS, "tales.py": TALES, "_tales.py": _TALES}

TABLE = [
    ("cat_or_dog", "cat", "Cat"),
    ("cat_or_dog", "dog", "Dog"),
    ("cat_or_dog", "siamese", "Siamese"),
    ("old", "dog", "Dog"),
    ("old", "none", "NoneType"),
    ("cat_or_dict", "cat", "Cat"),
    ("cat_or_dict", "dict", "dict"),
    ("cat_or_card", "cat", "Cat"),
    ("cat_or_card", "dict", "dict"),
    ("cat_or_tale", "tale", "Tale"),
    ("color_or_int", "red", "Color"),
    ("color_or_int", "one", "int"),
    ("color_or_size", "red", "Color"),
    ("color_or_size", "small", "Size"),
    ("mood_or_text", "good", "Mood"),
    ("mood_or_text", "text", "str"),
    ("status_or_int", "ok", "HTTPStatus"),
    ("status_or_int", "one", "int"),
    ("point_or_tuple", "point", "Point"),
    ("point_or_tuple", "tuple", "tuple"),
    ("point_or_pair", "pair", "Pair"),
    ("point_or_pair", "point", "Point"),
    ("shape", "shape", "Shape"),
    ("shape", "square", "Square"),
    ("shape", "circle", "Circle"),
    ("later", "dog", "Dog"),
    ("Desk.pet", "dog", "Dog"),
    ("sure", "cat", "Cat"),
    ("sure", "one", "int"),
]


def function(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


async def test_a_result_is_of_the_class_that_it_was_of(tmp_path: Path) -> None:
    made = generated(tmp_path, FILES, "pets")
    async with running(made):
        pets: Any = made.load("pets")
        for path, key, expected in TABLE:
            result = await function(pets, path)(key)
            assert (path, key, type(result).__name__) == (path, key, expected)
        cat, dog = pets.Cat("x"), pets.Dog("x")
        assert await pets.several("dog", "cat", "dog") == [dog, cat, dog]
        assert await pets.lists("dog", "dog") == [dog, dog]
        assert await pets.lists() == []
        assert await pets.by_name("red") == {"a": pets.Color.RED}
        assert await pets.by_name("one") == {"a": 1}
        assert await pets.by_pet("cat", "dog") == {cat: 1, dog: 1}
        assert await pets.set_of("red", "small", "one") == {pets.Color.RED, pets.Size.SMALL, 1}
        home = await pets.home()
        assert home == pets.Home([pets.Cat("a"), pets.Dog("a")], pets.Dog("b"), pets.Color.RED)
        assert await pets.anything("dog") == (dog, [dog], {"a": dog}, [(dog,)])
        with pytest.raises(ReturnTypeError, match=r"result: expected Cat \| Dog, got Bird"):
            await pets.cat_or_dog("bird")
        with pytest.raises(ReturnTypeError, match=r"result: expected Cat \| int \| None, got dict"):
            await pets.sure("dict")


async def test_a_plain_call_gives_plain_data_as_ever(tmp_path: Path) -> None:
    made = generated(tmp_path, FILES, "pets")
    async with running(made):
        handle = get_runtime_bridge()
        assert await handle.call("pets", "cat_or_dog", ("dog",)) == {"name": "x"}
        assert await handle.call("pets", "color_or_int", ("red",)) == 1


def test_plain_wrappers_do_it_too(tmp_path: Path) -> None:
    project = RealProject(tmp_path, FILES)
    project.configure("pets")
    project.config_file.write_text(project.config_file.read_text() + 'style = "sync"\n')
    with watch(project.config_file).in_thread(), importable(tmp_path, "generated"):
        pets: Any = importlib.import_module("generated.pets")
        assert pets.several("dog", "cat") == [pets.Dog("x"), pets.Cat("x")]
        assert pets.color_or_int("red") is pets.Color.RED


class Untold:
    """A bridge of a user's own that cannot tell classes."""

    def __init__(self, value: Any) -> None:
        self.value = value

    async def call(self, *_call: Any) -> Any:
        return self.value

    async def dispose(self) -> None: ...


class Exact(Untold):
    """One that can: it finds ``Dog`` among the classes that the app knows, and gives one."""

    async def call_exact(self, _module: str, _function: str, _args: Any, _kwargs: Any, known: Known) -> Any:
        dog: Any = known.find("pets", "Dog")
        return dog("x")


class Around(Exact):
    """One whose ``call`` overrides that of its base, and may do anything."""

    async def call(self, *_call: Any) -> Any:
        return {"name": "around"}


@contextmanager
def published(bridge: Any) -> Iterator[None]:
    set_runtime_bridge(bridge)
    try:
        yield
    finally:
        clear_runtime_bridge()


async def test_a_bridge_that_cannot_tell_gives_what_is_certain_and_no_guess(tmp_path: Path) -> None:
    made = generated(tmp_path, FILES, "pets")
    with importable(made.root, made.package):
        pets: Any = made.load("pets")
        with published(Untold({"name": "x"})):
            with pytest.raises(ReturnTypeError) as caught:
                await pets.cat_or_dog("any")
            assert await pets.cat_or_dict("any") == {"name": "x"}
        with published(Untold(1)):
            assert await pets.color_or_int("any") == 1
        with published(Untold(pets.Dog("x"))):
            assert await pets.cat_or_dog("any") == pets.Dog("x")
        with published(Exact(None)):
            assert await pets.cat_or_dog("any") == pets.Dog("x")
            with pytest.raises(ReturnTypeError, match=r"expected Cat \| int \| None, got Dog"):
                await pets.sure("any")
        with published(Around(None)):
            assert await pets.sure("any") == pets.Cat("around")
    assert str(caught.value) == (
        "pets.cat_or_dog is annotated `-> Cat | Dog`, but its result does not match: "
        "result: expected Cat | Dog, got dict that would do for Cat and Dog alike. Correct the function or its annotation."
    )


@pytest.mark.parametrize("style", ["async", "sync"])
def test_a_handle_of_ones_own_is_called_as_it_is(style: Style) -> None:
    text = text_of(
        wrap(
            "from enum import Enum\nclass Color(Enum):\n  RED = 1\nclass Size(Enum):\n  SMALL = 1\n"
            "def either() -> Color | Size: ...\ndef color() -> Color | None: ...\ndef number() -> int | str: ...",
            style=style,
        )
    )
    space = load(text, lambda *_: 1)  # whose handle has call alone
    call = run if style == "async" else (lambda result: result)
    assert call(space["color"]()) is space["Color"].RED
    with pytest.raises(ReturnTypeError, match="got int that would do for Color and Size alike"):
        call(space["either"]())
