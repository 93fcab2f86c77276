"""Running one call, from the body of its frame to the frame that answers it.

The worker runs its calls by these functions. An in-process bridge runs the sources of the app's own process by the same ones,
so that values and errors are converted alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import ModuleType

from . import frames
from .calling import Callables, Refused
from .forks import FORKS
from .merges import explain_file
from .values import packing
from .values.codec import CODEC
from .values.known import SOURCES
from .values.values import DecodeError, EncodeError, Values, path_text

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "VALUES",
    "encode_result",
    "import_modules",
    "pack_raised",
    "pack_refused",
    "pack_result",
    "run_call",
    "run_question",
]

VALUES = Values(packing.pack, packing.unpacker, packing.Ext, towards="from the worker")


def import_modules(names: Iterable[str]) -> dict[str, ModuleType]:
    """Import the modules of these names and return them by name."""
    modules = {}
    try:
        for name in names:
            __import__(name)
            modules[name] = sys.modules[name]
    except BaseException as error:
        FORKS.end_child(error)
        explain_file(error)
        raise
    FORKS.end_child()
    return modules


def run_call(callables: Callables, body: bytes) -> tuple[Any, Sequence[Any]]:
    """Run the call in the body of a CALL frame. Return its result, and what the call carried besides its arguments.

    The result of an ``async def`` function is a coroutine. Raises :class:`.calling.Refused`, and what the function raises.
    """
    try:
        (length,) = frames.TARGET_LENGTH.unpack_from(body)
        end = frames.TARGET_LENGTH.size + length
        args, kwargs, *requested = CODEC.loads(body, end, SOURCES)
    except DecodeError as error:
        raise Refused(_unreadable(error, callables.find(body[end - length : end]))) from None
    except (ValueError, TypeError, frames.StructError) as error:
        raise Refused(f"The worker cannot read the arguments of the call: {error}.") from None
    function = callables.find(body[end - length : end])
    result = function(*args, **kwargs)
    FORKS.end_child()
    return result, requested


def run_question(callables: Callables, body: bytes) -> tuple[Any, Sequence[Any]]:
    """Answer the question in the body of an INTERFACE frame, as :func:`run_call` runs a call."""
    from .interface import interface  # not before it is needed: a worker starts faster without

    return interface(callables, *VALUES.loads(body)), ()


def _unreadable(error: DecodeError, function: Any) -> str:
    steps, rest = error.path[:2], path_text(error.path[2:])
    if len(steps) < 2:
        return f"The worker cannot read the arguments of the call: {error}."
    (_, which), (_, key) = steps
    return f"argument {key if which else _parameter(function, key)}{rest}: {error}."


def _parameter(function: Any, place: int) -> str:
    """Return the name of the parameter that takes the positional argument at ``place``, or its number from 1."""
    import inspect  # not before it is needed: a worker starts faster without

    try:
        names = [
            each.name for each in inspect.signature(function).parameters.values() if each.kind < each.VAR_POSITIONAL
        ]
    except Exception:  # it has no signature, or its lazily evaluated annotations raise
        names = []
    return names[place] if place < len(names) else str(place + 1)


def encode_result(result: Any, requested: Sequence[Any] = (), *, name: str = "result") -> bytes:
    """Encode a returned ``result``, called ``name`` in errors.

    ``requested``: what the call carried besides its arguments, which asks for the classes of values.

    Raises :class:`.calling.Refused` if it cannot cross, and what a user's property raises while its value is read.
    """
    try:
        return CODEC.dumps(result, SOURCES if requested else None)
    except EncodeError as error:
        raise Refused(error.text(name) + _stream_hint(result, name)) from None


def _stream_hint(value: Any, name: str) -> str:
    if not (hasattr(type(value), "__next__") or hasattr(type(value), "__anext__")):
        return ""
    if name != "result":
        return " A stream of streams does not cross: yield the items of each, or make it a list."
    return (
        " It is a stream: take its items by handle.stream(), or by a wrapper that was generated since the function became one. "
        "It is known as one if it has a `yield`, or is annotated `-> Iterator[int]`, for example, or its decorator is annotated "
        "`-> Callable[..., Iterator[int]]`."
    )


def pack_result(result: Any, requested: Sequence[Any] = (), *, name: str = "result") -> tuple[int, bytes]:
    """Return the answer frame for a returned ``result``. The arguments are those of :func:`encode_result`."""
    FORKS.end_child()
    try:
        return frames.RESULT, encode_result(result, requested, name=name)
    except Refused as refused:
        return pack_refused(str(refused))
    except BaseException as error:  # including SystemExit
        return pack_raised(error)


def pack_raised(error: BaseException) -> tuple[int, bytes]:
    """Return the answer frame for a raised ``error``."""
    FORKS.end_child(error)
    from .failures import describe

    return frames.RAISED, VALUES.dumps(describe(error, lambda value: VALUES.dumps(value, SOURCES)))


def pack_refused(text: str) -> tuple[int, bytes]:
    """Return the answer frame for a call that was refused, with the reason."""
    return frames.REFUSED, VALUES.dumps(text)
