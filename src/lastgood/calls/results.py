"""Conversion of a call's result to the return type of its function, and the check against that type.

Generated wrappers have one :class:`Returns` per function; it takes the results of any bridge. Plain data are converted to
the declared type at any depth: a dict to a dataclass, a value to an enum member, a tuple to a named tuple. A value that
already has its type stays the same object. If plain data would be ambiguous (:mod:`lastgood.calls.ambiguity`), the bridge is
asked for the classes, and sends a :class:`Typed` in place of each instance. A value of an abstract type (``Sequence``,
``Iterable``, ...) is checked with ``isinstance``; the items of lists, tuples, sets, dicts and the like are checked, too.
"""

from __future__ import annotations

import operator
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from lastgood.bridges.worker.values.containers import MAPPINGS, SEQUENCES, SETS, rebuilt
from lastgood.bridges.worker.values.values import PLAIN, Typed, key_text
from lastgood.calls.ambiguity import (
    UNIONS,
    ambiguous_classes,
    class_of,
    derived_from,
    is_declared,
    is_named_tuple_type,
)
from lastgood.calls.converters import (
    Convert,
    Converter,
    Mismatch,
    best_fit,
    converter_of_enum,
    converter_of_instances,
    converter_of_literal,
    converter_of_plain,
    is_namesake,
    mismatch_of,
    type_text,
    unchanged,
)
from lastgood.calls.hints import hints_of, origin_of, settled
from lastgood.errors import ReturnTypeError

__all__ = ["Returns"]

T = TypeVar("T")


class Returns(Generic[T]):
    """The result type of a function: ``Returns[list[Quote]]("pricing.quotes")(value)`` converts ``value`` to a list of quotes.

    Raises :class:`ReturnTypeError` if the value does not fit.
    """

    __slots__ = ("__orig_class__", "_call", "_convert", "_declared", "_types")

    def __init__(self, call: str) -> None:
        self._call = call
        self._convert: Convert = self._prepare_and_convert
        self._declared: Any = Any
        self._types: tuple[tuple[str, str], ...] | None = None  # computed at the first call

    def __call__(self, value: object) -> T:
        try:
            return self._convert(value)  # type: ignore[no-any-return]  # the converter ensures a T
        except Mismatch as mismatch:
            where = "".join(["result", *reversed(mismatch.path)])
            error = ReturnTypeError(self._call, type_text(self._declared), mismatch.came, mismatch.expected, where)
        raise error

    @property
    def types(self) -> Sequence[tuple[str, str]]:
        """The classes of ambiguous values, which the bridge is to tell apart, by module and qualified name."""
        if self._types is None:
            return self._prepare()
        return self._types

    def _prepare_and_convert(self, value: Any) -> Any:
        self._prepare()
        return self._convert(value)

    def _prepare(self) -> Sequence[tuple[str, str]]:
        declared = settled(self.__orig_class__.__args__[0]) if hasattr(self, "__orig_class__") else Any
        self._declared = declared
        convert = _Compiler().compile(declared).convert
        classes = ambiguous_classes(declared)
        if classes:
            convert_typed = _Compiler(classes).compile(declared).convert
            self._convert = lambda value: (convert_typed if type(value) is Typed else convert)(value)
        else:
            self._convert = convert
        self._types = types = tuple((each.__module__, each.__qualname__) for each in classes)
        return types


def _all_same(made: Collection[Any], value: Collection[Any]) -> bool:
    """Return whether conversion has left every item the same object."""
    return not any(map(operator.is_not, made, value))


_NOT_CHECKED = (Any, object)
_EXACT: dict[Any, frozenset[type]] = {
    # PEP 484: an int is accepted as a float, and both as a complex. A bool is an int.
    bool: frozenset((bool,)),
    bytes: frozenset((bytes,)),
    complex: frozenset((complex, float, int, bool)),
    float: frozenset((float, int, bool)),
    int: frozenset((int, bool)),
    str: frozenset((str,)),
    types.NoneType: frozenset((types.NoneType,)),
}


