"""Instances with slots: the app can refer weakly to those that it must remember."""

from __future__ import annotations

import re
import sys
import weakref
from types import ModuleType

import pytest

from wrapping import load, text_of, wrap

HEAD = "from __future__ import annotations\nfrom dataclasses import dataclass, field\n"
SLOTTED = """
@dataclass(slots=True)
class Neutral:
  a: int
  def method(self): ...
@dataclass(slots=True)
class Scaled(Neutral):
  b: int
  def __post_init__(self): ...
@dataclass(slots=True)
class Sub(Scaled):
  c: int
@dataclass(slots=True)
class Made:
  a: int
  def __init__(self, a): ...
class Mixin:
  def __new__(cls, *_): ...
@dataclass(slots=True)
class Mixed(Mixin):
  a: int
@dataclass(slots=True)
class Later:
  a: int = field(init=False, default=1)
@dataclass
class Open:
  a: int = field(init=False, default=1)
@dataclass(slots=True)
class Closed(Open): ...
@dataclass(slots=True)
class Guarded:
  a: int
  def __setattr__(self, name, value): ...
@dataclass(slots=True, frozen=True)
class Frozen:
  a: int
  def __setattr__(self, name, value): ...
"""
NEED_IT = {"Guarded", "Later", "Made", "Mixed", "Scaled", "Sub"}


def test_instances_with_slots_can_be_referred_to_weakly_if_the_constructor_does_more_than_set_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "generated", ModuleType("generated"))
    names = re.findall(r"class (\w+)", SLOTTED)
    body = text_of(wrap(f"{HEAD}\n{SLOTTED}\ndef f({', '.join(f'a{name}: {name}' for name in names)}): ..."))
    assert set(re.findall(r"@dataclass\([^)]*weakref_slot=True\)\nclass (\w+)", body)) == NEED_IT
    space = load(body, lambda *_: None)
    for name in NEED_IT:
        instance = object.__new__(space[name])
        assert weakref.ref(instance)() is instance
