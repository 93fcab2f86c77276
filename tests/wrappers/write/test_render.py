from __future__ import annotations

import ast
import inspect
import sys
from typing import Any, Literal, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.config import Style
from lastgood.errors import ReturnTypeError
from wrapping import load, run, source, text_of, wrap

LEFT = object()  # a default that is no literal

SIGNATURES = [
    "()",
    "(a)",
    "(a, b=1)",
    "(a, /)",
    "(a, /, b)",
    "(a=1, /, b=2)",
    "(*, a)",
    "(*, a=1, b)",
    "(a, *, b)",
    "(*args)",
    "(**kwargs)",
    "(*args, **kwargs)",
    "(a, *rest, b, **more)",
    "(a=LEFT)",
    "(a=LEFT, b=1)",
    "(a, b=LEFT, c=1, d=LEFT)",
    "(a=LEFT, /)",
    "(a=LEFT, b=1, c=LEFT, /)",
    "(a, b=LEFT, /, c=1, d=LEFT)",
    "(*, a=LEFT)",
    "(*, a=LEFT, b=2, c)",
    "(a=LEFT, *args)",
    "(a=LEFT, b=1, *args)",
    "(a=LEFT, /, b=1, *args, c=LEFT)",
    "(a, b=LEFT, c=1, *args, d=LEFT, e=1, **kwargs)",
    "(a=LEFT, /, **kwargs)",
    "(a, /, **a_)",
    "(a=(1, 'x', None), b=-1.5, c=b'\\x00', d=True)",
    "(named, positional, result=LEFT, /, args=LEFT, kwargs=LEFT)",
    "(self, cls)",
    "(Any, remote, call=LEFT, *, dict=LEFT, str=1, tuple=2)",
    "(match, case, type, _)",
    "(a: int, b: 'list[str]' = LEFT, /, c: Optional[float] = None, *args: tuple[int, ...], d: Literal['x'] = 'x', **more: bytes)",
    "(ä, 变量=1, ﬁ=2)",
    "(a_very_long_parameter_name, another_very_long_parameter_name, yet_another_parameter_name=LEFT, *, the_last=LEFT)",
]


NAMES_OF_TYPES = {"LEFT": LEFT, "Any": Any, "Literal": Literal, "Optional": Optional}


def direct(signature: str) -> Any:
    space: dict[str, Any] = dict(NAMES_OF_TYPES)
    exec(compile(f"def f{signature}: return dict(locals())", "direct", "exec", dont_inherit=True), space)
    return space["f"]


def wrapped(signature: str, function: Any, style: Style = "async") -> Any:
    body = text_of(wrap(f"from typing import Any, Literal, Optional\ndef f{signature}: ...", style=style))
    return load(body, lambda _module, _function, args, kwargs: function(*args, **kwargs))["f"]


def shape(function: Any) -> list[tuple[str, Any, Any, Any]]:
    """Names, kinds, defaults and types; what has no type in a source has Any in its wrapper."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return [
        (p.name, p.kind, ... if p.default is LEFT else p.default, Any if p.annotation is p.empty else p.annotation)
        for p in parameters
    ]


def outcome(call: Any) -> Any:
    try:
        return call()
    except TypeError:
        return TypeError


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_wrapper_has_its_sources_signature(signature: str) -> None:
    function = direct(signature)
    wrapper = wrapped(signature, function)
    assert inspect.iscoroutinefunction(wrapper)
    assert shape(wrapper) == shape(function)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (positional, dict.fromkeys(names, -1))
    for count in range(5)
    for positional in [tuple(range(10, 10 + count))]
    for names in ("", "a", "b", "c", "d", "ab", "cd", "bd", "abc", "bcde", "ac")
]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_call_through_a_wrapper_is_the_call_itself(signature: str) -> None:
    function = direct(signature)
    wrapper = wrapped(signature, function)
    for args, kwargs in CALLS:
        expected = outcome(lambda args=args, kwargs=kwargs: function(*args, **kwargs))
        assert outcome(lambda args=args, kwargs=kwargs: run(wrapper(*args, **kwargs))) == expected


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_plain_wrapper_is_the_same_without_the_waiting(signature: str) -> None:
    function = direct(signature)
    wrapper = wrapped(signature, function, "sync")
    assert not inspect.iscoroutinefunction(wrapper)
    assert shape(wrapper) == shape(function)
    for args, kwargs in CALLS:
        expected = outcome(lambda args=args, kwargs=kwargs: function(*args, **kwargs))
        assert outcome(lambda args=args, kwargs=kwargs: wrapper(*args, **kwargs)) == expected


def test_plain_wrappers_have_docstrings_overloads_methods_and_checked_results() -> None:
    text = """
