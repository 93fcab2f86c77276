"""The decorator of generated wrappers: it makes a declaration call its source through the live bridge.

What was given by position goes by position, and by keyword by keyword; what was not given is not sent. So the signature that a
wrapper shows binds nothing: the live function's own does, also when the wrapper was imported before an edit.
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
    """Call ``function`` of ``module`` on the live bridge; dots in its name pass through classes.

    What it decorates is never run: it declares the signature, and the type that a result is brought into and checked against.
    If it is async, so is the call; else the call blocks its thread. Raises what :meth:`lastgood.runtime.Handle.call` does, and
    :class:`~lastgood.ReturnTypeError`.
    """

    def declare(declaration: F) -> F:
        returns: Returns[Any] | None = None

        def checked() -> Returns[Any]:
            nonlocal returns
            # Not before the first call: a module that imports this one in turn may define the type.
            declared = eval(declaration.__annotations__["return"], declaration.__globals__)
            returns = Returns[declared](f"{module}.{function}")  # type: ignore[valid-type]  # it is known only now
            return returns

        if inspect.iscoroutinefunction(declaration):

            @functools.wraps(declaration)
            async def call(*args: Any, **kwargs: Any) -> Any:
                handle = get_runtime_bridge()
                result = returns or checked()
                return result(await result.through(handle).call(module, function, args, kwargs))

        else:

            @functools.wraps(declaration)
            def call(*args: Any, **kwargs: Any) -> Any:
                handle = get_runtime_bridge()
                result = returns or checked()
                return result(result.through(handle).call_blocking(module, function, args, kwargs))

        return cast("F", call)

    return declare
