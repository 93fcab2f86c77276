from __future__ import annotations

import re

import pytest

from lastgood.config import ModuleConfig
from lastgood.wrappers import ModuleSource, wrap_modules
from wrapping import load, source, text_of, wrap

NOT_LOCAL = "whose source is not a local file."
CONTEXT_MANAGER = (
    "left out: it returns a context manager, which cannot leave the worker. Offer a function that does the whole work."
)
NO_METHODS = "left out: its static and class methods are left out, and instances cannot cross to the worker."
NO_INSTANCES = (
    "left out: it offers no static or class method, and instances (so its constructor, methods and properties) "
    "cannot cross to the worker."
)


def offered(text: str, *local: ModuleSource, selection: ModuleConfig | None = None) -> list[str]:
    space = load(text_of(wrap(text, *local, selection=selection)), lambda *_: None)
    names: list[str] = []
    for name in space["__all__"]:
        if isinstance(space[name], type):
            names += [f"{name}.{inner}" for inner in vars(space[name]) if not inner.startswith("__")]
        else:
            names.append(name)
    return names


def warnings(text: str, *local: ModuleSource, selection: ModuleConfig | None = None) -> tuple[str, ...]:
    wrapped = wrap(text, *local, selection=selection)
    assert wrapped.failures == ()
    return tuple(each for each in wrapped.warnings if "its wrapper is empty" not in each)


def head(text: str, *local: ModuleSource) -> str:
    lines = text_of(wrap(text, *local)).splitlines()
    return next(line for line in lines if line.startswith("async def")).removeprefix("async def ").removesuffix(": ...")


