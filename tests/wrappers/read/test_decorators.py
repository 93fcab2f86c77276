"""What decorators make of a function: the wrapper says what ``inspect`` and real calls say, or ``Any``."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest

from lastgood.bridges.worker.calling import Callables
from lastgood.bridges.worker.interface import interface
from lastgood.wrappers.differences import description, differences, functions_in
from lastgood.wrappers.ir import unpacked
from wrapping import source, text_of, wrap

DECORATORS = """
import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, Optional, ParamSpec, Protocol, TypeVar, cast, overload

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Kept = Callable[P, R]
registry = []

# Annotated ones.

def same(function: F) -> F:
    registry.append(function)
    return function

def typed(function: Callable[P, R]) -> Callable[P, R]:
    return functools.wraps(function)(lambda *args, **kwargs: function(*args, **kwargs))

def injected(function: Callable[Concatenate[int, P], R]) -> Callable[P, R]:
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(1, *args, **kwargs)
    return inner

def given(function: Callable[P, R]) -> Callable[Concatenate[str, P], R]:
    @functools.wraps(function)
    def inner(text, /, *args, **kwargs):
        return function(*args, **kwargs)
    return inner

def or_none(function: Callable[P, R]) -> "Callable[P, R | None]":
    return functools.wraps(function)(lambda *args, **kwargs: None)

def as_list(function: Callable[P, Iterator[R]]) -> Callable[P, list[R]]:
    return functools.wraps(function)(lambda *args, **kwargs: list(function(*args, **kwargs)))

def counted(function: Callable[P, list[T]]) -> Callable[P, dict[int, T]]:
    return functools.wraps(function)(lambda *args, **kwargs: dict(enumerate(function(*args, **kwargs))))

