"""Classes whose instances can be keys and elements of sets can be that in the app, too."""

from __future__ import annotations

import pytest

from declaring import imported_as
from lastgood.wrappers import Wrapped
from wrapping import text_of, wrap


@pytest.mark.parametrize(
    ("source", "decorator"),
    [
        ("@dc.dataclass\nclass C:\n  a: int\n  def __hash__(self): ...", "@dataclass(unsafe_hash=True)"),
        ("@dc.dataclass\nclass C:\n  a: int\n  __hash__ = None", "@dataclass"),
        ("@dc.dataclass(eq=False)\nclass C:\n  a: int\n  def __hash__(self): ...", "@dataclass(eq=False)"),
        ("@dc.dataclass(frozen=True)\nclass C:\n  a: int\n  def __hash__(self): ...", "@dataclass(frozen=True)"),
        ("@dc.dataclass(unsafe_hash=True)\nclass C:\n  a: int", "@dataclass(unsafe_hash=True)"),
        ("@attrs.define(unsafe_hash=True)\nclass C:\n  a: int", "@dataclass(unsafe_hash=True)"),
        ("@attr.s(hash=True, auto_attribs=True)\nclass C:\n  a: int", "@dataclass(unsafe_hash=True)"),
        ("class C(msgspec.Struct):\n  a: int\n  def __hash__(self): ...", "@dataclass(unsafe_hash=True)"),
        ("class C(p.BaseModel):\n  a: int\n  def __hash__(self): ...", "@dataclass(kw_only=True, unsafe_hash=True)"),
        (
            "class C(p.BaseModel):\n  model_config = p.ConfigDict(frozen=True)\n  a: int",
            "@dataclass(kw_only=True, frozen=True)",
        ),
        ("class C(p.BaseModel):\n  model_config = {'frozen': True}\n  a: int", "@dataclass(kw_only=True, frozen=True)"),
        (
            "class C(p.BaseModel):\n  model_config: p.ConfigDict = p.ConfigDict(frozen=False)\n  a: int",
            "@dataclass(kw_only=True)",
        ),
        (
            "class C(p.BaseModel):\n  class Config:\n    frozen = True\n  a: int",
            "@dataclass(kw_only=True, frozen=True)",
        ),
        ("@pd.dataclass(config=p.ConfigDict(frozen=True))\nclass C:\n  a: int", "@dataclass(unsafe_hash=True)"),
    ],
)
def test_a_class_is_hashable_where_its_source_is(source: str, decorator: str) -> None:
    assert f"{decorator}\nclass C:\n" in text_of(_wrapped(source))


HASHED = """
  sku: str
  side: Side | None
  at: tuple[int, ...]
  tags: list[str] = {field}(default_factory=list)
  other: p.Any = None
  def __hash__(self): return hash(self.sku)
"""


@pytest.mark.parametrize(
    ("head", "field"),
    [
        ("@dc.dataclass\nclass C:", "dc.field"),
        ("@dc.dataclass(frozen=True)\nclass C:", "dc.field"),
        ("@attrs.frozen\nclass C:", "attrs.field"),
        ("class C(p.BaseModel):", "p.Field"),
    ],
)
def test_of_a_class_with_a_hash_of_its_own_what_may_be_unhashable_does_not_count(head: str, field: str) -> None:
    fields = HASHED.replace("{field}", field).replace(
        "default_factory", "factory" if "attrs" in head else "default_factory"
    )
    wrapped = _wrapped(f"import enum\nclass Side(enum.Enum):\n  BUY = 1\n{head}{fields}")
    with imported_as("generated_pricing", wrapped.files["pricing.py"].decode()) as wrapper:
        made = [wrapper.C(sku="a", side=wrapper.Side.BUY, at=(1,), tags=[each], other={}) for each in "aab"]
        assert len(set(made)) == 2
    text = text_of(wrapped)
    assert "at: tuple[int, ...]\n" in text
    assert "hash=False" not in text_of(_wrapped("@dc.dataclass(frozen=True)\nclass C:\n  a: list[int]"))


def test_models_inherit_being_frozen() -> None:
    frozen = "class B(p.BaseModel):\n  model_config = p.ConfigDict(frozen=True)\n  a: int\nclass C(B):\n  b: int"
    assert "@dataclass(kw_only=True, frozen=True)\nclass C(B):\n" in text_of(_wrapped(frozen))
    later = "class B(p.BaseModel):\n  a: int\nclass C(B, frozen=True):\n  b: int\nclass D(C):\n  c: int"
    text = text_of(_wrapped(later))
    for line in (
        "@dataclass(kw_only=True)\nclass B:",
        "@dataclass(kw_only=True, unsafe_hash=True)\nclass C(B):",  # a dataclass cannot become frozen
        "@dataclass(kw_only=True, unsafe_hash=True)\nclass D(C):",
    ):
        assert line in text


def test_fields_that_are_not_compared_or_shown() -> None:
    text = text_of(
        _wrapped(
            "@attrs.define\nclass C:\n  a: list[int] = attrs.field(eq=False)\n  b: str = attrs.field(repr=False)\n"
            "class M(p.BaseModel):\n  c: str = p.Field(repr=False)\n"
        )
    )
    for line in ("a: list[int] = field(compare=False)", "b: str = field(repr=False)", "c: str = field(repr=False)"):
        assert line in text


def _wrapped(source: str) -> Wrapped:
    imports = "import dataclasses as dc, attr, attrs, msgspec, pydantic as p, pydantic.dataclasses as pd\n"
    return wrap(f"{imports}{source}\ndef f() -> None: ...")
