"""Types of the standard library whose values never leave their process: functions, files, iterators, classes and the like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["STAYING", "LeftOut", "NotKept"]

_FROM_ABC = (
    *(
        "AsyncGenerator",
        "AsyncIterable",
        "AsyncIterator",
        "Awaitable",
        "Callable",
        "Coroutine",
        "Generator",
        "Iterator",
    ),
)
_OF_TYPING = ("IO", "BinaryIO", "TextIO", "AsyncContextManager", "ContextManager")
_STAYING: Mapping[str, tuple[str, ...]] = {
    "asyncio": ("AbstractEventLoop", "Event", "Future", "Lock", "Queue", "Semaphore", "Task"),
    "builtins": ("type",),
    "collections.abc": _FROM_ABC,
    "concurrent.futures": ("Executor", "Future", "ProcessPoolExecutor", "ThreadPoolExecutor"),
    "contextlib": ("AbstractAsyncContextManager", "AbstractContextManager"),
    "io": (
        *("BufferedIOBase", "BufferedRandom", "BufferedReader", "BufferedWriter", "BytesIO", "FileIO", "IOBase"),
        *("RawIOBase", "StringIO", "TextIOBase", "TextIOWrapper"),
    ),
    "logging": ("Formatter", "Handler", "Logger", "LoggerAdapter"),
    "multiprocessing": ("Process", "Queue"),
    "queue": ("Queue",),
    "socket": ("socket",),
    "ssl": ("SSLContext", "SSLSocket"),
    "subprocess": ("Popen",),
    "threading": ("Condition", "Event", "Lock", "RLock", "Semaphore", "Thread"),
    "types": ("CodeType", "FrameType", "FunctionType", "GeneratorType", "MethodType", "ModuleType", "TracebackType"),
    "typing": (*_FROM_ABC, *_OF_TYPING, "Type"),
    "typing_extensions": (*_FROM_ABC, *_OF_TYPING, "Type"),
}


def _paths() -> Iterator[str]:
    for module, names in _STAYING.items():
        yield from (f"{module}.{name}" for name in names)


STAYING = frozenset(_paths())
"""The full paths of these types."""


class LeftOut(str):
    """The text of an option of a union that was left out, since no value of it can cross."""

    __slots__ = ()


class NotKept(str):
    """The text of metadata of an ``Annotated`` type that was left out."""

    __slots__ = ()
