"""What may be called."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from lastgood.bridges.worker.calling import Callables, Refused

SOURCE = """
import functools, os
from pathlib import Path
from os.path import join

def quote(amount=1): return amount
def _secret(): pass
cached = functools.lru_cache(quote)
partial = functools.partial(quote, 5)
LIMIT = 3

class Desk:
    names = ["a"]
    def method(self): pass
    @staticmethod
    def static(): return "static"
    @classmethod
    def cls(cls): return cls.__name__
    @staticmethod
    def _hidden(): pass
    class Inner:
        @staticmethod
        def deep(): return "deep"
    class _Private:
        @staticmethod
        def deep(): pass

    @functools.lru_cache
    @staticmethod
    def cached(): return "cached"
    @functools.singledispatchmethod
    @classmethod
    def chosen(cls, x): return cls.__name__
    @functools.singledispatchmethod
    def chosen_by_instance(self, x): pass
    made = staticmethod(functools.partial(quote, 3))
    @functools.lru_cache
    def remembered(self): pass

class Child(Desk):
    pass

class Called:
    def __call__(self): return "called"
    def method(self): return "bound"

desk = Desk()
called = Called()
bound = called.method
"""


def module(source: str = SOURCE) -> ModuleType:
    made = ModuleType("svc")
    sys.modules["svc"] = made
    try:
        exec(source, made.__dict__)
    finally:
        del sys.modules["svc"]
    return made


def find(name: str, *, source: str = SOURCE, **selection: Any) -> Any:
    return Callables({"svc": module(source)}, {"svc": selection}).find(f"svc\0{name}".encode())


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("quote", 1),
        ("cached", 1),
        ("partial", 5),
        ("join", None),
        ("Desk.static", "static"),
        ("Desk.cls", "Desk"),
        ("Child.cls", "Child"),
        ("Desk.Inner.deep", "deep"),
        ("Path.cwd", None),
        ("Desk.made", 3),
        ("Desk.cached", "cached"),
        ("Desk.chosen", None),
        ("called", "called"),
        ("bound", "bound"),
    ],
)
def test_public_functions_are_callable(name: str, result: Any) -> None:
    function = find(name)
    assert callable(function)
    assert result is None or function() == result


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("os.system", "svc.os is a module, and dots pass through classes only"),
        ("os", "it is a module"),
        ("os.path.join", "svc.os is a module"),
        ("_secret", '"_secret" starts with "_", so it is private'),
        ("__builtins__", "private"),
        ("Desk.__init__", "private"),
        ("Desk._hidden", '"_hidden" starts with "_"'),
        ("Desk._Private.deep", '"_Private" starts with "_"'),
        ("quote.__globals__", "private"),
        ("Desk.__subclasses__", "private"),
        ("Desk.mro", "svc.Desk.mro does not exist"),
        ("Desk", "it is a class"),
        ("Desk.Inner", "it is a class"),
        ("Desk.method", "a method of its instances"),
        ("Desk.names", "of type list"),
        ("Desk.remembered", "a method of its instances"),
        ("Desk.chosen_by_instance", "of type singledispatchmethod. Of a class, only static and class methods can be"),
        ("called.method", "svc.called is of type Called, and dots pass through classes only"),
        ("Desk.names.append", "svc.Desk.names is of type list, and dots pass through classes only"),
        ("desk.method", "svc.desk is of type Desk"),
        ("LIMIT", "it is of type int, no function"),
        ("quot", "svc.quot does not exist. Did you mean quote?"),
        ("Desk.statc", "svc.Desk.statc does not exist. Did you mean static?"),
        ("zzzzzz", "svc.zzzzzz does not exist."),
        ("", "it is no name of a function"),
        ("Desk.", "it is no name of a function"),
        (".quote", "it is no name of a function"),
    ],
)
def test_everything_else_is_refused_with_its_reason(name: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        find(name)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("name", "selection"),
    [
        ("quote", {"functions": ["cached"]}),
        ("Desk.static", {"classes": []}),
        ("quote", {"exclude": ["quote"]}),
        ("Desk.static", {"exclude_patterns": ["Desk.*"]}),
    ],
    ids=["functions", "classes", "exclude", "exclude-patterns"],
)
def test_the_selection_binds(name: str, selection: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"under \[modules.svc\] in the config leave it out"):
        find(name, **selection)


def test_the_selection_lets_through_what_it_names() -> None:
    assert find("quote", functions=["quote"], classes=None, exclude=[], exclude_patterns=["z*"])() == 1


def test_only_configured_modules() -> None:
    callables = Callables({"svc": module(), "api": module()}, {})
    with pytest.raises(Refused, match=r'"os" is not a module of this worker, so os.system .* It has: api, svc.'):
        callables.find(b"os\0system")


def test_a_name_that_is_no_text() -> None:
    with pytest.raises(Refused, match="not UTF-8"):
        Callables({}, {}).find(b"\xff\0x")


def test_all_says_what_is_re_exported() -> None:
    source = "__all__ = ['join']\nfrom os.path import join, split\ndef own(): return 1\n"
    assert find("join", source=source)("a", "b") == "a/b"
    assert find("own", source=source)() == 1
    with pytest.raises(Refused, match="imports it from posixpath and does not list it in __all__"):
        find("split", source=source)


def test_what_the_config_names_need_not_be_in_all() -> None:
    source = "__all__ = []\nfrom os.path import join, split\n"
    assert find("join", source=source, functions=["join"])("a", "b") == "a/b"
    with pytest.raises(Refused, match="does not list it in __all__"):
        find("split", source=source)


def test_an_all_of_modules_alone_says_nothing_of_functions() -> None:
    source = "__all__ = ['path']\nfrom os import path\nfrom os.path import join\n"
    assert find("join", source=source)("a", "b") == "a/b"
    with pytest.raises(Refused, match=r"svc.path is a module"):
        find("path.join", source=source)


def test_a_function_that_was_replaced_is_found_anew() -> None:
    svc = module("def f(): return 1\n")
    callables = Callables({"svc": svc}, {})
    assert callables.find(b"svc\0f")() == 1
    svc.__dict__["f"] = lambda: 2
    assert callables.find(b"svc\0f")() == 2


def test_a_function_that_the_module_makes_when_asked() -> None:
    assert (
        find(
            "lazy", source="def __getattr__(name):\n    if name == 'lazy': return lambda: 7\n    raise AttributeError"
        )()
        == 7
    )
