"""What the text of a decorator makes of a function: what its inner function passes on, and what that returns of it.

Followed is the usual form, ``def inner(*args, **kwargs): ... return function(*args, **kwargs)``, with arguments that it adds, keeps
for itself or gives, and the decorator that returns the function itself.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from lastgood.wrappers.ir import ANY, NONE, Default, Kind, Parameter, Type, erased, union
from lastgood.wrappers.read.parameters import entries_of
from lastgood.wrappers.read.scope import Scope
from lastgood.wrappers.read.shape import Function, Outcome, Shape
from lastgood.wrappers.types.annotations import admits, dotted_name, literal, literal_text, read_annotation

__all__ = ["Inner", "by_text", "inner_functions", "passes_on", "returned"]

_BY_POSITION = (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)
_PLAIN = frozenset(
    (
        "all",
        "any",
        "bool",
        "dict",
        "float",
        "frozenset",
        "int",
        "len",
        "list",
        "max",
        "min",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
    )
)
_PLAIN_VALUES = (
    ast.Compare
    | ast.Constant
    | ast.Dict
    | ast.DictComp
    | ast.JoinedStr
    | ast.List
    | ast.ListComp
    | ast.Set
    | ast.SetComp
    | ast.Tuple
)
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


class Inner(Struct, frozen=True):
    """The function that takes the place of another one, which it calls by an expression that ``is_target``.

    ``args`` and ``kwargs`` are the names of the variadic parameters that it passes on; ``own`` are its other parameters.
    """

    node: Any
    scope: Scope
    is_target: Callable[[ast.expr], bool]
    args: str
    kwargs: str
    own: tuple[Parameter, ...]

    @classmethod
    def of(cls, node: Any, is_target: Callable[[ast.expr], bool], scope: Scope, *, skips: int = 0) -> Inner:
        """Make it of a definition; ``skips`` of its first parameters are the ``self`` of a method."""
        entries = list(entries_of(node.args))[skips:]
        own = tuple(
            _parameter(argument.arg, kind, erased(read_annotation(argument.annotation, scope)[0]), default)
            for argument, kind, default in entries
        )
        names = (node.args.vararg, node.args.kwarg)
        args, kwargs = ("" if each is None else each.arg for each in names)
        return cls(node, scope, is_target, args, kwargs, own)


def _parameter(name: str, kind: Kind, type_: Type, default: ast.expr | None) -> Parameter:
    if default is None:
        return Parameter(name, kind, type_)
    value = literal(default)
    is_known = value is not None and admits(type_, value[0])
    return Parameter(name, kind, type_, literal_text(value[0]) if value is not None and is_known else Default.LEFT)


def by_text(node: Any, scope: Scope, function: Function, skips: int) -> Shape | None:
    """Return what the decorator ``node`` makes of ``function``, by its text; None if that does not say it."""
    arguments = [*node.args.posonlyargs, *node.args.args][skips:]
    if not arguments or _assigns(node, arguments[0].arg):
        return None
    name = arguments[0].arg
    inner = inner_functions(node)
    made: list[Shape] = []
    for value in returned(node):
        value = _unwrapped(value)
        if not isinstance(value, ast.Name):
            return None
        if value.id == name:
            made.append(Shape(function.parameters, function.outcome))
            continue
        found = [each for each in inner if each.name == value.id]
        if not found or any(not _is_wraps(each) for every in found for each in every.decorator_list):
            return None
        made += (passes_on(Inner.of(each, lambda node: _is_name(node, name), scope), function) for each in found)
    return made[0] if made and all(each == made[0] for each in made) else None


def inner_functions(node: Any) -> list[Any]:
    """Return the functions that a function defines."""
    return [each for each in _own(node) if isinstance(each, _FUNCTIONS)]


def returned(node: Any) -> list[ast.expr | None]:
    """Return what a function returns, in each of its ``return`` statements."""
    return [each.value for each in _own(node) if isinstance(each, ast.Return)]


def _own(node: Any) -> Iterator[ast.AST]:
    """Yield what stands in a function itself, not in those that it defines."""
    todo: list[ast.AST] = list(node.body)
    while todo:
        inner = todo.pop(0)
        yield inner
        if not isinstance(inner, _FUNCTIONS | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(inner)


def _assigns(node: Any, name: str) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Store) for each in ast.walk(node)
    )


def _changes(node: Any, name: str) -> bool:
    """Return whether a function may assign to ``name``, or change the dict that it has."""
    for each in ast.walk(node):
        match each:
            case ast.Subscript(value=ast.Name(id=named), ctx=ast.Store() | ast.Del()) if named == name:
                return True
            case ast.Attribute(value=ast.Name(id=named), attr="clear" | "pop" | "popitem" | "setdefault" | "update"):
                if named == name:
                    return True
    return _assigns(node, name)


def _unwrapped(value: ast.expr | None) -> ast.expr | None:
    """Return the function in ``update_wrapper(inner, function)``, ``wraps(function)(inner)`` or ``cast(F, inner)``."""
    match value:
        case ast.Call(func=func, args=[inner, *_]) if _last_name(func) == "update_wrapper":
            return inner
        case ast.Call(func=ast.Call(func=func), args=[inner]) if _last_name(func) == "wraps":
            return inner
        case ast.Call(func=func, args=[_, inner]) if _last_name(func) == "cast":
            return inner
    return value


def _is_wraps(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and _last_name(decorator.func) == "wraps"


def _last_name(node: ast.expr) -> str:
    return dotted_name(node).rpartition(".")[2]


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _is_name(node: ast.expr | None, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


# --- what an inner function passes on


def passes_on(inner: Inner, function: Function) -> Shape:
    """Return the shape of ``inner``, as the one that takes the place of ``function``."""
    outcome = _outcome(inner, function)
    if outcome is None or not outcome.is_said:
        outcome = _annotated(inner) or outcome
    return Shape(_parameters(inner, function), outcome)


def _parameters(inner: Inner, function: Function) -> tuple[Parameter, ...] | None:
    if not inner.args:
        return inner.own  # whatever it passes on, by position it takes no more
    calls = [each for each in ast.walk(inner.node) if isinstance(each, ast.Call) and inner.is_target(each.func)]
    if not calls or any(_changes(inner.node, name) for name in (inner.args, inner.kwargs) if name):
        return None
    found = [_passed(inner, call, function.parameters) for call in calls]
    return found[0] if all(each == found[0] for each in found) else None


def _passed(inner: Inner, call: ast.Call, parameters: Sequence[Parameter]) -> tuple[Parameter, ...] | None:
    """Return the parameters that callers see, if ``inner`` calls a function with these parameters by ``call``."""
    given = list(call.args)
    rest = given.pop() if given and isinstance(given[-1], ast.Starred) else None
    words = {word.arg: word.value for word in call.keywords if word.arg is not None}
    others = next((word.value for word in call.keywords if word.arg is None), None)
    passes_args = _is_name(rest.value if isinstance(rest, ast.Starred) else None, inner.args)
    if not (passes_args and inner.kwargs and _is_name(others, inner.kwargs)):
        return None
    if any(isinstance(each, ast.Starred) for each in given):
        return None
    leading = [each for each in parameters if each.kind in _BY_POSITION][: len(given)]
    if len(leading) < len(given):
        return None
    own = [each for each in inner.own if each.kind in _BY_POSITION]
    more = [
        each for each in inner.own if each.kind is Kind.KEYWORD_ONLY and not _is_name(words.get(each.name), each.name)
    ]
    if len(own) == len(given) and all(_is_name(node, each.name) for node, each in zip(given, own, strict=True)):
        left = list(parameters)
    else:
        left = [*own, *parameters[len(given) :]]
    names = {name for name in words if name not in {each.name for each in inner.own}}
    return _with_keywords(_without(left, names), more) if names.isdisjoint(each.name for each in leading) else None


def _without(parameters: Sequence[Parameter] | None, names: set[str]) -> list[Parameter] | None:
    """Return ``parameters`` without those that are given by keyword. One before others would shift these: then None."""
    if parameters is None:
        return None
    positional = [each for each in parameters if each.kind in _BY_POSITION]
    last = [each.name for each in positional[len(positional) - sum(each.name in names for each in positional) :]]
    if any(each.name in names and each.name not in last for each in positional):
        return None
    return [each for each in parameters if each.name not in names]


def _with_keywords(parameters: list[Parameter] | None, more: Sequence[Parameter]) -> tuple[Parameter, ...] | None:
    if parameters is None:
        return None
    taken = {each.name for each in more}
    kept = [each for each in parameters if each.name not in taken]
    place = next((place for place, each in enumerate(kept) if each.kind is Kind.VAR_KEYWORD), len(kept))
    return (*kept[:place], *more, *kept[place:])


# --- what it returns


def _outcome(inner: Inner, function: Function) -> Outcome | None:
    is_async = isinstance(inner.node, ast.AsyncFunctionDef)
    own = list(_own(inner.node))
    if any(isinstance(each, ast.Yield | ast.YieldFrom) for each in own):
        return Outcome(streams=True)
    values = returned(inner.node)
    results = {_returns(inner, each, own) for each in values if not _is_none(each)}
    gives_none = any(map(_is_none, values)) or _falls_through(inner.node.body)
    if not results:
        return Outcome(NONE, is_async=is_async)
    if results == {""} and all(map(_is_no_stream, values)):
        return Outcome(is_async=is_async, is_said=False)
    if len(results) > 1:
        return None
    before = function.outcome
    match results.pop(), is_async:
        case "called", False:
            made = before
        case "called", True if before.is_plain:
            made = Outcome(before.type, is_async=True, texts=before.texts)
        case "awaited", True if before.is_async:
            made = before
        case _:
            return None
    if not gives_none:
        return made
    if made.is_async != is_async or made.streams:
        return None
    return Outcome(ANY if made.type == ANY else union(made.type, NONE), is_async=is_async, texts=made.texts)


def _is_no_stream(value: ast.expr | None) -> bool:
    """Return whether an expression evidently gives a plain value, if it is none of a stream of items."""
    match value:
        case ast.Call(func=ast.Name(id=name)):
            return name in _PLAIN
        case ast.Call(func=ast.Attribute(attr="join")):
            return True
    return value is None or isinstance(value, _PLAIN_VALUES)


def _annotated(inner: Inner) -> Outcome | None:
    """Return what calls give by the annotation of the inner function itself; None if that says no more than ``Any``."""
    type_ = erased(read_annotation(inner.node.returns, inner.scope)[0])
    return None if type_ == ANY else Outcome(type_, is_async=isinstance(inner.node, ast.AsyncFunctionDef))


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _returns(inner: Inner, value: ast.expr | None, own: Sequence[ast.AST]) -> str:
    """Return whether ``value`` is what the function gave ("called"), what awaiting that gave ("awaited"), or another ("")."""
    if isinstance(value, ast.Name):
        given: set[str] = set()
        for each in own:
            match each:
                case ast.Assign(targets=[ast.Name(id=value.id)], value=assigned):
                    given.add(_returns(inner, assigned, ()))
                case ast.Name(id=value.id, ctx=ast.Store()) if not _is_target_of(each, own):
                    given.add("")
        return given.pop() if len(given) == 1 else ""
    if isinstance(value, ast.Await):
        return "awaited" if _returns(inner, value.value, ()) == "called" else ""
    return "called" if isinstance(value, ast.Call) and inner.is_target(value.func) else ""


def _is_target_of(name: ast.AST, statements: Sequence[ast.AST]) -> bool:
    return any(isinstance(each, ast.Assign) and each.targets == [name] for each in statements)


def _falls_through(body: Sequence[ast.stmt]) -> bool:
    """Return whether a block may end without a ``return`` or ``raise``."""
    match body[-1] if body else None:
        case ast.Return() | ast.Raise():
            return False
        case ast.If(body=then, orelse=otherwise):
            return _falls_through(then) or _falls_through(otherwise)
        case ast.With(items=items, body=inner) | ast.AsyncWith(items=items, body=inner):
            suppresses = any(_last_name(_called(item.context_expr)) == "suppress" for item in items)
            return suppresses or _falls_through(inner)
        case ast.Try(body=tried, handlers=handlers, orelse=otherwise, finalbody=final):
            if final and not _falls_through(final):
                return False
            return _falls_through(otherwise or tried) or any(_falls_through(each.body) for each in handlers)
        case ast.While(test=ast.Constant(value=True), body=inner):
            return any(isinstance(each, ast.Break) for statement in inner for each in ast.walk(statement))
        case ast.Match(cases=cases):
            return not cases or any(_falls_through(each.body) for each in cases) or cases[-1].guard is not None
    return True