class _Compiler:
    """A compiler from declared types to converters.

    ``_known`` has the converters of classes with fields; each is made once, so recursive types work. With ``requested``,
    the converters expect a :class:`Typed` in place of each instance of one of these classes.
    """

    def __init__(self, requested: Sequence[type] = ()) -> None:
        self._known: dict[Any, Converter] = {}
        self._requested = requested

    def compile(self, declared: Any) -> Converter:
        plain = self._compile(declared)
        if not self._requested or typing.get_origin(declared) in UNIONS:
            return plain
        convert, requested, own = plain.convert, self._requested, origin_of(declared)
        if declared not in _EXACT and (convert is unchanged or (isinstance(own, type) and not is_declared(own))):
            # The types of its items are not declared: they stay plain data.
            return plain._replace(
                convert=lambda value: _untyped(convert(value.data if type(value) is Typed else value))
            )
        if own not in requested:
            return plain._replace(convert=lambda value: convert(value.data if type(value) is Typed else value))

        def instance(value: Any) -> Any:
            if type(value) is not Typed:
                return convert(value)
            kind, data = class_of(value, requested), value.data
            if kind is own and plain.keys is not None:
                # Additional fields come from a derived class that is unknown here. Drop them, so that they select no other class.
                data = {name: item for name, item in data.items() if name in plain.keys}
            if kind is own or kind is None:
                return convert(data)
            if not issubclass(kind, own):
                raise Mismatch(type_text(declared), type_text(kind))
            return self.compile(kind).convert(value)

        return plain._replace(convert=instance)

    def _compile(self, declared: Any) -> Converter:
        if declared in _NOT_CHECKED:
            return Converter(unchanged)
        declared = types.NoneType if declared is None else declared
        certain = _EXACT.get(declared)
        if certain is not None:
            return Converter(converter_of_plain(declared, certain), certain)
        origin, arguments = typing.get_origin(declared), typing.get_args(declared)
        if origin in UNIONS:
            return self._union(declared, arguments)
        if origin is typing.Literal:
            return Converter(converter_of_literal(declared, arguments))
        if origin is tuple:
            return self._tuple(declared, arguments)
        if origin in SEQUENCES or origin in SETS:
            return self._items(declared, origin, arguments[0])
        if origin in MAPPINGS:
            return self._dict(declared, origin, arguments[0], int if origin is Counter else arguments[1])
        if origin is re.Pattern:
            return self._pattern(declared, arguments[0])
        kind = origin_of(declared)
        if origin is not None and kind is declared:
            return self._abstract(declared, origin, arguments)
        if typing.is_typeddict(kind):
            return self._known.get(declared) or self._typed_dict(declared)
        if issubclass(kind, Enum):
            return Converter(converter_of_enum(declared))
        if is_dataclass(kind):
            return self._known.get(declared) or self._dataclass(declared)
        if is_named_tuple_type(kind):
            return self._known.get(declared) or self._named_tuple(declared)
        return Converter(converter_of_instances(declared))

    # Containers.

    def _items(self, declared: Any, kind: Any, argument: Any) -> Converter:
        item, certain, _ = self.compile(argument)
        if item is unchanged:
            return Converter(converter_of_instances(kind, declared))
        step = " (an element)" if kind in SETS else "[{}]"

        def convert(value: Any) -> Any:
            if not isinstance(value, kind):
                raise mismatch_of(declared, value)
            if certain and certain.issuperset(map(type, value)):
                return value
            made = _each(value, item, step)
            return value if _all_same(made, value) else _rebuilt(value, made)

        return Converter(convert)

    def _tuple(self, declared: Any, arguments: tuple[Any, ...]) -> Converter:
        if arguments[-1:] == (...,):
            return self._items(declared, tuple, arguments[0])
        items = [self.compile(argument).convert for argument in arguments]

        def convert(value: Any) -> Any:
            if not isinstance(value, tuple):
                raise mismatch_of(declared, value)
            made = _in_order(value, items, declared)
            return value if _all_same(made, value) else tuple(made)

        return Converter(convert)

    def _dict(self, declared: Any, kind: Any, key_type: Any, value_type: Any) -> Converter:
        key, certain_keys, _ = self.compile(key_type)
        item, certain_values, _ = self.compile(value_type)

        def convert(value: Any) -> Any:
            if not isinstance(value, kind):
                raise mismatch_of(declared, value)
            keys: Any = value
            if key is not unchanged and not (certain_keys and certain_keys.issuperset(map(type, value))):
                keys = _each(value, key, " (a key)")
            items: Any = value.values()
            if item is not unchanged and not (certain_values and certain_values.issuperset(map(type, items))):
                items = _each_value(value, item)
            if (keys is value or _all_same(keys, value)) and (
                not isinstance(items, list) or _all_same(items, value.values())
            ):
                return value
            return _rebuilt(value, list(zip(keys, items, strict=True)))

        return Converter(convert)

    def _pattern(self, declared: Any, text_type: Any) -> Converter:
        convert_text = self.compile(text_type).convert

        def convert(value: Any) -> Any:
            if not isinstance(value, re.Pattern):
                raise mismatch_of(declared, value)
            try:
                convert_text(value.pattern)
            except Mismatch as mismatch:
                raise mismatch.at(".pattern") from None
            return value

        return Converter(convert)

    def _abstract(self, declared: Any, origin: Any, arguments: tuple[Any, ...]) -> Converter:
        """Return the converter of ``Sequence[int]``, ``Mapping[str, Quote]``, ...: items of built-in containers are converted."""
        kinds: dict[Any, Convert]
        if len(arguments) == 2:
            kinds = dict.fromkeys(MAPPINGS, self._dict(declared, dict, *arguments).convert)
        else:
            kinds = {kind: self._items(declared, kind, arguments[0]).convert for kind in (*SEQUENCES, *SETS)}

        untyped = _untyped if self._requested else unchanged

        def convert(value: Any) -> Any:
            if not isinstance(value, origin):
                raise mismatch_of(declared, value)
            known = kinds.get(type(value))
            return untyped(value) if known is None else known(value)

        return Converter(convert)

    def _union(self, declared: Any, options: tuple[Any, ...]) -> Converter:
        compiled = [self.compile(option) for option in options]
        certain = frozenset[type]().union(*(option.certain for option in compiled))
        if any(option in _NOT_CHECKED for option in options):
            return Converter(_untyped if self._requested else unchanged)
        others = [
            each for each, option in zip(compiled, options, strict=True) if origin_of(option) not in self._requested
        ]
        kinds = map(origin_of, options)
        own = {kind: each for each, kind in zip(compiled, kinds, strict=True) if kind in self._requested}

        def convert(value: Any) -> Any:
            if type(value) in certain:
                return value
            if not own:
                return best_fit(compiled, value, declared)
            if type(value) is not Typed:
                try:
                    return best_fit(others, value, declared)
                except Mismatch:
                    return best_fit(compiled, value, declared)
            kind = class_of(value, self._requested)
            for base in () if kind is None else kind.__mro__:
                if base in own:
                    return own[base].convert(value)
            try:
                return best_fit(others, value, declared)
            except Mismatch as mismatch:
                if kind is None:
                    return best_fit(compiled, value.data, declared)
                raise mismatch if mismatch.path else Mismatch(type_text(declared), type_text(kind)) from None

        return Converter(convert, certain)

    # Classes with fields.

    def _forward(self, declared: Any, keys: frozenset[str] | None) -> list[Convert]:
        """Register a forward reference to ``declared``. The converter is to be appended to the returned list."""
        cell: list[Convert] = []
        self._known[declared] = Converter(lambda value: cell[0](value), keys=keys)
        return cell

    def _finish(self, declared: Any, cell: list[Convert], convert: Convert, keys: frozenset[str] | None) -> Converter:
        cell.append(convert)
        self._known[declared] = Converter(convert, keys=keys)
        return self._known[declared]

    def _dataclass(self, declared: Any) -> Converter:
        kind = origin_of(declared)
        own = fields(kind)
        names = frozenset(field.name for field in own)
        cell = self._forward(declared, names)
        hints = hints_of(declared)
        converters = {field.name: self.compile(hints.get(field.name, Any)).convert for field in own}
        init_names = frozenset(field.name for field in own if field.init)
        required = frozenset(
            field.name for field in own if field.init and field.default is MISSING and field.default_factory is MISSING
        )
        construct = _constructor(kind)

        def convert(value: Any) -> Any:
            if isinstance(value, kind):
                return value
            if is_namesake(value, kind) and is_dataclass(value):
                value = {field.name: getattr(value, field.name) for field in fields(value)}
            if not isinstance(value, dict):
                raise mismatch_of(declared, value)
            if not names.issuperset(value) and (derived := _derived_with(kind, value.keys())) is not None:
                return self.compile(derived).convert(value)
            made = _fields(value, converters, names, required, declared)
            if len(init_names) == len(names):
                return construct(**made)
            instance = construct(**{name: made[name] for name in made if name in init_names})
            for name in made.keys() - init_names:
                object.__setattr__(instance, name, made[name])
            return instance

        return self._finish(declared, cell, convert, names)

    def _named_tuple(self, declared: Any) -> Converter:
        kind = origin_of(declared)
        cell = self._forward(declared, None)
        hints = hints_of(declared)
        items = [self.compile(hints.get(name, Any)).convert for name in kind._fields]
        steps = [f".{name}" for name in kind._fields]
        new = kind.__new__

        def convert(value: Any) -> Any:
            if isinstance(value, kind):
                return value
            if not isinstance(value, tuple):
                raise mismatch_of(declared, value)
            return new(kind, *_in_order(value, items, declared, steps))

        return self._finish(declared, cell, convert, None)

    def _typed_dict(self, declared: Any) -> Converter:
        hints = hints_of(declared)
        names = frozenset(hints)
        cell = self._forward(declared, names)
        required = frozenset(
            name
            for name, hint in hints.items()
            if typing.get_origin(hint) is typing.Required
            or (typing.get_origin(hint) is not typing.NotRequired and name in origin_of(declared).__required_keys__)
        )
        types_of_values = {
            name: typing.get_args(hint)[0] if typing.get_origin(hint) in (typing.Required, typing.NotRequired) else hint
            for name, hint in hints.items()
        }
        converters = {name: self.compile(hint).convert for name, hint in types_of_values.items()}

        def convert(value: Any) -> Any:
            if not isinstance(value, dict):
                raise mismatch_of(declared, value)
            made = _fields(value, converters, None, required, declared)
            return value if _all_same(made.values(), value.values()) else made

        return self._finish(declared, cell, convert, names)


