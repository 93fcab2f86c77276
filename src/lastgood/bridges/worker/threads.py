"""Errors of what belongs to a thread or to an event loop, met in a call that ran in another one: why it did, and what to do."""

from __future__ import annotations

import threading

__all__ = ["bound_elsewhere"]

_ON_A_LOOP = "`async def` functions run on an event loop that has a thread of its own"
# By the names of the threads that run calls besides the main one (serving.py, asyncs.py).
_WHY = {
    "lastgood-helper": "plain functions run in several threads, since `threads` under [runtime.process] is above 1",
    "lastgood-substitute": (
        "an earlier call that timed out or was cancelled still runs in the main thread, so that plain functions run in "
        "another one until it ends"
    ),
    "lastgood-asyncio": _ON_A_LOOP,
    "lastgood-trio": _ON_A_LOOP,
}
_LOCAL = (
    "What a threading.local has was set in one thread alone: set it where it is missing, in each thread, not at import."
)
_OF_A_LOOP = "Make what belongs to an event loop in the `async def` function that uses it, or at the first call of one."
_OF_SQLITE = (
    "Connect by sqlite3.connect(..., check_same_thread=False) and take a lock around each use, or have each thread make a "
    "connection of its own when it first needs one."
)
# A part of the error's text, and what to do.
_WAYS_OUT = (
    (
        "can only be used in that same thread",
        _OF_SQLITE,
    ),
    ("main thread", "Do this at import, which is in the main thread, or in a plain function with threads = 1."),
    ("'_thread._local' object has no attribute", _LOCAL),
    ("different loop", _OF_A_LOOP),
    ("different event loop", _OF_A_LOOP),
    ("no current event loop", "Use asyncio.run() in a plain function, or make the function `async def`."),
    ("different thread", "Make what belongs to a thread in the call that uses it, or once in each thread."),
)


def bound_elsewhere(error: BaseException, message: str) -> str | None:
    """Return why ``error``, whose text is ``message``, comes of the thread that this call ran in; None if it does not."""
    why = _WHY.get(threading.current_thread().name)
    if why is None:
        return None
    way_out = next((text for part, text in _WAYS_OUT if part in message), None)
    if type(error) is AttributeError and isinstance(getattr(error, "obj", None), threading.local):
        way_out = _LOCAL  # also of a class derived from it
    return None if way_out is None else f"This call ran in another thread than the imports: {why}. {way_out}"