from typing import overload
@overload
def pick(x: int) -> int: ...
@overload
def pick(x: str) -> str: ...
def pick(x): ...
class Desk:
    @classmethod
    def load(cls, path="x") -> list[int]:
        \"""Load it.\"""
async def wait() -> None: ...
"""
    body = text_of(wrap(text, style="sync"))
    assert "async" not in body
    assert "await" not in body
    space = load(body, lambda _module, function, *_: [1] if function == "Desk.load" else None)
    assert space["Desk"].load() == [1]
    assert space["Desk"].load.__doc__ == "Load it."
    assert space["wait"]() is None
    with pytest.raises(ReturnTypeError, match=r"pick is annotated `-> int \| str`"):
        space["pick"](1)


@st.composite
def signatures(draw: st.DrawFn) -> str:
    """Any signature of up to eight parameters, each with a literal default, with another one, or with none."""
    types = ["", ": int", ": float", ": Any", ": Optional[int]", ": 'int | list[str]'", ": Literal[1, 'x']", ": object"]
    annotations = st.sampled_from(types)
    defaults = st.tuples(annotations, st.sampled_from(["", "=1", "=LEFT"])).map("".join)
    names = iter("abcdefgh")
    only, both, named = (draw(st.integers(0, 2)) for _ in range(3))
    positional = [next(names) + draw(defaults) for _ in range(only + both)]
    first = next((place for place, text in enumerate(positional) if "=" in text), len(positional))
    positional = [text if "=" in text or place < first else f"{text}=LEFT" for place, text in enumerate(positional)]
    parts = positional[:only] + (["/"] if only else []) + positional[only:]
    if draw(st.booleans()):
        parts.append(f"*rest{draw(annotations)}")
    elif named:
        parts.append("*")
    parts += [next(names) + draw(defaults) for _ in range(named)]
    if draw(st.booleans()):
        parts.append(f"**more{draw(annotations)}")
    return f"({', '.join(parts)})"


@settings(max_examples=60, deadline=None)
@given(
    signatures(),
    st.lists(st.tuples(st.lists(st.integers(), max_size=7), st.dictionaries(st.sampled_from("abcdefghx"), st.text()))),
)
def test_any_signature_and_any_call(signature: str, calls: list[tuple[list[int], dict[str, str]]]) -> None:
    function = direct(signature)
    wrapper = wrapped(signature, function)
    assert shape(wrapper) == shape(function)
    for args, kwargs in calls:
        expected = outcome(lambda args=args, kwargs=kwargs: function(*args, **kwargs))
        assert outcome(lambda args=args, kwargs=kwargs: run(wrapper(*args, **kwargs))) == expected


def test_methods_are_called_by_their_dotted_name() -> None:
    text = """
class Desk:
    @staticmethod
    def open(name, /, *, __fee=1): ...
    @classmethod
    def load(cls, path="x"): ...
    class Drawer:
        @staticmethod
        async def find(): ...
"""
    calls: list[Any] = []
    space = load(text_of(wrap(text)), lambda *call: calls.append(call))
    run(space["Desk"].open("a", _Desk__fee=2))
    run(space["Desk"].load())
    run(space["Desk"].Drawer.find())
    assert calls == [
        ("pricing", "Desk.open", ("a",), {"_Desk__fee": 2}),
        ("pricing", "Desk.load", (), {}),
        ("pricing", "Desk.Drawer.find", (), {}),
    ]


