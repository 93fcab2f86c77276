"""Sources whose signatures are hard to wrap, for Python 3.11 and newer."""

from __future__ import annotations

__all__ = ["HARD"]

# By the names of what is hard about them: sources, and those defaults that are left to them.
HARD = {
    "every-kind": ("def f(a, b=1, /, c=2, *args, d, e=3, **kwargs): return locals()", ""),
    "numbers": (
        "def f(a=0x10, b=1_000, c=-1, d=+1, e=-0.0, g=1e400, h=-1e400, i=.5, j=True, k=10**2, l=1j, m=-(1)): ...",
        "f.l",
    ),
    "texts": (
        r'''def f(a="it's", b='say "so"', c="""'"'""", d="a" "b", e=b"\x00'", g=r"\d", h="\u200b\U0001f6dc", i="é\n"): ...''',
        "",
    ),
    "tuples": (
        "def f(a=(), b=(1,), c=(1, 'x', (None, -1.5)), d=((),), e=(1, []), g=(1, *()), h=(...,)): ...",
        "f.e f.g f.h",
    ),
    "no-literals": (
        "def f(a=[], b={}, c=..., d=f'{1}', e=not 1, g=int, h=lambda: 0, i=1 if 1 else 0, *, j=object(), k={1}): ...",
        "f.a f.b f.c f.d f.g f.h f.i f.j f.k",
    ),
    "constants": (
        """
import logging, math, re, signal, socket, string
from datetime import timedelta, timezone
from enum import Enum, IntFlag
from logging import WARNING as _W
from pathlib import Path
_MISSING = object()
A = 30
B: int = A * 60 + 1
C = "a" "b" + "c" * 3
D = (A, B, C)
E = -B
for F in (1, 2): pass
G = 1
G += 1
if A: H = 1
I, J = 1, 2
K = L = 7
with open(__import__("os").devnull) as M: pass
N = 1
try: pass
except OSError as N: pass
class Colour(Enum): RED = 1
class Mode(IntFlag):
    R = 1
    W = 2
    ALL = R | W
class Plain:
    SIZE = 4
    WIDE = SIZE * 2
    MORE = 1
    MORE += 1
    if A: ODD = 1
class Made(metaclass=type): SIZE = 4
P = Path("x")
W = timedelta(seconds=A)
def f(
    a=A, b=B, c=C, d=D, e=E, f=_MISSING, g=G, h=F, i=H, j=I, k=K, l=L, m=M, n=N, o=60 * 60, p=1 / 3, q=10 ** 400,
    r=-A, s=(A, (B,)), t=A if B else 1, u="x" * 1000, v=1 << A, w=~A, x=not A, y=B % 7, z=B // 7 - 2.5,
): ...
def g(
    a=Colour.RED, b=Plain.SIZE, c=Plain.WIDE, d=Plain.ODD, e=Made.SIZE, f=Mode.R | Mode.W, g=Colour.RED.value,
    h=logging.INFO, i=socket.AF_INET, j=math.inf, k=P, l=W, m=timezone.utc, n=frozenset(), o=Path("y"), p=_W,
    q=string.digits, r=signal.SIGTERM, s=re.IGNORECASE, t=timedelta(seconds=A * 2), u=Path, v=logging.Logger, w=Plain.MORE,
): ...
class Desk:
    SIZE = 5
    @staticmethod
    def a(x=SIZE, y=A, z=Colour.RED, p=P): ...
    @staticmethod
    def Path(x=P): ...
""",
        "Desk.a.z f.f f.g f.h f.i f.m f.q f.t f.u g.d g.e g.g g.u g.v g.w",
    ),
    "left-before-literals": (
        "_L = object()\ndef f(a, b=_L, c=1, d=_L, /, e=2, f=_L, *g, h=3, i=_L): return locals()",
        "f.b f.d f.f f.i",
    ),
    "decorated": (
        """
import functools
def _keeps(f):
    @functools.wraps(f)
    def inner(*args, **kwargs): return f(*args, **kwargs)
    return inner
@_keeps
def f(a, /, *, b=object()): ...
@functools.cache
def g(a, b=()): ...
@functools.lru_cache(maxsize=1)
@_keeps
def h(a: int = 1) -> None: ...
@functools.singledispatch
def i(x, *more): ...
def j(a, b=1): ...
j = _keeps(j)
""",
        "f.b",
    ),
    "methods": (
        """
import functools
def _helper(a, b=1): ...
class Desk:
    @staticmethod
    def a(self, cls, __x, *, __y=1, __z__=2): ...
    @classmethod
    def b(cls, __x, /, *, _x=object()): ...
    @classmethod
    def c(*args, **cls): ...
    @classmethod
    def d(cls=None, a=1): ...
    def e(x, y=1): ...
    e = staticmethod(e)
    f = classmethod(lambda cls: 1)
    g = staticmethod(_helper)
    h = classmethod(_helper)
    i = a
    @classmethod
    @functools.cache
    def j(cls, x): ...
    def k(self, y): ...
    class Drawer:
        @staticmethod
        def a(__q): ...
class Desk2(Desk):
    @classmethod
    def b(cls, other): ...
""",
        "Desk.b._x",
    ),
    "names": (
        """
def call(self, call, kwargs, args, named, positional, result, declaration=object(), remote=object()): ...
def dict(dict, str, tuple=object(), *, Any=object(), object=1): ...
def match(match, case, type=1, _=2): ...
def fit(ﬁ, ℌ=1, *, ª=object()): ...
def 𝔣𝔲𝔫(Returns: int = 1, *, _match_returns=2) -> object: ...
def f(__x, *, __y=1, __debug=2): ...
""",
        "call.declaration call.remote dict.tuple dict.Any fit.a",
    ),
    "conditions": (
        """
import sys
from typing import TYPE_CHECKING
if sys.version_info >= (3, 9):
    def f(a, b=1): ...
else:
    def f(a): ...
if TYPE_CHECKING:
    def g(a: int) -> int: ...
else:
    def g(*a, **b): ...
if not TYPE_CHECKING:
    def h(*a): ...
else:
    def h(a): ...
try:
    import nowhere_to_be_found
except ImportError:
    def i(a=1): ...
def j(a): ...
def j(b): ...
def k(): ...
del k
with open(__import__("os").devnull):
    def k(again): ...
""",
        "",
    ),
    "annotations": (
        """
from __future__ import annotations
import typing as t
from typing import *
T = TypeVar("T", bound="Nowhere")
P = ParamSpec("P")
@overload
def f(a: int, *, b: str = ...) -> int: ...
@overload
def f(a: str, *, b: str = ...) -> str: ...
def f(a, *, b="x"): ...
def g(a: T, b: List[T] = (), *args: P.args, **kwargs: P.kwargs) -> T: ...
def h(a: int = None, b: "str | None" = None, c: Annotated[int, t] = 1, d: Literal["x", 1] = 1, e: unknown = b"") -> Never: ...
def i(a: 'not a type )(' = 1, b: '' = 2, *c: *tuple[int, ...], d: t.Optional['int'] = None, **e: Unpack[Nowhere]): ...
async def j(a: float = 1, b: complex = 1, c: object = (), d: Sequence[int] = (1,), e: Any = None): ...
""",
        "g.b",
    ),
}
