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
from .values import packing
from .values.codec import CODEC
from .values.values import EncodeError, Values

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["VALUES", "encode_result", "import_modules", "pack_raised", "pack_refused", "pack_result", "run_call"]

VALUES = Values(packing.pack, packing.unpacker, packing.Ext, towards="from the worker")


def import_modules(names: Iterable[str]) -> dict[str, ModuleType]:
    """Import the modules of these names and return them by name."""
    modules = {}
    for name in names:
        __import__(name)
        modules[name] = sys.modules[name]
    return modules


def run_call(callables: Callables, body: bytes) -> tuple[Any, Sequence[Any]]:
    """Run the call in the body of a CALL frame. Return its result, and what the call carried besides its arguments.

    The result of an ``async def`` function is a coroutine. Raises :class:`.calling.Refused`, and what the function raises.
    """
    try:
        (length,) = frames.TARGET_LENGTH.unpack_from(body)
        end = frames.TARGET_LENGTH.size + length
        tagged = CODEC.values.last_tagged
        args, kwargs, *requested = CODEC.loads(body, end)
    except (ValueError, TypeError, frames.StructError) as error:
        raise Refused(f"The worker cannot read the arguments of the call: {error}.") from None
    function = callables.find(body[end - length : end])
    if CODEC.values.last_tagged is not tagged:
        from .values.arguments import typed

        args, kwargs = typed(function, args, kwargs)
    return function(*args, **kwargs), requested


def encode_result(result: Any, requested: Sequence[Any] = (), *, name: str = "result") -> bytes:
    """Encode a returned ``result``, called ``name`` in errors. ``requested``: what the call carried besides its arguments.

    Raises :class:`.calling.Refused` if it cannot cross, and what a user's property raises while its value is read.
    """
    try:
        if requested:
            from .values.requested import class_indexes

            return CODEC.dumps(result, class_indexes(requested[0]))
        return CODEC.dumps(result)
    except EncodeError as error:
        raise Refused(error.text(name)) from None


def pack_result(result: Any, requested: Sequence[Any] = (), *, name: str = "result") -> tuple[int, bytes]:
    """Return the answer frame for a returned ``result``. The arguments are those of :func:`encode_result`."""
    try:
        return frames.RESULT, encode_result(result, requested, name=name)
    except Refused as refused:
        return pack_refused(str(refused))
    except BaseException as error:  # including SystemExit
        return pack_raised(error)


def pack_raised(error: BaseException) -> tuple[int, bytes]:
    """Return the answer frame for a raised ``error``."""
    from .failures import describe

    return frames.RAISED, VALUES.dumps(describe(error, VALUES.dumps))


def pack_refused(text: str) -> tuple[int, bytes]:
    """Return the answer frame for a call that was refused, with the reason."""
    return frames.REFUSED, VALUES.dumps(text)
