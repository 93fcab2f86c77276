"""What a module binds by assignment: in the wrapper if it can be called, with its signature if that is known, or in a warning.

The sources run here, and the calls of their wrappers go to what they have made.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lastgood.config import ModuleConfig
from lastgood.wrappers import ModuleSource, wrap_modules
from wrapping import load, run, source, text_of, wrap

HEAD = """
import functools, json, operator, sys
from functools import partial, lru_cache
from typing import Any, Callable, Generic, TypeVar
_T = TypeVar("_T")
def _g(a: int, b: str = "x", *rest: int, c: float = 1.5, **more: Any) -> int:
    "Add up."
    return a + len(b) + sum(rest)
def _h(a: int) -> int: return -a
class _Base(Generic[_T]):
    def parse(self, text: str, *, strict: bool = False) -> str: return text.upper() if strict else text
    @classmethod
    def make(cls, n: int) -> int: return n + 1
    @staticmethod
    def plain(n: int) -> int: return n + 2
class _Parser(_Base[int]):
    def __init__(self, n: int = 1): self.n = n
    def __call__(self, x: int, *, y: int = 2) -> int: return self.n + x * y
    @property
    def state(self): return _h
_one = _Parser()
def _make(name):
    def inner(*args, k: int = 1):
        "Inner."
        return [name, *args, k]
    return inner
def _wrapping(f):
    @functools.wraps(f)
    def inner(*args, **kwargs): return f(*args, **kwargs)
    return inner
def _registered(f): return f
class _Get:
    def __init__(self, f): self.f = f
    def __get__(self, instance, owner): return self.f(owner)
def _said(x) -> Callable[[int], int]: return _h
def _instance(n) -> _Parser: return _Parser(n)
def _called(n): return _Parser(n)
def _chosen(flag):
    if flag:
        return lambda x: x
    return _h
def _perhaps(f):
    if f is None:
        @functools.wraps(f)
        def inner(self): return f()
    else:
        def inner(*args): return f(*args)
    return inner
def _local():
    class Inner:
        def __call__(self, n, *, k=2): return n * k
    made = Inner()
    return made
def _cast(n: int, f: Any) -> Any:
    from typing import cast
    f = partial(f, n)
    return cast(Any, f)
def _called_later(n):
    made = n
    return lambda x: made + x
class _New:
    def __new__(cls): return _h