IMPL = source(
    "impl",
    """
from math import floor
K = 1
def f(x: int) -> int: ...
def g(): ...
def _h(): ...
class C:
    @staticmethod
    def m(): ...
""",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("def f(): ...\ndef _g(): ...\ndef __dir__(): ...", ["f"], id="private"),
        pytest.param("async def f(): ...", ["f"], id="async"),
        pytest.param("K = 1\nk: int = 2\n(a, b) = 1, 2\nL = []\nM = f()", ["K"], id="constants"),
        pytest.param("from typing import Final\nk: Final = 1\nm: Final[int] = 2\nn: int = 3", ["k", "m"], id="final"),
        pytest.param("K = 1\nK = 2\nif X:\n  L = 1", [], id="constants-that-may-differ"),
        pytest.param("_K = 1\nk = 2\nL = _K\nM = k\nN = N\nO = L", ["L", "O"], id="constants-by-another-name"),
        pytest.param("from impl import K as K, f as L, M as M", ["K"], id="constants-of-another"),
        pytest.param("if X:\n  def f(): ...\nelse:\n  def g(): ...", ["f", "g"], id="conditional"),
        pytest.param("try:\n  from nowhere import f\nexcept ImportError:\n  def f(): ...", ["f"], id="fallback"),
        pytest.param("for x in y:\n  with z:\n    def f(): ...", ["f"], id="in-blocks"),
        pytest.param("if TYPE_CHECKING:\n  def f(): ...", [], id="not-there-at-run-time"),
        pytest.param("if TYPE_CHECKING:\n  def f(): ...\nelse:\n  f = make()", ["f"], id="typed-for-checkers"),
        pytest.param("if not TYPE_CHECKING:\n  def f(): ...\nelse:\n  def g(): ...", ["f"], id="there-at-run-time"),
        pytest.param(
            "if sys.version_info >= (3, 9):\n  def f(): ...\nelif x:\n  def g(): ...\nelse:\n  K = 1",
            ["f"],
            id="of-old",
        ),
        pytest.param("if sys.version_info >= (3,):\n  K = 1\nelse:\n  K = 2", ["K"], id="constants-of-old"),
        pytest.param("def f(): ...\ndef g(): ...\ndel f", ["g"], id="deleted"),
        pytest.param("def f(): ...\ndel f\ndef f(): ...\nif x:\n  del f", ["f"], id="defined-again"),
        pytest.param("def f(): ...\nf = register(f)\nf = x.y(1)(f)", ["f"], id="decorated-afterwards"),
        pytest.param("def f(): ...\ndef g(): ...\nK = 1\ndel f, K\ndel g\ndef g(x): ...", ["g"], id="several-deleted"),
        pytest.param("if __name__ == '__main__':\n  K = 1\n  def f(): ...", [], id="not-there-when-imported"),
        pytest.param(
            "if TYPE_CHECKING:\n  from impl import f\ndef __getattr__(name): ...\n__all__ = ['f']", ["f"], id="lazily"
        ),
        pytest.param(
            "if TYPE_CHECKING:\n  from impl import f\nelse:\n  lazy_import(globals(), {'f': 'impl'})\n__all__ = ['f']",
            ["f"],
            id="lazily-by-a-call",
        ),
        pytest.param("def f():\n  def g(): ...", ["f"], id="inner-function"),
        pytest.param("def f(): ...\nf = 1", [], id="overwritten"),
        pytest.param("f = 1\ndef f(): ...", ["f"], id="defined-last"),
        pytest.param("def _f(): ...\nf = _f", ["f"], id="another-name"),
        pytest.param("f = f", [], id="itself"),
        pytest.param("import functools\ndef _f(a): ...\nf = functools.lru_cache(_f)", ["f"], id="cached"),
        pytest.param(
            "class _B:\n  @staticmethod\n  def f(): ...\n  @classmethod\n  def g(cls): ...\nclass D(_B):\n  def g(self): ...",
            ["D.f"],
            id="inherited",
        ),
        pytest.param(
            "class _B:\n  @staticmethod\n  def f(): ...\ntry:\n  from impl import C as _B\nexcept E: ...\nclass D(_B): ...",
            ["D.m"],
            id="inherited-under-a-condition",
        ),
        pytest.param(
            "class D:\n  @staticmethod\n  def f(): ...\ntry:\n  from _fast import D\nexcept ImportError: ...",
            ["D.f"],
            id="perhaps-replaced-by-what-is-not-local",
        ),
        pytest.param("def f(): ...\ndef g(): ...\n__all__ = ['g']", ["g"], id="all"),
        pytest.param("def f(): ...\ndef g(): ...\n__all__ = ('g',)\n__all__ += ['f']", ["f", "g"], id="all-extended"),
        pytest.param("def f(): ...\n__all__ = ['_f', 'K']\nK = 1", ["K"], id="all-of-constants"),
        pytest.param("def f(): ...\n__all__ = make()", ["f"], id="all-that-only-running-tells"),
        pytest.param("def f(): ...\n__all__ = []\n__all__.append('f')", ["f"], id="all-appended-to"),
        pytest.param(
            "def f(): ...\n_g = f\n__all__ = []\n__all__.extend(['f', '_g'])\ndef h(): ...", ["f"], id="extended"
        ),
        pytest.param(
            "def f(): ...\n__all__ = ['f']\n__all__.remove('f')\ndef g(): ...", ["f", "g"], id="all-removed-from"
        ),
        pytest.param(
            "def f(): ...\ndef g(): ...\nif X:\n  __all__ = ['f']\nelse:\n  __all__ = ['g']",
            ["f", "g"],
            id="all-in-branches",
        ),
        pytest.param("from impl import f", [], id="import"),
        pytest.param("from impl import f as f", ["f"], id="re-export"),
        pytest.param("from impl import f as h", [], id="renamed"),
        pytest.param("from impl import f as h\n__all__ = ['h']", ["h"], id="renamed-in-all"),
        pytest.param("from impl import C as C", ["C.m"], id="class"),
        pytest.param("from impl import *", ["C.m", "K", "f", "g"], id="star"),
        pytest.param("from impl import *\n__all__ = ['g']", ["g"], id="star-in-all"),
        pytest.param(
            "import impl\nfrom impl import *\n__all__ = ['k'] + impl.__all__\ndef k(): ...",
            ["C.m", "K", "f", "g", "k"],
            id="all-of-another",
        ),
        pytest.param(
            "import impl as i\nfrom impl import *\n__all__ = ['f']\n__all__.extend(i.__all__)\ndef k(): ...",
            ["C.m", "K", "f", "g"],
            id="all-of-another-renamed",
        ),
        pytest.param(
            "from impl import *\nfrom impl import __all__ as theirs\n__all__ = ('k', *theirs)\ndef k(): ...\ndef l(): ...",
            ["C.m", "K", "f", "g", "k"],
            id="all-of-another-imported",
        ),
        pytest.param(
            "def f(): ...\ndef g(): ...\n__all__ = ['f']\nclass io:\n  __all__ = ['x']", ["f"], id="all-in-a-class"
        ),
        pytest.param("from impl import f\nmore = ['g']\n__all__ = ['f'] + more", ["f"], id="all-with-a-variable"),
        pytest.param("import impl\n__all__ = ['impl']", [], id="module"),
        pytest.param("import a.b.c as d\nimport impl as impl", [], id="modules"),
        pytest.param(
            "import impl as i, math\nfrom impl import C as _C\nf = i.f\nm = i.C.m\nn = _C.m\no = math.floor\np = i.no\nq = i.C.f",
            ["f", "m", "n"],
            id="attributes-of-modules",
        ),
        pytest.param(
            "class D:\n  class E:\n    @classmethod\n    def f(cls): ...\n    def g(self): ...\nf = D.E.f\ng = D.E.g\nh = D().f\n"
            "i = f.x",
            ["D.E", "f"],
            id="methods-of-a-class",
        ),
        pytest.param(
            "class Desk:\n  @staticmethod\n  def f(): ...\n  @classmethod\n  def g(cls): ...\n  def h(self): ...",
            ["Desk.f", "Desk.g"],
            id="methods",
        ),
        pytest.param("class Desk: x = 1", [], id="class-of-constants"),
        pytest.param(
            "def _f(): ...\nclass Desk:\n  def f(): ...\n  f = staticmethod(f)\n  def _g(cls): ...\n  g = classmethod(_g)\n"
            "  h = staticmethod(_f)\n  i = staticmethod(len)\n  @staticmethod\n  def e(): ...\n"
            "  j = e\n  k = n\n  n = k\n  def o(self): ...\n  del o",
            ["Desk.f", "Desk.g", "Desk.h", "Desk.i", "Desk.e", "Desk.j"],
            id="methods-by-assignment",
        ),
    ],
)
def test_what_is_offered(text: str, expected: list[str]) -> None:
    assert offered(text, IMPL) == expected
    assert [each for each in warnings(text, IMPL) if ": left out: " not in each] == []