NAMES = [
    *("Any", "overload", "remote", "list", "dict", "str", "tuple", "staticmethod", "annotations"),
    *("result", "named", "positional", "args", "kwargs", "object", "builtins", "typing", "datetime", "print", "match"),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_the_users_breaks_a_wrapper(name: str) -> None:
    text = f"""
import datetime as dt, typing as t
def {name}({name}: t.List[int], when: dt.datetime = LEFT, *, x: t.Optional[str] = None) -> t.Dict[str, t.Any]: ...
class Desk:
    @classmethod
    def {name}(cls, {name}: list[int] = LEFT, /, *more: str, **others: object) -> tuple[str, ...]: ...
"""
    calls: list[Any] = []

    def answer(_module: str, *call: Any) -> Any:
        calls.append(call)
        return () if "." in call[0] else {}

    space = load(text_of(wrap(text)), answer)
    assert run(space[name]([1])) == {}
    assert run(getattr(space["Desk"], name)([1], "a", b=2)) == ()
    assert calls == [(name, ([1],), {}), (f"Desk.{name}", ([1], "a"), {"b": 2})]
    assert space["__all__"] == sorted(["Desk", name])


@pytest.mark.parametrize(
    "doc",
    [
        "One line.",
        'It says "so"',
        '"So" it says',
        'Three """ in it',
        '"""',
        "Ends with a backslash \\",
        r"A regex \d+ and a \N",
        "First.\n\nMore.\n    Indented.\n\tTabbed.",
        "\nFirst.\n\n    All the rest\n    is indented.",
        'First.\n"Last"',
        "Control \x00 \x1b \x0c \x85 \u2028 and more",
        pytest.param(
            "A lone \ud800",
            marks=pytest.mark.skipif(sys.version_info >= (3, 13), reason="no such docstring can be compiled"),
        ),
        "No-break\xa0space, é, 日本語",
    ],
)
def test_a_docstring_is_kept(doc: str) -> None:
    def source() -> None: ...

    source.__doc__ = doc
    text = repr(doc)
    body = text_of(wrap(f"{text}\ndef f():\n    {text}\n"))
    space = load(body, lambda *_: None)
    assert inspect.getdoc(space["f"]) == inspect.getdoc(source)
    assert inspect.cleandoc(space["__doc__"]) == inspect.getdoc(source)


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_any_docstring_is_kept_but_for_blanks_at_the_ends_of_lines(doc: str) -> None:
    body = text_of(wrap(f"def f():\n    {doc!a}\n"))
    kept = load(body, lambda *_: None)["f"].__doc__ or ""
    expected = [line.rstrip() for line in inspect.cleandoc(doc.rstrip()).split("\n")]
    assert [line.rstrip() for line in inspect.cleandoc(kept).split("\n")] == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python cannot read the source")
def test_the_wrapper_of_a_source_for_a_newer_python_is_one_for_older_pythons_too() -> None:
    text = """
from dataclasses import dataclass
from typing import Callable, NamedTuple, TypedDict
type Money = int | list[Money]
type Pair[A, B] = tuple[A, B]
type Later = Box
def f[T: int](a: Money, b: Pair[int, str], *c: T, d=f"{'x'}") -> T: ...
async def g[**P, *Ts](call: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> tuple[*Ts]: ...
@dataclass
class Box[T]:
    item: T
class Row[T](NamedTuple):
    x: T
class Options[T](TypedDict):
    x: T
class Desk[T]:
    @classmethod
    def open[U](cls, box: Box[U], row: Row[int], options: Options[T]) -> "list[Later]": ...
"""
    body = text_of(wrap(text))
    ast.parse(body, feature_version=(3, 11))
    assert "async def f(a: int | list[Any], b: tuple[int, str], *c: _T, d: Any = ...) -> _T:" in body
    assert "async def g(call: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:" in body
    assert (
        "box: Box[Any],\n        row: Row[int],\n        options: Options[Any],\n    ) -> list[Box[Any]]: ..." in body
    )


def test_a_wrapper_says_which_module_it_is_of() -> None:
    impl = source("deep.impl", "import enum\nclass Side(enum.Enum):\n  A = 1\n")
    wrapped = wrap("from deep.impl import Side\ndef f(x: Side) -> int: ...", impl)
    assert '\n\n__source__ = "pricing"\n__all__ = ["f"]\n' in text_of(wrapped)
    assert '\n\n__source__ = "deep.impl"\n__all__ = ["Side"]\n' in text_of(wrapped, "deep/impl.py")
    assert "__source__" not in text_of(wrapped, "deep/__init__.py")


@pytest.mark.parametrize(
    "bound",
    [
        "__source__ = 'mine'",
        "def __source__(): ...",
        "import enum\nclass __source__(enum.Enum):\n  A = 1",
        "from impl import Side as __source__",
    ],
)
def test_a_source_that_binds_that_name_itself_changes_nothing(bound: str) -> None:
    impl = source("impl", "import enum\nclass Side(enum.Enum):\n  A = 1\n")
    text = f"{bound}\ndef f(x: __source__ = None) -> None: ...\n__all__ = ['__source__', 'f']"
    body = text_of(wrap(text, impl))
    assert '\n\n__source__ = "pricing"\n__all__ = ["f"]\n' in body
    assert body.count("__source__") == 1
