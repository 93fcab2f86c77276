"""Exceptions of the worker, raised in the app as what they were.

The error that is raised is a :class:`~lastgood.RemoteError` and, by multiple inheritance, an instance of the nearest classes
that the app knows: builtin ones, those of the standard library, and those that wrappers declare. It is made without running
a constructor. Its traceback consists of frames made for the purpose, which name the user's own files and lines, so that every
tool that prints tracebacks shows them.
"""

from __future__ import annotations

import builtins
import linecache
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import FrameType, FunctionType, TracebackType
from typing import Any, cast

from lastgood.bridges.worker.performing import VALUES
from lastgood.bridges.worker.values.known import Known
from lastgood.calls.classes import Declared
from lastgood.errors import LastgoodError, RemoteError

__all__ = ["bare", "leave", "made"]

_ORIGIN = "_lastgood_origin"
_OWN = frozenset(("type_name", "message", "traceback", "attributes", _ORIGIN, *dir(BaseException)))
"""Attributes of the error itself, which attributes of the exception do not replace."""
_HEAP_TYPE = 1 << 9
_MAX_CLASSES = 1024


@dataclass(frozen=True, slots=True)
class _Origin:
    """What belongs to a remote error besides its public attributes.

    ``frames``, ``context``: see :func:`leave`. ``left_out`` says why an attribute could not be sent, by name.
    """

    text: str = ""
    frames: TracebackType | None = None
    context: BaseException | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def leave(error: RemoteError) -> None:
    """Prepare an error of the worker to be raised again where a call leaves lastgood, by a bare ``raise``.

    Its traceback then consists of the frames of the app and those of the worker, and its context is what it was in the worker,
    if it had one there. Errors that a bridge of the user's has raised stay as they are.
    """
    origin: _Origin | None = vars(error).get(_ORIGIN)
    if origin is not None:
        error.__traceback__ = origin.frames
        if origin.context is not None:
            error.__context__ = origin.context


def bare(answer: Sequence[Any]) -> RemoteError:
    """Return the :class:`RemoteError` for a described exception, which is an instance of no other class."""
    name, message, text = map(str, answer[:3])
    return RemoteError(name, message, text)


def made(answer: Sequence[Any], known: Known | None = None, *, trace: TracebackType | None = None) -> RemoteError:
    """Return the error for a described exception (see :mod:`.worker.failures`), as an instance of what it was.

    ``known`` are the classes that wrappers declare (None: only those of Python and of installed packages are looked for).
    ``trace`` is the real traceback, if the source ran in this process. Raises TypeError or ValueError for an invalid description.
    """
    if len(answer) == 3:
        return bare(answer)
    *first, others = answer
    try:
        return _Maker([first, *others], known, trace).whole()
    except (AttributeError, KeyError, IndexError) as error:
        raise ValueError(f"the description of an exception is invalid: {type(error).__name__}: {error}") from None


