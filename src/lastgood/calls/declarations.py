"""The decorator of generated wrappers: it turns a declaration into a call of the source through the live bridge.

Positional arguments are sent by position, keyword arguments by keyword; omitted arguments are not sent. The signature in a
wrapper is therefore never enforced: the live function binds the arguments, even if the wrapper was imported before an edit.

The function that results keeps its identity when a swap brings its wrapper up to date (:mod:`lastgood.calls.refresh`): it
gets another :class:`Declaration`, by one assignment.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import typing
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

from lastgood.bridges.raised import leave
from lastgood.calls.classes import Declared
from lastgood.calls.registry import get_runtime_bridge
from lastgood.calls.results import UNIONS, Returns
from lastgood.errors import BridgeError, FunctionRemoved, RemoteError, ReturnTypeError

if TYPE_CHECKING:
    from lastgood.config import CheckResults

__all__ = ["PLACE", "Declaration", "Make", "Place", "declaration_of", "redeclare", "remote"]

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H")

PLACE = "__lastgood_place__"
"""The global of a module under which :mod:`lastgood.calls.refresh` leaves its :data:`Place` while the module is executed."""


class Declaration:
    """A function as a wrapper declares it: whom it calls, and ``stub``, the function that was decorated.

    ``stream``: its result is a stream of items.
    """

    __slots__ = ("_iterables", "_known", "_returns", "_why_not", "function", "is_async", "module", "stream", "stub")

    def __init__(
        self, module: str, function: str, stub: Any, *, stream: bool = False, why_not: BridgeError | None = None
    ) -> None:
        self.stream = stream
        self.is_async = inspect.iscoroutinefunction(stub)
        """Whether the result is to be awaited, or iterated asynchronously. Of a stream it is known with its type."""
        self.module = module
        self.function = function
        self.stub = stub
        self._why_not = why_not
        self._returns: Returns[Any] | None = None
        self._known: Declared | None = None
        self._iterables: tuple[Sequence[str], AbstractSet[str]] | None = None

    def returns(self) -> Returns[Any]:
        """Return the type of the result, or of the items of a stream.

        Raises why the function cannot be called, such as :class:`FunctionRemoved` if the source does not have it any more.
        """
        if self._returns is None:
            if self._why_not is not None:
                raise copy.copy(self._why_not)
            # Evaluated at the first call: in a circular import, the module that defines the type may not have run yet.
            declared = eval(self.stub.__annotations__["return"], self.stub.__globals__)
            if self.stream:
                self.is_async = typing.get_origin(declared) is AsyncIterator
                (declared,) = typing.get_args(declared)
            self._returns = Returns[declared](f"{self.module}.{self.function}")  # type: ignore[valid-type]  # at run time
            self._returns.prepare()
        return self._returns

    def known(self) -> Declared:
        """Return the classes that the wrappers declare at present."""
        if self._known is None or not self._known.is_current():
            self._known = Declared(self.stub.__globals__)
        return self._known

    def sent(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return the arguments to send: any iterable for an ``Iterable`` parameter becomes a list."""
        if self._iterables is None:
            self._iterables = _iterable_parameters(self.stub)
        positions, names = self._iterables
        if not names:
            return args, kwargs
        last = positions[-1] if positions and positions[-1].startswith("*") else ""
        of_args = [*positions, *([last] * len(args))]
        return (
            [
                _listed(value) if name.lstrip("*") in names else value
                for name, value in zip(of_args, args, strict=False)
            ],
            {name: _listed(value) if name in names or "**" in names else value for name, value in kwargs.items()},
        )

    def renewed(self, why_not: BridgeError | None = None) -> Declaration:
        """Return the same declaration, whose result type is evaluated anew. With ``why_not``, a call raises that."""
        return Declaration(self.module, self.function, self.stub, stream=self.stream, why_not=why_not)

    def moved_to(self, stub: Any) -> Declaration:
        """Return the same declaration with another stub."""
        return Declaration(self.module, self.function, stub, stream=self.stream)

    @property
    def is_coroutine(self) -> bool:
        """Whether the function is a coroutine function. One that is cannot become another, nor the other way round."""
        return self.is_async and not self.stream

    def removed(self) -> Declaration:
        """Return the declaration of a function that the source does not have any more."""
        return self.renewed(FunctionRemoved(self.module, self.function))

    def changed(self, new: Declaration) -> BridgeError:
        """Return the error for a call that follows this declaration, when ``new`` has begun to be or to be no stream."""
        name = new.stub.__name__
        if new.stream:
            what, how = "has become a stream of items", f"read it by `for item in {name}(...):`"
            if self.is_async:
                how = f"read it by `async for item in {name}(...):`, without an `await` before it"
        else:
            what, how = "is no stream of items any more", f"call it as `{name}(...)`, without a loop around it"
            if new.is_async:
                how = f"call it by `await {name}(...)`, not by `async for`"
        again = f"Take {new.stub.__module__}.{new.stub.__qualname__} again, and {how}."
        return BridgeError(f"{self.module}.{self.function} {what} since it was taken from its wrapper. {again}")


