"""The decorator of generated wrappers: it turns a declaration into a call of the source through the live bridge.

Positional arguments are sent by position, keyword arguments by keyword; omitted arguments are not sent. The signature in a
wrapper is therefore never enforced: the live function binds the arguments, even if the wrapper was imported before an edit.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from lastgood.calls.registry import get_runtime_bridge
from lastgood.calls.results import Returns

__all__ = ["remote"]

F = TypeVar("F", bound=Callable[..., Any])


def remote(module: str, function: str) -> Callable[[F], F]:
    """Call ``function`` of ``module`` on the live bridge. Dots in the function's name pass through classes.

    The decorated function is never run. It declares the signature and the return type, to which the result is converted and
    against which it is checked. An async declaration makes an awaitable call, a plain one a call that blocks its thread.
    Raises the errors of :meth:`lastgood.runtime.Handle.call`, and :class:`~lastgood.ReturnTypeError`.
    """

    def declare(declaration: F) -> F:
        returns: Returns[Any] | None = None

        def checked() -> Returns[Any]:
            nonlocal returns
            # Evaluated at the first call: in a circular import, the module that defines the type may not have run yet.
            declared = eval(declaration.__annotations__["return"], declaration.__globals__)
            returns = Returns[declared](f"{module}.{function}")  # type: ignore[valid-type]  # known only at run time
            return returns

        if inspect.iscoroutinefunction(declaration):

            @functools.wraps(declaration)
            async def call(*args: Any, **kwargs: Any) -> Any:
                handle = get_runtime_bridge()
                result = returns or checked()
                return result(await result.handle_for(handle).call(module, function, args, kwargs))

        else:

            @functools.wraps(declaration)
            def call(*args: Any, **kwargs: Any) -> Any:
                handle = get_runtime_bridge()
                result = returns or checked()
                return result(result.handle_for(handle).call_blocking(module, function, args, kwargs))

        return cast("F", call)

    return declare
