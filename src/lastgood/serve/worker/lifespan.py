"""The lifespan of an application: begun, with the reason if that fails. Ending it is left to uvicorn's own object."""

from __future__ import annotations

import logging

from .errors import ServeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["begin_lifespan"]


async def begin_lifespan(config: Any, app: str) -> Any:
    """Begin the lifespan, and return uvicorn's object for it. Raises what it raised, or :class:`ServeError`.

    uvicorn logs why a lifespan has failed; here that is raised instead.
    """
    application = config.loaded_app
    raised: list[BaseException] = []
    messages: list[str] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed":
                messages.append(message.get("message", ""))
            await send(message)

        try:
            await application(scope, receive, note)
        except BaseException as error:
            raised.append(error)
            raise

    config.loaded_app = watched
    try:
        lifespan = config.lifespan_class(config)
        logger = getattr(lifespan, "logger", None)
        if logger is not None:
            lifespan.logger = _WithoutErrors(logger)
        await lifespan.startup()
        if logger is not None:
            lifespan.logger = logger
    finally:
        config.loaded_app = application
    if lifespan.should_exit:
        if raised:
            raise raised[0]
        why = messages[0].strip() if messages else ""
        raise ServeError(f"The lifespan of {app} has failed to start{': ' + why if why else ', without a reason'}.")
    return lifespan


class _WithoutErrors(logging.LoggerAdapter):  # type: ignore[type-arg]  # it takes none in the oldest Python
    """Logs everything but errors, which are raised."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        return level < logging.ERROR and self.logger.isEnabledFor(level)
