"""Description of a user's exception, as it is sent to the app: texts, and what the app needs to make it what it was.

Nothing here runs code of the user's, except for the text of the exception and for the values that it carries, and whatever that
code does, the exception is described: with the name of its type, its text and its traceback at the least.
"""

from __future__ import annotations

import builtins
import linecache
import os
import sys
import tokenize
import traceback
from types import MemberDescriptorType

from .threads import bound_elsewhere
from .values.values import EncodeError

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any

__all__ = ["describe", "traceback_of"]

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MAX_TEXT = 100_000
_MAX_ERRORS = 100
"""The most causes, contexts and members of groups that are sent with an exception."""
_MAX_VALUES = 1 << 23
"""The most bytes of arguments and attributes that are sent with an exception."""
_MAX_SOURCES = 1 << 20
"""The most characters of source files that are sent with an exception."""
_MAX_FRAMES = 100
_MAX_NOTES = 100
# What an awaiting app must not take for its own: it would cancel a task, end an iteration, or end the app.
_BARE = frozenset(map(id, (StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt, SystemExit)))
_CANCELLED = ("concurrent.futures._base", "CancelledError")
# Read by these descriptors, since a class of the user's may have attributes of the same names.
_args = vars(BaseException)["args"]
_attributes = vars(BaseException)["__dict__"]
_cause = vars(BaseException)["__cause__"]
_context = vars(BaseException)["__context__"]
_suppress = vars(BaseException)["__suppress_context__"]
_traceback = vars(BaseException)["__traceback__"]
_mro, _dict = vars(type)["__mro__"], vars(type)["__dict__"]
_module, _qualname = vars(type)["__module__"], vars(type)["__qualname__"]
_Group = getattr(builtins, "BaseExceptionGroup", None)


def describe(error: BaseException, dumps: Callable[[Any], bytes]) -> list[Any]:
    """Return [type name, message, traceback, details, other exceptions].

    The traceback omits the frames of the worker and of the import system. The other exceptions are the causes, contexts and
    members of groups that can be reached from this one, each as [type name, message, traceback, details]. Details name these by
    their numbers, of which 0 is the exception itself. Those of the exception itself have the texts of the files whose lines are
    not on the disk any more. ``dumps`` encodes values.
    """
    return _Description(error, dumps).whole()


def traceback_of(error: BaseException) -> str:
    """Return the traceback, without the frames of the worker and of the import system."""
    return _whole_text(error, _type_name(type(error)), _text_of(error))


