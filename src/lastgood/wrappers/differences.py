"""Differences between a wrapper and its module as a worker has imported it: what can only be known by running the source. Pure."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct

from lastgood.bridges.worker.interface import FUNCTION, LAZY, OBJECT
from lastgood.sources.parsing import LARGEST
from lastgood.wrappers.ir import Class, Constant, Default, Function, Kind, Module, Signature

__all__ = ["Description", "description", "differences", "functions_in"]

Parameters = Sequence[tuple[str, int, bool]]

_KINDS = {kind: number for number, kind in enumerate(Kind)}
_POSITIONAL_ONLY, _POSITIONAL_OR_KEYWORD, _VAR_POSITIONAL, _KEYWORD_ONLY, _VAR_KEYWORD = range(5)
_ANYTHING = {(_VAR_POSITIONAL,), (_VAR_POSITIONAL, _VAR_KEYWORD)}
_MOST_NAMES = 10


class _Callable(msgspec.Struct, array_like=True, frozen=True):
    yields: bool | None
    parameters: list[tuple[str, int, bool]] | None
    own: list[tuple[str, int, bool]] | None


class _Public(msgspec.Struct, array_like=True, frozen=True):
    is_listed: bool
    names: list[tuple[str, int, str]]


class Description(Struct, frozen=True):
    """What functions, by module and path, and modules are in a worker."""

    functions: dict[tuple[str, str], _Callable | str]
    modules: dict[str, _Public]


def functions_in(module: Module) -> list[tuple[str, str]]:
    """Return what the functions of a wrapper call, as pairs of a module and a path in it."""
    return [(each.module, each.path) for each in _functions(module.members)]


def _functions(members: Iterable[Function | Class | Constant]) -> Iterator[Function]:
    for member in members:
        if isinstance(member, Function):
            yield member
        elif isinstance(member, Class):
            yield from _functions(member.members)


def description(found: object, functions: Sequence[tuple[str, str]], modules: Sequence[str]) -> Description:
    """Read the answer to a question about ``functions`` and ``modules``; see :func:`.worker.interface.interface`.

    Raises :class:`msgspec.ValidationError`.
    """
    described, public = msgspec.convert(found, tuple[list[_Callable | str], list[_Public]])
    if (len(described), len(public)) != (len(functions), len(modules)):
        raise msgspec.ValidationError("The description has another length than the question.")
    return Description(dict(zip(functions, described, strict=True)), dict(zip(modules, public, strict=True)))


def differences(module: Module, found: Description, source: bytes, is_expected: Callable[[str], bool]) -> Iterator[str]:
    """Yield a warning for each difference between a wrapper and what a worker has ``found``.

    ``source`` is the text of the module. ``is_expected`` returns whether the wrapper may lack a public name.
    """
    for function in _functions(module.members):
        there = found.functions.get((function.module, function.path))
        problem = None if there is None else _difference(function, there)
        if problem is not None:
            yield f"{function.module}.{function.path}: {problem}"
    names = _lacking(module, found.modules[module.name], source, is_expected) if module.name in found.modules else []
    if names:
        shown = ", ".join(names[:_MOST_NAMES])
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield (
            f"{module.name}: its wrapper lacks names that it has in the worker: {shown}{more}. They are made or listed while it "
            "is imported, and wrappers are made without that. Bind them by statements at the top level."
        )


def _difference(function: Function, there: _Callable | str) -> str | None:
    if isinstance(there, str):
        return f"calls of its wrapper are refused. {there}"
    if there.yields and not function.streams:
        return (
            "its wrapper declares a plain result, but in the worker it is a generator function, whose items only a stream "
            "can give. Annotate the decorator that makes it one."
        )
    says = list(_parameters(function.signature))
    if there.parameters is None or not _differ(says, there.parameters, there.own):
        return None
    return (
        f"its wrapper says that it takes {_text(says)}, but in the worker it takes {_text(there.parameters)}: something that "
        "runs while the module is imported, such as a decorator, has changed it."
    )


def _parameters(signature: Signature) -> Iterator[tuple[str, int, bool]]:
    for each in signature.parameters:
        yield each.name, _KINDS[each.kind], each.default is not Default.REQUIRED


def _differ(says: Parameters, parameters: Parameters, own: Parameters | None) -> bool:
    own = parameters if own is None else own
    if _takes_anything(says) or _are_same(says, parameters) or _are_same(says, own):
        return False
    if _are_same(parameters, own) or not _takes_anything(own):
        return not _passes_on(own, says)
    # It claims to be the function that it wraps, but may give or take away leading arguments.
    more = len(parameters) - len(says)
    longer, shorter = (parameters, says) if more > 0 else (says, parameters)
    if not more or any(kind > _POSITIONAL_OR_KEYWORD for _, kind, _ in longer[: abs(more)]):
        return True
    return not _are_same(longer[abs(more) :], shorter)


def _passes_on(own: Parameters, says: Parameters) -> bool:
    """Return whether a function with ``*args`` and ``**kwargs`` can be called as ``says`` has it: it may pass that on."""
    kinds = [kind for _, kind, _ in own]
    if _VAR_POSITIONAL not in kinds or _VAR_KEYWORD not in kinds:
        return False
    leading = [each for each in own if each[1] <= _POSITIONAL_OR_KEYWORD]
    given = [each for each in says if each[1] <= _POSITIONAL_OR_KEYWORD]
    fits = all(_normal([some]) == _normal([other]) for some, other in zip(leading, given, strict=False))
    names = {name for name, _, _ in says}
    needed = {name for name, kind, default in own if kind == _KEYWORD_ONLY and not default}
    return fits and len(leading) <= len(given) and needed <= names


def _takes_anything(parameters: Parameters) -> bool:
    return tuple(kind for _, kind, _ in parameters) in _ANYTHING


def _are_same(some: Parameters, others: Parameters) -> bool:
    return _normal(some) == _normal(others)


def _normal(parameters: Parameters) -> object:
    """Return parameters without what calls do not depend on: the names of some, and the order of keyword-only ones."""
    by_name = (_POSITIONAL_OR_KEYWORD, _KEYWORD_ONLY)
    all_ = [(name if kind in by_name else "", kind, default) for name, kind, default in parameters]
    keyword_only = {each for each in all_ if each[1] == _KEYWORD_ONLY}
    return [each for each in all_ if each[1] != _KEYWORD_ONLY], keyword_only


def _text(parameters: Parameters) -> str:
    parts: list[str] = []
    last = -1
    for name, kind, default in parameters:
        if last == _POSITIONAL_ONLY != kind:
            parts.append("/")
        if kind == _KEYWORD_ONLY and last not in (_VAR_POSITIONAL, _KEYWORD_ONLY):
            parts.append("*")
        stars = {_VAR_POSITIONAL: "*", _VAR_KEYWORD: "**"}.get(kind, "")
        parts.append(f"{stars}{name}{'=...' if default else ''}")
        last = kind
    return f"({', '.join([*parts, '/'] if last == _POSITIONAL_ONLY else parts)})"


# --- names


def _lacking(module: Module, public: _Public, source: bytes, is_expected: Callable[[str], bool]) -> list[str]:
    """Return the public names that neither the wrapper has nor a statement of the source binds."""
    has = {*module.exports, *module.around, *(member.name for member in module.members)}
    rest = [
        (name, kind)
        for name, kind, home in public.names
        if name not in has
        and (public.is_listed or kind in (OBJECT, LAZY) or home == module.name)
        and not is_expected(name)
    ]
    if not rest:
        return []
    words = {word for parts in _BINDING.findall(source) for part in parts for word in _WORD.findall(part)}
    bound: Container[str] = {word.decode() for word in words}
    if any(name not in bound for name, _ in rest):
        bound = _bound(source)
    return [name for name, kind in rest if name not in bound or (public.is_listed and kind == FUNCTION)]


# What looks like a binding, found much faster than by parsing. It may be none: then nothing is said about the name.
_BINDING = re.compile(
    rb"^[ \t]*(?:class|(?:async[ \t]+)?def)[ \t]+(\w+)|^([\w,() \t]+)[=:]|\bimport\b[ \t]*(\([^()]*\)|[^\n;]*)",
    re.MULTILINE,
)
_WORD = re.compile(rb"\w+")


class _Everything:
    def __contains__(self, name: object) -> bool:
        return True


def _bound(source: bytes) -> Container[str]:
    """Return the names that statements in a source bind. All names if it imports ``*``, or cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source if len(source) <= LARGEST else b"(")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _Everything()
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                return _Everything()
            case ast.alias(name=name, asname=other):
                names.add(other or name.partition(".")[0])
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.MatchMapping(rest=str(name)):
                names.add(name)
            case ast.Global(names=others):
                names.update(others)
    return names
