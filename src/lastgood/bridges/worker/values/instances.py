"""Instances of classes: what is sent of them, and how they are made again. Both sides import this file.

A message says of each instance which class it is of. Its classes stand in a table at its beginning, each by the module and the
qualified name under which the other side may know it, and by those of its bases. A receiver that does not know a class makes an
instance of the nearest base that it knows; if it knows none, that is an error which names the class.

    enum member           its name and value
    dataclass instance    its fields, by name; also for attrs, msgspec and pydantic
    named tuple           its items

What the worker has made is made again there *without* its constructor, when the app gives it back: no ``__post_init__``,
converter or validator runs a second time. Attributes that are no fields are sent as well, as far as they can be. What the app has
made is made by the constructor of the source's class.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from weakref import ref

from . import rich
from .arena import Arena
from .known import SOURCE_DEFAULT, SOURCES, Known, find_in
from .making import (
    ATTRIBUTES,
    EXTRA,
    PARAMETRISED,
    PRIVATE,
    RESTORED,
    SET,
    Unmakable,
    bare,
    built,
    generic_of,
    has_plain_fields,
    is_neutral,
    left_to_source,
    member_of,
    named,
    parametrised,
    restored,
    set_attributes,
    set_later,
)
from .values import CLASSED, LENGTH, MEMBER, NAMED, RECORD, DecodeError, EncodeError, Values, class_name, listed

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Decoder", "Encoder", "kind_of", "located", "names_of"]


def kind_of(kind: Any) -> int | None:
    """Return the code for instances of ``kind``; None if they are sent in another way."""
    if issubclass(kind, rich.Enum):
        return MEMBER
    if rich.is_named_tuple(kind):
        return NAMED
    return None if rich.field_names(kind) is None else RECORD


@lru_cache(maxsize=1024)
def names_of(kind: Any) -> tuple[bool, tuple[tuple[str, str], ...]]:
    """Return the names of a class and its bases in the modules that are imported; see :meth:`Known.names`."""
    return named_by(_name_of, kind)


def named_by(name_of: Callable[[type], tuple[str, str] | None], kind: type) -> tuple[bool, tuple[tuple[str, str], ...]]:
    """Return what :meth:`.known.Known.names` returns, with the names that ``name_of`` gives."""
    kind = generic_of(kind)
    names = [
        name_of(each)
        for each in kind.__mro__
        if each is kind or (each.__module__ != "enum" and kind_of(each) == kind_of(kind))
    ]
    return names[0] is not None, tuple(name for name in names if name is not None)


def _name_of(kind: type) -> tuple[str, str] | None:
    """Return module and name under which a class is found; None if there are none, as for one that a function has made."""
    module = kind.__module__
    space = sys.modules.get(module)
    if find_in(space, kind.__qualname__) is kind:
        return module, kind.__qualname__
    alias = next(_aliases(getattr(space, "__dict__", {}), kind), None)
    return None if alias is None else (module, alias)


def _aliases(space: Mapping[str, Any], kind: type, around: str = "") -> Iterator[str]:
    """Yield the names of a class in a module and in its classes, where ``Point = namedtuple("Point", "x y")`` may stand."""
    inner = []
    for name, value in list(space.items()):
        if value is kind:
            yield around + name
        elif isinstance(value, type) and (value.__module__, value.__qualname__) == (kind.__module__, around + name):
            inner.append(value)
    for each in inner:
        yield from _aliases(vars(each), kind, f"{each.__qualname__}.")


# --- What the other side has made


_made: dict[int, tuple[ref[Any], dict[str, Any]]] = {}
"""What came with instances that the worker has made, besides their fields: it is sent back with them. By their ids."""


_held: dict[int, tuple[Any, dict[str, Any]]] = {}
"""The same of instances that nothing can refer to weakly, such as named tuples. They are let go when nobody else has them."""

_MOST_HELD = 1000
"""Instances held before those are looked for that nobody else has."""


def _remember(instance: Any, state: dict[str, Any]) -> None:
    global _most_held
    key = id(instance)
    try:
        _made[key] = (ref(instance, lambda _: _made.pop(key, None)), state)
    except TypeError:
        if len(_held) >= _most_held:
            for each, (other, _) in list(_held.items()):
                if sys.getrefcount(other) <= 3:  # that of the table, this name and the argument
                    _held.pop(each, None)
            _most_held = max(_MOST_HELD, 2 * len(_held))
        _held[key] = (instance, state)


_most_held = _MOST_HELD


def _remembered(instance: Any) -> dict[str, Any]:
    key = id(instance)
    found = _made.get(key)
    if found is not None and found[0]() is instance:
        return found[1]
    held = _held.get(key)
    return held[1] if held is not None and held[0] is instance else {}


# --- Encoding


class Encoder:
    """The encoding of the instances in one message. ``lenient``: those of unknown classes become their plain data."""

    def __init__(self, known: Known, *, lenient: bool) -> None:
        self.known = known
        self.lenient = lenient
        self.table: list[Any] = []
        self._is_app = known is not SOURCES
        self._numbers: dict[type, tuple[int, int | None, bool]] = {}

    def encode(self, values: Values, value: Any, depth: int, plain: frozenset[type]) -> Any:
        """Return the extension for an instance; None if ``value`` is sent in another way."""
        kind: Any = type(value)
        found = self._numbers.get(kind)
        if found is None:
            code = kind_of(kind)
            if code is None:
                return None
            is_plain = code == RECORD and has_plain_fields(kind)
            found = self._numbers[kind] = (code, self._add(values, kind, code), is_plain)
        code, number, is_plain = found
        if number is None:
            return None
        payload: list[Any]
        if is_plain:
            own = value.__dict__
            names = self.table[number][3]
            # The usual case, without all that others need. Somebody may have removed or added attributes.
            if len(own) == len(names) and not (self._is_app and id(value) in _made):
                items = [own[name] for name in names if name in own]
                if plain.issuperset(map(type, items)) and len(items) == len(names):
                    return values._ext(code, values._pack([number, items]))
        if code == MEMBER:
            payload = [number, value.name, values._encode_member(value, depth, plain)]
        elif code == NAMED:
            names = self.table[number][3][: len(value)]  # an instance of an earlier declaration may have fewer items
            given = self._given(value, names)
            if len(given) == len(names):
                payload = [number, values._encode_list(list(value), depth, plain)]
            else:
                payload = [number, values._encode_fields(value, given, depth, plain)]
            if _remembered(value) if self._is_app else _is_made_by_itself(kind):
                payload.append({RESTORED: True})
        else:
            payload = self._record(values, value, number, depth, plain)
        return values._ext(code, values._pack(payload))

    def _add(self, values: Values, kind: type, code: int) -> int | None:
        """Enter a class in the table, and return its number; None if its instances become their plain data."""
        is_own, names = self.known.names(kind)
        if not names:
            if self.lenient or code == NAMED:
                return None
            raise EncodeError(
                f"object of type {class_name(kind)} cannot cross {values._towards}: {_without_name(kind)}."
            )
        if not is_own:
            base = self.known.find(*names[0])
            if base is not None:
                self.known.takes_base(class_name(kind), base)
        fields = getattr(kind, "_fields", ()) if code == NAMED else rich.field_names(kind)
        self.table.append([class_name(kind), is_own, [list(each) for each in names], list(fields or ())])
        return len(self.table) - 1

    def _record(self, values: Values, value: Any, number: int, depth: int, plain: frozenset[type]) -> list[Any]:
        names = self.table[number][3]
        given = self._given(value, names)
        fields: Any
        try:
            fields = values._encode_fields(value, given, depth, plain)
            fields = list(fields.values()) if len(given) == len(names) else fields
        except AttributeError:  # fields that only __post_init__ sets, and an instance of the app lacks
            fields = values._encode_fields(value, [name for name in given if hasattr(value, name)], depth, plain)
        state = self._state(values, value, names)
        kind: Any = type(value)
        if self._is_app and not state.get(RESTORED) and (later := set_later(kind)):
            # The source's constructor sets these fields, unless the app has changed them.
            unset = {name for name, default in later.items() if getattr(value, name, default) is default}
            fields = {name: item for name, item in named(names, fields).items() if name not in unset}
        return [number, fields, state] if state else [number, fields]

    def _given(self, value: Any, names: Sequence[str]) -> Sequence[str]:
        """Return the names of the fields to send: without those whose defaults are the source's own."""
        kind: Any = type(value)
        left = left_to_source(kind) if self._is_app else None
        if not left:
            return names
        return [
            name for name in names if name not in left or getattr(value, name, SOURCE_DEFAULT) is not SOURCE_DEFAULT
        ]

    def _state(self, values: Values, value: Any, names: Sequence[str]) -> dict[str, Any]:
        """Return what is sent of an instance besides its fields."""
        own = getattr(value, "__dict__", None) or {}
        attributes = {name: item for name, item in own.items() if name not in names}
        if self._is_app:
            state = {**_remembered(value)}
            unread = state.pop(ATTRIBUTES, {})
            packed = {**unread, **self._packed(values, attributes)}
            return {**state, ATTRIBUTES: packed} if packed else state
        kind: Any = type(value)
        state = {} if is_neutral(kind) and not attributes else {RESTORED: True}
        extra = getattr(value, "__pydantic_extra__", None)
        if isinstance(extra, dict) and extra:
            attributes = {**attributes, **extra}
            state[EXTRA] = list(extra)
        for name in ("__pydantic_fields_set__", "__fields_set__"):  # pydantic 2 and 1
            given = getattr(value, name, None)
            if isinstance(given, set):
                state[SET] = sorted(given)
                break
        if generic_of(kind) is not kind:
            state[PARAMETRISED] = kind.__name__
        private = getattr(value, "__pydantic_private__", None)
        if isinstance(private, dict):
            state[PRIVATE] = self._packed(values, private)
        if attributes:
            state[ATTRIBUTES] = self._packed(values, attributes)
        return state

    def _packed(self, values: Values, attributes: Mapping[str, Any]) -> dict[str, bytes]:
        """Pack each of these attributes by itself. What cannot be sent is left out: only fields must arrive."""
        packed = {}
        for name, item in attributes.items():
            try:
                packed[name] = _without_arena(values).dumps(item, self.known, lenient=False)
            except Exception:  # including an exception of the user's own code
                continue
        return packed

    def message(self, values: Values, packed: bytes) -> bytes:
        """Return the message with the table in front of the packed value."""
        if not self.table:
            return packed
        table = values._pack(self.table)
        return values._pack(values._ext(CLASSED, LENGTH.pack(len(table)) + table + packed))