class _Description:
    def __init__(self, error: BaseException, dumps: Callable[[Any], bytes]) -> None:
        self._dumps = dumps
        self._left = _MAX_VALUES
        self._errors = [error]
        self._has_hint = False

    def whole(self) -> list[Any]:
        described: list[list[Any]] = []
        while len(described) < len(self._errors):  # grows with those that the last one has led to
            error = self._errors[len(described)]
            name, message = _type_name(type(error)), _text_of(error)
            text = _own_text(error, name, message) if described else _whole_text(error, name, message)
            details = self._details_or_none(error)
            hint = None if self._has_hint else bound_elsewhere(error, message)
            if hint is not None:
                self._has_hint = True
                details["notes"] = [*details.get("notes", ()), hint]
            described.append([name, message, text, details])
        files = dict.fromkeys(frame[0] for each in described for frame in each[3].get("frames", ()))
        described[0][3]["sources"] = _sources_that_differ(files)
        return [*described[0], described[1:]]

    def _details_or_none(self, error: BaseException) -> dict[str, Any]:
        try:
            return self._details(error)
        except BaseException:  # whatever an exotic class does, its texts are sent
            return {"bare": True}

    def _details(self, error: BaseException) -> dict[str, Any]:
        mro = _mro.__get__(type(error))
        kinds = frozenset(map(id, mro))  # compared by identity: a metaclass may have an __eq__ of its own
        names = [list(_place(kind)) for kind in mro]
        left_out: dict[str, str] = {}
        details: dict[str, Any] = {
            "mro": names,
            "bare": id(Exception) not in kinds or not _BARE.isdisjoint(kinds) or list(_CANCELLED) in names,
            "args": [self._argument(value, place) for place, value in enumerate(_args.__get__(error))],
            "attributes": dict(self._values(error, mro, left_out)),
            "left_out": left_out,
            "notes": _notes(error),
            "cause": self._number(_cause.__get__(error)),
            "context": self._number(_context.__get__(error)),
            "suppress": _suppress.__get__(error),
            "frames": _frames(_traceback.__get__(error)),
        }
        if _Group is not None and id(_Group) in kinds:
            members = vars(_Group)["exceptions"].__get__(error)
            numbers = [number for member in members if (number := self._number(member)) is not None]
            details["group"] = _exact(vars(_Group)["message"].__get__(error))
            details["members"], details["missing"] = numbers, len(members) - len(numbers)
        return details

    def _number(self, error: BaseException | None) -> int | None:
        """Return the number of another exception; None if there is none, or if there are too many."""
        if error is None:
            return None
        for number, known in enumerate(self._errors):
            if known is error:
                return number
        if len(self._errors) > _MAX_ERRORS:
            return None
        self._errors.append(error)
        return len(self._errors) - 1

    def _argument(self, value: Any, place: int) -> bytes:
        """Encode an argument. What cannot cross is sent as a text in its place, so that the others keep theirs."""
        encoded = self._encoded(value, f"args[{place}]")
        if isinstance(encoded, bytes):
            return encoded
        try:
            text = _exact(repr(value))
        except BaseException:  # see the top of this file
            text = f"<{_type_name(type(value))} object>"
        return self._dumps(_shortened(text))

    def _values(
        self, error: BaseException, mro: tuple[type, ...], left_out: dict[str, str]
    ) -> Iterator[tuple[str, bytes]]:
        for name, value in _read(error, mro):
            encoded = self._encoded(value, name)
            if isinstance(encoded, bytes):
                yield name, encoded
            else:
                left_out[name] = _shortened(encoded)

    def _encoded(self, value: Any, name: str) -> bytes | str:
        """Encode ``value``, or return why that is not possible."""
        try:
            encoded = self._dumps(value)
        except EncodeError as error:
            return error.text(name)
        except BaseException as error:  # see the top of this file
            return f"{name}: {_type_name(type(error))} while it was read"
        if len(encoded) > self._left:
            return f"{name}: it is too large to be sent with an exception"
        self._left -= len(encoded)
        return bytes(encoded)