def test_a_package_re_exports_what_comes_from_local_modules() -> None:
    package = source("pricing", "from .impl import f, K\nfrom . import other\nfrom math import floor", is_package=True)
    local = {
        "pricing.impl": source("pricing.impl", "from ._deep import f\nK = 1"),
        "pricing._deep": source("pricing._deep", "def f(x: int): ..."),
    }
    wrapped = wrap_modules([package], find=local.get)
    assert '@remote("pricing", "f")' in wrapped.files["pricing.py"].decode()
    assert "async def f(x: int) -> Any:" in wrapped.files["pricing.py"].decode()
    assert wrapped.warnings == ()


def test_relative_imports_climb() -> None:
    here = source("a.b.c", "from ..d.e import f as f\nfrom ....x import g as g")
    wrapped = wrap_modules([here], find={"a.d.e": source("a.d.e", "def f(y): ...")}.get)
    assert "async def f(y: Any)" in wrapped.files["a/b/c.py"].decode()
    assert wrapped.warnings == (
        "a.b.c.g: left out: it is imported from '....x', whose source is not a local file. (a/b/c.py:2)",
    )


def test_a_circle_of_imports_is_left_out() -> None:
    text = "from ring import f as f"
    assert warnings(text, source("ring", "from pricing import f")) == (
        "pricing.f: left out: its imports are circular. (pricing.py:1)",
    )


