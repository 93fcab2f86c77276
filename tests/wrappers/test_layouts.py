"""Which classes an update in place makes anew: what is predicted of two IRs is what becomes of their wrappers in an app."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from lastgood.calls.namespaces import Namespace, record
from lastgood.wrappers import wrap_modules
from lastgood.wrappers.changes import compare
from lastgood.wrappers.ir import Class, Declared, Module, unpacked
from lastgood.wrappers.layouts import replaced
from wrapping import source

HEAD = """\
from dataclasses import dataclass, field
from enum import Enum, Flag
from typing import Generic, NamedTuple, TypedDict, TypeVar
T = TypeVar("T")
"""


def wrapped(text: str) -> tuple[Module, bytes]:
    made = wrap_modules([source("pricing", HEAD + text)])
    assert made.failures == ()
    return unpacked(made.modules["pricing"]), made.files["pricing.py"]


def declared(module: Module) -> list[Declared]:
    """Every class of a wrapper, nested ones too."""
    found, left = [], list(module.members)
    while left:
        member = left.pop()
        if isinstance(member, Class):
            left += member.members
            found += [member.declared] if member.declared is not None and member.data is not None else []
    return found


def classes_in(module: Any, names: list[str]) -> dict[str, Any]:
    found = {}
    for name in names:
        value = module
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = value
    return found


def updated(before: bytes, after: bytes, names: list[str]) -> set[str]:
    """Return which of these classes are other objects after an update in place."""
    module = ModuleType("pricing_of_an_app")
    module.__file__ = "/there/pricing.py"
    sys.modules[module.__name__] = module
    try:
        exec(compile(before, module.__file__, "exec", dont_inherit=True), vars(module))
        record(module, before)
        old = classes_in(module, names)
        space = Namespace(module, after, __import__, {})
        space.execute()
        space.rebuild()
        space.apply({}, is_reload=False)
        return {name for name, kind in classes_in(module, names).items() if kind is not old[name]}
    finally:
        del sys.modules[module.__name__]


SHOP = "class ShopError({}):\n    {}\nclass Missing(ShopError):\n    sku: str\nclass Late(Missing, LookupError):\n    pass\n"
SLOTS = "@dataclass(slots=True)\nclass Price:\n    amount: int{}\n@dataclass\nclass Tax(Price):\n    rate: int = 0\n"
UNIT = "class Unit(Enum):\n    PIECE = 1{}\n@dataclass(slots=True)\nclass Line:\n    unit: Unit = Unit.PIECE\n"
PLAIN = "@dataclass\nclass Base:\n    x: int = 0{}\n@dataclass({})\nclass Derived(Base):\n    y: int = 0\n"
NESTED = (
    "class Outer:\n    @dataclass(slots=True)\n    class Inner:\n        x: int\n    class Other(Exception):\n        pass\n"
    "{}def f(a: Outer.Inner, b: type[Outer.Other]): ...\n"
)
METHOD = "    @staticmethod\n    def two() -> int: ...\n"
ALL = {"Price", "Tax"}


@pytest.mark.parametrize(
    ("before", "after", "others"),
    [
        (SHOP.format("Exception", "pass"), SHOP.format("OSError", "pass"), {"ShopError", "Missing", "Late"}),
        (SHOP.format("ConnectionError", "pass"), SHOP.format("OSError", "pass"), set()),
        (SHOP.format("Exception", "pass"), SHOP.format("ValueError", "x = 1"), set()),
        (SHOP.format("ImportError", "pass"), SHOP.format("NameError", "pass"), {"ShopError", "Missing", "Late"}),
        (SHOP.format("Exception", "pass"), SHOP.format("Exception", "code: int"), set()),
        (SLOTS.format(""), SLOTS.format("\n    tax: int = 1"), ALL),
        (SLOTS.format(""), "\n" + SLOTS.format(""), set()),
        (SLOTS.format("\n    tax: int = 1"), SLOTS.format("\n    tax: int = 2"), {"Price"}),
        (SLOTS.format("").replace("(slots=True)", ""), SLOTS.format(""), ALL),
        (UNIT.format(""), UNIT.format("\n    KILO = 2"), set()),
        (UNIT.format(""), UNIT.format("").replace("PIECE = 1", "PIECE = 2"), {"Line"}),
        (UNIT.format(""), UNIT.format("").replace("(Enum)", "(Flag)"), {"Unit", "Line"}),
        (PLAIN.format("", ""), PLAIN.format("\n    z: int = 0", ""), set()),
        (PLAIN.format("", "slots=True"), PLAIN.format("\n    z: int = 0", "slots=True"), {"Derived"}),
        (PLAIN.format("", ""), PLAIN.format("", "").replace("(Base)", ""), {"Derived"}),
        (NESTED.format(""), NESTED.format(METHOD), {"Outer.Inner"}),
        ("class R(Flag):\n    A = 1\n", "class R(Flag):\n    A = 1\n    B = 2\n", {"R"}),
        ("class P(NamedTuple):\n    x: int\n", "class P(NamedTuple):\n    x: int\n    y: int = 0\n", set()),
        ("class O(TypedDict):\n    x: int\n", "class O(TypedDict, total=False):\n    x: int\n", set()),
    ],
)  # fmt: skip
def test_what_is_predicted_is_what_becomes_of_it(before: str, after: str, others: set[str]) -> None:
    (old, old_text), (new, new_text) = wrapped(before), wrapped(after)
    predicted = {each.name for each in replaced({"pricing": old}, {"pricing": new})}
    names = [each.name for each in declared(old) if each in set(declared(new))]
    # From Python 3.15 on, a class that loses its only base may stay.
    stays = {"Derived"} if sys.version_info >= (3, 15) and "(Base)" in before and "(Base)" not in after else set()
    assert (predicted, updated(old_text, new_text, names)) == (others, others - stays)
    told = compare({"pricing": old}, {"pricing": new})
    assert {each.name for each in told if each.breaking} >= others


def test_one_that_derives_from_another_modules_is_replaced_with_it() -> None:
    modules = [
        wrap_modules(
            [
                source("errors", f"class ShopError({base}): ...\n"),
                source("shop", "from errors import ShopError\nclass Missing(ShopError): ...\n"),
            ],
        )
        for base in ("Exception", "OSError")
    ]
    old, new = ({name: unpacked(data) for name, data in each.modules.items()} for each in modules)
    assert replaced(old, new) == {Declared("errors", "ShopError"), Declared("shop", "Missing")}
    assert [(each.module, each.name, each.breaking) for each in compare(old, new)] == [
        ("errors", "ShopError", True),
        ("shop", "Missing", True),
    ]
    alone = [{"errors": each["errors"]} for each in (old, new)]
    assert replaced(*alone) == {Declared("errors", "ShopError")}
