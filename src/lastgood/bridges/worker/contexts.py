"""The contexts that calls run in (``contextvars``): each is a copy of the one that the imports left.

A call runs in whichever thread or event loop is free. If it began with what the call before it there had set, its result would
depend on which one that was. So what a call sets ends with it.

- *decimal* changes its context in place (``getcontext().prec = 6``), and copies of a ``contextvars`` context share it, so each
  call has a copy of that, too.
- *numpy* 1 keeps its error state by thread, so it is set again before each call. Calls that run at once on an event loop share it.
- *A local module that a call imports* is one of the imports: what it sets is there for every call from then on, and what the
  call itself had set is not. (numpy's error state is one value: what the module sets of it is lost where the call had set it.)
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
_DECIMAL = "decimal_context"  # the name of the variable of each of these modules
_DECIMALS = "decimal", "_pydecimal"
_NUMPY = "numpy.ufunc.extobj"  # likewise, of numpy 2's error state, which is one opaque value


class Contexts:
    """Makes contexts. Until :meth:`keep`, they are empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: Context | None = None  # never run in, but to change it
        self._decimals: Values = {}
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
        was, errors_were = before
        with self._lock:
            left = self._left
            assert left is not None
            changed = {
                var: _merged(var, value, was.get(var, _UNSET), left.get(var, _UNSET))
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
        """Set what numpy 1 keeps by thread, on the thread that is about to begin a call."""
        if self._errors is not None:
            self._set_errors(self._errors.copy())


def _current() -> Changed:
    """The values of the current context, and the error state of numpy 1."""
    values = {var: value.copy() if _is_decimals(var, value) else value for var, value in copy_context().items()}
    read = getattr(sys.modules.get("numpy"), "geterrobj", None)
    return values, None if read is None else read().copy()


def _is_decimals(var: ContextVar[Any], value: Any) -> bool:
    if var.name != _DECIMAL:
        return False
    return any(isinstance(value, sys.modules[name].Context) for name in _DECIMALS if name in sys.modules)


def _merged(var: ContextVar[Any], value: Any, before: Any, left: Any) -> Any:
    """``left``, with what an import has changed: ``before`` had what the call had set, and ``value`` has it still."""
    if var.name == _NUMPY and before is not left and left is not _UNSET:
        return left  # it cannot be told apart in there
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
        each.clear_flags()  # any calculation sets these
    return repr(pair[0]) != repr(pair[1])


CONTEXTS = Contexts()
"""Those of this worker."""