def _constructor(declared: Any) -> Callable[..., Any]:
    """Return the constructor that a dataclass has now. A swap may change the class while a result is on its way."""
    initialise = declared.__init__

    def construct(**values: Any) -> Any:
        if declared.__init__ is initialise:
            return declared(**values)
        instance = declared.__new__(declared)
        initialise(instance, **values)
        return instance

    return construct


def _derived_with(declared: type, keys: AbstractSet[str]) -> type | None:
    """Return the dataclass derived from ``declared`` with exactly these fields. Raises :class:`Mismatch` if there are several."""
    # @dataclass(slots=True) creates a second class of the same name. The original comes first, the final one replaces it.
    found = {
        (each.__module__, each.__qualname__): each
        for each in derived_from(declared)
        if keys == {field.name for field in fields(each)}
    }
    if len(found) > 1:
        raise Mismatch(
            type_text(declared),
            f"dict that would do for {' and '.join(sorted(map(type_text, found.values())))} alike",
        )
    return next(iter(found.values()), None)


def _untyped(value: Any) -> Any:
    """Return the plain data of ``value``, with each :class:`Typed` replaced by its data; ``value`` itself if there is none."""
    kind = type(value)
    if kind is Typed:
        return _untyped(value.data)
    if kind in MAPPINGS:
        keys, items = list(map(_untyped, value)), list(map(_untyped, value.values()))
        same = _all_same(keys, value) and _all_same(items, value.values())
        return value if same else _rebuilt(value, list(zip(keys, items, strict=True)))
    if (kind not in SEQUENCES and kind not in SETS) or PLAIN.issuperset(map(type, value)):
        return value
    made = list(map(_untyped, value))
    return value if _all_same(made, value) else _rebuilt(value, made)


