"""The decorator of generated wrappers: it turns a declaration into a call of the source through the live bridge.

Positional arguments are sent by position, keyword arguments by keyword; omitted arguments are not sent. The signature in a
wrapper is therefore never enforced: the live function binds the arguments, even if the wrapper was imported before an edit.

The function that results keeps its identity when a swap brings its wrapper up to date (:mod:`lastgood.calls.refresh`): it
gets another :class:`Declaration`, by one assignment.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

from lastgood.bridges.raised import leave
from lastgood.calls.registry import get_runtime_bridge
from lastgood.calls.results import Returns
from lastgood.errors import FunctionRemoved, RemoteError

__all__ = ["PLACE", "Declaration", "Make", "Place", "declaration_of", "redeclare", "remote"]

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H")

PLACE = "__lastgood_place__"
"""The global of a module under which :mod:`lastgood.calls.refresh` leaves its :data:`Place` while the module is executed."""


class Declaration:
    """A function as a wrapper declares it: whom it calls, and ``stub``, the function that was decorated."""

    __slots__ = ("_is_removed", "_returns", "function", "module", "stub")

    def __init__(self, module: str, function: str, stub: Any, *, is_removed: bool = False) -> None:
        self.module = module
        self.function = function
        self.stub = stub
        self._is_removed = is_removed
        self._returns: Returns[Any] | None = None

    def returns(self) -> Returns[Any]:
        """Return the result type. Raises :class:`FunctionRemoved` if the source does not have the function any more."""
        if self._returns is None:
            if self._is_removed:
                raise FunctionRemoved(self.module, self.function)
            # Evaluated at the first call: in a circular import, the module that defines the type may not have run yet.
            declared = eval(self.stub.__annotations__["return"], self.stub.__globals__)
            self._returns = Returns[declared](f"{self.module}.{self.function}")  # type: ignore[valid-type]  # at run time
        return self._returns

    def renewed(self, *, is_removed: bool = False) -> Declaration:
        """Return the same declaration, whose result type is evaluated anew."""
        return Declaration(self.module, self.function, self.stub, is_removed=is_removed)


class _Current:
    """The declaration that a function has at present."""

    __slots__ = ("declaration",)

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration


class _Leased:
    """The basis of a call: the declaration that its function has when the call's lease is taken.

    A swap that comes after that leaves the call to its own generation, and the result is of what that generation declares.
    """

    __slots__ = ("_current", "function", "module", "returns")

    def __init__(self, current: _Current) -> None:
        declaration = current.declaration
        self._current = current
        self.module = declaration.module
        self.function = declaration.function
        self.returns = declaration.returns()
        _ = self.returns.types  # computed now, since the lease is taken under a lock

    def on(self, handle: H) -> H:
        """Return the handle to call."""
        chosen: H = handle.with_types(self._types) if hasattr(handle, "with_types") else handle
        return chosen

    def _types(self) -> Sequence[tuple[str, str]]:
        self.returns = self._current.declaration.returns()
        return self.returns.types


Make: TypeAlias = Callable[[Declaration], FunctionType]
"""A maker of the function that calls what a declaration says."""

Place: TypeAlias = Callable[[Declaration, Make], FunctionType]
"""The choice of the function for a declaration: one that exists already, or a new one."""

_currents: WeakKeyDictionary[FunctionType, _Current] = WeakKeyDictionary()


def declaration_of(function: object) -> Declaration | None:
    """Return the present declaration of a wrapper's function; None if ``function`` is not one."""
    current = _currents.get(function) if isinstance(function, FunctionType) else None
    return None if current is None else current.declaration


def redeclare(function: FunctionType, declaration: Declaration) -> None:
    """Give a wrapper's function another declaration: calls that begin after this follow it."""
    functools.update_wrapper(function, declaration.stub)
    _currents[function].declaration = declaration


def remote(module: str, function: str) -> Callable[[F], F]:
    """Call ``function`` of ``module`` on the live bridge. Dots in the function's name pass through classes.

    The decorated function is never run. It declares the signature and the return type, to which the result is converted and
    against which it is checked. An async declaration makes an awaitable call, a plain one a call that blocks its thread.
    Raises the errors of :meth:`lastgood.runtime.Handle.call`, :class:`~lastgood.ReturnTypeError`, and
    :class:`~lastgood.FunctionRemoved`.
    """

    def make(declaration: Declaration) -> FunctionType:
        current = _Current(declaration)

        if inspect.iscoroutinefunction(declaration.stub):

            @functools.wraps(declaration.stub)
            async def call(*args: Any, **kwargs: Any) -> Any:
                handle, leased = get_runtime_bridge(), _Leased(current)
                try:
                    made = await leased.on(handle).call(leased.module, leased.function, args, kwargs)
                except RemoteError as error:
                    leave(error)
                    raise
                return leased.returns(made)

        else:

            @functools.wraps(declaration.stub)
            def call(*args: Any, **kwargs: Any) -> Any:
                handle, leased = get_runtime_bridge(), _Leased(current)
                try:
                    made = leased.on(handle).call_blocking(leased.module, leased.function, args, kwargs)
                except RemoteError as error:
                    leave(error)
                    raise
                return leased.returns(made)

        made = cast("FunctionType", call)
        _currents[made] = current
        return made

    def declare(stub: F) -> F:
        declaration = Declaration(module, function, stub)
        place: Place | None = getattr(stub, "__globals__", {}).get(PLACE)
        made: Any = make(declaration) if place is None else place(declaration, make)
        return cast("F", made)

    return declare
