"""The application and uvicorn's configuration of it, in two steps: before and after the program is imported."""

from __future__ import annotations

import os
import sys

from .errors import ServeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["find_application", "import_uvicorn", "load_application", "make_config"]

_OLDEST = (0, 54)
_TABLES = (("HTTP_PROTOCOLS", "http"), ("WS_PROTOCOLS", "ws"), ("LIFESPAN", "lifespan"), ("LOOP_FACTORIES", "loop"))


def import_uvicorn(options: dict[str, Any]) -> None:
    """Import uvicorn and all that it serves with, before there are local modules. Raises :class:`ServeError`."""
    _require_uvicorn()
    from uvicorn import config, server  # noqa: F401 - imported ahead
    from uvicorn.importer import ImportFromStringError, import_from_string

    for table, option in _TABLES:
        place = getattr(config, table, {}).get(options.get(option, "auto"))
        try:
            if place is not None:
                imported = import_from_string(place)
                if option == "loop":
                    imported()  # it imports the loop that it chooses
        except (ImportError, ImportFromStringError) as error:
            raise ServeError(_wrong_options(options, error)) from error


def make_config(settings: dict[str, Any]) -> Any:
    """Make uvicorn's configuration, which sets up logging. Raises :class:`ServeError`."""
    import inspect

    from uvicorn.config import Config

    options = settings["options"]
    known = [name for name in inspect.signature(Config).parameters if name != "app"]
    for name in options:
        if name not in known:
            raise ServeError(f"uvicorn has no option {name!r}{_near(name, known)} Its options are: {', '.join(known)}.")
    try:
        config = Config(settings["app"], **options)
        config.get_loop_factory()
    except (Exception, SystemExit) as error:
        raise ServeError(_wrong_options(options, error)) from error
    return config


def _require_uvicorn() -> None:
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        raise ServeError(
            f"The worker's interpreter {sys.executable} has no uvicorn, which serves the application. Install it there: "
            f"{sys.executable} -m pip install 'uvicorn>={_OLDEST[0]}.{_OLDEST[1]}'. If that is the environment of lastgood "
            "itself, pip install 'lastgood[serve]' does the same."
        ) from None
    version = tuple(int(part) for part in uvicorn.__version__.split(".")[:2] if part.isdecimal())
    if version < _OLDEST:
        raise ServeError(
            f"The worker's interpreter {sys.executable} has uvicorn {uvicorn.__version__}, and serving needs "
            f"{_OLDEST[0]}.{_OLDEST[1]} or newer: {sys.executable} -m pip install --upgrade uvicorn."
        )


def _near(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else "."


def _wrong_options(options: dict[str, Any], error: BaseException) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in options.items()) or "none"
    return f"uvicorn does not start with these options ({given}): {type(error).__name__}: {error}"


def find_application(app: str) -> Any:
    """Return what ``module:attribute`` names, whose module has been imported. Raises :class:`ServeError`."""
    module_name, _, path = app.partition(":")
    module = found = sys.modules[module_name]
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            where = getattr(module, "__file__", None) or "a namespace package"
            what = (
                f"{module_name} ({where})" if found is module else f"{type(found).__name__} in {module_name} ({where})"
            )
            raise ServeError(f"{app}: {what} has no attribute {name!r}{_hint(module, app)}") from None
    return found


def _hint(module: Any, app: str) -> str:
    """Return the end of the sentence: what there is that may have been meant."""
    callables = [name for name, value in vars(module).items() if not name.startswith("_") and _is_application(value)]
    module_name = app.partition(":")[0]
    return f". Did you mean {module_name}:{callables[0]}?" if callables else ". Define the ASGI application there."


def _is_application(value: Any) -> bool:
    import inspect

    call = value if inspect.isfunction(value) else vars(type(value)).get("__call__")
    return inspect.iscoroutinefunction(call) and len(inspect.signature(value).parameters) == 3


def load_application(config: Any, application: Any, settings: dict[str, Any]) -> None:
    """Have ``config`` serve this application, or what the factory returns. No event loop runs. Raises what a factory raises."""
    app = settings["app"]
    if settings["factory"]:
        if not callable(application):
            raise ServeError(f"{app} is {_a(application)}, which cannot be called: it is no factory of an application.")
        application = application()
    if not callable(application):
        what = f"the factory {app} returned" if settings["factory"] else f"{app} is"
        raise ServeError(
            f"{what} {_a(application)}, and an ASGI application is a callable: async def app(scope, receive, send)."
        )
    if "interface" not in settings["options"] and _is_wsgi(application):
        raise ServeError(
            f"{app} is a WSGI application, called with environ and start_response. Wrap it: app = a2wsgi.WSGIMiddleware(...), "
            "or asgiref.wsgi.WsgiToAsgi(...). Or have uvicorn do so: -- --interface wsgi."
        )
    config.app = application
    for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"):
        path = getattr(config, name, None)
        if path is not None and not os.path.isfile(path):
            raise ServeError(f"{name}: there is no file {os.path.abspath(path)}.")
    try:
        config.load()
    except SystemExit as error:
        raise ServeError(f"{app} cannot be served: uvicorn has refused it, see its output.") from error


def _is_wsgi(application: Any) -> bool:
    import inspect

    try:
        return "start_response" in inspect.signature(application).parameters
    except (TypeError, ValueError):
        return False


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