"""
ANYTHING = "(*args: Any, **kwargs: Any) -> Any"


@contextmanager
def _run(text: str) -> Iterator[dict[str, Any]]:
    """The names that ``text`` makes as the module ``pricing``, while it is imported."""
    module = types.ModuleType("pricing")
    sys.modules["pricing"] = module
    try:
        exec(compile(text, "pricing.py", "exec", dont_inherit=True), module.__dict__)
        yield module.__dict__
    finally:
        del sys.modules["pricing"]


@pytest.mark.parametrize(
    ("text", "signature", "args", "kwargs"),
    [
        pytest.param(
            "f = _one.parse", "(text: str, *, strict: bool = False) -> str", ("a",), {"strict": True}, id="bound"
        ),
        pytest.param(
            "f = _Parser().parse", "(text: str, *, strict: bool = False) -> str", ("a",), {}, id="bound-at-once"
        ),
        pytest.param("f = _one.make", "(n: int) -> int", (1,), {}, id="class-method"),
        pytest.param("f = _one.plain", "(n: int) -> int", (1,), {}, id="static-method"),
        pytest.param("f = _Parser(3)", "(x: int, *, y: int = 2) -> int", (4,), {"y": 5}, id="instance"),
        pytest.param("f = _one", "(x: int, *, y: int = 2) -> int", (4,), {}, id="another-name"),
        pytest.param("f: _Parser = eval('_one')", "(x: int, *, y: int = 2) -> int", (4,), {}, id="annotated"),
        pytest.param("f: Callable[[int], int] = eval('_h')", ANYTHING, (4,), {}, id="annotated-as-callable"),
        pytest.param("f = a = _h", "(a: int) -> int", (4,), {}, id="chain"),
        pytest.param("f, (a, b) = _h, (1, 2)", "(a: int) -> int", (4,), {}, id="tuple"),
        pytest.param("f = lambda x, *, y=3: [x, y]", "(x: Any, *, y: Any = 3) -> Any", (1,), {"y": 2}, id="lambda"),
        pytest.param(
            "f = partial(_g, 1)",
            "(b: str = 'x', *rest: int, c: float = 1.5, **more: Any) -> int",
            ("abc", 5),
            {},
            id="partial",
        ),
        pytest.param(
            "f = functools.partial(_g, b='yy')",
            "(a: int, *, b: str = 'yy', c: float = 1.5, **more: Any) -> int",
            (1,),
            {"b": "zzz"},
            id="partial-by-keyword",
        ),
        pytest.param(
            "f = partial(partial(_g, 1), 'abc', c=2.0)",
            "(*rest: int, c: float = 2.0, **more: Any) -> int",
            (5,),
            {},
            id="partial-of-partial",
        ),
        pytest.param(
            "f = partial(_one.parse, strict=True)",
            "(text: str, *, strict: bool = True) -> str",
            ("a",),
            {},
            id="partial-of-a-method",
        ),
        pytest.param("f = partial(json.dumps, indent=1)", ANYTHING, ([1],), {}, id="partial-of-unknown"),
        pytest.param("f = partial(_g, *(1, 'a'))", ANYTHING, (3,), {}, id="partial-of-unknown-arguments"),
        pytest.param("f = operator.itemgetter(1)", ANYTHING, ([1, 2],), {}, id="operator"),
        pytest.param("f = len", ANYTHING, ([1, 2],), {}, id="builtin"),
        pytest.param("f = '-'.join", ANYTHING, (["a", "b"],), {}, id="of-a-literal"),
        pytest.param("f = lru_cache(maxsize=3)(_h)", "(a: int) -> int", (4,), {}, id="cached"),
        pytest.param("f = functools.cache(lambda: 1)", "() -> Any", (), {}, id="cached-lambda"),
        pytest.param("f = functools.singledispatch(_h)", "(a: Any) -> Any", (4,), {}, id="singledispatch"),
        pytest.param("f = _h if sys else None", "(a: int) -> int", (4,), {}, id="or-nothing"),
        pytest.param("f = _h if sys else _g", ANYTHING, (4,), {}, id="one-of-two"),
        pytest.param("f = None or _h", "(a: int) -> int", (4,), {}, id="or"),
        pytest.param("f = _h if sys else eval('_g')", ANYTHING, (4,), {}, id="one-or-unknown"),
        pytest.param("f = _make('a')", "(*args: Any, k: Any = 1) -> Any", (1, 2), {"k": 3}, id="made"),
        pytest.param("f = _wrapping(_h)", ANYTHING, (4,), {}, id="wrapped"),
        pytest.param("f = _perhaps(_h)", ANYTHING, (4,), {}, id="one-of-two-inside"),
        pytest.param("f = _local()", "(n: Any, *, k: Any = 2) -> Any", (4,), {"k": 5}, id="class-inside"),
        pytest.param("f = _called_later(2)", "(x: Any) -> Any", (4,), {}, id="closure"),
        pytest.param("import typing\nf = typing.cast(Any, _h)", "(a: int) -> int", (4,), {}, id="cast"),
        pytest.param("import types\nf = types.FunctionType(_h.__code__, {})", ANYTHING, (4,), {}, id="function-type"),
        pytest.param(
            "f, g = [_Parser(n) for n in (2, 3)]", "(x: int, *, y: int = 2) -> int", (4,), {}, id="comprehension"
        ),
        pytest.param("f = _registered(_h)", "(a: int) -> int", (4,), {}, id="registered"),
        pytest.param(
            "f = _registered(f=_make('b'))", "(*args: Any, k: Any = 1) -> Any", (4,), {}, id="registered-by-keyword"
        ),
        pytest.param("f = _said(1)", ANYTHING, (4,), {}, id="said-to-be-callable"),
        pytest.param("f = _instance(3)", "(x: int, *, y: int = 2) -> int", (4,), {}, id="said-to-be-an-instance"),
        pytest.param("f = _called(3)", "(x: int, *, y: int = 2) -> int", (4,), {}, id="returned-instance"),
        pytest.param("f = _chosen(True)", ANYTHING, (4,), {}, id="one-of-two-returned"),
        pytest.param("def _f(x): return x\nf = _f\ndel _f", "(x: Any) -> Any", (4,), {}, id="deleted-afterwards"),
        pytest.param("if sys:\n  f = _h\nelse:\n  f = None", "(a: int) -> int", (4,), {}, id="in-branches"),
        pytest.param("try:\n  f = no\nexcept NameError:\n  f = _one.parse", ANYTHING, ("a",), {}, id="in-handlers"),
        pytest.param("with open('/dev/null'):\n  f = _h", "(a: int) -> int", (4,), {}, id="in-with"),
        pytest.param("match 1:\n  case 1:\n    f = _h", "(a: int) -> int", (4,), {}, id="in-match"),
        pytest.param("import pricing\nf = pricing._h", "(a: int) -> int", (4,), {}, id="of-itself"),
    ],
)
def test_what_can_be_called(text: str, signature: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    whole = f"{HEAD}{text}\n"
    wrapped = wrap(whole)
    with _run(whole) as made:
        space = load(text_of(wrapped), lambda _, name, given, by_name: made[name](*given, **by_name))
        there = str(inspect.signature(space["f"], eval_str=True))
        assert there.replace("typing.", "") == signature
        assert run(space["f"](*args, **kwargs)) == made["f"](*args, **kwargs)


@pytest.mark.parametrize(
    ("text", "signature", "args"),
    [
        ("f = staticmethod(_make('a'))", "(*args: Any, k: Any = 1) -> Any", (1,)),
        ("f = staticmethod(partial(_g, 1))", "(b: str = 'x', *rest: int, c: float = 1.5, **more: Any) -> int", ("ab",)),
        ("f = staticmethod(eval('_h'))", ANYTHING, (1,)),
        ("f = staticmethod(len)", ANYTHING, ([1],)),
        ("g = f = staticmethod(lambda x: x)", "(x: Any) -> Any", (1,)),
        ("_x = staticmethod(_h)\n  f = _x", "(a: int) -> int", (1,)),
        ("_x = staticmethod(_wrapping(_h))\n  f = _x", ANYTHING, (1,)),
        ("_h = lambda: 3\n  f = staticmethod(_h)", ANYTHING, ()),
        ("f = classmethod(partial(lambda cls: 4))", ANYTHING, ()),
    ],
)
def test_static_methods_by_assignment(text: str, signature: str, args: tuple[Any, ...]) -> None:
    whole = f"{HEAD}class C:\n  {text}\n"
    wrapped = wrap(whole)
    with _run(whole) as made:
        space = load(text_of(wrapped), lambda _, __, given, by_name: made["C"].f(*given, **by_name))
        there = str(inspect.signature(space["C"].f, eval_str=True))
        assert there.replace("typing.", "") == signature
        assert run(space["C"].f(*args)) == made["C"].f(*args)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("f = _New()", "only running the module tells whether it can be called"),
        ("f = eval('_h')", "only running the module tells whether it can be called"),
        ("f = {'a': _h}['a']", "only running the module tells whether it can be called"),
        ("f = _one.state", "only running the module tells whether it can be called"),
        ("for f in [_h]: ...", "only running the module tells whether it can be called"),
        ("with open('/dev/null') as f: ...", "only running the module tells whether it can be called"),
        ("[*_, f] = [1, 2]", "only running the module tells whether it can be called"),
        ("match _h:\n  case f: ...", "only running the module tells whether it can be called"),
        ("if (f := eval('_h')): ...", "only running the module tells whether it can be called"),
        ("def _set():\n  global f\n  f = _h\n_set()", "only running the module tells whether it can be called"),
        ("F = 1\nF += 1\nf = F", "only running the module tells whether it can be called"),
        ("f = list[int]", "it is another name of a type"),
        ("f = Callable[[int], str]", "it is another name of a type"),
        ("from typing import Union\nf = Union[dict[str, 'f'], str]", "it is another name of a type"),
        ("f = int | None", "it is another name of a type"),
        ("if sys:\n  f = list[_T] | set[_T]\nelse:\n  f = list", "it is another name of a type"),
        ("f = type(None)", "it is another name of a type"),
        ("f = Callable[[_Base], 'No'] | _Base", "it is another name of a type"),
        (
            "class _D:\n  @property\n  def x(self): ...\n  @_wrapping\n  def y(self): ...\nf = _D.y",
            "only running the module",
        ),
        (
            "def _create():\n  class V: ...\n  V = _registered(V)\n  return V\nf = _create()",
            "which class it is, only running",
        ),
        ("class _D:\n  def x(self): ...\n  x = _Get(x)\nf = _D.x", "only running the module"),
        ("class _D:\n  @_Get\n  def x(self): ...\nf = _D().x", "only running the module"),
        ("class _D:\n  def x(self): ...\n  x = _Get(x)\nf = _D().x", "only running the module"),
        ("def _create(n) -> type[_Base]: ...\nf = _create(1)", "which class it is, only running"),
        ("f = _cast(1, _g)", "only running the module tells whether it can be called"),
        ("f = json.dumps", "it comes from 'json', whose source is not a local file"),
        ("f = _Base.parse", "it is a method of instances, and these stay in the worker"),
        ("f = _Base()", "it is an object, and stays in the worker"),
        ("f = [_h]", "it is an object, and stays in the worker"),
        ("f = 'text' % ()", "only running the module tells whether it can be called"),
        ("f = dict(a=1)", "it is an object, and stays in the worker"),
        ("from datetime import timedelta as _t\nf = _t(1)", "it is an object, and stays in the worker"),
        ("from re import compile as _c\nf = _c('a')", "it comes from 're', whose source is not a local file"),
        ("f = _Parser if sys else _Base", "which class it is, only running the module tells"),
        ("f = 1", "it is a variable, whose value may change"),
        ("F = 1\nF = 2\nf = F", "it is a variable, whose value may change"),
    ],
)
def test_what_cannot_or_is_not_known_to_be_is_in_a_warning(text: str, reason: str) -> None:
    wrapped = wrap(f"{HEAD}{text}\n")
    assert '@remote("pricing", "f")' not in text_of(wrapped)
    (warning,) = [each for each in wrapped.warnings if each.startswith("pricing.f: ")]
    assert warning.startswith(f"pricing.f: left out: {reason}")
    assert (
        warning.endswith(f"(pricing.py:{(HEAD + text).count(chr(10), 0, (HEAD + text).rindex('f')) + 1})")
        or "global" in text
        or "F =" in text
    )


EVERYTHING = """
import json, math as _math
from typing import Any, NewType, ParamSpec, TypeVar
T = TypeVar("T")
P = ParamSpec("P")
K = 1
L = [1]
Alias = dict[str, int]
UserId = NewType("UserId", int)
small = 2
a, (b, *c) = 1, (2, 3, 4)
d = e = lambda: 1
e.x = 1
def f(): ...
class C: x = 1
class D:
    @staticmethod
    def m(): ...
