"""Conversion of a call's result to the return type of its function, and the check against that type.

Generated wrappers have one :class:`Returns` per function; it takes the results of any bridge. A bridge that says of each value
which class it is of gives results that need no conversion: they are checked. Plain data from any other bridge are converted to
the declared type at any depth: a dict to a dataclass, a value to an enum member, a tuple to a named tuple; what fits several types
alike is refused. A value that already has its type stays the same object. A value of an abstract type (``Sequence``,
``Iterable``, ...) is checked with ``isinstance``; the items of lists, tuples, sets, dicts and the like are checked, too.
"""

from __future__ import annotations

import logging
import operator
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from lastgood.bridges.worker.values.values import key_text
from lastgood.calls.containers import MAPPINGS, SEQUENCES, SETS, rebuilt
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

if TYPE_CHECKING:
    from lastgood.config import CheckResults

__all__ = ["UNIONS", "Returns"]

T = TypeVar("T")

UNIONS = (types.UnionType, typing.Union)

logger = logging.getLogger(__name__)


class Returns(Generic[T]):
    """The result type of a function: ``Returns[list[Quote]]("pricing.quotes")(value)`` converts ``value`` to a list of quotes.

    Raises :class:`ReturnTypeError` if the value does not fit.
    """

    __slots__ = ("__orig_class__", "_call", "_check", "_convert", "_is_prepared")

    def __init__(self, call: str) -> None:
        self._call = call
        self._convert: Convert = unchanged
        self._check: Convert = unchanged
        self._is_prepared = False

    def __call__(self, value: object, *, is_exact: bool = False, checks: CheckResults = "error") -> T:
        """Return ``value`` as a T. ``is_exact``: it is of the classes that it was of, and only checked.

        With ``checks`` "warn", a value that does not fit is logged, and returned as it is; with "off", nothing is checked that need
        not be converted.
        """
        if not self._is_prepared:
            self.prepare()
        if is_exact and checks == "off":
            return value  # type: ignore[return-value]  # as the user wants it
        try:
            return (self._check if is_exact else self._convert)(value)  # type: ignore[no-any-return]  # the converter ensures a T
        except Mismatch as mismatch:
            where = "".join(["result", *reversed(mismatch.path)])
            error = ReturnTypeError(self._call, type_text(self._declared), mismatch.came, mismatch.expected, where)
        if checks == "error":
            raise error
        if checks == "warn":
            logger.warning("%s", error)
        return value  # type: ignore[return-value]  # as the user wants it

    def prepare(self) -> None:
        """Take the declared type as it is now: a class in it may be declared anew while a call is in flight."""
        if not self._is_prepared:
            self._convert = _Compiler().compile(self._declared).convert
            self._check = _Compiler(is_exact=True).compile(self._declared).convert
            self._is_prepared = True

    @property
    def _declared(self) -> Any:
        return settled(self.__orig_class__.__args__[0]) if hasattr(self, "__orig_class__") else Any


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

    ``_known`` has the converters of classes with fields; each is made once, so recursive types work. With ``is_exact``, the
    converters only check: what is not of its declared type is a mismatch, and what is stays as it is.
    """

    def __init__(self, *, is_exact: bool = False) -> None:
        self._known: dict[Any, Converter] = {}
        self._is_exact = is_exact

    def compile(self, declared: Any) -> Converter:
        """Return the converter to ``declared``."""
        if declared in _NOT_CHECKED:
            return Converter(unchanged)
        declared = types.NoneType if declared is None else declared
        certain = _EXACT.get(declared)
        if certain is not None:
            return Converter(converter_of_plain(declared, certain), certain)
        origin, arguments = typing.get_origin(declared), typing.get_args(declared)
        if origin is Annotated:
            return self.compile(arguments[0])
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
        kind = origin_of(declared)  # Page of Page[User]
        if origin is not None and kind is declared:
            return self._abstract(declared, origin, arguments)
        if typing.is_typeddict(kind):
            return self._known.get(declared) or self._typed_dict(declared, kind)
        if issubclass(kind, Enum) and not self._is_exact:
            return Converter(converter_of_enum(kind))
        if is_dataclass(kind):
            return self._known.get(declared) or self._dataclass(declared, kind)
        if _is_named_tuple_type(kind):
            return self._known.get(declared) or self._named_tuple(declared, kind)
        return Converter(converter_of_instances(kind))

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

        def convert(value: Any) -> Any:
            if not isinstance(value, origin):
                raise mismatch_of(declared, value)
            known = kinds.get(type(value))
            return value if known is None else known(value)

        return Converter(convert)

    def _union(self, declared: Any, options: tuple[Any, ...]) -> Converter:
        compiled = [self.compile(option) for option in options]
        certain = frozenset[type]().union(*(option.certain for option in compiled))
        if any(option in _NOT_CHECKED for option in options):
            return Converter(unchanged)

        def convert(value: Any) -> Any:
            return value if type(value) in certain else best_fit(compiled, value, declared)

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

    def _dataclass(self, declared: Any, kind: Any) -> Converter:
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
        if self._is_exact:
            return self._finish(declared, cell, _checker(kind, converters), names)

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

    def _named_tuple(self, declared: Any, kind: Any) -> Converter:
        cell = self._forward(declared, None)
        hints = hints_of(declared)
        items = [self.compile(hints.get(name, Any)).convert for name in kind._fields]
        steps = [f".{name}" for name in kind._fields]
        new = kind.__new__
        if self._is_exact:
            by_name = dict(zip(kind._fields, items, strict=True))
            return self._finish(declared, cell, _checker(kind, by_name), None)

        def convert(value: Any) -> Any:
            if isinstance(value, kind):
                return value
            if not isinstance(value, tuple):
                raise mismatch_of(declared, value)
            return new(kind, *_in_order(value, items, declared, steps))

        return self._finish(declared, cell, convert, None)

    def _typed_dict(self, declared: Any, kind: Any) -> Converter:
        hints = hints_of(declared)
        names = frozenset(hints)
        cell = self._forward(declared, names)
        required = frozenset(
            name
            for name, hint in hints.items()
            if typing.get_origin(hint) is typing.Required
            or (typing.get_origin(hint) is not typing.NotRequired and name in kind.__required_keys__)
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


def _checker(declared: type, converters: Mapping[str, Convert]) -> Convert:
    """Return the check that a value is an instance of ``declared`` whose fields are of their types."""

    def check(value: Any) -> Any:
        if not isinstance(value, declared):
            raise mismatch_of(declared, value)
        for name, convert in converters.items():
            if convert is unchanged or not hasattr(value, name):  # it may be an instance of an earlier declaration
                continue
            try:
                convert(getattr(value, name))
            except Mismatch as mismatch:
                raise mismatch.at(f".{name}") from None
        return value

    return check


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
        for each in _derived_from(declared)
        if keys == {field.name for field in fields(each)}
    }
    if len(found) > 1:
        raise Mismatch(
            type_text(declared),
            f"dict that would do for {' and '.join(sorted(map(type_text, found.values())))} alike",
        )
    return next(iter(found.values()), None)


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
                made[name] = item
            continue
        try:
            made[name] = convert(item)
        except Mismatch as mismatch:
            raise mismatch.at(f"[{key_text(name)}]" if names is None else f".{name}") from None
    return made


def _derived_from(declared: Any) -> Iterator[type]:
    """Yield the dataclasses that derive from ``declared``, at any depth, in no particular order."""
    subclasses: list[type] = type.__subclasses__(declared)
    for derived in subclasses:
        if is_dataclass(derived):
            yield derived
        yield from _derived_from(derived)


def _is_named_tuple_type(declared: Any) -> bool:
    """Return whether ``declared`` is a class of named tuples."""
    return isinstance(declared, type) and issubclass(declared, tuple) and hasattr(declared, "_fields")
