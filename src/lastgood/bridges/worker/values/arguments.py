"""Conversion of tagged arguments to instances of the types in the called function's annotations.

Imported at the first call with such an argument. Without a matching annotation the value becomes its plain data. Among several
types, as in a union, the one with the same name is used, else one with the same fields.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

from ..calling import Refused
from . import rich
from .containers import MAPPINGS, SEQUENCES, SETS, rebuilt
from .values import PLAIN, Tagged

TYPE_CHECKING = False  # for consistency with the worker's other files; typing is imported here anyway
if TYPE_CHECKING:
    from typing import Any

SIGNATURE_OPTIONS: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    SIGNATURE_OPTIONS["annotation_format"] = annotationlib.Format.FORWARDREF

__all__ = ["SIGNATURE_OPTIONS", "own_annotations", "typed"]

_UNIONS = (typing.Union, getattr(__import__("types"), "UnionType", typing.Union))
_NOT_SEARCHED = ("builtins", "collections.abc", "typing")  # their classes have too many subclasses
_Hints = Sequence[typing.Any]
_cache: WeakKeyDictionary[typing.Any, typing.Any] = WeakKeyDictionary()


def typed(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments with every tagged value converted. Raise :class:`Refused`."""
    signature = _cached(function, _Signature)
    positional, named = signature.positional, signature.named
    places = [positional[place] if place < len(positional) else signature.rest for place in range(len(args))]
    made_args = [
        _converted(value, signature.types.get(name, ()), name or f"argument {place + 1}")
        for place, (value, name) in enumerate(zip(args, places))
    ]
    made_kwargs = {
        name: _converted(value, signature.types.get(name if name in named else signature.more, ()), name)
        for name, value in kwargs.items()
    }
    return made_args, made_kwargs


def _converted(value: Any, hints: _Hints, name: str) -> Any:
    try:
        return _resolve(value, hints)
    except _ConstructionError as error:
        raise Refused(f"{error.where(name)}: {error.problem}") from None


def _cached(thing: Any, make: Callable[[Any], Any]) -> Any:
    """Return ``make(thing)``, cached for each function or class."""
    key = getattr(thing, "__func__", thing)
    try:
        found = _cache.get(key)
    except TypeError:  # it does not support weak references
        return make(thing)
    if found is None:
        found = _cache[key] = make(thing)
    return found


class _ConstructionError(Exception):
    """The constructor of an annotated type rejected the received value."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []

    def at(self, step: str) -> _ConstructionError:
        self.path.insert(0, step)
        return self

    def where(self, name: str) -> str:
        return ("" if name.startswith("argument ") else "argument ") + name + "".join(self.path)


# Parameters and their annotations.


class _Signature:
    """A function's parameter names by kind ("" if it has no ``*args`` or ``**kwargs``), and each parameter's types."""

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            parameters = list(inspect.signature(function, **SIGNATURE_OPTIONS).parameters.values())
        except Exception:  # it has no signature, or its lazily evaluated annotations raise
            parameters = []
        self.positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        self.rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
        self.more = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), "")
        self.types = {name: _alternatives(hint) for name, hint in _read_hints(function).items()}


def _field_types(cls: type) -> dict[str, list[Any]]:
    """Return the possible types of each field of a class."""
    found: dict[str, list[Any]] = _cached(cls, _read_field_types)
    return found


def _read_field_types(cls: type) -> dict[str, list[Any]]:
    return {name: _alternatives(hint) for name, hint in _read_hints(cls).items()}


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint)


def _arguments(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint)


def _read_hints(thing: Any) -> dict[str, Any]:
    """Return the evaluated annotations of a function or class, without those that cannot be evaluated."""
    if isinstance(thing, functools.partial):
        return _read_hints(thing.func)
    thing = getattr(thing, "__func__", thing)
    if isinstance(thing, type):
        hints: dict[str, Any] = {}
        for cls in reversed(thing.__mro__):
            namespace = _namespace(cls, vars(sys.modules.get(cls.__module__, builtins)))
            hints.update(_evaluate_all(cls, namespace))
        return hints
    if not inspect.isroutine(thing) and not hasattr(thing, "__wrapped__"):
        thing = type(thing).__call__  # a callable instance
    inner = inspect.unwrap(thing)
    namespace = _namespace(inner, getattr(inner, "__globals__", {}))
    return _evaluate_all(thing, namespace)


def _evaluate_all(thing: Any, namespace: dict[str, Any]) -> dict[str, Any]:
    """Return the evaluated annotations of a function or class itself, without inherited ones."""
    values, texts = own_annotations(thing)
    found = {name: _evaluate(value, namespace) for name, value in values.items()}
    unknown = [name for name, hint in found.items() if hint is None and name in texts]
    found.update((name, _evaluate(texts[name], namespace)) for name in unknown)
    return found


def _namespace(thing: Any, module: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names that annotations in ``thing`` may use: its module's, and the nested classes of enclosing classes."""
    names = dict(module)
    around: Any = None
    path = getattr(thing, "__qualname__", "").split(".")
    for part in path if isinstance(thing, type) else path[:-1]:
        around = module.get(part) if around is None else vars(around).get(part)
        if not isinstance(around, type):
            break
        names.update((name, value) for name, value in vars(around).items() if isinstance(value, type))
    return names


