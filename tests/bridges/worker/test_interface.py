"""What functions and modules are in a worker: signatures as ``inspect`` has them, and public names."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lastgood.bridges.worker.calling import Callables
from lastgood.bridges.worker.interface import CLASS, FUNCTION, LAZY, OBJECT, interface

SOURCE = """
import asyncio, functools, os, types
from typing import ParamSpec, TypeVar

T, P = TypeVar("T"), ParamSpec("P")

def plain(a, /, b, c=1, *args, d, e=2, **kwargs): ...
def alone(*, only): ...
def nothing(): ...
def evaluated(a: undefined.name) -> undefined: ...

def wrapping(function):
    @functools.wraps(function)
    def inner(*args, **kwargs): return function(1, *args, **kwargs)
    return inner

@wrapping
@wrapping
def wrapped(a, b=1): ...
cached = functools.lru_cache(plain)
partial = functools.partial(plain, 1, e=5)
lambda_ = lambda x, *, y=1: x
builtin = len
unknown = iter

class Callable:
    def __call__(self, x, y=1): ...
instance = Callable()

class Desk:
    @staticmethod
    def static(x, y=1): ...
    @classmethod
    def of(cls, x, /, *rest): ...
    @classmethod
    @wrapping
    def deep(cls, x): ...
    bound = classmethod(lambda *args: args)
    def method(self): ...

def made(x): ...
made.__signature__ = inspect.Signature([inspect.Parameter("y", inspect.Parameter.KEYWORD_ONLY)])

class Raises:
    @property
    def __signature__(self): raise ValueError("no signature")
    def __call__(self): ...
raises = Raises()

def items(): yield 1
async def async_items(): yield 1
async def coroutine(): ...
@types.coroutine
def old(): yield
"""


@pytest.fixture(scope="module")
def module() -> ModuleType:
    made = ModuleType("svc")
    vars(made)["inspect"] = inspect
    exec(compile("from __future__ import annotations\n" + SOURCE, "svc.py", "exec"), vars(made))
    return made


def described(module: ModuleType, path: str) -> Any:
    return interface(Callables({"svc": module}, {"svc": {}}), [("svc", path)], [])[0][0]


def inspected(function: Any, **options: Any) -> list[tuple[str, int, bool]] | None:
    try:
        parameters = inspect.signature(function, **options).parameters.values()
    except ValueError:
        return None
    return [(each.name, int(each.kind), each.default is not each.empty) for each in parameters]


@pytest.mark.parametrize(
    "path",
    [
        *("plain", "alone", "nothing", "evaluated", "wrapped", "cached", "partial", "lambda_", "builtin", "instance"),
        *("Desk.static", "Desk.of", "Desk.deep", "Desk.bound", "made", "items", "coroutine"),
    ],
)
def test_parameters_are_those_that_inspect_finds(module: ModuleType, path: str) -> None:
    function: Any = module
    for name in path.split("."):
        function = getattr(function, name)
    _, parameters, own = described(module, path)
    assert parameters == inspected(function)
    assert own == inspected(function, follow_wrapped=False)


def test_what_has_no_signature_or_raises_is_unknown(module: ModuleType) -> None:
    assert described(module, "raises")[1:] == (None, None)
    assert described(module, "unknown")[1:] == (None, None)


@pytest.mark.parametrize(
    ("path", "yields"),
    [("items", True), ("async_items", True), ("coroutine", False), ("plain", False), ("cached", None), ("old", None)],
)
def test_generator_functions_are_told(module: ModuleType, path: str, yields: bool | None) -> None:
    assert described(module, path)[0] is yields


def test_what_may_not_be_called_is_a_text(module: ModuleType) -> None:
    assert described(module, "Desk.method") == (
        "svc.Desk.method cannot be called: it is a method of its instances. Of a class, only static and class methods can be."
    )


def public(source: str, **space: Any) -> tuple[bool, list[tuple[str, int, str]]]:
    module = ModuleType("svc")
    vars(module).update(space)
    exec(source, vars(module))
    found: tuple[bool, list[tuple[str, int, str]]] = interface(Callables({"svc": module}, {}), [], ["svc"])[1][0]
    return found


def test_public_names_come_with_what_they_are() -> None:
    source = "import os\nfrom typing import TypeVar\nT = TypeVar('T')\ndef f(): ...\nclass C: ...\nx = _y = 1\n"
    assert public(source) == (
        False,
        [("TypeVar", CLASS, "typing"), ("f", FUNCTION, "svc"), ("C", CLASS, "svc"), ("x", OBJECT, "")],
    )


def test_of_a_module_that_lists_its_names_these_are_public() -> None:
    assert public("def f(): ...\ndef g(): ...\n__all__ = ['f', '_h', 'missing']\n") == (True, [("f", FUNCTION, "svc")])


def test_lazy_names_are_not_made_for_it(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("")
    source = "def __getattr__(name): raise SystemExit(name)\ndef __dir__(): return ['lazy', 'inner', 1]\n"
    assert public(source, __path__=[str(tmp_path)]) == (False, [("lazy", LAZY, "")])


def test_what_a_module_raises_when_it_lists_its_names_is_its_own_affair() -> None:
    assert public("def __getattr__(name): ...\ndef __dir__(): raise ValueError\n") == (False, [])


def test_plain_functions_need_no_inspect() -> None:
    worker = Path(interface.__code__.co_filename).parent
    program = (
        f"import sys, types; package = types.ModuleType('worker'); package.__path__ = [{str(worker)!r}]\n"
        "sys.modules['worker'] = package; from worker.interface import interface; from worker.calling import Callables\n"
        "def f(a): ...\nmodule = types.ModuleType('svc'); module.f = f\n"
        "print(interface(Callables({'svc': module}, {}), [('svc', 'f')], ['svc']), 'inspect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[[(False, [('a', 1, False)], [('a', 1, False)])], [(False, [('f', 0, '__main__')])]] False\n"
