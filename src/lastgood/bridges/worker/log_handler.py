"""The handler that forwards the worker's log records to the app. Imported once the user's code has imported :mod:`logging`."""

from __future__ import annotations

import logging
import sys

from .interrupts import SHIELD

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .logs import LogPipe

__all__ = ["Forwarding"]

_MAX_TEXT = 100_000  # characters of a message, a traceback or a stack
_MAX_EXTRA = 10_000  # characters of another attribute
_MOST_EXTRAS = 50
_PLAIN = frozenset((type(None), bool, int, float))
_KEPT = (
    "name",
    "levelno",
    "levelname",
    "created",
    "pathname",
    "lineno",
    "funcName",
    "thread",
    "threadName",
    "process",
    "processName",
    "taskName",
)
_STANDARD = frozenset((*vars(logging.LogRecord("", 0, "", 0, "", (), None)), *_KEPT, "message", "asctime"))


class Forwarding:
    """The forwarding of records by ``pipe``.

    While the imports run, what finds no handler is forwarded, as the handler of last resort: the root logger must look as if it
    had none, or the user's ``basicConfig()`` would do nothing. After them, the root logger gets a handler, unless it has one.
    """

    def __init__(self, pipe: LogPipe) -> None:
        self._pipe = pipe
        self._last_resort = logging.lastResort
        self._handler = _Handler(pipe, self._last_resort)
        self._basic_config = logging.basicConfig
        self._before = logging.root.level
        self._set: dict[str, int] = {}
        self._state = "imports"
        logging.lastResort = self._handler
        logging.basicConfig = self._explicit_config
        self.set_levels()

    def _explicit_config(self, **options: Any) -> None:
        """Replace ``basicConfig()`` during the imports: ``logging.warning()`` and its like call it, too, for the root logger."""
        if options or sys._getframe(1).f_globals is not vars(logging):
            self._basic_config(**options)

    def set_levels(self) -> None:
        """Give the loggers the levels that they have in the app: while the imports run, the root logger alone.

        A level that the user's code has set since stays.
        """
        if self._state == "own":
            return
        levels = self._pipe.levels
        names = {"", *self._set, *levels} if self._state == "forwards" else {""}
        for name in names:
            logger = logging.getLogger(name) if name else logging.root
            before = logging.NOTSET if name else self._before
            if logger.level == self._set.get(name, before):
                self._set[name] = levels.get(name, before)
                logger.setLevel(self._set[name])

    def decide(self) -> None:
        """Add the handler, and set the levels of the app's other loggers; or leave all to the handlers that there are."""
        logging.lastResort = self._last_resort
        logging.basicConfig = self._basic_config
        if logging.root.handlers:
            self._state = "own"
            if logging.root.level == self._set.get(""):
                logging.root.setLevel(self._before)
            return
        self._state = "forwards"
        logging.root.addHandler(self._handler)
        self.set_levels()


class _Handler(logging.Handler):
    def __init__(self, pipe: LogPipe, last_resort: logging.Handler | None) -> None:
        super().__init__()
        self._pipe = pipe
        self._last_resort = last_resort

    def handle(
        self, record: logging.LogRecord
    ) -> bool:  # without the handler's lock, which an interrupt could leave locked
        with SHIELD:
            passed = self.filter(record)
            if passed:
                self.emit(record if passed is True else passed)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._pipe.is_mine():
                self._pipe.put(_fields(record))
            elif self._last_resort is not None and record.levelno >= self._last_resort.level:
                self._last_resort.handle(record)
        except Exception:  # such as a message that does not fit its arguments
            self.handleError(record)

    def flush(self) -> None:
        self._pipe.flush()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: _simple(getattr(record, name, None)) for name in _KEPT}
    fields["msg"] = _text(record.getMessage(), _MAX_TEXT)
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    for name in ("exc_text", "stack_info"):
        text = getattr(record, name)
        fields[name] = _text(text, _MAX_TEXT) if text else None
    extras = [(name, value) for name, value in record.__dict__.items() if name not in _STANDARD]
    fields["extras"] = {_text(name, _MAX_EXTRA): _simple(value) for name, value in extras[:_MOST_EXTRAS]}
    return fields


def _simple(value: Any) -> Any:
    if type(value) in _PLAIN and not (type(value) is int and value.bit_length() > 63):
        return value
    return _text(value, _MAX_EXTRA)


def _text(value: Any, most: int) -> str:
    return str(value)[:most].encode("utf-8", "backslashreplace").decode()