if sys.version_info >= (3, 14):

    def own_annotations(thing: Any) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Return the annotations as values and as text: unquoted ones may use names imported for type checkers only."""
        forms = annotationlib.Format
        try:
            values = annotationlib.get_annotations(thing, format=forms.FORWARDREF)
            return values, annotationlib.get_annotations(thing, format=forms.STRING)
        except Exception:  # annotations are evaluated lazily and may raise
            return {}, {}

else:

    def own_annotations(thing: Any) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Return the annotations as values; quoted annotations are strings."""
        if isinstance(thing, type):
            get: Any = getattr(inspect, "get_annotations", None)  # Python 3.10 and newer
            return vars(thing).get("__annotations__", {}) if get is None else get(thing), {}
        return getattr(thing, "__annotations__", {}), {}


def _evaluate(annotation: Any, namespace: dict[str, Any]) -> Any:
    """Return the type an annotation stands for; None if it cannot be evaluated, as with imports for type checkers only."""

    def holder() -> None: ...

    holder.__annotations__ = {"x": annotation}
    try:
        return typing.get_type_hints(holder, namespace)["x"]
    except Exception:
        if not isinstance(annotation, str):
            return None
    try:
        return _evaluate_expression(ast.parse(annotation.strip(), mode="eval").body, namespace)
    except Exception:
        return None


