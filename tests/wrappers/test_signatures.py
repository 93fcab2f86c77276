"""Signatures of wrappers beside those that :mod:`inspect` tells of their sources, which are imported for it."""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hard_signatures import HARD
from lastgood.config import Style
from wrapping import load, run, text_of, wrap

Call = tuple[tuple[Any, ...], dict[str, Any]]
KINDS = inspect._ParameterKind  # the public names are those of its members alone


class Text(importlib.abc.InspectLoader):
    def __init__(self, text: str) -> None:
        self.text = text

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 (the protocol's)
        return self.text


def imported(text: str) -> ModuleType:
    spec = importlib.util.spec_from_loader("pricing", Text(text))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attribute(holder: Any, path: str) -> Any:
    for name in path.split("."):
        holder = getattr(holder, name)
    return holder


def called(wrapper: Any, call: Call) -> Any:
    args, kwargs = call
    answer = wrapper(*args, **kwargs)
    return run(answer) if inspect.iscoroutine(answer) else answer


class Pair:
    """A source and its wrapper, which calls it. ``sent`` are the calls that went from the one to the other."""

    def __init__(self, text: str, style: Style = "async") -> None:
        self.source = imported(text)
        self.sent: list[Call] = []
        self.space = load(text_of(wrap(text, style=style)), self.answer)
        self.wrapper = ModuleType("wrapper")
        vars(self.wrapper).update(self.space)

    def answer(self, _module: str, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.sent.append((args, kwargs))
        return attribute(self.source, path)(*args, **kwargs)

    def functions(self) -> Iterator[str]:
        """Every function of the wrapper, by its path."""
        todo = list(self.space["__all__"])
        while todo:
            path = todo.pop()
            found = attribute(self.wrapper, path)
            if isinstance(found, type):
                todo += [f"{path}.{name}" for name in vars(found) if not name.startswith("_")]
            elif callable(found):
                yield path

    def signatures(self, path: str) -> tuple[list[inspect.Parameter], list[inspect.Parameter]]:
        both = (attribute(self.source, path), attribute(self.wrapper, path))
        source, wrapper = (list(inspect.signature(each).parameters.values()) for each in both)
        assert [(p.name, p.kind) for p in wrapper] == [(p.name, p.kind) for p in source]
        return source, wrapper

    def compare(self, path: str, call: Call) -> bool:
        """Whether the source takes ``call``. The wrapper sends it as it is, and gives or raises what the source does."""
        args, kwargs = call
        source, wrapper = attribute(self.source, path), attribute(self.wrapper, path)
        before = len(self.sent)
        try:
            expected = source(*args, **kwargs)
        except TypeError:
            with pytest.raises(TypeError):
                called(wrapper, call)
            assert self.sent[before:] == [call]
            return False
        assert called(wrapper, call) == expected
        assert self.sent[before:] == [call]
        return True


@pytest.mark.parametrize(("text", "left"), HARD.values(), ids=HARD)
def test_the_signature_of_a_wrapper_is_that_of_its_source(text: str, left: str) -> None:
    pair = Pair(text)
    paths = list(pair.functions())
    assert paths
    not_sent = []
    for path in sorted(paths):
        source, wrapper = pair.signatures(path)
        for there, here in zip(source, wrapper, strict=True):
            if here.default is ...:
                not_sent.append(f"{path}.{here.name}")
            else:
                assert repr(here.default) == repr(there.default)
    assert not_sent == left.split()


NAMES = [
    *("self", "cls", "call", "args", "kwargs", "named", "positional", "result", "declaration", "remote"),
    *("Any", "dict", "str", "tuple", "object", "int", "list", "print", "staticmethod", "overload", "annotations"),
    *("match", "case", "type", "_", "__x", "__x__", "_x", "ﬁ", "ℌ", "名", "_f_returns", "lastgood", "a", "b", "c"),
]
FUNCTIONS = [
    *("f", "g", "Any", "tuple", "dict", "print", "call", "match", "ﬁt", "annotations", "remote", "named"),
]
LITERALS = [
    *("0", "1", "-2", "+3", "0xff", "1_000", "1.5", "-0.0", "1e400", "True", "False", "None", "()", "(1,)"),
    *(
        "2 ** 3",
        "not 1",
        "''",
        '"it\'s"',
        "'say \"so\"'",
        r"'\\'",
        r"'\n'",
        "'a' 'b'",
        "'é\U0001f600\u200b'",
        r"b'\x00'",
    ),
    "(1, ('x', None))",
]
OTHERS = [
    *("_LEFT", "[]", "{}", "{1}", "1j", "...", "f'{1}'", "_LEFT.__class__", "(1, [])"),
    "1 if 1 else 0",
]
ANNOTATIONS: dict[str, tuple[type, ...]] = {
    "": (object,),
    "'not an annotation )('": (object,),
    "_t.Any": (object,),
    "'_Nowhere.x'": (object,),
    "object": (object,),
    "int": (int,),
    "'int | _t.List[int]'": (int,),
    "float": (int, float),
    "_t.Optional[str]": (str,),
    "_t.Annotated[bool, 'x']": (bool,),
    "_t.List[int]": (),
}
"""By their texts, the types of those literals that type checkers take for them; None besides, which makes them optional."""


@dataclass(frozen=True)
class Param:
    name: str
    kind: KINDS
    annotation: str
    default: str

    def __str__(self) -> str:
        stars = {KINDS.VAR_POSITIONAL: "*", KINDS.VAR_KEYWORD: "**"}.get(self.kind, "")
        annotation = f": {self.annotation}" if self.annotation else ""
        return f"{stars}{self.name}{annotation}{' = ' + self.default if self.default else ''}"

    def is_shown(self, value: object) -> bool:
        """Whether a wrapper has ``value``, that of the default, as its own default."""
        admitted = ANNOTATIONS[self.annotation]
        return self.default in LITERALS and (value is None or isinstance(value, admitted))


@st.composite
def parameters(draw: st.DrawFn) -> list[Param]:
    names = iter(draw(st.lists(st.sampled_from(NAMES), min_size=12, max_size=12, unique=True)))
    annotations = st.sampled_from(list(ANNOTATIONS))
    defaults = st.one_of(st.just(""), st.sampled_from(LITERALS), st.sampled_from(OTHERS))
    kinds = [
        *[KINDS.POSITIONAL_ONLY] * draw(st.integers(0, 2)),
        *[KINDS.POSITIONAL_OR_KEYWORD] * draw(st.integers(0, 3)),
        *[KINDS.VAR_POSITIONAL] * draw(st.integers(0, 1)),
        *[KINDS.KEYWORD_ONLY] * draw(st.integers(0, 3)),
        *[KINDS.VAR_KEYWORD] * draw(st.integers(0, 1)),
    ]
    made: list[Param] = []
    for kind in kinds:
        default = "" if kind in (KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD) else draw(defaults)
        if kind in (KINDS.POSITIONAL_ONLY, KINDS.POSITIONAL_OR_KEYWORD) and made and made[-1].default:
            default = default or "_LEFT"
        made.append(Param(next(names), kind, draw(annotations), default))
    return made


def listed(params: list[Param]) -> str:
    parts: list[str] = []
    for place, param in enumerate(params):
        kinds = [each.kind for each in params]
        if param.kind is KINDS.KEYWORD_ONLY and not {KINDS.VAR_POSITIONAL, KINDS.KEYWORD_ONLY} & {*kinds[:place]}:
            parts.append("*")
        parts.append(str(param))
        if param.kind is KINDS.POSITIONAL_ONLY and KINDS.POSITIONAL_ONLY not in kinds[place + 1 :]:
            parts.append("/")
    return ", ".join(parts)


@st.composite
def modules(draw: st.DrawFn) -> tuple[str, dict[str, list[Param]]]:
    """A source with functions and methods, and what their parameters are, by path."""
    lines = ["from __future__ import annotations"] if draw(st.booleans()) else []
    lines += ["import functools as _f, typing as _t", "_LEFT = object()", "def _keeps(f):", "    @_f.wraps(f)"]
    lines += ["    def inner(*args, **kwargs): return f(*args, **kwargs)", "    return inner"]
    found: dict[str, list[Param]] = {}

    def add(path: str, indent: str, first: str, decorator: str) -> None:
        params = [param for param in draw(parameters()) if param.name != "cls" or not first]
        if params and first and params[0].kind is KINDS.POSITIONAL_ONLY:
            first = "cls, "
        elif first:
            first = "cls, /, "
        lines.extend(f"{indent}@{each}" for each in (decorator, draw(st.sampled_from(["", "_keeps"]))) if each)
        lines.append(f"{indent}def {path.rpartition('.')[2]}({first}{listed(params)}): return locals()")
        found[unicodedata.normalize("NFKC", path)] = params

    for name in draw(st.lists(st.sampled_from(FUNCTIONS), max_size=2, unique=True)):
        add(name, "", "", "")
    lines.append("class Desk:")
    add("Desk.a", "    ", "", "staticmethod")
    lines.append("    class Drawer:")
    add("Desk.Drawer.b", "        ", "cls, ", "classmethod")
    return "\n".join(lines), found


@st.composite
def calls(draw: st.DrawFn, signature: inspect.Signature) -> Call:
    """A call that may be right: all that has to be given, by position or by name, and then some change to it."""
    args: list[int] = []
    kwargs: dict[str, int] = {}
    values = st.integers(100, 999)
    by_position = draw(st.integers(0, 5))
    for param in signature.parameters.values():
        is_given = param.default is param.empty or draw(st.booleans())
        if param.kind is KINDS.VAR_POSITIONAL:
            args += draw(st.lists(values, max_size=2)) if not kwargs else []
        elif param.kind is KINDS.VAR_KEYWORD:
            kwargs |= draw(st.dictionaries(st.sampled_from(["x", "result", "other"]), values))
        elif is_given and (param.kind is KINDS.POSITIONAL_ONLY or (len(args) < by_position and not kwargs)):
            args.append(draw(values))
        elif is_given:
            kwargs[param.name] = draw(values)
    match draw(st.sampled_from(["", "", "more", "less", "unknown", "again"])):
        case "more":
            args.append(1)
        case "less" if kwargs:
            del kwargs[draw(st.sampled_from(sorted(kwargs)))]
        case "less" if args:
            args.pop()
        case "unknown":
            kwargs["unknown"] = 1
        case "again" if signature.parameters:
            kwargs[draw(st.sampled_from(sorted(signature.parameters)))] = 1
    return tuple(args), kwargs


@settings(max_examples=60, deadline=None)
@given(modules(), st.sampled_from(["async", "sync"]), st.data())
def test_any_signature_is_kept_and_any_call_is_the_sources_own(
    module: tuple[str, dict[str, list[Param]]], style: Style, data: st.DataObject
) -> None:
    text, functions = module
    pair = Pair(text, style)
    assert set(pair.functions()) == functions.keys()
    for path, params in functions.items():
        source, wrapper = pair.signatures(path)
        for param, there, here in zip(params, source, wrapper, strict=True):
            if param.default and not param.is_shown(there.default):
                assert here.default is ...
            else:
                assert (type(here.default), repr(here.default)) == (type(there.default), repr(there.default))
        signature = inspect.signature(attribute(pair.source, path))
        for _ in range(4):
            pair.compare(path, data.draw(calls(signature)))
