"""The errors that answers to a call stand for, and the errors of what cannot be sent.

Every bridge that calls the worker's code uses these functions, so that it has the same errors wherever the code runs.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from lastgood import errors
from lastgood.bridges.raised import bare, made
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import DecodeError, EncodeError, path_text
from lastgood.errors import BridgeError

__all__ = ["check_sequences", "disposed", "error_of", "started_before", "unreadable", "unsendable"]


def check_sequences(modules: object, import_path: object) -> None:
    """Raise :class:`TypeError` if one of these arguments of a bridge is a single text or path."""
    if isinstance(modules, str) or isinstance(import_path, str | Path):
        raise TypeError("modules and import_path are sequences; put the one text that was given into a list.")


def started_before() -> BridgeError:
    """Return the error for a second start of a bridge."""
    return BridgeError("init() of a bridge can be awaited once; create another bridge.")


def disposed() -> BridgeError:
    """Return the error for a call after ``dispose()``."""
    return BridgeError("The bridge was disposed; no more calls can be made through it.")


def error_of(
    kind: int | None,
    value: Any,
    *,
    known: Known | None = None,
    trace: TracebackType | None = None,
    is_import: bool = False,
) -> BridgeError | None:
    """Return the error that an answer stands for; None for a RESULT. ``known`` and ``trace`` are those of :func:`.raised.made`.

    What an import raised is a :class:`RemoteError` and nothing else. Raises TypeError or ValueError for an invalid answer.
    """
    if kind == frames.RESULT:
        return None
    if kind != frames.RAISED:
        return BridgeError(str(value))
    return bare(value or ()) if is_import else made(value or (), known, trace=trace)


def unreadable(error: DecodeError) -> BridgeError:
    """Return the error for a result that cannot be decoded on this side."""
    if error.path:
        return errors.DecodeError(f"result{path_text(error.path)}: {error}.")
    return errors.DecodeError(f"The result cannot be read: {error}.")


def unsendable(error: EncodeError | UnicodeEncodeError | frames.StructError, module: str, function: str) -> BridgeError:
    """Return the error for a call that cannot be encoded; it names the argument, or the names that are none."""
    if not isinstance(error, EncodeError):
        return BridgeError(f"{module[:200]!r}, {function[:200]!r} cannot be the names of a module and a function.")
    match error.path:
        case [_, ("item", int(index)), *_]:
            return errors.EncodeError(error.text(f"argument {index + 1}", skip=2))
        case [_, ("key", name), *_]:
            return errors.EncodeError(error.text(f"argument {name}", skip=2))
        case _:
            return errors.EncodeError(error.text("the arguments", skip=len(error.path)))
