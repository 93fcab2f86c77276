"""Differences between wrappers and modules that have run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from lastgood.bridges.worker.calling import Callables
from lastgood.bridges.worker.interface import interface
from lastgood.wrappers import ModuleSource, wrap_modules
from lastgood.wrappers.differences import description, differences, functions_in
from lastgood.wrappers.ir import unpacked


def found(source: str, *expected: str) -> list[str]:
    """Wrap a source, run it, and compare. ``expected`` are names that a wrapper may lack."""
    data = source.encode()
    wrapped = wrap_modules([ModuleSource("svc", Path("svc.py"), data, is_package=False)])
    module = ModuleType("svc")
    exec(compile(data, "svc.py", "exec"), vars(module))
    ir = unpacked(wrapped.modules["svc"])
    functions = functions_in(ir)
    # Over the wire, tuples arrive as lists.
    answer = msgspec.json.decode(msgspec.json.encode(interface(Callables({"svc": module}, {}), functions, ["svc"])))
    known = {*expected, *(text.partition(": ")[0].removeprefix("svc.") for text in wrapped.warnings)}
    return list(differences(ir, description(answer, functions, ["svc"]), data, known.__contains__))


DECORATORS = """
exec('''
import functools as _functools
def _other(function):
    def inner(a, b=1, *, c): ...
    return inner
def _injecting(function):
    @_functools.wraps(function)
    def inner(*args, **kwargs): return function(1, *args, **kwargs)
    return inner
def _streaming(function):
    def inner(*args):
        yield function(*args)
    return inner
''')
"""
"""They are made when they are needed: the wrapper knows nothing of them."""


def test_another_signature_is_told() -> None:
    assert found(DECORATORS + "@_other\ndef price(sku, /): ...\n") == [
        (
            "svc.price: its wrapper says that it takes (sku, /), but in the worker it takes (a, b=..., *, c): something that runs "
            "while the module is imported, such as a decorator, has changed it."
        )
    ]


def test_a_replaced_method_is_told_too() -> None:
    source = "class Desk:\n    @classmethod\n    def open(cls, x): ...\nDesk.open = staticmethod(lambda y: y)\n"
    assert found(source) == [
        (
            "svc.Desk.open: its wrapper says that it takes (x), but in the worker it takes (y): something that runs while the "
            "module is imported, such as a decorator, has changed it."
        )
    ]


def test_a_generator_that_the_wrapper_does_not_know_of_is_told() -> None:
    assert found(DECORATORS + "@_streaming\ndef tokens(*args): return 1\n") == [
        (
            "svc.tokens: its wrapper declares a plain result, but in the worker it is a generator function, whose items only a "
            "stream can give. Annotate the decorator that makes it one."
        )
    ]


def test_a_class_that_its_decorator_replaces_is_told() -> None:
    source = (
        "def other(cls): return type('Other', (), {})\n@other\nclass Desk:\n    @staticmethod\n    def open(x): ...\n"
    )
    assert found(source) == ["svc.Desk.open: calls of its wrapper are refused. svc.Desk.open does not exist."]


def test_what_cannot_be_called_is_told() -> None:
    assert found("def gone(): ...\nfor name in ('gone',):\n    del globals()[name]\n") == [
        ("svc.gone: calls of its wrapper are refused. svc.gone does not exist.")
    ]


def test_names_that_are_made_while_it_is_imported_are_told() -> None:
    source = (
        "for name in 'ab':\n    globals()[f'make_{name}'] = lambda: 1\nexec('def third(): ...')\ndef fourth(): ...\n"
    )
    assert found(source) == [
        (
            "svc: its wrapper lacks names that it has in the worker: make_a, make_b, third. They are made or listed while it is "
            "imported, and wrappers are made without that. Bind them by statements at the top level."
        )
    ]


def test_of_many_names_some_are_told() -> None:
    source = "for number in range(30):\n    globals()[f'f{number}'] = lambda: 1\n"
    assert "f0, f1, f2, f3, f4, f5, f6, f7, f8, f9 and 20 more." in found(source)[0]


def test_names_that_the_module_makes_when_they_are_asked_for_are_told() -> None:
    source = "def __getattr__(name): ...\ndef __dir__(): return ['lazy', 'seen']\nseen = 1\n"
    assert "lazy. They are made" in found(source)[0]


def test_names_that_a_warning_or_the_config_accounts_for_are_not() -> None:
    source = "globals().update(first=lambda: 1, second=lambda: 1)\n"
    assert "first. They are" in found(source, "second")[0]
    assert found(source, "first", "second") == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(a, /, b, c=1, *args, d, e=2, **kwargs): ...\n",
        "class Desk:\n    @classmethod\n    def f(cls, a, *, b=1): ...\n    @staticmethod\n    def g(__private): ...\n",
        "import functools\n@functools.lru_cache\ndef f(a, b=1): ...\ng = functools.lru_cache(f)\n",
        # What claims to be the function that it wraps may take fewer or more arguments than that.
        DECORATORS + "@_injecting\ndef f(session, sku): ...\n",
        DECORATORS + "def _more(f):\n  return lambda a, *args, y=1, **kwargs: f(a, *args, **kwargs)\n"
        "@_more\ndef f(a: int, *, b=1): ...\n",
        "import sys\nif sys.platform == 'never':\n    def f(a): ...\nelse:\n    def f(b): ...\n",
        "def items():\n    yield 1\nasync def more():\n    yield 1\nasync def plain(): ...\n",
        "from os import *\nfrom os import path as other, sep\nimport os.path\n_T = 1\nclass Plain: ...\n",
        (
            "a, (b, c) = 1, (2, 3)\nd: int = 1\nfor e in range(2): pass\nwith open('/dev/null') as f: pass\n"
            "try: 1 / 0\nexcept ZeroDivisionError as g: h = 1\nif (i := 1): pass\nmatch [1, {'k': 2}]:\n    case [j, {**k}]: pass\n"
            "def _make():\n    global made\n    made = 1\n_make()\n"
        ),
        "def f(x):\n    return x\nf.__signature__ = None\n",
        "'not ' 'utf-8: \\udc00'\nclass C:\n    x = 1\n",
    ],
)
def test_what_is_as_its_wrapper_says_is_not_told(source: str) -> None:
    if "udc00" in source and sys.version_info >= (3, 13):
        pytest.skip("from Python 3.13 on, such a docstring cannot be compiled")
    assert found(source) == []


def test_an_answer_that_is_none_is_refused() -> None:
    answers: list[object] = [None, [], [[], []], [[[1, 2, 3]], []]]
    for answer in answers:
        with pytest.raises(msgspec.ValidationError):
            description(answer, [("svc", "f")], [])
