"""What decorators make of a function: its parameters, and what calls of it give.

A local decorator is followed by its annotations, with what its type variables and ``ParamSpec`` stand for in the function; where
these say nothing, by its text (see :mod:`.passing`). Of the others, some are known by their path (see :mod:`.well_known`). Where
nothing says what a decorator does, types become ``Any``: a wrapper never has a wrong type.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace
from msgspec.structs import replace as with_fields

from lastgood.wrappers.ir import ANY, Kind, Parameter, Type, Variable, erased, substituted, variables
from lastgood.wrappers.read.lineage import inherited
from lastgood.wrappers.read.passing import Inner, by_text, inner_functions, passes_on, returned
from lastgood.wrappers.read.project import Located, Project
from lastgood.wrappers.read.results import abstract, head_in, unaliased
from lastgood.wrappers.read.scope import Place, Scope
from lastgood.wrappers.read.shape import Function, Outcome, Shape
from lastgood.wrappers.read.well_known import OBJECTS, TAKES_FIRST, keeps
from lastgood.wrappers.types.annotations import dotted_name, read_annotation, read_variable, unquoted
from lastgood.wrappers.types.warning_texts import about_annotation

__all__ = ["decorated", "object_of"]

Decorator = tuple[ast.expr, Scope]

_MAX_STEPS = 20
_BY_POSITION = (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)
_UNSAID = ("builtins.object", "collections.abc.Callable", "types.FunctionType", "typing.Any", "typing.Callable")
_MANAGERS = ("contextlib.asynccontextmanager", "contextlib.contextmanager")


def decorated(function: Function, decorators: Iterable[Decorator]) -> tuple[Function, tuple[str, ...]]:
    """Return what ``decorators``, the innermost first, make of a function, and the names of those that do not say it."""
    unclear: list[str] = []
    for node, scope in decorators:
        callee = _callee(node, scope)
        made = ((_applied(callee, function) if callee is not None else None) or Shape()).checked()
        if made.parameters is None or made.outcome is None or not made.outcome.is_said:
            unclear.append(_text(node.func if isinstance(node, ast.Call) else node))
        function = function.become(made)
    return function, tuple(dict.fromkeys(unclear))


def _text(node: ast.expr) -> str:
    try:
        return dotted_name(node) or ast.unparse(node)
    except RecursionError:
        return "..."


def object_of(decorators: Iterable[Decorator]) -> str | None:
    """Return why what ``decorators`` make of a function is no function to its callers; None if it is one."""
    for node, scope in decorators:
        callee = _callee(node, scope)
        if isinstance(callee, _Known) and callee.path in OBJECTS:
            return OBJECTS[callee.path]
    return None


# --- which decorator it is


class _Known(Struct, frozen=True):
    """Something that is not local, or what a call of it gives. ``path``: its full path."""

    path: str


class _Def(Struct, frozen=True, eq=False):
    """A function of a local module, or one inside of such. ``skips`` is 1 for the ``self`` of a method."""

    node: Any
    scope: Scope
    overloads: tuple[Any, ...] = ()
    skips: int = 0


class _Class(Struct, frozen=True, eq=False):
    """A local class, or with ``is_instance`` an instance of it."""

    place: Place
    project: Project
    is_instance: bool = False

    def method(self, name: str) -> _Def | None:
        found = inherited(self.project, self.place).get(name)
        if not isinstance(found, Located) or found.is_class:
            return None
        binding = found.bindings[-1]
        scope = Scope(self.project, found.outline, binding.at.owner, binding.type_parameters)
        return _Def(binding.node, scope, tuple(each.node for each in found.overloads), skips=1)

    def derives_from(self, path: str) -> bool:
        node = self.place.binding.node
        scope = Scope(self.project, self.place.outline, self.place.owner)
        return any(scope.base(base) == path for base in getattr(node, "bases", ()))


class _Typed(Struct, frozen=True, eq=False):
    """Something of which only the annotation is known. There may be several of them, as of overloads."""

    annotations: tuple[ast.expr, ...]
    scope: Scope


_Callee = _Known | _Def | _Class | _Typed


def _callee(node: ast.expr, scope: Scope, steps: int = _MAX_STEPS) -> _Callee | None:
    """Return what an expression, such as a decorator, stands for; None if that is unknown."""
    if not steps:
        return None
    if isinstance(node, ast.Call):
        callee = _callee(node.func, scope, steps - 1)
        if callee == _Known("functools.partial") and node.args:
            return _callee(node.args[0], scope, steps - 1)
        return None if callee is None else _result(callee)
    dotted = dotted_name(node)
    located = _located(dotted, scope)
    if located is not None:
        binding = located.bindings[-1]
        if located.is_class:
            return _Class(Place(located.outline, binding, binding.qualified), scope.project)
        inner = Scope(scope.project, located.outline, binding.at.owner, binding.type_parameters)
        return _Def(binding.node, inner, tuple(each.node for each in located.overloads))
    found = scope.lookup(dotted)
    if isinstance(found, str):
        return _Known(found)
    if isinstance(found, tuple) and isinstance(found[1], ast.expr):
        return _callee(found[1], found[0], steps - 1)
    if isinstance(node, ast.Attribute):
        owner = _callee(node.value, scope, steps - 1)
        return None if owner is None else _attribute(owner, node.attr)
    return None


def _located(dotted: str, scope: Scope) -> Located | None:
    """Return the function or class of a local module that a name stands for."""
    head, _, rest = dotted.partition(".")
    if not head or (scope.owner is not None and head in scope.at.names(scope.owner)):
        return None  # of a name in a class nothing is known here
    if not rest:
        found = scope.project.locate(scope.at, head)
        return found if isinstance(found, Located) else None
    bindings = scope.at.names().get(head)
    if not bindings or not bindings[-1].target:
        return None
    module, _, name = f"{bindings[-1].target}.{rest}".rpartition(".")
    origin = scope.project.outline(module)
    found = None if origin is None else scope.project.locate(origin, name)
    return found if isinstance(found, Located) else None


def _attribute(owner: _Callee, name: str) -> _Callee | None:
    match owner:
        case _Known(path):
            return _Known(f"{path}.{name}")
        case _Class(is_instance=True):
            return owner.method(name)
        case _Def(node=node, scope=scope) if name == "register" and _is_decorated(
            node, scope, "functools.singledispatch"
        ):
            return _Known("functools.singledispatch.register")
        case _Def(node=node, scope=scope):
            objects = [path for each in node.decorator_list if (path := head_in(each, scope)) in OBJECTS]
            return _Known(f"{objects[0]}.{name}") if objects else None
    return None


def _is_decorated(node: Any, scope: Scope, *paths: str) -> bool:
    return any(head_in(each, scope) in paths for each in node.decorator_list)


def _result(callee: _Callee) -> _Callee | None:
    """Return what a call of ``callee`` gives, such as what ``retry(3)`` in ``@retry(3)`` does."""
    match callee:
        case _Known():
            return callee
        case _Class(place, project, is_instance=False):
            made = _Class(place, project, is_instance=True)
            return _Known("contextlib.ContextDecorator") if made.derives_from("contextlib.ContextDecorator") else made
        case _Class():
            method = callee.method("__call__")
            return None if method is None else _result(method)
        case _Def(node, scope, overloads):
            if _is_decorated(node, scope, *_MANAGERS):
                return _Known("contextlib.ContextDecorator")
            annotations = tuple(each.returns for each in overloads or (node,) if each.returns is not None)
            if annotations:
                return _Typed(annotations, scope)
            inner = {each.name: each for each in inner_functions(node)}
            names = {each.id if isinstance(each, ast.Name) else "" for each in returned(node)}
            name = names.pop() if len(names) == 1 else ""
            return _Def(inner[name], scope) if name in inner and not inner[name].decorator_list else None
        case _Typed(annotations, scope):
            pairs = [pair for each in annotations if (pair := _callable(each, scope)) is not None]
            return _Typed(tuple(pair[1] for pair in pairs), pairs[0][2]) if pairs else None


# --- what it makes of a function


def _applied(callee: _Callee, function: Function) -> Shape | None:
    match callee:
        case _Known(path):
            return _by_path(path, function)
        case _Def():
            return _by_definition(callee, function)
        case _Class(is_instance=True):
            method = callee.method("__call__")
            return None if method is None else _by_definition(method, function)
        case _Class():
            return _by_class(callee, function)
        case _Typed(annotations, scope):
            for annotation in annotations:
                pair = _callable(annotation, scope)
                taken = pair and _only(pair[0])
                if pair is not None and taken is not None:
                    made = _by_annotations(taken, pair[1], pair[2], function)
                    if made is not None:
                        return made
                elif (method := _called_by(annotation, scope)) is not None:
                    return _by_definition(method, function)
    return None


def _by_path(path: str, function: Function) -> Shape | None:
    if keeps(path):
        return Shape(function.parameters, function.outcome)
    if path in TAKES_FIRST and function.parameters:
        return Shape(function.parameters[1:], function.outcome)
    return None


def _by_definition(callee: _Def, function: Function) -> Shape | None:
    node, scope = callee.node, callee.scope
    if _is_decorated(node, scope, "wrapt.decorator"):
        names = [each.arg for each in node.args.args]
        if len(names) != 4:
            return None
        called, _, args, kwargs = names
        return passes_on(
            Inner(node, scope, lambda each: isinstance(each, ast.Name) and each.id == called, args, kwargs, ()),
            function,
        )
    if any(not keeps(head_in(each, scope)) for each in node.decorator_list if node not in callee.overloads):
        return None
    made = Shape()
    for each in (*callee.overloads, node):
        arguments = [*each.args.posonlyargs, *each.args.args][callee.skips :]
        if arguments:
            found = _by_annotations(arguments[0].annotation, each.returns, scope, function)
            made = made.filled(found)
            if found is not None:
                break
    if made.parameters is None or made.outcome is None:
        made = made.filled(by_text(node, scope, function, callee.skips))
    return made


def _by_class(callee: _Class, function: Function) -> Shape | None:
    """Return what calls of an instance of a class take and give that is made with the function."""
    init, call = callee.method("__init__"), callee.method("__call__")
    if init is None or call is None or call.node.decorator_list:
        return None
    arguments = [*init.node.args.posonlyargs, *init.node.args.args][1:]
    if not arguments:
        return None
    meaning = _Meaning(function)
    is_known = arguments[0].annotation is not None and meaning.takes(arguments[0].annotation, init.scope)
    kept = [
        target.attr
        for each in ast.walk(init.node)
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id == arguments[0].arg
        for target in each.targets
        if isinstance(target, ast.Attribute)
    ]

    def is_target(node: ast.expr) -> bool:
        return isinstance(node, ast.Attribute) and node.attr in kept and isinstance(node.value, ast.Name)

    made = Shape()
    if is_known and call.node.returns is not None:
        args = call.node.args.vararg
        spec = unquoted(args.annotation) if args is not None and args.annotation is not None else None
        parameters = meaning.parameters(spec.value, call.scope) if isinstance(spec, ast.Attribute) else None
        is_async = isinstance(call.node, ast.AsyncFunctionDef)
        outcome = meaning.outcome(call.node.returns, call.scope)
        made = Shape(parameters, replace(outcome, is_async=True) if outcome is not None and is_async else outcome)
    return made.filled(passes_on(Inner.of(call.node, is_target, call.scope, skips=1), function))


# --- annotations


def _by_annotations(taken: ast.expr | None, given: ast.expr | None, scope: Scope, function: Function) -> Shape | None:
    """Return what a decorator makes of ``function`` that takes and gives what these annotations say; None if they do not fit."""
    if given is None:
        return None
    meaning = _Meaning(function)
    if taken is not None and not meaning.takes(taken, scope):
        return None
    return meaning.shape(given, scope)


def _callable(annotation: ast.expr, scope: Scope) -> tuple[ast.expr, ast.expr, Scope] | None:
    """Return what stands in a ``Callable[..., ...]``: its parameters and its result."""
    annotation, scope = unaliased(annotation, scope)
    match annotation:
        case ast.Subscript(slice=ast.Tuple(elts=[parameters, result])) if abstract(annotation, scope) == "Callable":
            return parameters, result, scope
    return None


def _only(parameters: ast.expr) -> ast.expr | None:
    """Return the single parameter in ``[parameter]``."""
    match parameters:
        case ast.List(elts=[parameter]):
            return parameter
    return None


def _called_by(annotation: ast.expr, scope: Scope) -> _Def | None:
    """Return the ``__call__`` of a local class, such as a protocol, that an annotation names."""
    annotation, scope = unaliased(annotation, scope)
    named = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    found = scope.lookup(dotted_name(named))
    return _Class(found, scope.project, is_instance=True).method("__call__") if isinstance(found, Place) else None


class _Meaning(Struct):
    """What the type variables in the annotations of a decorator stand for in a function."""

    function: Function
    _whole: set[Variable] = field(default_factory=set)
    _types: dict[Variable, Outcome] = field(default_factory=dict)
    _parameters: dict[tuple[str, str], tuple[Parameter, ...]] = field(default_factory=dict)

    def takes(self, annotation: ast.expr, scope: Scope) -> bool:
        """Bind the type variables in the annotation of what the decorator takes; return whether it fits the function."""
        if _variable(annotation, scope) is None:
            annotation, scope = unaliased(annotation, scope)
        for option in _options(annotation, scope):
            variable = _variable(option, scope)
            if variable is not None:
                self._whole.add(variable)
            says_nothing = not isinstance(option, ast.Subscript) and head_in(option, scope) in _UNSAID
            if variable is not None or says_nothing:
                return True
            pair = _callable(option, scope)
            if pair is not None:
                return self._takes_parameters(*pair[::2]) and self._gives(pair[1], pair[2])
        return False

    def _takes_parameters(self, node: ast.expr, scope: Scope) -> bool:
        parameters = self.function.parameters
        spec = _spec(node, scope)
        if spec is not None:
            self._parameters[spec] = parameters
            return True
        leading, rest = _concatenated(node, scope)
        if isinstance(node, ast.List):
            leading, rest = node.elts, None
        positional = [each for each in parameters if each.kind in _BY_POSITION]
        if len(leading) > len(positional):
            return False
        for each, parameter in zip(leading, positional, strict=False):
            self._binds(read_annotation(each, scope)[0], parameter.type)
        spec = None if rest is None else _spec(rest, scope)
        if spec is not None:
            self._parameters[spec] = parameters[len(leading) :]
        return True

    def _gives(self, node: ast.expr, scope: Scope) -> bool:
        """Bind the type variables in the annotation of the result of what the decorator takes."""
        outcome = self.function.outcome
        variable = _variable(node, scope)
        if variable is not None:
            self._types[variable] = outcome
            return True
        node, scope = unaliased(node, scope)
        name, inside = abstract(node, scope), _inside(node)
        if name in ("Awaitable", "Coroutine"):
            if not outcome.is_async:
                return False
            return not inside or self._binds(read_annotation(inside[-1], scope)[0], outcome.type)
        if outcome.streams:
            return name not in _STREAMS or not inside or self._binds(read_annotation(inside[0], scope)[0], outcome.type)
        return outcome.is_async or self._binds(read_annotation(node, scope)[0], outcome.type)

    def _binds(self, pattern: Type, type_: Type) -> bool:
        """Bind the type variables of a type to the parts of another one that are in their places."""
        if isinstance(pattern.head, Variable):
            self._types.setdefault(pattern.head, Outcome(type_))
        elif pattern.head == type_.head and len(pattern.args) == len(type_.args):
            for inner, part in zip(pattern.args, type_.args, strict=True):
                self._binds(inner, part)
        return True

    def shape(self, annotation: ast.expr, scope: Scope) -> Shape:
        """Return the shape of what the decorator gives, by its annotation."""
        variable = _variable(annotation, scope)
        if variable is not None:
            return Shape(self.function.parameters, self.function.outcome) if variable in self._whole else Shape()
        annotation, scope = unaliased(annotation, scope)
        pair = _callable(annotation, scope)
        if pair is not None:
            return Shape(self.parameters(pair[0], pair[2]), self.outcome(pair[1], pair[2]))
        method = _called_by(annotation, scope)
        return Shape() if method is None else self._of_protocol(annotation, method)

    def _of_protocol(self, annotation: ast.expr, method: _Def) -> Shape:
        """Return the shape of a local class with a ``__call__`` that has parameters of its own."""
        arguments = method.node.args
        if isinstance(annotation, ast.Subscript) or arguments.vararg or arguments.kwarg or method.node.returns is None:
            return Shape()
        inner = Inner.of(method.node, lambda _: False, method.scope, skips=1)
        outcome = self.outcome(method.node.returns, method.scope)
        if isinstance(method.node, ast.AsyncFunctionDef) and outcome is not None:
            outcome = replace(outcome, is_async=True)
        return Shape(inner.own, outcome)

    def parameters(self, node: ast.expr, scope: Scope) -> tuple[Parameter, ...] | None:
        """Return the parameters in a ``Callable``; None if it does not say them."""
        spec = _spec(node, scope)
        if spec is not None:
            return self._parameters.get(spec)
        if isinstance(node, ast.List):
            positional = [each for each in self.function.parameters if each.kind in _BY_POSITION]
            types = [self._read(each, scope)[0] for each in node.elts]
            if len(types) == len(positional) == len(self.function.parameters):
                return tuple(with_fields(each, type=type_) for each, type_ in zip(positional, types, strict=True))
            return tuple(_unnamed(types))
        leading, rest = _concatenated(node, scope)
        spec = None if rest is None else _spec(rest, scope)
        known = None if spec is None else self._parameters.get(spec)
        if known is None:
            return None
        taken = {each.name for each in known}
        return (*_unnamed([self._read(each, scope)[0] for each in leading], taken), *known)

    def outcome(self, node: ast.expr, scope: Scope) -> Outcome | None:
        """Return what calls give by the annotation of a result; None if it says no more than ``Any``."""
        variable = _variable(node, scope)
        if variable is not None:
            return self._types.get(variable)
        node, scope = unaliased(node, scope)
        if head_in(node, scope) == "typing.Any":
            return None
        name, inside = abstract(node, scope), _inside(node)
        if name in ("Awaitable", "Coroutine"):
            found = self.outcome(inside[-1], scope) if inside else Outcome()
            return None if found is None or not found.is_plain else replace(found, is_async=True)
        streams = name in _STREAMS and name != "Iterable"
        inner = (inside[0] if inside else None) if streams else node
        type_, parts = (ANY, ()) if inner is None else self._read(inner, scope)
        texts = () if inner is None else tuple(about_annotation("the result", node, type_, parts))
        return Outcome(type_, streams, texts=texts)

    def _read(self, node: ast.expr, scope: Scope) -> tuple[Type, tuple[str, ...]]:
        """Read an annotation, with what the type variables in it stand for."""
        type_, parts = read_annotation(node, scope)
        given = {
            each: (self._types[each].type if self._types[each].is_plain else ANY)
            if each in self._types
            else erased(Type(each))
            for each in variables(type_)
        }
        return substituted(type_, given), parts


_STREAMS = ("AsyncGenerator", "AsyncIterable", "AsyncIterator", "Generator", "Iterable", "Iterator")


def _options(annotation: ast.expr, scope: Scope) -> Iterator[ast.expr]:
    """Yield the types in ``X | None`` or ``Optional[X]``."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from (unquoted(left), unquoted(right))
        case ast.Subscript(slice=inside) if head_in(annotation, scope) in ("typing.Optional", "typing.Union"):
            yield from map(unquoted, inside.elts if isinstance(inside, ast.Tuple) else [inside])
        case _:
            yield annotation