def run(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    return functools.wraps(function)(lambda *args, **kwargs: asyncio.run(function(*args, **kwargs)))

def in_task(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    @functools.wraps(function)
    async def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner

def items(function: Callable[P, list[R]]) -> Callable[P, Iterator[R]]:
    @functools.wraps(function)
    def inner(*args, **kwargs):
        yield from function(*args, **kwargs)
    return inner

def texts(function: Callable[[T], R]) -> Callable[[str], R]:
    @functools.wraps(function)
    def inner(number):
        return function(int(number))
    return inner

def times(number: int) -> Callable[[Callable[P, R]], Callable[P, list[R]]]:
    return lambda function: functools.wraps(function)(lambda *args, **kwargs: [function(*args, **kwargs)] * number)

@overload
def both(function: F) -> F: ...
@overload
def both(*, number: int) -> Callable[[F], F]: ...
def both(function=None, *, number=1):
    return function or (lambda function: function)

def optional(function: Optional[Callable[P, R]] = None) -> Callable[P, R]:
    return function

class Counting(Generic[P, R]):
    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        return [self.function(*args, **kwargs)]

class Deciding(Protocol):
    def __call__(self, yes: bool, *, sure: bool = True) -> str: ...

def deciding(function: Callable[..., Any]) -> Deciding:
    return lambda yes, *, sure=True: "yes" if yes else "no"

class Repeating:
    def __init__(self, number: int) -> None:
        self.number = number
    def __call__(self, function: Callable[P, R]) -> Callable[P, list[R]]:
        return times(self.number)(function)
    def bound(self, function: F) -> F:
        return function
repeating = Repeating(2)

# Others: their text says it.

def passing(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        result = function(*args, **kwargs)
        return result
    return inner

def awaiting(label):
    def decorate(function):
        @functools.wraps(function)
        async def inner(*args, **kwargs):
            try:
                return await function(*args, **kwargs)
            finally:
                registry.append(label)
        return inner
    return decorate

def changing(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return str(function(*args, **kwargs))
    return inner

def listed(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return list(function(*args, **kwargs))
    return inner

def yielding(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        yield from function(*args, **kwargs)
    return inner

def silent(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        function(*args, **kwargs)
    return inner

def careful(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError:
            return None
    return inner

def connected(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function("connection", *args, **kwargs)
    return inner

def limited(function):
    def inner(*args, limit: int = 3, **kwargs):
        return function(*args, **kwargs)
    return inner

def fixed(function):
    def inner(*args, **kwargs):
        return function(*args, unit="m", **kwargs)
    return inner

def replaced(function):
    def inner(code: str, *, amount: int = 1) -> list[str]:
        return [code] * amount
    return inner

def keyed(function):
    def inner(code: str, **options):
        return function(len(code), **options)
    return inner

def mixed(function):
    if inspect.iscoroutinefunction(function):
        @functools.wraps(function)
        async def inner(*args, **kwargs):
            return await function(*args, **kwargs)
    else:
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return function(*args, **kwargs)
    return inner

class Loose:
    def __init__(self, function):
        functools.update_wrapper(self, function)
        self._function = function
    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)

@contextlib.contextmanager
def locked(name):
    yield

class Timer(contextlib.ContextDecorator):
    def __enter__(self): ...
    def __exit__(self, *error): ...
"""
FUNCTION = "def f(a: int, b: str = 'x') -> int: return a\n"
HEAD = "import functools, decorators as d\nfrom collections.abc import Iterator\n"


def loaded(text: str) -> ModuleType:
    decorators, module = ModuleType("decorators"), ModuleType("pricing")
    exec(DECORATORS, vars(decorators))
    vars(module)["__builtins__"] = {
        **vars(__builtins__ if isinstance(__builtins__, ModuleType) else __import__("builtins")),
        "__import__": lambda name, *rest: decorators if name == "decorators" else __import__(name, *rest),
    }
    exec(HEAD + text, vars(module))
    return module


def declared(text: str) -> tuple[str, tuple[str, ...]]:
    wrapped = wrap(HEAD + text, source("decorators", DECORATORS))
    assert not wrapped.failures
    (line,) = re.findall(r"^ *(?:async )?def (f\(.*): \.\.\.$", text_of(wrapped), re.MULTILINE)
    return line, tuple(each for each in wrapped.warnings if each.startswith("pricing.f: "))


def assert_true(text: str, line: str, arguments: tuple[Any, ...]) -> None:
    """Compare a declaration with what is there: the signature, and the result of a call."""
    module = loaded(text)
    wrapped = wrap(HEAD + text, source("decorators", DECORATORS))
    ir = unpacked(wrapped.modules["pricing"])
    functions = functions_in(ir)
    answer = interface(Callables({"pricing": module}, {}), functions, ["pricing"])
    found = description(msgspec.json.decode(msgspec.json.encode(answer)), functions, ["pricing"])
    assert list(differences(ir, found, text.encode(), lambda _: True)) == []
    result = Callables({"pricing": module}, {}).find(b"pricing\0" + functions[0][1].encode())(*arguments)
    result = asyncio.run(result) if inspect.iscoroutine(result) else result
    type_ = eval(line.rpartition(" -> ")[2], {"Any": Any, "AsyncIterator": AsyncIterator, "Iterator": Iterator})
    if "-> AsyncIterator" in line:
        assert isinstance(result, Iterator)
        result, type_ = next(result), type_.__args__[0]
    assert msgspec.convert(result, type_, strict=True) == result


CASES = {
    "same": ("@d.same\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "typed": ("@d.typed\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "injected": ("@d.injected\n" + FUNCTION, "f(b: str = 'x') -> int", ("x",)),
    "given": ("@d.given\n" + FUNCTION, "f(argument1: str, /, a: int, b: str = 'x') -> int", ("t", 1)),
    "or none": ("@d.or_none\n" + FUNCTION, "f(a: int, b: str = 'x') -> int | None", (1,)),
    "of an iterator": ("@d.as_list\ndef f(a: int) -> Iterator[int]:\n  yield a\n", "f(a: int) -> list[int]", (1,)),
    "of a generator": ("@d.as_list\ndef f(a: int):\n  yield a\n", "f(a: int) -> list[Any]", (1,)),
    "of a part": ("@d.counted\ndef f(a: int) -> list[str]: return [str(a)]\n", "f(a: int) -> dict[int, str]", (1,)),
    "run": ("@d.run\nasync def f(a: int) -> str: return str(a)\n", "f(a: int) -> str", (1,)),
    "as a coroutine": ("@d.in_task\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "as a stream": ("@d.items\ndef f(a: int) -> list[int]: return [a]\n", "f(a: int) -> AsyncIterator[int]", (1,)),
    "other parameters": ("@d.texts\ndef f(a: int) -> int: return a\n", "f(a: str) -> int", ("1",)),
    "a factory": ("@d.times(2)\n" + FUNCTION, "f(a: int, b: str = 'x') -> list[int]", (1,)),
    "a factory that was called before": (
        "_twice = d.times(2)\n@_twice\n" + FUNCTION,
        "f(a: int, b: str = 'x') -> list[int]",
        (1,),
    ),
    "overloads, bare": ("@d.both\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "overloads, called": ("@d.both(number=2)\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "optional": ("@d.optional\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "a class": ("@d.Counting\n" + FUNCTION, "f(a: int, b: str = 'x') -> list[int]", (1,)),
    "a class without annotations": ("@d.Loose\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "a protocol": ("@d.deciding\n" + FUNCTION, "f(yes: bool, *, sure: bool = True) -> str", (True,)),
    "an instance": ("@d.Repeating(2)\n" + FUNCTION, "f(a: int, b: str = 'x') -> list[int]", (1,)),
    "an instance with a name": ("@d.repeating\n" + FUNCTION, "f(a: int, b: str = 'x') -> list[int]", (1,)),
    "a method": ("@d.repeating.bound\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "a context manager": ("@d.locked('a')\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "a context decorator": ("@d.Timer()\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "passing": ("@d.passing\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "awaiting": ("@d.awaiting('x')\nasync def f(a: int) -> int: return a\n", "f(a: int) -> int", (1,)),
    "changing": ("@d.changing\n" + FUNCTION, "f(a: int, b: str = 'x') -> Any", (1,)),
    "a list of a generator": ("@d.listed\ndef f(a: int):\n  yield a\n", "f(a: int) -> Any", (1,)),
    "a stream of a plain call": (
        "@d.yielding\ndef f(a: int) -> list[int]: return [a]\n",
        "f(a: int) -> AsyncIterator[Any]",
        (1,),
    ),
    "silent": ("@d.silent\n" + FUNCTION, "f(a: int, b: str = 'x') -> None", (1,)),
    "careful": ("@d.careful\n" + FUNCTION, "f(a: int, b: str = 'x') -> int | None", (1,)),
    "connected": ("@d.connected\ndef f(c: object, a: int) -> int: return a\n", "f(a: int) -> int", (1,)),
    "limited": ("@d.limited\ndef f(a: int) -> int: return a\n", "f(a: int, *, limit: int = 3) -> int", (1,)),
    "fixed": ("@d.fixed\ndef f(a: int, *, unit: str) -> int: return a\n", "f(a: int) -> int", (1,)),
    "replaced": ("@d.replaced\n" + FUNCTION, "f(code: str, *, amount: int = 1) -> list[str]", ("a",)),
    "keyed": ("@d.keyed\n" + FUNCTION, "f(code: str, **options: Any) -> int", ("a",)),
    "mixed": ("@d.mixed\nasync def f(a: int) -> int: return a\n", "f(a: int) -> int", (1,)),
    "several": (
        "@d.or_none\n@d.times(2)\n@d.passing\ndef f(a: int) -> str: return 's'\n",
        "f(a: int) -> list[str] | None",
        (1,),
    ),
    "applied afterwards": (
        FUNCTION + "f = d.passing(f)\nf = d.or_none(f)\n",
        "f(a: int, b: str = 'x') -> int | None",
        (1,),
    ),
    "a cache": ("@functools.lru_cache(maxsize=3)\n" + FUNCTION, "f(a: int, b: str = 'x') -> int", (1,)),
    "dispatch": ("@functools.singledispatch\ndef f(a: int) -> int: return a\n", "f(a: Any) -> Any", (1,)),
    "a class method": (
        "class C:\n  @classmethod\n  @d.or_none\n  def f(cls, a: int) -> int: return a\n",
        "f(a: int) -> int | None",
        (1,),
    ),
    "a static method": (
        "class C:\n  @staticmethod\n  @d.changing\n  def f(a: int) -> int: return a\n",
        "f(a: int) -> Any",
        (1,),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrapper_says_what_is_there(case: str) -> None:
    text, line, arguments = CASES[case]
    assert declared(text)[0].replace('"', "'") == line
    assert_true(text, line, arguments)


UNSAID = "its parameters and its result became Any, since nothing in the source says what @{} makes of them."


@pytest.mark.parametrize(
    ("decorator", "name"),
    [
        ("@elsewhere.unknown\n", "elsewhere.unknown"),
        ("@elsewhere.unknown(1)\n", "elsewhere.unknown"),
        ("@(lambda function: function)\n", "lambda function: function"),
        ("def local(function): return elsewhere.made(function)\n@local\n", "local"),
        ("def local(function):\n  if function: return None\n  return function\n@local\n", "local"),
        ("def local(function) -> object: ...\n@local\n", "local"),
        ("@elsewhere.first\ndef local(function): return function\n@local\n", "local"),
        (
            (
                "def local(function):\n  def inner(*args, **kwargs):\n    kwargs.pop('x')\n"
                "    return list(function(*args, **kwargs))\n  return inner\n@local\n"
            ),
            "local",
        ),
        ("@local\ndef local(function): return function\n@local\n", "local"),
    ],
)
def test_where_nothing_says_what_it_does_types_become_any_with_a_warning(decorator: str, name: str) -> None:
    line, warnings = declared("import elsewhere\n" + decorator + "def f(a: int, *, b: str = 'x') -> int: ...\n")[0:2]
    assert line.replace('"', "'") == "f(a: Any, *, b: Any = 'x') -> Any"
    assert f"pricing.f: {UNSAID.format(name)}" in warnings


@pytest.mark.parametrize(
    ("inner", "function"),
    [
        ("def inner(x=1, *args, **kwargs)", "def f(a: int) -> int: ..."),
        ("def inner(a, *args, **kwargs)", "def f(a: int) -> int: ..."),
        ("def inner(x, *args, **kwargs)", "def f(a: int, /) -> int: ..."),
    ],
)
def test_parameters_that_no_function_can_have_are_not_made(inner: str, function: str) -> None:
    text = f"def more(function):\n  {inner}:\n    return function(*args, **kwargs)\n  return inner\n@more\n{function}\n"
    line, (warning,) = declared(text)
    assert line == function[4:-5].replace("int", "Any", 1)
    assert warning == "pricing.f: its parameters became Any, since nothing in the source says what @more makes of them."


def test_without_types_there_is_nothing_to_warn_of() -> None:
    assert declared("import elsewhere\n@elsewhere.unknown\ndef f(a, b=1): ...\n") == (
        "f(a: Any, b: Any = 1) -> Any",
        (),
    )


def test_of_what_stays_only_the_rest_is_warned_of() -> None:
    _, warnings = declared("@d.changing\ndef f(a: int) -> int: ...\n")
    assert warnings == (
        "pricing.f: its result became Any, since nothing in the source says what @d.changing makes of them.",
    )
    assert declared("@d.changing\ndef f(a: int): ...\n")[1] == ()
    assert (
        "the annotation of parameter 'a', Own, became Any."
        in declared("class Own: ...\n@d.passing\ndef f(a: Own): ...\n")[1][0]
    )
    assert declared("class Own: ...\n@d.injected\ndef f(a: Own, b: int): ...\n")[1] == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import tenacity\n@tenacity.retry(stop=1)\n", "f(a: int) -> int"),
        ("from cachetools import cached\n@cached(cache={})\n", "f(a: int) -> int"),
        ("from typing_extensions import deprecated\n@deprecated('x')\n", "f(a: int) -> int"),
        ("import typer\napp = typer.Typer()\n@app.command('x')\n", "f(a: int) -> int"),
        ("from flask import Flask\napp = Flask('x')\n@app.get('/')\n", "f(a: int) -> int"),
        ("import click\n@click.pass_context\n", "f() -> int"),
        (
            "import pytest\nslow = pytest.mark.skipif(True)\n@slow\n@pytest.mark.filterwarnings('x')\n",
            "f(a: int) -> int",
        ),
        ("import abc, atexit\n@abc.abstractmethod\n@atexit.register\n", "f(a: int) -> int"),
        (
            "import wrapt\n@wrapt.decorator\ndef local(called, self, args, kwargs): return called(*args, **kwargs)\n@local\n",
            "f(a: int) -> int",
        ),
        ("import elsewhere\n@functools.singledispatch\ndef g(a): ...\n@g.register\n", "f(a: int) -> int"),
    ],
)
def test_well_known_ones(text: str, line: str) -> None:
    wrapped = wrap(HEAD + text + "def f(a: int) -> int: ...\n", source("decorators", DECORATORS))
    assert f"async def {line}: ..." in text_of(wrapped)
    assert not [each for each in wrapped.warnings if each.startswith("pricing.f")]


@pytest.mark.parametrize(
    "text", ["@click.command()\n", "@click.command('x')\n@click.option('--a')\n", "@g.command()\n"]
)
def test_what_becomes_an_object_is_left_out_with_a_warning(text: str) -> None:
    wrapped = wrap("import click\n@click.group()\ndef g(): ...\n" + text + "def f(a: int) -> int: ...\n")
    assert "def f" not in text_of(wrapped)
    (warning,) = [each for each in wrapped.warnings if each.startswith("pricing.f")]
    assert (
        "makes it a command, which reads a command line when it is called. Offer the function under another name"
        in warning
    )


def test_what_decorates_may_come_by_star() -> None:
    text = """
from contextlib import *
from enum import *
from functools import *
from typing import *
@overload
def f(x: int) -> int: ...
@overload
def f(x: str) -> str: ...
def f(x): return x
@lru_cache
def g(x: int) -> int: ...
@contextmanager
def h(): yield
class Right(Flag, boundary=KEEP):
    READ = auto()
"""
    wrapped = wrap(text)
    body = text_of(wrapped)
    assert body.count("@overload\n") == 2
    assert "async def g(x: int) -> int:" in body
    assert "class Right(Flag, boundary=KEEP):" in body
    (warning,) = wrapped.warnings
    assert warning.startswith("pricing.h: left out: it returns a context manager")
