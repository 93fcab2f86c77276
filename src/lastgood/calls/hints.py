"""The types of a class's fields, where the class, or one of its bases, may be generic.

``Page[User]`` stands for the class ``Page`` with ``User`` in place of its type variable, in its own fields and in those of its
bases. A type variable for which nothing is given stands for its default (:pep:`696`), its bound, the union of its
constraints, or else ``Any``.
"""

from __future__ import annotations

import functools
import operator
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ForwardRef, TypeVar

__all__ = ["hints_of", "origin_of", "settled"]

_Bound = Mapping[str, Any]
"""What the type variables of one class stand for, by name.

By name, since a swap makes new type variables in a wrapper, while classes that have not changed keep the old ones.
"""


def origin_of(declared: Any) -> Any:
    """Return the class of a parametrised class, ``Page`` of ``Page[User]``; anything else unchanged.

    A built-in container or an abstract type is not such a class: ``list[User]`` stays what it is.
    """
    origin = typing.get_origin(declared)
    return origin if isinstance(origin, type) and issubclass(origin, typing.cast("type", typing.Generic)) else declared


def hints_of(declared: Any) -> dict[str, Any]:
    """Return the types of the fields of ``declared``, by name: a class (``Page``) or a parametrised one (``Page[User]``).

    No type variable is left in them, and ``Self`` is ``declared``. ``Annotated``, ``Required`` and ``NotRequired`` are kept.
    Raises :class:`NameError` for an annotation that names something unknown.
    """
    kind = origin_of(declared)
    given = settled(declared)
    return _hints(kind, _bound(kind, typing.get_args(given)), given)


def settled(declared: Any, this: Any = typing.Self) -> Any:
    """Return the type ``declared`` with each type variable replaced by what it stands for, and ``Self`` by ``this``."""
    return _substituted(declared, {}, this)


def _hints(kind: Any, bound: _Bound, this: Any) -> dict[str, Any]:
    # Empty local names: a field's default must not hide a type of the same name in the module.
    hints: dict[str, Any] = typing.get_type_hints(kind, localns={}, include_extras=True)
    if not any(map(_has_variable, hints.values())):
        return hints
    bounds: dict[Any, _Bound] = {}
    _collect(kind, bound, bounds)
    return {name: _substituted(hint, bounds[_owner(kind, name, bounds)], this) for name, hint in hints.items()}


def _has_variable(hint: Any) -> bool:
    if isinstance(hint, list):  # the parameters of a Callable
        return any(map(_has_variable, hint))
    return hint is typing.Self or _is_variable(hint) or any(map(_has_variable, typing.get_args(hint)))


def _is_variable(hint: Any) -> bool:
    # A TypeVarTuple or ParamSpec too: nothing is checked against them.
    return isinstance(hint, TypeVar | typing.TypeVarTuple | typing.ParamSpec)


def _collect(kind: Any, bound: _Bound, bounds: dict[Any, _Bound]) -> None:
    """Note for ``kind`` and each of its bases what its type variables stand for."""
    bounds[kind] = bound
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        origin = origin_of(base)
        if isinstance(origin, type) and origin is not typing.Generic and origin not in bounds:
            arguments = tuple(_substituted(_evaluated(each, kind), bound, None) for each in typing.get_args(base))
            _collect(origin, _bound(origin, arguments), bounds)


def _owner(kind: Any, name: str, bounds: Mapping[Any, _Bound]) -> Any:
    """Return the class that annotates the field ``name``: the first one in the method resolution order that does.

    Bases of a typed dict are not in its order, and it has the annotations of all of them.
    """
    if not typing.is_typeddict(kind):
        return next((each for each in kind.__mro__ if each in bounds and name in _annotated(each)), kind)
    bases = [base for base in bounds if typing.is_typeddict(base) and base is not kind]
    owners = [base for base in bases if _annotated(base).get(name, base) == _annotated(kind)[name]]
    return owners[-1] if owners else kind


def _annotated(kind: Any) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib  # it is new in 3.14

        return annotationlib.get_annotations(kind, format=annotationlib.Format.FORWARDREF)
    found: Mapping[str, Any] = vars(kind).get("__annotations__", {})
    return found


def _bound(kind: Any, arguments: tuple[Any, ...]) -> _Bound:
    """Return what the type variables of ``kind`` stand for, given these ``arguments``."""
    parameters = getattr(kind, "__parameters__", ())
    if not all(isinstance(each, TypeVar) for each in parameters):
        return {each.__name__: _stands_for(each, {}) for each in parameters}
    bound: dict[str, Any] = {}
    for place, each in enumerate(parameters):
        bound[each.__name__] = arguments[place] if place < len(arguments) else _stands_for(each, bound)
    return bound


def _stands_for(variable: Any, bound: _Bound) -> Any:
    """Return what a type variable stands for where nothing is given for it."""
    if not isinstance(variable, TypeVar):
        return ... if isinstance(variable, typing.ParamSpec) else Any
    default = getattr(variable, "__default__", None)  # new in 3.13
    if default is not None and default is not getattr(typing, "NoDefault", None):
        return _substituted(_evaluated(default, variable), bound, None)
    if variable.__constraints__:
        return _union(_evaluated(each, variable) for each in variable.__constraints__)
    return Any if variable.__bound__ is None else settled(_evaluated(variable.__bound__, variable))


def _evaluated(hint: Any, at: Any) -> Any:
    """Return ``hint`` with the names in quoted parts of it resolved in the module of ``at``."""
    if isinstance(hint, str):
        hint = ForwardRef(hint)
    holder = types.SimpleNamespace(__annotations__={"hint": hint})
    names = vars(sys.modules[at.__module__]) if at.__module__ in sys.modules else {}
    return typing.get_type_hints(holder, names, {}, include_extras=True)["hint"]


def _substituted(hint: Any, bound: _Bound, this: Any) -> Any:
    if hint is typing.Self:
        return hint if this is None else this
    if _is_variable(hint):
        return bound[hint.__name__] if hint.__name__ in bound else _stands_for(hint, bound)
    arguments = typing.get_args(hint)
    if not _has_variable(hint) or typing.get_origin(hint) is typing.Literal:
        return hint

    def substitute(part: Any) -> Any:
        if isinstance(part, list):
            return list(map(substitute, part))
        return _substituted(part, bound, this)

    return _with_arguments(hint, tuple(map(substitute, arguments)))


def _with_arguments(hint: Any, arguments: tuple[Any, ...]) -> Any:
    origin: Any = typing.get_origin(hint)
    if origin is Annotated:
        return Annotated[arguments]
    if origin in (types.UnionType, typing.Union):
        return _union(arguments)
    if any(typing.get_origin(part) is typing.Unpack for part in typing.get_args(hint)):
        return Any
    return origin[arguments if len(arguments) != 1 else arguments[0]]


def _union(options: Iterable[Any]) -> Any:
    return functools.reduce(operator.or_, options)