def _inside(node: ast.expr) -> list[ast.expr]:
    inside = node.slice if isinstance(node, ast.Subscript) else None
    return inside.elts if isinstance(inside, ast.Tuple) else [] if inside is None else [inside]


def _variable(node: ast.expr, scope: Scope) -> Variable | None:
    node = unquoted(node)
    found = scope.lookup(dotted_name(node)) if isinstance(node, ast.Name | ast.Attribute) else None
    return read_variable(found[1], found[0]) if isinstance(found, tuple) else None


def _spec(node: ast.expr, scope: Scope) -> tuple[str, str] | None:
    """Return the module and the name of the ``ParamSpec`` that a name stands for."""
    node = unquoted(node)
    found = scope.lookup(dotted_name(node)) if isinstance(node, ast.Name | ast.Attribute) else None
    match found:
        case (Scope() as where, ast.Call(func=func, args=[ast.Constant(value=str(name)), *_])):
            return (where.module, name) if head_in(func, where).endswith(".ParamSpec") else None
        case (Scope() as where, value) if type(value).__name__ == "ParamSpec":  # ast.ParamSpec is new in 3.12
            return where.module, value.name  # type: ignore[attr-defined]  # so mypy does not know it
    return None


def _concatenated(node: ast.expr, scope: Scope) -> tuple[list[ast.expr], ast.expr | None]:
    """Return the parameters in ``Concatenate[int, P]``, and the rest."""
    match node:
        case ast.Subscript(slice=ast.Tuple(elts=[*leading, rest])) if head_in(node, scope).endswith(".Concatenate"):
            return leading, rest
    return [], None


def _unnamed(types: Iterable[Type], taken: Iterable[str] = ()) -> Iterator[Parameter]:
    """Yield positional-only parameters, whose names nobody needs to know."""
    names = {*taken}
    for number, type_ in enumerate(types, 1):
        name = f"argument{number}"
        while name in names:
            name += "_"
        yield Parameter(name, Kind.POSITIONAL_ONLY, type_)
