"""Results whose plain data would do for several types come as what they are, through wrappers and real workers."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generating import generated, importable, running
from lastgood import ReturnTypeError, clear_runtime_bridge, set_runtime_bridge, watch
from lastgood.bridges import Typed
from lastgood.bridges.worker.values import packing
from lastgood.bridges.worker.values.requested import class_indexes
from lastgood.bridges.worker.values.values import Values
from lastgood.calls.results import Returns
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
    ("cat_or_dog", "siamese", "Cat"),
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
        plain = {"name": "x"}
        assert await pets.anything("dog") == (dog, [plain], {"a": plain}, [(plain,)])
        with pytest.raises(
            ReturnTypeError, match=r"result: expected Cat \| Dog, got dict that would do for Cat and Dog"
        ):
            await pets.cat_or_dog("bird")


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


class Telling(Untold):
    """One that can: it finds ``Dog`` among the types, and gives one."""

    async def call_typed(
        self, _module: str, _function: str, _args: Any, _kwargs: Any, types: Sequence[tuple[str, str]]
    ) -> Typed:
        (place,) = [place for place, (module, name) in enumerate(types) if name == "Dog" and module.endswith(".pets")]
        return Typed(place, {"name": "x"})


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
        with published(Telling(None)):
            assert await pets.cat_or_dog("any") == pets.Dog("x")
        with published(Telling({"name": "x"})):  # and is asked only where a type is in doubt
            assert await pets.sure("any") == pets.Cat("x")
    assert str(caught.value) == (
        "pets.cat_or_dog is annotated `-> Cat | Dog`, but its result does not match: "
        "result: expected Cat | Dog, got dict that would do for Cat and Dog alike. Correct the function or its annotation."
    )


@pytest.mark.parametrize("style", ["async", "sync"])
def test_a_handle_without_with_types_is_called_as_it_is(style: Style) -> None:
    text = text_of(
        wrap(
            "from enum import Enum\nclass Color(Enum):\n  RED = 1\nclass Size(Enum):\n  SMALL = 1\n"
            "def either() -> Color | Size: ...\ndef color() -> Color | None: ...\ndef number() -> int | str: ...",
            style=style,
        )
    )
    space = load(text, lambda *_: 1)  # whose handle has no with_types
    call = run if style == "async" else (lambda result: result)
    assert call(space["color"]()) is space["Color"].RED
    with pytest.raises(ReturnTypeError, match="got int that would do for Color and Size alike"):
        call(space["either"]())


def test_what_would_be_lost_as_plain_data_is_refused() -> None:
    returns = Returns[tuple[Leaf | Other, Any]]("pets.any")

    assert returns.types
    leaf = Typed(0, 1)
    assert returns(Typed(None, (leaf, {Typed(0, 1): [leaf]}))) == (Leaf.ONE, {1: [1]})
    with pytest.raises(
        ReturnTypeError, match=r"result\[1\]: expected distinct items, got dict in which two became equal"
    ):
        returns(Typed(None, (leaf, {1: 1, leaf: 2})))
    with pytest.raises(
        ReturnTypeError, match=r"result\[1\]: expected hashable items, got set with another: .*unhashable"
    ):
        returns(Typed(None, (leaf, {Typed(0, {})})))


class Leaf(Enum):
    ONE = 1


class Other(Enum):
    ONE = 1


class Two(NamedTuple):
    left: Leaf | Other | int
    right: One | Same | None


@dataclass(frozen=True)
class One:
    value: Item


@dataclass(frozen=True)
class Same:
    value: Item


Item = Leaf | Other | int | One | Same | Two | tuple[int, None] | None
SMALL = st.sampled_from([Leaf.ONE, Other.ONE, 1])
ITEMS = st.recursive(
    SMALL | st.none() | st.just((1, None)),
    lambda inner: (
        inner.map(One) | inner.map(Same) | st.builds(Two, SMALL, st.none() | inner.map(One) | inner.map(Same))
    ),
    max_leaves=5,
)
NESTED = ITEMS | st.lists(ITEMS | st.dictionaries(ITEMS, ITEMS | st.lists(ITEMS))) | st.dictionaries(ITEMS, ITEMS)
DECLARED = Item | list[Item | dict[Item, Item | list[Item]]] | dict[Item, Item]


@given(NESTED)
def test_whatever_is_nested_comes_back_as_it_was(value: Any) -> None:
    returns = Returns[DECLARED]("pets.any")
    asked = list(returns.types)
    codec = Values(packing.pack, packing.unpacker, packing.Ext, towards="nowhere")
    came = codec.loads(codec.dumps_typed(value, class_indexes(asked)))
    made: Any = returns(came if type(came) is Typed else Typed(None, came))
    assert repr(made) == repr(value)
