"""Classes that derive from a declared class are declared too, in the wrapper of their own module."""

from __future__ import annotations

import pytest

from lastgood.config import ModuleConfig
from lastgood.wrappers import Wrapped
from wrapping import source, text_of, wrap

HEAD = """
import abc, collections, enum, types
import attrs, msgspec, pydantic
from dataclasses import dataclass, make_dataclass, field
from typing import NamedTuple, TypedDict
"""
PET = f"{HEAD}\n@dataclass\nclass Base:\n  name: str\ndef pet() -> Base: ...\n"


def classes(wrapped: Wrapped, path: str = "pricing.py") -> list[str]:
    """The heads of the classes in one wrapper, as far as they derive from something."""
    lines = text_of(wrapped, path).splitlines() if path in wrapped.files else []
    return [line.strip().removeprefix("class ")[:-1] for line in lines if line.strip().startswith("class ")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("@dataclass\nclass Base: pass\n@dataclass\nclass Cat(Base):\n  lives: int", ["Base", "Cat(Base)"]),
        pytest.param("@dataclass\nclass Base: pass\nclass Cat(Base): pass", ["Base", "Cat(Base)"], id="undecorated"),
        pytest.param(
            "@dataclass\nclass Base: pass\n@dataclass\nclass Cat(Base): pass\n@dataclass\nclass Tom(Cat): pass",
            ["Base", "Cat(Base)", "Tom(Cat)"],
            id="deeper",
        ),
        pytest.param(
            "@dataclass\nclass Base: pass\n@dataclass\nclass _Cat(Base): pass", ["Base", "_Cat(Base)"], id="private"
        ),
        pytest.param(
            "@dataclass\nclass Base: pass\nclass House:\n  @dataclass\n  class Cat(Base): pass",
            ["Base", "House", "Cat(Base)"],
            id="nested",
        ),
        pytest.param(
            "@dataclass\nclass Base: pass\nAnimal = Base\n@dataclass\nclass Cat(Animal): pass",
            ["Base", "Cat(Base)"],
            id="alias",
        ),
        pytest.param(
            "@dataclass\nclass Base: pass\nif X:\n  @dataclass\n  class Cat(Base): pass", ["Base", "Cat(Base)"], id="if"
        ),
        pytest.param(
            "@dataclass\nclass Base: pass\ndef f():\n  class Cat(Base): pass\nif TYPE_CHECKING:\n  class Dog(Base): pass",
            ["Base"],
            id="not-found-by-name",
        ),
        pytest.param(
            "class Base(pydantic.BaseModel): pass\nclass Cat(Base):\n  lives: int = 9",
            ["Base", "Cat(Base)"],
            id="pydantic",
        ),
        pytest.param("class Base(msgspec.Struct): pass\nclass Cat(Base): pass", ["Base", "Cat(Base)"], id="msgspec"),
        pytest.param(
            "@attrs.define\nclass Base: pass\n@attrs.define\nclass Cat(Base): pass", ["Base", "Cat(Base)"], id="attrs"
        ),
        pytest.param(
            "class Base(NamedTuple):\n  x: int\nclass Cat(Base): pass",
            ["Base(NamedTuple)", "Cat(Base)"],
            id="named-tuple",
        ),
        pytest.param(
            "class Base(str, enum.Enum): pass\nclass Cat(Base):\n  TOM = 'tom'",
            ["Base(str, Enum)", "Cat(Base)"],
            id="enum",
        ),
        pytest.param(
            "class Base(TypedDict):\n  x: int\nclass _Cat(Base): pass", ["Base(TypedDict)"], id="dicts-say-no-class"
        ),
        pytest.param(
            "@dataclass\nclass Toy: pass\n@dataclass\nclass Base: pass\n@dataclass\nclass Cat(Base):\n  toy: Toy",
            ["Toy", "Base", "Cat(Base)"],
            id="fields",
        ),
        pytest.param(
            "@dataclass\nclass Base: pass\n@dataclass\nclass Cat(Base): pass\n"
            "@dataclass\nclass _Toy: pass\n@dataclass\nclass _Ball(_Toy):\n  cat: Cat",
            ["Base", "Cat(Base)"],
            id="not-of-what-is-not-declared",
        ),
    ],
)
def test_which_classes_are_declared(text: str, expected: list[str]) -> None:
    wrapped = wrap(f"{HEAD}\n{text}\ndef pet() -> Base: ...")
    assert classes(wrapped) == expected
    assert not any("not declared" in warning for warning in wrapped.warnings)