def test_stars_in_a_circle_end() -> None:
    assert offered("from ring import *\ndef f(): ...", source("ring", "from pricing import *\ndef g(): ...")) == [
        "f",
        "g",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "from math import floor as floor",
            f"floor: left out: it is imported from 'math', {NOT_LOCAL}",
            id="not-local",
        ),
        pytest.param(
            "from math import *\n__all__ = ['floor']",
            f"floor: left out: it may come from 'math', {NOT_LOCAL}",
            id="star",
        ),
        pytest.param("__all__ = ['floor']", "floor: left out: the module does not define it.", id="undefined"),
        pytest.param(
            "__all__ = ['__version__']\n__version__ = '1'",
            "__version__: left out: its name begins with an underscore, as that of what is private. Offer it under another name.",
            id="private",
        ),
        pytest.param(
            "__all__ = ['desk']\ndesk = dict()",
            "desk: left out: it is an object, and stays in the worker. Offer a function that uses it.",
            id="object",
        ),
        pytest.param(
            "from contextlib import contextmanager as c\n@c\ndef f():\n  yield",
            f"f: {CONTEXT_MANAGER}",
            id="context-manager",
        ),
        pytest.param(
            "import contextlib\nclass C:\n  @staticmethod\n  @contextlib.asynccontextmanager\n  def f(): ...",
            f"C.f: {CONTEXT_MANAGER}",
            id="async-context-manager",
        ),
        pytest.param("__all__ = ['f']\ndef f(): ...\ndel f", "f: left out: the module deletes it again.", id="deleted"),
        pytest.param(
            "import typing\n@typing.overload\ndef f(x): ...",
            "f: left out: it has overloads, but no implementation.",
            id="overloads-alone",
        ),
        pytest.param(
            "from typing import Callable\nclass C:\n  @staticmethod\n  def f() -> Callable[[], int]: ...",
            "C.f: left out: it returns a function, which cannot leave the worker. Offer one that calls it.",
            id="function",
        ),
        pytest.param(
            "from contextlib import AbstractContextManager as A\ndef f() -> A[int]: ...",
            f"f: {CONTEXT_MANAGER}",
            id="annotated-context-manager",
        ),
        pytest.param("class C:\n  def __init__(self): ...", f"C: {NO_INSTANCES}", id="constructor"),
        pytest.param("class C:\n  @property\n  def p(self): ...", f"C: {NO_INSTANCES}", id="property"),
    ],
)
def test_what_is_left_out_is_told_of(text: str, expected: str) -> None:
    assert offered(text) == []
    warning, *of_its_class = warnings(text)
    assert [each.partition(" (")[0] for each in of_its_class] == [f"pricing.C: {NO_METHODS}"] * expected.startswith(
        "C."
    )
    told, _, where = warning.rpartition(" ")
    assert told == f"pricing.{expected}"
    file, _, line = where.strip("()").partition(":")
    assert file == "pricing.py"
    assert not line or re.search(r"\b(f|C|desk|floor|__version__)\b", text.split("\n")[int(line) - 1])


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n  def g():\n    yield\n  return g",
        "def f():\n  return (x for x in y)",
        "def f():\n  return lambda: (yield)",
    ],
)
def test_a_function_that_makes_a_generator_is_none(text: str) -> None:
    assert offered(text) == ["f"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("def f(a): ...\ndef f(b): ...", "f(b: Any) -> Any", id="redefined"),
        pytest.param("if X:\n  def f(a): ...\nelse:\n  def f(a): ...", "f(a: Any) -> Any", id="same-in-both-branches"),
        pytest.param(
            "if X:\n  def f(a): ...\nelse:\n  def f(b): ...", "f(*args: Any, **kwargs: Any) -> Any", id="differs"
        ),
        pytest.param(
            "def f(a): ...\nif X:\n  def f(b): ...", "f(*args: Any, **kwargs: Any) -> Any", id="perhaps-redefined"
        ),
        pytest.param("if X:\n  def f(a): ...\ndef f(b): ...", "f(b: Any) -> Any", id="surely-redefined"),
        pytest.param("try:\n  from impl import f\nexcept E:\n  def f(z): ...", "f(z: Any) -> Any", id="fallback"),
        pytest.param(
            "if sys.version_info < (3, 9):\n  def f(a): ...\nelse:\n  def f(b): ...", "f(b: Any) -> Any", id="of-old"
        ),
        pytest.param(
            "if not typing.TYPE_CHECKING:\n  def f(*a): ...\nelse:\n  def f(b): ...",
            "f(*a: Any) -> Any",
            id="not-type-checking",
        ),
        pytest.param(
            "try:\n  from nowhere import f as f\nexcept E:\n  from impl import f as f",
            "f(x: int) -> int",
            id="second-import",
        ),
    ],
)
def test_alternative_definitions(text: str, expected: str) -> None:
    assert head(text, IMPL) == expected


def test_different_definitions_are_told_of() -> None:
    assert warnings("if X:\n  def f(a): ...\nelse:\n  def f(b): ...") == (
        "pricing.f: it is defined with different signatures at lines 2, 4, so it takes (*args, **kwargs).",
    )


OVERLOADS = """
from typing import overload as also
@also
def f(x: int) -> int: ...
@also
def f(x: str, *, strict: bool = ...) -> str: ...
def f({}): ...
"""


@pytest.mark.parametrize(
    ("implementation", "kept"),
    [
        ("x, *, strict=False", True),
        ("x, *, strict=LEFT", True),
        ("x, *, strict=False, more=1", True),
        ("x, *, strict", False),
        ("x, *, strict=False, more", False),
        ("x, strict=False", False),
        ("y, *, strict=False", False),
        ("*args, **kwargs", False),
    ],
)
def test_overloads_are_kept_where_the_implementation_surely_takes_them(implementation: str, kept: bool) -> None:
    body = text_of(wrap(OVERLOADS.format(implementation)))
    assert body.count("@overload") == (2 if kept else 0)