g = C()
h = json.dumps
i = f.__name__
j: int = 3
k: int
for l in "ab": ...
with open("/dev/null") as m: ...
try: ...
except Exception as n: ...
while (o := 0): ...
p = [q for q in "ab"]
del a
if 1:
    def r(): ...
else:
    s = 1
exec("t = 1")
globals()["u"] = f
def _v():
    global v
    v = 1
_v()
match [1, {"k": 2}]:
    case [w, {"k": x, **y}]: ...
z: Any = eval("f")
"""


def test_nothing_is_left_out_in_silence() -> None:
    wrapped = wrap(EVERYTHING)
    names = load(text_of(wrapped), lambda *_: None)["__all__"]
    with _run(EVERYTHING) as made:
        kinds = (types.ModuleType, typing.TypeVar, typing.ParamSpec)
        there = {name for name, value in made.items() if not name.startswith("_") and not isinstance(value, kinds)}
    told = {each.partition(":")[0].removeprefix("pricing.") for each in wrapped.warnings if ": left out: " in each}
    imported = {"Any", "NewType", "ParamSpec", "TypeVar"}
    assert {*names} <= there
    assert there - imported - {*names} - told == {"t", "u"}
    assert told - there == set()
    (dynamic,) = [each for each in wrapped.warnings if each.startswith("pricing: ")]
    assert dynamic == (
        "pricing: it makes names when it runs (exec at line 35, globals() at line 36), which have no wrapper. "
        "Name those that can be called in 'functions'."
    )


def test_what_running_makes_is_told_of_by_name_where_all_names_it() -> None:
    text = "__all__ = ['f', 'g']\ndef g(): ...\ndef __getattr__(name): ..."
    wrapped = wrap(text)
    assert wrapped.warnings == (
        "pricing.f: left out: only running the module makes it (__getattr__ at line 3). (pricing.py)",
    )


@pytest.mark.parametrize(
    ("text", "is_wrapped"),
    [
        ("def __getattr__(name): ...", True),
        ("from math import *", True),
        ("from math import floor as f", True),
        ("f = make()", True),
        ("import json\nf = json.dumps", True),
        ("f = []", False),
        ("g = 1", False),
    ],
)
def test_what_functions_names_and_running_may_make_is_wrapped(text: str, is_wrapped: bool) -> None:
    wrapped = wrap(text, selection=ModuleConfig(functions=("f",)))
    assert ("async def f(*args: Any, **kwargs: Any) -> Any: ..." in text_of(wrapped)) is is_wrapped
    assert [each for each in wrapped.warnings if each.startswith("pricing.f: named in 'functions', but ")] == (
        [] if is_wrapped else [each for each in wrapped.warnings if "its wrapper is empty" not in each]
    )


CORE = source(
    "pricing.core",
    "def f(x: int) -> int: ...\ndef g(): ...\nobj = Thing().go\nclass Thing:\n  def go(self, y: int): ...\n",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("from .core import *\n__all__ = [n for n in dir() if n[0] != '_']", ["f", "g", "obj"], id="dir"),
        pytest.param("from .core import f, g\n__all__ = [n for n in globals()]", ["f", "g"], id="globals"),
        pytest.param(
            "from . import core\nfrom .core import *\n__all__ = list(core.__all__)", ["f", "g", "obj"], id="list"
        ),
        pytest.param("from .core import f\n__all__ = ['core']", ["f"], id="submodules-only"),
        pytest.param("from .core import f, g\n__all__ = ['core', 'f']", ["f"], id="submodules-and-more"),
        pytest.param("from .core import obj", ["obj"], id="bound-method-elsewhere"),
        pytest.param("from . import core\nobj = core.obj\nf = core.f", ["f", "obj"], id="attributes"),
        pytest.param("from .core import f as core", ["core"], id="named-like-its-submodule"),
        pytest.param(
            "if TYPE_CHECKING:\n  from .core import f, obj\nelse:\n  from .lazy import lazy\n  lazy(globals(), {'f': '.core'})\n"
            "__all__ = ['f', 'obj']",
            ["f", "obj"],
            id="lazily-by-a-helper",
        ),
        pytest.param(
            "import lazy_loader as lazy\n__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={'core': ['f']})",
            ["f"],
            id="lazy-loader",
        ),
    ],
)
def test_what_a_package_offers_of_its_modules(text: str, expected: list[str]) -> None:
    package = ModuleSource("pricing", None, text.encode(), True)
    wrapped = wrap_modules([package], find={"pricing.core": CORE}.get)
    assert wrapped.failures == ()
    assert load(text_of(wrapped), lambda *_: None)["__all__"] == expected
    assert [each for each in wrapped.warnings if "Thing" not in each] == []


def test_a_function_named_like_a_submodule_without_source_is_told_of() -> None:
    package = ModuleSource(
        "pricing", None, b"from .gone import f as gone\nfrom .lost import g as lost\nh = gone.x\ni = lost()", True
    )
    wrapped = wrap_modules([package], find=dict[str, ModuleSource]().get)
    assert wrapped.failures == ()
    assert [each.partition(":")[0] for each in wrapped.warnings if "left out" in each] == [
        "pricing.gone",
        "pricing.lost",
        "pricing.h",
        "pricing.i",
    ]


def test_a_single_dispatch_function_takes_and_gives_what_functions_registered_later_do() -> None:
    elsewhere = source("elsewhere", "def f(a: int) -> int: ...\nf_max = max")
    text = "from functools import singledispatch as s\nimport elsewhere\nf = s(elsewhere.f)\ng = s(elsewhere.f_max)"
    wrapped = wrap(text, elsewhere)
    assert "async def f(a: Any) -> Any: ..." in text_of(wrapped)
    assert "async def g(*args: Any, **kwargs: Any) -> Any: ..." in text_of(wrapped)
    (warning,) = wrapped.warnings
    assert warning.startswith("pricing.f: its parameters and its result became Any")