def _evaluate_expression(node: ast.expr, namespace: dict[str, Any]) -> Any:
    """Evaluate an expression as far as its names are defined, with support for ``|`` in Python 3.9."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _evaluate(node.value, namespace)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        known = [
            each
            for each in (_evaluate_expression(node.left, namespace), _evaluate_expression(node.right, namespace))
            if each is not None
        ]
        return typing.Union[tuple(known)] if known else None  # built at run time, so X | Y cannot be used
    if isinstance(node, ast.Subscript):
        head = _evaluate_expression(node.value, namespace)
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head is typing.Annotated:
            return _evaluate_expression(inside[0], namespace)
        known = [_evaluate_expression(each, namespace) for each in inside]
        arguments = tuple(typing.Any if each is None else each for each in known)
        return head[arguments[0] if len(arguments) == 1 else arguments]  # Optional takes no tuple
    try:
        found = eval(compile(ast.Expression(node), "<annotation>", "eval"), namespace)
    except NameError:
        return None
    return type(None) if found is None else found


def _alternatives(*hints: Any) -> list[Any]:
    """Return the types that values of these hints may have: unwrap unions, ``Annotated``, ``NewType`` and the like."""
    found = []
    for hint in hints:
        origin = _origin(hint)
        if origin in _UNIONS:
            found += _alternatives(*_arguments(hint))
        elif hasattr(hint, "__metadata__"):
            found += _alternatives(hint.__origin__)
        elif origin is typing.Literal:
            found += [type(value) for value in _arguments(hint)]
        elif hasattr(hint, "__supertype__"):
            found += _alternatives(hint.__supertype__)
        elif hasattr(hint, "__value__"):  # type X = ...
            found += _alternatives(hint.__value__)
        elif isinstance(hint, typing.TypeVar):
            found += _alternatives(*(hint.__constraints__ or (hint.__bound__,)))
        elif str(origin).startswith(
            ("typing.Required", "typing.NotRequired", "typing.ReadOnly", "typing.Final", "typing_ext")
        ):
            found += _alternatives(*_arguments(hint)[:1])
        elif hint is not None:
            found.append(hint)
    return found


# Values.


def _resolve(value: Any, hints: _Hints) -> Any:
    """Return ``value`` with every tagged value in it converted, by the types ``hints``."""
    kind = type(value)
    if kind is Tagged:
        return _resolve_tagged(value, hints)
    if kind is tuple:
        return tuple(_step("[{}]", place, item, _place_hints(hints, place)) for place, item in enumerate(value))
    if kind in MAPPINGS:
        return _resolve_dict(value, hints)
    if (kind not in SEQUENCES and kind not in SETS) or PLAIN.issuperset(map(type, value)):
        return value  # or a large list of numbers next to a tagged value
    inner = _parameters_of(hints, kind, 0)
    if kind in SETS:
        return _hashed(value, [_step(" (an element)", None, item, inner) for item in value])
    return rebuilt(value, [_step("[{}]", place, item, inner) for place, item in enumerate(value)])


def _step(step: str, key: Any, value: Any, hints: _Hints) -> Any:
    """Resolve ``value``; ``step`` is a format for ``key`` that describes its position in error messages."""
    try:
        return _resolve(value, hints)
    except _ConstructionError as error:
        raise error.at(step.format(key)) from None


def _hashed(value: Any, items: Sequence[Any]) -> Any:
    """Return a set or dict like ``value`` with these items."""
    try:
        made = rebuilt(value, items)
    except TypeError as error:
        raise _ConstructionError(
            f"{error}, so it can be neither a key nor an element of a set. Annotate the parameter."
        ) from None
    if len(made) != len(items):
        raise _ConstructionError(
            "two keys of a dict or elements of a set became equal, as the plain data in enum members do. "
            "Annotate the parameter."
        )
    return made


def _resolve_dict(value: dict[Any, Any], hints: _Hints) -> dict[Any, Any]:
    if PLAIN.issuperset(map(type, value)) and PLAIN.issuperset(map(type, value.values())):
        return value
    keys = _parameters_of(hints, type(value), 0)
    values = _parameters_of(hints, type(value), 1)
    fields = [_field_types(hint) for hint in hints if _is_typed_dict(hint)]
    made = []
    for key, item in value.items():
        more = [each for own in fields for each in own.get(key, ())] if fields and type(key) is str else []
        made.append((_step(" (a key)", None, key, keys), _step("[{!r}]", key, item, [*values, *more])))
    result: dict[Any, Any] = _hashed(value, made)
    return result


def _place_hints(hints: _Hints, place: int) -> list[Any]:
    found = []
    for hint in hints:
        arguments = _arguments(hint)
        if _origin(hint) is tuple and arguments[-1:] != (...,):
            found += list(arguments[place : place + 1])
    return _alternatives(*found) + _parameters_of([h for h in hints if not _is_fixed(h)], tuple, 0)


def _is_fixed(hint: Any) -> bool:
    return _origin(hint) is tuple and _arguments(hint)[-1:] != (...,)


def _parameters_of(hints: _Hints, kind: type, place: int) -> list[Any]:
    """Return the parameters at ``place`` of hints for containers like ``kind``, such as ``list[int]`` or ``Mapping[str, int]``."""
    found = []
    for hint in hints:
        origin, arguments = _origin(hint), _arguments(hint)
        if isinstance(origin, type) and place < len(arguments) and _holds(origin, kind):
            found.append(arguments[place])
    return _alternatives(*found)


def _holds(origin: type, kind: type) -> bool:
    try:
        return issubclass(kind, origin) or issubclass(origin, kind)
    except TypeError:
        return False


def _resolve_tagged(value: Tagged, hints: _Hints) -> Any:
    if value.kind == rich.MEMBER:
        return _make_member(value, hints)
    if value.kind == rich.NAMED:
        return _make_named_tuple(value, hints)
    return _make_record(value, hints)


def _classes(hints: _Hints, name: str, fits: Callable[[type], bool]) -> list[type]:
    """Return the classes among ``hints`` and their subclasses that fit, those with this name first."""
    found: list[type] = []
    for hint in hints:
        cls = _origin(hint) or hint
        if isinstance(cls, type):
            found += [cls] if fits(cls) else []
            if cls.__module__ not in _NOT_SEARCHED:
                found += [sub for sub in _subclasses(cls) if sub.__qualname__ == name and fits(sub)]
    return sorted(found, key=lambda cls: (cls.__qualname__ != name, cls.__name__ != name.rpartition(".")[2]))


def _subclasses(cls: type) -> list[type]:
    found: list[type] = []
    left = [cls]
    while left:
        try:
            subclasses: list[type] = type.__subclasses__(left.pop())
        except TypeError:
            continue
        # A dataclass with slots=True is created twice; the later class is the right one.
        fresh = [sub for sub in reversed(subclasses) if sub not in found]
        found += fresh
        left += fresh
    return found


def _make_member(value: Tagged, hints: _Hints) -> Any:
    name, payload = value.payload
    plain = _resolve(payload, ())
    candidates = _classes(hints, value.name, lambda cls: issubclass(cls, rich.Enum))
    for cls in candidates:
        enum: Any = cls
        if name in enum.__members__:
            return enum.__members__[name]
        try:
            return enum(plain)  # a combination of flags, or a name that only the app knows
        except (ValueError, TypeError, KeyError):
            continue
    if candidates and all(hint in candidates for hint in hints):
        raise _ConstructionError(f"{candidates[0].__qualname__} has no member {name or plain!r}.")
    return plain


def _make_named_tuple(value: Tagged, hints: _Hints) -> Any:
    items = value.payload
    candidates: list[Any] = _classes(hints, value.name, rich.is_named_tuple)
    fitting = [cls for cls in candidates if len(cls._fields) == len(items)]
    if not fitting:  # an instance from before an edit that added fields
        fitting = [cls for cls in candidates if cls.__qualname__ == value.name and len(cls._fields) > len(items)]
    if not fitting:
        return tuple(_step("[{}]", place, item, _place_hints(hints, place)) for place, item in enumerate(items))
    cls: Any = fitting[0]
    types = _field_types(cls)
    made = [_step(".{}", field, item, types.get(field, ())) for field, item in zip(cls._fields, items)]
    return _constructed(cls, lambda: cls(*made))


def _make_record(value: Tagged, hints: _Hints) -> Any:
    sent = value.payload
    candidates = _classes(hints, value.name, lambda cls: rich.field_names(cls) is not None)
    named = [cls for cls in candidates if cls.__name__ == value.name.rpartition(".")[2]]
    alike = [cls for cls in candidates if set(rich.field_names(cls) or ()) >= set(sent)]
    if not (named or alike):
        return _resolve_dict(sent, hints)
    cls: Any = (named or sorted(alike, key=lambda cls: len(rich.field_names(cls) or ())))[0]
    types = _field_types(cls)
    made = {name: _step(".{}", name, item, types.get(name, ())) for name, item in sent.items()}
    return _constructed(cls, lambda: _instantiate(cls, made))


def _constructed(cls: type, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        raise _ConstructionError(
            f"{cls.__qualname__} cannot be made of what was sent: {type(error).__name__}: {error}"
        ) from None


def _instantiate(cls: Any, values: dict[str, Any]) -> Any:
    """Create an instance with these fields, as its kind of class (dataclass, attrs, msgspec, pydantic) requires."""
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is not None:
        import dataclasses

        if not parameters.init:
            return _set_fields(cls.__new__(cls), values, values)
        inits = {field.name: field.name for field in dataclasses.fields(cls) if field.init}
        fields = {field.name for field in dataclasses.fields(cls)}
    elif hasattr(cls, "__attrs_attrs__"):
        inits = {
            each.name: getattr(each, "alias", None) or each.name.lstrip("_")
            for each in cls.__attrs_attrs__
            if each.init
        }
        fields = {each.name for each in cls.__attrs_attrs__}
    elif hasattr(cls, "__struct_fields__"):
        return cls(**values)
    else:
        return _make_pydantic(cls, values)
    later = fields - inits.keys()
    # The constructor must reject fields that the class no longer has, so these are passed on.
    instance = cls(**{inits.get(name, name): value for name, value in values.items() if name not in later})
    return _set_fields(instance, values, values.keys() & later)


def _set_fields(instance: Any, values: Mapping[str, Any], names: Iterable[str]) -> Any:
    for name in names:
        object.__setattr__(instance, name, values[name])
    return instance


def _make_pydantic(cls: Any, values: Mapping[str, Any]) -> Any:
    """Create an instance of a pydantic model, whose constructor takes aliases."""
    fields = getattr(cls, "__pydantic_fields__", None)
    if fields is None:  # version 1
        return cls(
            **{cls.__fields__[name].alias if name in cls.__fields__ else name: value for name, value in values.items()}
        )
    aliases = {}
    for name in values:
        field = fields.get(name)
        alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
        aliases[name] = alias if isinstance(alias, str) else name
    return cls.model_validate({aliases[name]: value for name, value in values.items()})


def _is_typed_dict(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")