def test_overloads_with_what_cannot_cross_give_way_to_the_implementation() -> None:
    text = OVERLOADS.format("x: object, *, strict: bool = False").replace("-> int", "-> Desk")
    assert head(text) == "f(x: object, *, strict: bool = False) -> Any"
    assert warnings(text) == ()


MODULE = """
def quote(): ...
def price(): ...
def stream(): yield
class Desk:
    @staticmethod
    def open(): ...
    @staticmethod
    def close(): ...
    class Drawer: ...
class Till:
    @staticmethod
    def count(): ...
class Plain: ...
K = 1
"""
PLAIN = f"pricing.Plain: {NO_INSTANCES}"


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (ModuleConfig(exclude=("stream",)), ["Desk.close", "Desk.open", "K", "Till.count", "price", "quote"]),
        (ModuleConfig(functions=("quote",)), ["Desk.close", "Desk.open", "Till.count", "quote"]),
        (ModuleConfig(functions=(), classes=("Till",)), ["Till.count"]),
        (ModuleConfig(functions=("quote",), exclude=("Desk", "Till.count")), ["quote"]),
        (ModuleConfig(functions=(), exclude_patterns=("*.c*",)), ["Desk.open"]),
    ],
)
def test_the_selection_binds(selection: ModuleConfig, expected: list[str]) -> None:
    assert sorted(name for name in offered(MODULE, selection=selection) if name != "Desk.Drawer") == expected
    assert [each for each in warnings(MODULE, selection=selection) if not each.startswith(PLAIN)] == []


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (
            ModuleConfig(functions=("qoute",)),
            "qoute: named in 'functions', but the module has no such name. Did you mean 'quote'?",
        ),
        (ModuleConfig(functions=("zzz",)), "zzz: named in 'functions', but the module has no such name."),
        (ModuleConfig(functions=("Desk",)), "Desk: named in 'functions', but it belongs in 'classes'."),
        (ModuleConfig(functions=("K",)), "K: named in 'functions', but it is neither a function nor a class."),
        (
            ModuleConfig(functions=("_k",)),
            "_k: named in 'functions', but names that start with an underscore are private and never callable.",
        ),
        (
            ModuleConfig(functions=(), classes=("Tilt",)),
            "Tilt: named in 'classes', but the module has no such name. Did you mean 'Till'?",
        ),
        (
            ModuleConfig(functions=(), classes=("Desk.Drawr",)),
            "Desk.Drawr: named in 'classes', but the module has no such name. Did you mean 'Desk.Drawer'?",
        ),
        (ModuleConfig(functions=(), classes=("quote",)), "quote: named in 'classes', but it belongs in 'functions'."),
        (ModuleConfig(functions=(), classes=("Plain",)), f"Plain: {NO_INSTANCES} (pricing.py:14)"),
    ],
)
def test_a_selection_that_names_nothing_is_told_of(selection: ModuleConfig, expected: str) -> None:
    told = warnings(MODULE, selection=selection)
    assert [each for each in told if expected.startswith("Plain") or not each.startswith(PLAIN)] == [
        f"pricing.{expected}"
    ]


def test_what_is_named_is_offered_though_the_module_does_not_export_it() -> None:
    text = "from impl import f\ndef g(): ...\n__all__ = []"
    assert offered(text, IMPL, selection=ModuleConfig(functions=("f", "g"))) == ["f", "g"]


def test_unusual_decorators_and_properties_do_no_harm() -> None:
    text = """
@(lambda f: f)
def f(): ...
@x[0].y(1)
def g(): ...
class C:
    @p.setter
    def p(self, value): ...
    @property
    def q(self): ...
    @q.setter
    def q(self, value): ...
    from impl import f
    @staticmethod
    def m(): ...
"""
    assert offered(text, IMPL) == ["C.m", "f", "g"]


def test_a_class_is_told_of_once() -> None:
    text = """
class A:
    class Inner:
        def __init__(self): ...
    @staticmethod
    def f(): ...
class B(A): ...
class C:
    def __init__(self): ...
    @classmethod
    def g(cls) -> "Callable[[], int]": ...
from typing import Callable
"""
    assert [each.partition(": ")[0] for each in warnings(text)] == ["pricing.A.Inner", "pricing.C.g", "pricing.C"]