class _Maker:
    def __init__(
        self,
        described: Sequence[Sequence[Any]],
        known: Known | None,
        trace: TracebackType | None,
    ) -> None:
        self._described = described
        self._known = known
        self._trace = trace
        self._made: dict[int, RemoteError] = {}
        sources = {} if trace is not None else self._details(0).get("sources") or {}
        self._sources = {str(file): str(text) for file, text in sources.items()}

    def whole(self) -> RemoteError:
        for number in range(len(self._described)):
            self._error(number)
        for number, error in self._made.items():
            details = self._details(number)
            context = self._linked(details.get("context"))
            error.__cause__ = self._linked(details.get("cause"))
            error.__context__ = context
            error.__suppress_context__ = details.get("suppress") is True
            origin: _Origin = vars(error)[_ORIGIN]
            frames = self._frames(number, details)
            error.__traceback__ = frames
            vars(error)[_ORIGIN] = _Origin(origin.text, frames, context, origin.left_out)
        return self._made[0]

    def _frames(self, number: int, details: Mapping[str, Any]) -> TracebackType | None:
        if number == 0 and self._trace is not None:
            return self._trace
        if type(self._made[number]) is RemoteError:
            return None  # its text shows them
        return _traceback(details.get("frames") or (), self._sources)

    def _details(self, number: int) -> Mapping[str, Any]:
        details = self._described[number][3]
        if not isinstance(details, dict):
            raise TypeError("an exception without details")
        return details

    def _linked(self, number: Any) -> RemoteError | None:
        return None if number is None else self._made[_index(number, len(self._described))]

    def _error(self, number: int, around: frozenset[int] = frozenset()) -> RemoteError:
        if number in self._made:
            return self._made[number]
        if number in around:
            raise ValueError("a group of exceptions that contains itself")
        name, message, text, _ = self._described[number]
        details = self._details(number)
        attributes, left_out = self._attributes(details)
        error: RemoteError | None = None
        if not details.get("bare"):
            members = [
                self._error(_index(each, len(self._described)), around | {number})
                for each in details.get("members", ())
            ]
            if missing := details.get("missing"):
                members.append(RemoteError("Exception", f"{missing} more members of the group were not sent", ""))
            group = (str(details["group"]), members) if members else None
            if group is not None:
                attributes["message"] = group[0]
            first = details["mro"][0]
            error = _instance(_classes(details["mro"], self._known), first, self._args(details), group)
        if error is None:
            error = RemoteError(str(name), str(message), str(text))
        _fill(error, attributes)
        vars(error).update(type_name=str(name), message=str(message), traceback=str(text), attributes=attributes)
        vars(error)[_ORIGIN] = _Origin(str(message), left_out=left_out)
        if notes := details.get("notes"):
            error.__notes__ = [str(note) for note in notes]
        self._made[number] = error
        return error

    def _args(self, details: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(self._value(value, "an argument") for value in details.get("args", ()))

    def _value(self, data: bytes, name: str) -> Any:
        try:
            return VALUES.loads(data, self._known)
        except ValueError as error:
            return f"<{name} that cannot be read here: {error}>"

    def _attributes(self, details: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the attributes, and by name why the others are left out."""
        attributes: dict[str, Any] = {}
        left_out = {str(name): str(reason) for name, reason in details.get("left_out", {}).items()}
        for name, data in details.get("attributes", {}).items():
            try:
                attributes[str(name)] = VALUES.loads(data, self._known)
            except ValueError as error:  # this side lacks what it needs
                left_out[str(name)] = f"{name}: {error}"
        return attributes, left_out


def _index(number: Any, size: int) -> int:
    if type(number) is not int or not 0 <= number < size:
        raise ValueError("an exception that is not there")
    return number


# Classes.


def _classes(mro: Sequence[Sequence[str]], known: Known | None) -> tuple[type[Exception], ...]:
    """Return the nearest known classes of an exception, the nearest first, without their own bases."""
    found: list[type[Exception]] = []
    for module, qualname in mro:
        kind = _find(str(module), str(qualname), known)
        if (
            isinstance(kind, type)
            and issubclass(kind, Exception)
            and not issubclass(kind, LastgoodError)
            and not any(issubclass(each, kind) for each in found)
            and _go_together(*found, kind)
        ):
            found.append(kind)
    return tuple(found)


def _find(module: str, qualname: str, known: Known | None) -> type | None:
    if module == "builtins":
        found = vars(builtins).get(qualname)
        return found if isinstance(found, type) else None
    try:
        kind = (Declared() if known is None else known).find(module, qualname)
    except Exception:  # a module that cannot be imported: nobody has its class in an except clause
        return None
    # Two exceptions of one name are two, except that the module of a source may be known by another name.
    return kind if kind is None or _tail(_source_of(kind)) == _tail(module) else None


def _source_of(kind: type) -> str:
    source = getattr(sys.modules.get(kind.__module__), "__source__", None)
    return source if isinstance(source, str) else kind.__module__


def _tail(module: str) -> str:
    return module.rpartition(".")[2]


def _go_together(*bases: type[Exception]) -> bool:
    try:
        _blank(_class(bases, "?", bases[0].__qualname__), ("", [Exception()]))
    except Exception:  # one that cannot be derived from, or not with the others, or that has a state of its own in C
        return False
    return True


_group_message = vars(BaseExceptionGroup)["message"]
_making = threading.RLock()


def _after_fork() -> None:
    """Replace the lock in a forked child: the thread that held it does not exist there."""
    global _making
    _making = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _class(bases: tuple[type[Exception], ...], module: str, qualname: str) -> type[RemoteError]:
    if bases[0].__name__ == qualname.rpartition(".")[2]:
        module = bases[0].__module__  # a copy of an error is then of the same class
    elif module == "?":
        module = "builtins"
    with _making:
        return _new_class(bases, module, qualname)


@lru_cache(_MAX_CLASSES)
def _new_class(bases: tuple[type[Exception], ...], module: str, qualname: str) -> type[RemoteError]:
    space: dict[str, Any] = {
        "__module__": __name__,
        "__qualname__": qualname,
        "__doc__": bases[0].__doc__,
        "__str__": _text,
        "__getattr__": _missing,
        "__reduce__": _reduced,
        "__setstate__": _restore,
    }
    if any(issubclass(each, ExceptionGroup) for each in bases):
        space["message"] = property(_text)  # as of each RemoteError; the group has a read-only attribute of this name
    kind = type(qualname.rpartition(".")[2], (RemoteError, *bases), space)
    # Set afterwards: a metaclass or an __init_subclass__ may register the classes of its module, each name once.
    type.__setattr__(kind, "__module__", module)
    return kind


def _text(error: RemoteError) -> str:
    origin: _Origin = vars(error).get(_ORIGIN, _Origin())
    return origin.text


def _missing(error: RemoteError, name: str) -> Any:
    origin: _Origin = vars(error).get(_ORIGIN, _Origin())
    text = f"{type(error).__name__!r} object has no attribute {name!r}"
    if name in origin.left_out:
        text = f"{name!r} of this {type(error).__name__} stayed in the worker: {origin.left_out[name]}"
    raise AttributeError(text, name=name, obj=error)


def _reduced(error: RemoteError) -> tuple[Any, ...]:
    kind = type(error)
    group = (_group_message.__get__(error), list(error.exceptions)) if isinstance(error, ExceptionGroup) else None
    origin: _Origin = vars(error).get(_ORIGIN, _Origin())
    state = {name: value for name, value in vars(error).items() if name != _ORIGIN}
    place = (kind.__module__, kind.__qualname__)
    return _instance, (kind.__bases__[1:], place, error.args, group), (state, origin.text, dict(origin.left_out))


def _restore(error: RemoteError, state: tuple[dict[str, Any], str, dict[str, str]]) -> None:
    attributes, text, left_out = state
    _fill(error, attributes["attributes"])
    vars(error).update(attributes)
    vars(error)[_ORIGIN] = _Origin(text, left_out=left_out)


def _instance(
    bases: tuple[type[Exception], ...],
    place: Sequence[str],
    args: tuple[Any, ...],
    group: tuple[str, Sequence[Exception]] | None,
) -> RemoteError | None:
    """Return a new error of the class made of ``bases``; None if there are none, or no members for a group."""
    module, qualname = place
    if not bases or (group is None and any(issubclass(each, ExceptionGroup) for each in bases)):
        return None
    error = _blank(_class(bases, module, qualname), group)
    if group is None:
        error.args = args
    return error


def _blank(kind: type[RemoteError], group: tuple[str, Sequence[Exception]] | None) -> RemoteError:
    """Return a new instance, without running code of its classes."""
    native: Any = kind
    while native.__flags__ & _HEAP_TYPE:
        native = native.__base__
    if issubclass(kind, ExceptionGroup) and group is not None:
        return cast("RemoteError", native.__new__(kind, *group))
    return cast("RemoteError", native.__new__(kind))


def _fill(error: RemoteError, attributes: Mapping[str, Any]) -> None:
    """Set the attributes of the exception. What is one of the error's own is only in ``attributes``."""
    for name, value in attributes.items():
        if name in _OWN or name.startswith("__"):
            continue
        if value is None and isinstance(
            error, ImportError
        ):  # from Python 3.15 on, its repr() shows a None that was set
            continue
        try:
            BaseException.__setattr__(error, name, value)
        except Exception:  # a property of the class: it is in ``attributes`` all the same
            continue


# Frames.


def _template() -> FrameType:
    return _getframe()  # type: ignore[name-defined, no-any-return]  # noqa: F821  # from the globals that _frame() gives it


def _traceback(frames: Sequence[Sequence[Any]], sources: Mapping[str, str]) -> TracebackType | None:
    """Return a traceback of these frames (see :mod:`.worker.failures`)."""
    trace: TracebackType | None = None
    for file, line, name, text, first, *position in reversed(frames):
        if type(line) is not int or not 0 < line < 1 << 31:
            continue
        shown = _shown_file(str(file), line, str(text), sources.get(str(file)))
        begins = first if type(first) is int and 0 < first <= line else line
        frame = _frame(shown, line, str(name), begins, position)
        trace = TracebackType(trace, frame, frame.f_lasti, line)
    return trace


def _frame(file: str, line: int, name: str, begins: int, position: Sequence[Any]) -> FrameType:
    code = _template.__code__
    size = len(code.co_code) // 2
    code = code.replace(
        co_filename=file,
        co_name=name,
        co_qualname=name,
        co_firstlineno=begins,
        co_linetable=b"".join(_locations(size, line, line - begins, position)),
    )
    module = os.path.basename(file).removesuffix(".py")
    space = {"__name__": module, "__file__": file, "__builtins__": builtins, "_getframe": sys._getframe}
    return cast("FrameType", FunctionType(code, space)())


def _locations(size: int, line: int, offset: int, position: Sequence[Any]) -> Iterator[bytes]:
    """Yield the location table for ``size`` instructions, all at one position of the source (CPython: Objects/locations.md).

    ``offset`` is the number of lines from the first line of the function to ``line``.
    """
    known = [each for each in position if type(each) is int and each >= 0]
    while size > 0:
        many = min(size, 8)
        size -= many
        start, offset = _varint(offset << 1), 0  # relative to the entry before
        if len(known) != 3 or known[0] < line:
            yield bytes((0x80 | 13 << 3 | many - 1,)) + start  # the line alone
            continue
        end_line, column, end_column = known
        yield bytes((0x80 | 14 << 3 | many - 1,)) + start
        yield b"".join(map(_varint, (end_line - line, column + 1, end_column + 1)))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 64:
        encoded.append(64 | number & 63)
        number >>= 6
    encoded.append(number)
    return bytes(encoded)


_lines_by_name: dict[str, list[str]] = {}


def _shown_file(file: str, line: int, text: str, source: str | None) -> str:
    """Return the name of the file to show: another one if its lines are not those that the worker has run any more.

    ``source`` is what the worker has run, if that is not the file on the disk.
    """
    if source is None:
        if os.path.exists(file) or not text:
            return file
        lines = _lines_by_name.setdefault(file, [])  # nothing is known but the lines of tracebacks
        lines += ["\n"] * (line - len(lines))
        lines[line - 1] = f"{text}\n"
    else:
        lines = source.splitlines(keepends=True)
        file = f"{file} (before an edit)" if os.path.exists(file) else file
    linecache.cache[file] = (
        sum(map(len, lines)),
        None,
        lines,
        file,
    )  # without a time, it is not looked for on the disk
    return file