def test_a_helper_module_gets_a_wrapper_for_the_classes_in_it() -> None:
    zoo = source("zoo.cats", f"{HEAD}\nfrom pricing import Base\n@dataclass\nclass Cat(Base):\n  lives: int = 9\n")
    quiet = source("quiet", "def f(): ...")
    wrapped = wrap(f"{PET}\ndef f():\n  import zoo.cats, quiet", zoo, quiet)
    assert list(wrapped.files) == ["__init__.py", "pricing.py", "zoo/__init__.py", "zoo/cats.py"]
    body = text_of(wrapped, "zoo/cats.py")
    assert "from ..pricing import Base\n" in body
    assert '__source__ = "zoo.cats"\n__all__ = ["Cat"]\n' in body
    assert "class Cat(Base):\n    lives: int = 9\n" in body


@pytest.mark.parametrize(
    "head",
    [
        "import pricing\nclass Cat(pricing.Base): pass",
        "import pricing as p\nBase = p.Base\nclass Cat(Base): pass",
        "from pricing import *\nclass Cat(Base): pass",
        "from api import Animal as A\nclass Cat(A): pass",
        "try:\n  from pricing import Base\nexcept ImportError:\n  raise\nclass Cat(Base): pass",
        "if TYPE_CHECKING:\n  from pricing import Base\nelse:\n  from pricing import Base\nclass Cat(Base): pass",
    ],
)
def test_bases_are_found_however_they_are_imported(head: str) -> None:
    api = source("api", "from pricing import Base as Animal\n")
    assert classes(wrap(PET, source("zoo", head), api), "zoo.py") == ["Cat(Base)"]


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("class Cat(Base, dict): pass", "Cat", "its base dict is not known"),
        ("class Cat(Base): pass\nCat = register(Cat)", "Cat", "its name is bound more than once"),
        ("class A:\n  class __Cat(Base): pass", "A.__Cat", "its name is private"),
        ("Cat = make_dataclass('Cat', [], bases=(Base,))", "Cat", "its fields are only known at run time"),
        ("Cat = type('Cat', (Base,), {})", "Cat", "its fields are only known at run time"),
        ("Cat = pydantic.create_model('Cat', __base__=Base)", "Cat", "its fields are only known at run time"),
        (
            "class Mid(Base, dict): pass\nclass Cat(Mid): pass",
            "Cat",
            "its base Mid cannot be declared, since its base dict is not known",
        ),
    ],
)
def test_what_cannot_be_declared_is_a_warning_that_names_it(text: str, name: str, reason: str) -> None:
    zoo = source("zoo", f"{HEAD}\nfrom pricing import Base\n{text}")
    wrapped = wrap(PET, zoo)
    assert (
        f"zoo.{name}: it is not declared, although it derives from pricing.Base, as which its instances arrive: {reason}."
    ) in wrapped.warnings
    assert "zoo.py" not in wrapped.files


@pytest.mark.parametrize(
    "signature",
    [
        "def pet() -> Animal: ...",
        "def pets(x: list[Animal]): ...",
        "@dataclass\nclass Zoo:\n  a: Animal\ndef f() -> Zoo: ...",
    ],
)
def test_values_of_an_abstract_class_are_of_those_that_derive_from_it(signature: str) -> None:
    zoo = source(
        "zoo",
        f"{HEAD}\nfrom pricing import Animal\nclass Mammal(Animal):\n  def run(self): ...\n"
        "@dataclass\nclass Cat(Mammal):\n  n: int\n@dataclass\nclass Dog(Animal, dict): ...\nclass Desk(Animal): ...\n",
    )
    wrapped = wrap(f"{HEAD}\nclass Animal(abc.ABC):\n  @abc.abstractmethod\n  def run(self): ...\n{signature}", zoo)
    assert classes(wrapped, "zoo.py") == ["Cat"]
    assert not any("zoo." in warning for warning in wrapped.warnings)


def test_a_helper_module_that_is_broken_fails_only_those_that_need_it() -> None:
    broken = source("zoo", "class Cat(Base:\n")
    wrapped = wrap(PET, broken)
    assert (wrapped.failures, classes(wrapped)) == ((), ["Base"])


def test_a_program_is_not_imported() -> None:
    program = source("shop.__main__", "from pricing import Base\nclass Cat(Base): ...\n")
    wrapped = wrap(PET, source("shop", "", is_package=True), program)
    assert (list(wrapped.files), wrapped.warnings) == (["__init__.py", "pricing.py"], ())


def test_what_a_selection_leaves_out_does_not_matter() -> None:
    selection = ModuleConfig(functions=("pet",), exclude=("Cat",))
    wrapped = wrap(f"{PET}\n@dataclass\nclass Cat(Base): pass", selection=selection)
    assert classes(wrapped) == ["Base", "Cat(Base)"]