def test_inherited_methods_are_those_that_python_would_find() -> None:
    local = source("base", "class Top:\n  @staticmethod\n  def f(top: Type): ...\nType = int")
    text = """
import base, typing
class Left(base.Top): pass
class Right(base.Top, typing.Generic[T]):
    @classmethod
    def f(cls, right: str, *, __x=1): ...
class Both(Left, Right): pass
class Odd(Odd, unknown()):
    @staticmethod
    def g(): ...
"""
    assert offered(text, local) == ["Both.f", "Left.f", "Odd.g", "Right.f"]
    body = text_of(wrap(text, local))
    assert "async def f(top: int) -> Any:" in body
    assert body.count("async def f(right: str, *, _Right__x: Any = 1) -> Any:") == 2
    assert '@remote("pricing", "Both.f")' in body


@pytest.mark.parametrize(
    "text",
    [
        "if X:\n  class C(Exception): ...\nelse:\n  C = None\n",
        "try:\n  class C(Exception): ...\nexcept E:\n  C = None\n",
        "C: type | None = None\nif X:\n  class C(Exception): ...\n",
        "class C(Exception): ...\nif X:\n  C = None\n",
        "import collections\nif X:\n  C = collections.namedtuple('C', 'a b')\nelse:\n  C = None\n",
    ],
)
def test_a_class_that_is_none_in_other_branches_is_that_class(text: str) -> None:
    wrapped = wrap(f"{text}def f() -> 'C': ...")
    assert "class C(" in text_of(wrapped)
    assert "async def f() -> C: ..." in text_of(wrapped)
    assert wrapped.warnings == ()


def test_a_class_whose_name_something_else_may_bind_is_not_declared_and_told_of() -> None:
    again = "other statements bind its name, too, and may replace the class: bind it once."
    text = "class C(Exception):\n  {}\ndef g():\n  global C\n  C = 1"
    assert warnings(text.format("pass")) == (f"pricing.C: left out: {again} (pricing.py:1)",)
    assert warnings(text.format("@staticmethod\n  def m(): ...")) == (
        f"pricing.C: only its static and class methods are in the wrapper: {again}",
    )
    assert offered("class C(Exception): ...\nC = None") == []
    assert len(warnings("class C(Exception): ...\nC = None")) == 1


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("class C(str): ...", "str"),
        ("class _B(dict[str, int]): ...\nclass C(_B):\n  def __init__(self): ...", "dict"),
        ("import typing as t\nclass C(t.List[int]): ...", "list"),
        ("from collections import OrderedDict\nclass C(OrderedDict): ...", "dict"),
        ("import datetime\nclass C(datetime.datetime): ...", "datetime"),
    ],
)
def test_of_a_class_whose_instances_cross_as_another_type_that_is_said(text: str, base: str) -> None:
    (warning,) = warnings(text)
    assert f"left out: it offers no static or class method. Its instances cross as {base}. (" in warning


def test_a_class_derived_from_a_type_that_does_not_cross_so_stays() -> None:
    (warning,) = warnings("class C(complex): ...")
    assert NO_INSTANCES in warning
    text = "from typing import Callable\nclass C(str):\n  @staticmethod\n  def f() -> Callable[[], int]: ..."
    assert warnings(text)[1].startswith(
        "pricing.C: left out: its static and class methods are left out. Its instances cross as str. ("
    )


def test_the_last_binding_of_a_method_counts() -> None:
    static, of_instances = "  @staticmethod\n  def f(): ...\n", "  def f(self): ...\n"
    head = "class C:\n  @staticmethod\n  def g(): ...\n"
    assert offered(f"{head}{static}{of_instances}") == ["C.g"]
    assert offered(f"{head}{static}  def _f(self): ...\n  f = _f") == ["C.g"]
    assert offered(f"{head}{of_instances}{static}") == ["C.g", "C.f"]


@pytest.mark.parametrize("first", ["", "  @staticmethod\n", "  @classmethod\n"])
def test_a_method_that_is_static_in_one_branch_is_offered(first: str) -> None:
    second = "" if first else "    @staticmethod\n"
    text = f"class C:\n{first}  def f(self): ...\n  if X:\n{second}    def f(a): ...\n"
    assert offered(text) == ["C.f"]
    lines = [number for number, line in enumerate(text.splitlines(), 1) if "def f" in line]
    (warning,) = warnings(text)
    assert warning.startswith(
        f"pricing.C.f: it is defined with different signatures at lines {lines[0]}, {lines[1]}, so"
    )