def _rebuilt(value: Any, items: list[Any]) -> Any:
    """Return a collection like ``value`` of these items. Raises :class:`Mismatch` if they are not hashable or not distinct."""
    try:
        made = rebuilt(value, items)
    except TypeError as error:
        raise Mismatch("hashable items", f"{type_text(type(value))} with another: {error}") from None
    if len(made) != len(items):
        raise Mismatch("distinct items", f"{type_text(type(value))} in which two became equal")
    return made


def _each(value: Any, convert: Convert, step: str) -> list[Any]:
    made: list[Any] = []
    try:
        for item in value:
            made.append(convert(item))  # noqa: PERF401  # on error, its length is the index
    except Mismatch as mismatch:
        raise mismatch.at(step.format(len(made))) from None
    return made


def _each_value(value: Mapping[Any, Any], convert: Convert) -> list[Any]:
    made: list[Any] = []
    for key, item in value.items():
        try:
            made.append(convert(item))
        except Mismatch as mismatch:
            raise mismatch.at(f"[{key_text(key)}]") from None
    return made


def _in_order(value: tuple[Any, ...], items: list[Convert], declared: Any, steps: list[str] | None = None) -> list[Any]:
    if len(value) != len(items):
        raise Mismatch(type_text(declared), f"tuple of {len(value)}")
    made: list[Any] = []
    try:
        for convert, item in zip(items, value, strict=True):
            made.append(convert(item))  # on error, its length is the index
    except Mismatch as mismatch:
        raise mismatch.at(f"[{len(made)}]" if steps is None else steps[len(made)]) from None
    return made


def _fields(
    value: Mapping[Any, Any],
    converters: Mapping[str, Convert],
    names: AbstractSet[str] | None,
    required: AbstractSet[str],
    declared: Any,
) -> dict[Any, Any]:
    """Return the converted items of ``value``, restricted to ``names`` unless None. All ``required`` names must be there.

    Additional fields are dropped: a wrapper that was imported before the source got a field still returns what it declares.
    """
    missing = required - value.keys()
    if missing:
        raise Mismatch(type_text(declared), f"dict without {key_text(min(missing))}")
    made = {}
    for name, item in value.items():
        convert = converters.get(name)
        if convert is None:
            if names is None:
                made[name] = _untyped(item)
            continue
        try:
            made[name] = convert(item)
        except Mismatch as mismatch:
            raise mismatch.at(f"[{key_text(name)}]" if names is None else f".{name}") from None
    return made