def _iterable_parameters(stub: Any) -> tuple[Sequence[str], AbstractSet[str]]:
    """Return the names of the positional parameters, in order, and of those that take any iterable.

    A name begins with ``*`` in the former if it takes all further arguments; ``**`` in the latter stands for all further keywords.
    """
    texts = {name: text for name, text in stub.__annotations__.items() if "Iterable" in str(text) and name != "return"}
    if not texts:
        return (), frozenset()
    positions, names = [], set()
    for name, parameter in inspect.signature(stub).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positions.append(name)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positions.append(f"*{name}")
        if name in texts and _is_iterable(eval(texts[name], stub.__globals__)):
            names.add("**" if parameter.kind is parameter.VAR_KEYWORD else name)
    return positions, names


def _is_iterable(declared: Any) -> bool:
    if typing.get_origin(declared) is typing.Annotated:
        return _is_iterable(typing.get_args(declared)[0])
    if typing.get_origin(declared) in UNIONS:
        return any(map(_is_iterable, typing.get_args(declared)))
    return typing.get_origin(declared) is Iterable


def _listed(value: Any) -> Any:
    """Return the items of an iterable as a list, unless it is a value that can be sent as it is."""
    kind = type(value)
    is_sent = isinstance(value, _CONTAINERS) or hasattr(kind, "__array__") or hasattr(kind, "__dataframe__")
    return value if is_sent or not isinstance(value, Iterable) else list(value)


_CONTAINERS = (list, tuple, set, frozenset, dict, deque, str, bytes, bytearray, range)


class _Current:
    """The declaration that a function has at present."""

    __slots__ = ("declaration",)

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration


class _Call:
    """A call: the declaration that its function has when the call's lease is taken.

    A swap that comes after that leaves the call to its own generation, and the result is of what that generation declares.
    """

    __slots__ = ("_current", "checks", "declaration", "function", "is_exact", "module", "returns")

    def __init__(self, current: _Current) -> None:
        declaration = self.declaration = current.declaration
        self._current = current
        self.module = declaration.module
        self.function = declaration.function
        self.is_exact = False
        self.checks: CheckResults = "error"
        self.returns = declaration.returns()

    def on(self, handle: H) -> H:
        """Return the handle to call."""
        chosen: H = handle.of_wrapper(self) if hasattr(handle, "of_wrapper") else handle
        return chosen

    def begin(self) -> Declared:
        """Return the classes that the app knows. Called when the lease is taken."""
        declaration = self._current.declaration
        self.returns = declaration.returns()
        if declaration.stream != self.declaration.stream:
            raise self.declaration.changed(declaration)
        return declaration.known()

    def result(self, value: Any) -> Any:
        """Return what the wrapper returns for the result of its bridge."""
        return self.returns(value, is_exact=self.is_exact, checks=self.checks)

    def item(self, value: Any, number: int) -> Any:
        """Return what the wrapper gives for an item of its stream; ``number`` is the item's, from 1 on."""
        if self.is_exact and self.checks == "off":
            return value
        try:
            return self.returns(value, is_exact=self.is_exact)
        except ReturnTypeError as error:
            found = error
        where = found.where.replace("result", f"item {number}", 1)
        named = ReturnTypeError(found.call, f"Iterator[{found.declared}]", found.came, found.expected, where)
        if self.checks == "error":
            raise named
        if self.checks == "warn":
            logger.warning("%s", named)
        return value


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


def remote(module: str, function: str, *, stream: bool = False) -> Callable[[F], F]:
    """Call ``function`` of ``module`` on the live bridge. Dots in the function's name pass through classes.

    The decorated function is never run. It declares the signature and the return type, to which the result is converted and
    against which it is checked. An async declaration makes an awaitable call, a plain one a call that blocks its thread. With
    ``stream``, the plain declaration returns an iterator, to be read by ``async for`` if it is declared as an ``AsyncIterator``.
    Raises the errors of :meth:`lastgood.runtime.Handle.call`, :class:`~lastgood.ReturnTypeError`, and
    :class:`~lastgood.FunctionRemoved`.
    """

    def make(declaration: Declaration) -> FunctionType:
        current = _Current(declaration)

        if declaration.is_coroutine:

            @functools.wraps(declaration.stub)
            async def call(*args: Any, **kwargs: Any) -> Any:
                handle, one = get_runtime_bridge(), _Call(current)
                try:
                    made = await one.on(handle).call(one.module, one.function, *one.declaration.sent(args, kwargs))
                except RemoteError as error:
                    leave(error)
                    raise
                return one.result(made)

        else:  # a stream or not, and that may change

            @functools.wraps(declaration.stub)
            def call(*args: Any, **kwargs: Any) -> Any:
                handle, one = get_runtime_bridge(), _Call(current)
                of_call, declaration = one.on(handle), one.declaration
                if declaration.stream:
                    open_stream = of_call.stream if declaration.is_async else of_call.stream_blocking
                    return open_stream(one.module, one.function, *declaration.sent(args, kwargs))
                try:
                    made = of_call.call_blocking(one.module, one.function, *declaration.sent(args, kwargs))
                except RemoteError as error:
                    leave(error)
                    raise
                except KeyboardInterrupt as interrupt:
                    interrupt.__traceback__ = None  # of no use to anybody: the frames of lastgood that were waiting
                    raise
                return one.result(made)

        made = cast("FunctionType", call)
        _currents[made] = current
        return made

    def declare(stub: F) -> F:
        declaration = Declaration(module, function, stub, stream=stream)
        place: Place | None = getattr(stub, "__globals__", {}).get(PLACE)
        made: Any = make(declaration) if place is None else place(declaration, make)
        return cast("F", made)

    return declare
