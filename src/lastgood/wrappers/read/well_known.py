"""What is known by its full path, since its source is not read: decorators, and names of the standard library."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import typing
from collections.abc import Iterator

__all__ = ["OBJECTS", "STARRED", "TAKES_FIRST", "keeps"]

_NEWER_IN_TYPING = ("NoDefault", "ReadOnly", "TypeAliasType", "TypeForm", "TypeIs", "override")
"""Names of Python 3.12 to 3.15: wrappers must not depend on which of these generates them."""

STARRED = frozenset(
    (
        *(
            f"{module.__name__}.{name}"
            for module in (contextlib, dataclasses, enum, functools)
            for name in module.__all__
        ),
        *(
            f"{module}.{name}"
            for module in ("typing", "typing_extensions")
            for name in (*typing.__all__, *_NEWER_IN_TYPING)
        ),
        *("abc.ABC", "abc.ABCMeta", "abc.abstractmethod", "collections.namedtuple"),
    )
)
"""Names of the standard library, besides types, that have a meaning here and may be imported by ``*``."""

_WEB = ("api_route", "delete", "get", "head", "options", "patch", "post", "put", "route", "trace", "websocket")
_TYPING = ("final", "no_type_check_decorator", "override", "runtime_checkable", "type_check_only")


def _keeps() -> Iterator[str]:
    yield from (f"functools.{name}" for name in ("cache", "lru_cache", "singledispatch.register", "wraps"))
    yield from (
        "abc.abstractmethod",
        "atexit.register",
        "contextlib.ContextDecorator",
        "pytest.hookimpl",
        "warnings.deprecated",
    )
    for module in ("typing", "typing_extensions"):
        yield from (f"{module}.{name}" for name in _TYPING)
    yield "typing_extensions.deprecated"
    yield from (f"unittest.{name}" for name in ("expectedFailure", "skip", "skipIf", "skipUnless"))
    yield from ("tenacity.retry", "retrying.retry", "backoff.on_exception", "backoff.on_predicate")
    yield from ("cachetools.cached", "cachetools.cachedmethod")
    yield from (f"cachetools.func.{name}_cache" for name in ("fifo", "lfu", "lru", "mru", "rr", "ttl"))
    yield from ("deprecated.deprecated", "deprecated.classic.deprecated", "deprecated.classic.versionadded")
    yield from (f"deprecated.sphinx.{name}" for name in ("deprecated", "versionadded", "versionchanged"))
    yield from ("numba.jit", "numba.njit", "beartype.beartype", "typeguard.typechecked")
    yield from (f"click.{name}" for name in ("argument", "help_option", "option", "password_option", "version_option"))
    yield from ("typer.Typer.callback", "typer.Typer.command")
    yield from (f"{app}.{name}" for app in ("flask.Flask", "flask.Blueprint") for name in _WEB)
    yield from (
        f"flask.Flask.{name}" for name in ("after_request", "before_request", "errorhandler", "teardown_request")
    )
    yield from (f"{app}.{name}" for app in ("fastapi.FastAPI", "fastapi.APIRouter") for name in _WEB)


_KEEPS = frozenset(_keeps())


def keeps(path: str) -> bool:
    """Return whether a decorator leaves parameters and result as they are, with and without arguments of its own."""
    return path in _KEEPS or path.startswith("pytest.mark.")


TAKES_FIRST = frozenset(("click.pass_context", "click.pass_obj"))
"""Those that give the first argument themselves."""

_COMMAND = (
    "@{} makes it a command, which reads a command line when it is called. Offer the function under another name than the "
    "command, or one that calls its callback."
)
OBJECTS = {
    **{
        f"click.{path}": _COMMAND.format(f"click.{path}")
        for path in (
            "command",
            "group",
            "Group.command",
            "Group.group",
            "command.command",
            "group.command",
            "group.group",
        )
    },
    "pytest.fixture": "@pytest.fixture makes it a fixture, which only pytest calls. Offer a plain function that it uses.",
}
"""Those that make an object, which is no function to its callers any more, with the reason why it has no wrapper."""
