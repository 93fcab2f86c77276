"""The contexts that calls run in (``contextvars``): each is a copy of the one that the imports left.

A call runs in whichever thread or event loop is free. If it began with what the call before it there had set, its result would
depend on which one that was. So what a call sets ends with it.

- *decimal* changes its context in place (``getcontext().prec = 6``), and copies of a ``contextvars`` context share it, so each
  call has a copy of that, too.
- *numpy* 1 keeps its error state by thread, so it is set again before each call. On an event loop, its calls share it.
- *What a call imports* is imported as well: what a local module sets is there for every call from then on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    Values = dict[ContextVar[Any], Any]
    Changed = tuple[Values, list[Any] | None]

__all__ = ["CONTEXTS", "Contexts"]

_UNSET = object()
_DECIMAL = "decimal_context"  # the name of decimal's variable, both of the module in C and of that in Python


class Contexts:
    """Makes contexts. Until :meth:`keep`, they are empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: Context | None = None  # never run in, but to change it
        self._decimal: tuple[ContextVar[Any], Any] | None = None
        self._errors: list[Any] | None = None
        self._set_errors: Callable[[list[Any]], object] = list
        self.fresh: Callable[[], Context] = Context
        """Make a context; on the thread that will run in it."""

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function`` in a context of its own."""
        return self.fresh().run(function, *args)

    def keep(self) -> None:
        """The imports are done: what is current now is what they left."""
        with self._lock:
            self._left = Context()
            self._set(*_current())

    def before_import(self) -> Changed | None:
        """What a late import may change, for :meth:`after_import`."""
        return None if self._left is None else _current()

    def after_import(self, before: Changed | None) -> None:
        """The import is done: what it changed is kept."""
        if before is None:
            return
        values, errors = _current()
        changed = {var: value for var, value in values.items() if _differs(var, value, before[0].get(var, _UNSET))}
        if changed or errors != before[1]:
            with self._lock:
                assert self._left is not None
                self._left = self._left.copy()
                self._set(changed, errors if errors != before[1] else self._errors)

    def _set(self, values: Values, errors: list[Any] | None) -> None:
        assert self._left is not None
        for var, value in values.items():
            self._left.run(var.set, value)
            if _is_decimals(var, value):
                self._decimal = var, value
        self._errors = errors
        if errors is not None:
            self._set_errors = sys.modules["numpy"].seterrobj
        self.fresh = self._left.copy if self._decimal is None and errors is None else self._fresh

    def _fresh(self) -> Context:
        assert self._left is not None
        context = self._left.copy()
        if self._decimal is not None:
            var, value = self._decimal
            context.run(var.set, value.copy())
        if self._errors is not None:
            self._set_errors(self._errors.copy())
        return context


def _current() -> Changed:
    """The values of the current context, and the error state of numpy 1."""
    values = {var: value.copy() if _is_decimals(var, value) else value for var, value in copy_context().items()}
    read = getattr(sys.modules.get("numpy"), "geterrobj", None)
    return values, None if read is None else read().copy()


def _is_decimals(var: ContextVar[Any], value: Any) -> bool:
    return var.name == _DECIMAL and hasattr(value, "clear_flags")


def _differs(var: ContextVar[Any], value: Any, before: Any) -> bool:
    if before is _UNSET or not _is_decimals(var, value):
        return value is not before
    pair = value.copy(), before.copy()
    for each in pair:
        each.clear_flags()  # any calculation sets these
    return repr(pair[0]) != repr(pair[1])


CONTEXTS = Contexts()
"""Those of this worker."""