def _read(error: BaseException, mro: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    """Yield what ``error`` has in its ``__dict__``, its slots, and the members of builtin classes."""
    seen = set()
    for name, value in list(dict.items(_attributes.__get__(error))):
        if type(name) is str and not name.startswith("__"):
            seen.add(name)
            yield name, value
    for kind in mro:
        if kind is _Group:
            continue
        for name, member in list(_dict.__get__(kind).items()):
            is_member = type(member) is MemberDescriptorType or (kind is OSError and name == "characters_written")
            if not is_member or name.startswith("__") or name in seen:
                continue
            seen.add(name)
            try:
                value = member.__get__(error)
            except (AttributeError, TypeError):  # it is not set
                continue
            yield name, value


def _notes(error: BaseException) -> list[str]:
    notes = dict.get(_attributes.__get__(error), "__notes__")
    texts = list.__getitem__(notes, slice(_MAX_NOTES)) if isinstance(notes, list) else []
    return [_shortened(_exact(note)) for note in texts if issubclass(type(note), str)]


def _frames(trace: TracebackType | None) -> list[list[Any]]:
    """Return each frame of the user's as [file, line, function, text of the line, its first line, end line, two columns]."""
    firsts = [frame.f_code.co_firstlineno for frame, _ in traceback.walk_tb(trace)]
    summaries = [each for each in zip(traceback.extract_tb(trace), firsts) if not _is_own(each[0].filename)]
    if len(summaries) > _MAX_FRAMES:
        summaries = [*summaries[: _MAX_FRAMES // 2], *summaries[-_MAX_FRAMES // 2 :]]
    return [
        [
            each.filename,
            each.lineno or 0,
            each.name,
            _shortened(linecache.getline(each.filename, each.lineno or 0).rstrip()),
            first,
            *(getattr(each, name, None) for name in ("end_lineno", "colno", "end_colno")),
        ]
        for each, first in summaries
    ]


def _sources_that_differ(files: Iterable[str]) -> dict[str, str]:
    """Return the texts of pinned files, by name, that the user has edited since: so many as may be sent."""
    texts = {}
    left = _MAX_SOURCES
    for file in files:
        entry = linecache.cache.get(file)
        if entry is None or len(entry) != 4 or entry[1] is not None:  # it was read from the disk
            continue
        lines = entry[2]
        if sum(map(len, lines)) <= left and _differs(file, lines):
            texts[file] = "".join(lines)
            left -= len(texts[file])
    return texts


def _differs(file: str, lines: list[str]) -> bool:
    try:
        found = os.stat(file)
    except OSError:
        return True
    stamp = (id(lines), found.st_mtime_ns, found.st_size, found.st_ino)
    known = _differing.get(file)
    if known is None or known[0] != stamp:
        try:
            with tokenize.open(file) as opened:
                differs = opened.read().rstrip("\n") != "".join(lines).rstrip("\n")
        except (OSError, SyntaxError, UnicodeDecodeError):
            differs = True
        known = _differing[file] = (stamp, differs)
    return known[1]


_differing: dict[str, tuple[Any, bool]] = {}
"""Whether a file on the disk differs from its pinned lines, with what that was found out for."""


def _is_own(file: str) -> bool:
    return file.startswith((_HERE, "<frozen importlib"))


def _place(kind: type) -> tuple[str, str]:
    """Return the module and the qualified name of a class. Only classes of Python itself are said to be of builtins."""
    module, name = _module.__get__(kind), _qualname.__get__(kind)
    text, qualname = (_exact(each) if issubclass(type(each), str) else "?" for each in (module, name))
    if text == "builtins" and vars(builtins).get(qualname) is not kind:
        text = "?"
    return text, qualname


def _type_name(kind: type) -> str:
    module, name = _place(kind)
    return name if module in ("builtins", "?") else f"{module}.{name}"


def _text_of(error: BaseException) -> str:
    try:
        return _shortened(_exact(str(error)))
    except BaseException as second:  # including SystemExit: a user's __str__ must not end the worker either
        return f"<its text could not be made: {_type_name(type(second))}>"


def _whole_text(error: BaseException, name: str, message: str) -> str:
    """Return the traceback with those of causes, contexts and members of groups."""
    try:
        trace = traceback.TracebackException.from_exception(error)
        _drop_own_frames(trace)
        notes = () if sys.version_info >= (3, 11) else (f"{note}\n" for note in _notes(error))  # later ones show them
        return _shortened("".join([*trace.format(), *notes]))
    except BaseException:  # see _text_of
        return _own_text(error, name, message)


def _own_text(error: BaseException, name: str, message: str) -> str:
    frames = [each for each in traceback.extract_tb(_traceback.__get__(error)) if not _is_own(each.filename)]
    lines = traceback.StackSummary.from_list(frames).format()
    head = ["Traceback (most recent call last):\n"] if lines else []
    return _shortened("".join([*head, *lines, f"{name}: {message}\n" if message else f"{name}\n"]))


def _drop_own_frames(trace: traceback.TracebackException) -> None:
    seen = set()
    left = [trace]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        frames = [frame for frame in one.stack or () if not _is_own(frame.filename)]
        one.stack = traceback.StackSummary.from_list(frames)
        also = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        left += [other for other in also if other is not None]


def _exact(text: str) -> str:
    """Return a text of a subclass as the text itself."""
    return str.__add__(text, "")


def _shortened(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[: _MAX_TEXT // 2]}\n... {len(text) - _MAX_TEXT} characters left out ...\n{text[-_MAX_TEXT // 2 :]}"