def _is_made_by_itself(kind: Any) -> bool:
    """Return whether a named tuple has a ``__new__`` of its own, which may change what it is given."""
    maker = next(each for each in kind.__mro__ if "__new__" in vars(each))
    return "_make" not in vars(maker)


def _without_name(kind: type) -> str:
    if "<locals>" in kind.__qualname__:
        return "its class was made inside a function, so that the other side cannot know it"
    return "no wrapper declares its class. Give an instance of the class that the wrapper declares, or plain data such as a dict"


def _without_arena(values: Values) -> Values:
    """Return a codec whose messages can be kept: nothing in them lies in shared memory."""
    copied: Any = values._copy()
    vars(copied).update(outgoing=Arena(-1), incoming=Arena(-1), _encoder=None, _decoder=None)
    copied._unpack = copied._unpacker(copied._decode)
    result: Values = copied
    return result


# --- Decoding


class Problem:
    """What stands in a value for an instance that cannot be made. ``parts`` are the fields or items of the instance."""

    __slots__ = ("parts", "text")

    def __init__(self, text: str, parts: Any = ()) -> None:
        self.text = text
        self.parts = parts


class Decoder:
    """The decoding of the instances in one message, whose classes ``table`` has."""

    def __init__(self, known: Known, table: Sequence[Sequence[Any]]) -> None:
        self._known = known
        self._entries = table
        self._classes: list[tuple[type | None, bool] | None] = [None] * len(table)
        self._quick: dict[int, tuple[Any, Sequence[str]]] = {}
        self.problems: list[Problem] = []

    def decode(self, values: Values, code: int, payload: list[Any]) -> Any:
        """Return the instance of an extension, or a :class:`Problem`, which is also added to ``problems``."""
        number, *parts = listed(payload)
        if (
            code == RECORD
            and len(parts) == 1
            and number in self._quick
            and type(parts[0]) is list
            and not self.problems
        ):
            quick, names = self._quick[number]
            instance = object.__new__(quick)
            instance.__dict__.update(zip(names, parts[0]))
            return instance
        text, _, names, fields = self._entries[number]
        kind, is_exact = self._class(number, code)
        if kind is None:
            # In the app, a named tuple that no wrapper declares is the tuple that it is based on.
            is_tuple = code == NAMED and self._known is not SOURCES
            return tuple(listed(parts[0])) if is_tuple else self._failed(self._known.unknown(text, names), parts[0])
        if self.problems:
            return Problem("", named(fields, parts[0]) if code != MEMBER else ())
        try:
            if code == MEMBER:
                return member_of(kind, self._known.members(kind), *parts)
            if code == NAMED:
                return self._named_tuple(kind, fields, *parts)
            state = parts[1] if len(parts) > 1 else {}
            return self._record(values, kind, named(fields, parts[0]), state, is_exact)
        except Unmakable as error:
            return self._failed(str(error))
        except Exception as error:  # of the user's constructor
            return self._failed(f"{kind.__qualname__} cannot be made of what was sent: {type(error).__name__}: {error}")

    def _failed(self, text: str, parts: Any = ()) -> Problem:
        problem = Problem(text, parts)
        self.problems.append(problem)
        return problem

    def _class(self, number: int, code: int) -> tuple[type | None, bool]:
        """Return the class of the table's entry, or the nearest base that is known, and whether it is its own class."""
        found = self._classes[number]
        if found is None:
            found = self._classes[number] = self._find(number, code)
        return found

    def _find(self, number: int, code: int) -> tuple[type | None, bool]:
        text, is_own, names, fields = self._entries[number]
        for place, (module, name) in enumerate(names):
            try:
                kind = self._known.find(module, name)
            except DecodeError as error:
                self._failed(str(error))
                return None, False
            if kind is not None and kind_of(kind) == code:
                is_exact = is_own and place == 0
                if not is_exact and self._known is not SOURCES:
                    self._known.takes_base(text, kind)
                if (
                    is_exact
                    and code == RECORD
                    and has_plain_fields(kind)
                    and list(rich.field_names(kind) or ()) == fields
                ):
                    self._quick[number] = kind, fields  # to set the fields is all that its constructor would do
                return kind, is_exact
        return None, False

    def _named_tuple(self, kind: Any, fields: Sequence[str], items: Any, state: Any = None) -> Any:
        if self._known is not SOURCES:
            made = tuple.__new__(kind, listed(items))
            if state:
                _remember(made, state)
            return made
        if isinstance(items, dict) or list(kind._fields) != list(fields) or len(items) != len(fields):
            return kind(**named(fields, items))  # with defaults, or an instance of an earlier declaration
        return kind(*items) if not state and _is_made_by_itself(kind) else tuple.__new__(kind, items)

    def _record(
        self, values: Values, kind: Any, fields: dict[str, Any], state: Mapping[str, Any], is_exact: bool
    ) -> Any:
        if not is_exact:
            own = rich.field_names(kind) or ()
            fields = {name: item for name, item in fields.items() if name in own}
        if self._known is SOURCES:
            attributes = {name: self._unpacked(values, packed) for name, packed in state.get(ATTRIBUTES, {}).items()}
            if state.get(RESTORED):
                kind = parametrised(kind, state.get(PARAMETRISED))
                return restored(kind, fields, attributes, {**state, PRIVATE: self._private(values, state)})
            return built(kind, fields, attributes)
        return self._declared(values, kind, fields, dict(state))

    def _declared(self, values: Values, kind: Any, fields: dict[str, Any], state: dict[str, Any]) -> Any:
        """Return an instance of a class that a wrapper declares."""
        instance = bare(kind)
        attributes = {}
        unread = {}
        if hasattr(instance, "__dict__"):
            for name, packed in state.pop(ATTRIBUTES, {}).items():
                try:
                    attributes[name] = self._unpacked(values, packed)
                except (DecodeError, ValueError):
                    unread[name] = packed
        set_attributes(instance, {**fields, **attributes})
        if unread:
            state[ATTRIBUTES] = unread
        if state:
            _remember(instance, state)
        return instance

    def _unpacked(self, values: Values, packed: bytes) -> Any:
        return _without_arena(values).loads(packed, self._known)

    def _private(self, values: Values, state: Mapping[str, Any]) -> dict[str, Any] | None:
        packed = state.get(PRIVATE)
        return None if packed is None else {name: self._unpacked(values, each) for name, each in packed.items()}


def located(value: Any, problem: Problem) -> list[tuple[str, Any]] | None:
    """Return the path to ``problem`` in ``value``, as in :class:`.values.EncodeError`; None if it is not there."""
    if value is problem:
        return []
    for step, part in _parts(value):
        path = located(part, problem)
        if path is not None:
            return [step, *path]
    return None


def _parts(value: Any) -> Iterator[tuple[tuple[str, Any], Any]]:
    if isinstance(value, Problem):
        parts = value.parts
        steps: Callable[[Any], tuple[str, Any]] = lambda key: ("field", key)  # noqa: E731  # shorter than a function
        for key, part in parts.items() if isinstance(parts, dict) else enumerate(parts or ()):
            yield (steps(key) if isinstance(parts, dict) else ("item", key)), part
    elif isinstance(value, dict):
        for key, part in value.items():
            yield ("a key", None), key
            yield ("key", key), part
    elif isinstance(value, (set, frozenset)):
        for part in value:
            yield ("an element", None), part
    elif (
        hasattr(value, "__iter__")
        and not isinstance(value, (str, bytes, bytearray))
        and type(value).__module__ in ("builtins", "collections")
    ):
        for key, part in enumerate(value):
            yield ("item", key), part
