"""Contexts for calls (``contextvars``): each call gets a copy of the context that the imports left.

A call runs in any free thread or event loop. If it saw what an earlier call had set there, its result would depend on the
thread. So changes of the context by a call end with it.

- *decimal* changes its context in place (``getcontext().prec = 6``), and copies of a ``contextvars`` context share it. So each
  call gets a copy of the decimal context, too.
- *numpy* 1 keeps its error state by thread, so it is set again before each call. Concurrent calls on an event loop share it.
- *A local module that a call imports* belongs to the imports: its changes apply to every call from then on, but changes that
  the call made before do not. (numpy 2's error state is a single value: if the call has changed it, the module's are lost.)
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
_DECIMAL = "decimal_context"  # the name of the context variable in each of these modules
_DECIMALS = "decimal", "_pydecimal"
_NUMPY = "numpy.ufunc.extobj"  # the name of numpy 2's variable, whose error state is one opaque value


class Contexts:
    """Makes contexts. They are empty until :meth:`keep` is called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: Context | None = None  # left by the imports; only run in to change it
        self._decimals: Values = {}
        self._errors: list[Any] | None = None
        self._set_errors: Callable[[list[Any]], object] = list
        self.fresh: Callable[[], Context] = Context
        """Make a context. Call it on the thread that will run in the context."""

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function`` in a fresh context."""
        return self.fresh().run(function, *args)

    def keep(self) -> None:
        """Keep the current context, after the imports, as the origin of all further ones."""
        with self._lock:
            self._left = Context()
            self._set(*_current())

    def before_import(self) -> Changed | None:
        """Return the state that a late import may change, for :meth:`after_import`."""
        return None if self._left is None else _current()

    def after_import(self, before: Changed | None) -> None:
        """Keep the changes that a late import made, given the state before it."""
        if before is None:
            return
        values, errors = _current()
        was, errors_were = before
        with self._lock:
            left = self._left
            assert left is not None
            changed = {
                var: _merge_changes(var, value, was.get(var, _UNSET), left.get(var, _UNSET))
                for var, value in values.items()
                if _differs(var, value, was.get(var, _UNSET))
            }
            if errors == errors_were or errors_were != self._errors:
                errors = self._errors
            if changed or errors != self._errors:
                self._left = left.copy()
                self._set(changed, errors)

    def _set(self, values: Values, errors: list[Any] | None) -> None:
        assert self._left is not None
        for var, value in values.items():
            self._left.run(var.set, value)
            if _is_decimals(var, value):
                self._decimals[var] = value
        self._errors = errors
        if errors is not None:
            self._set_errors = sys.modules["numpy"].seterrobj
        self.fresh = self._fresh if self._decimals or errors is not None else self._left.copy

    def _fresh(self) -> Context:
        assert self._left is not None
        context = self._left.copy()
        for var, value in self._decimals.items():
            context.run(var.set, value.copy())
        self.enter_thread()
        return context

    def enter_thread(self) -> None:
        """Set numpy 1's error state for the current thread, which is about to begin a call."""
        if self._errors is not None:
            self._set_errors(self._errors.copy())


def _current() -> Changed:
    """Return the values of the current context and the error state of numpy 1 (None if there is none)."""
    values = {var: value.copy() if _is_decimals(var, value) else value for var, value in copy_context().items()}
    read = getattr(sys.modules.get("numpy"), "geterrobj", None)
    return values, None if read is None else read().copy()


def _is_decimals(var: ContextVar[Any], value: Any) -> bool:
    if var.name != _DECIMAL:
        return False
    return any(isinstance(value, sys.modules[name].Context) for name in _DECIMALS if name in sys.modules)


def _merge_changes(var: ContextVar[Any], value: Any, before: Any, left: Any) -> Any:
    """Return ``left`` with the changes of an import, which are those from ``before`` to ``value``; both include the call's."""
    if var.name == _NUMPY and before is not left and left is not _UNSET:
        return left  # the opaque value does not show which part the import changed
    if not all(_is_decimals(var, each) for each in (value, before, left)):
        return value
    merged = left.copy()
    for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps"):
        if getattr(value, name) != getattr(before, name):
            setattr(merged, name, getattr(value, name))
    return merged


def _differs(var: ContextVar[Any], value: Any, before: Any) -> bool:
    if before is _UNSET or value is _UNSET or not (_is_decimals(var, value) and _is_decimals(var, before)):
        return value is not before
    pair = value.copy(), before.copy()
    for each in pair:
        each.clear_flags()  # any calculation sets flags, so they are not compared
    return repr(pair[0]) != repr(pair[1])


CONTEXTS = Contexts()
"""The contexts of this worker."""
