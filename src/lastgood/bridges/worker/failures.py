"""Description of a user exception as texts to send to the app."""

from __future__ import annotations

import os
import traceback

__all__ = ["describe"]

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MAX_TEXT = 100_000


def describe(error: BaseException) -> list[str]:
    """Return [type name, message, traceback]; the traceback omits the frames of the worker and of the import system."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except BaseException as second:  # including SystemExit: a user's __str__ must not end the worker either
        message = f"<its text could not be made: {type(second).__name__}>"
    try:
        trace = traceback.TracebackException.from_exception(error)
        _drop_own_frames(trace)
        text = "".join(trace.format())
    except BaseException as second:  # see above
        text = f"<its traceback could not be made: {type(second).__name__}>"
    return [name, _shortened(message), _shortened(text)]


def _drop_own_frames(trace: traceback.TracebackException) -> None:
    seen = set()
    left = [trace]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        frames = [f for f in one.stack or () if not f.filename.startswith((_HERE, "<frozen importlib"))]
        one.stack = traceback.StackSummary.from_list(frames)
        also = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        left += [other for other in also if other is not None]


def _shortened(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[: _MAX_TEXT // 2]}\n... {len(text) - _MAX_TEXT} characters left out ...\n{text[-_MAX_TEXT // 2 :]}"
