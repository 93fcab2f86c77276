"""Checks of what is given to ``watch()`` and ``direct()``: an error names the argument, before anything is read or run."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lastgood.config import Config

__all__ = ["configured", "flag", "function", "names", "no_single", "path", "paths", "seconds"]

# Each takes the name of the argument as "watch(): debounce", and what was given for it.


def path(name: str, given: object) -> Path | None:
    """Return a path, absolute; None if there is none. Raises :class:`TypeError`."""
    return None if given is None else Path(os.path.abspath(_text(name, given, "a path")))


def paths(name: str, given: object) -> list[str]:
    """Return the texts of a list of paths. Raises :class:`TypeError`."""
    expected = "a list of paths"
    return [_text(f"{name} must be {expected}, and each", entry, "a path") for entry in _entries(name, given, expected)]


def no_single(called: str, modules: object, import_path: object) -> None:
    """Raise :class:`TypeError` if a single name or path was given in place of a list."""
    if isinstance(modules, str) or isinstance(import_path, str | os.PathLike):
        raise TypeError(f"{called}: modules and import_path are lists; put the one that was given into a list.")


def names(name: str, given: object) -> Mapping[str, Any]:
    """Return the modules of a list, or of a mapping from names to what ``[modules.<name>]`` holds. Raises :class:`TypeError`."""
    expected = "a list of module names, or a mapping"
    tables = dict(given) if isinstance(given, Mapping) else {module: {} for module in _entries(name, given, expected)}
    for module in tables:
        if not isinstance(module, str):
            raise TypeError(f"{name} must be {expected}, not one of {type(module).__name__}.")
    return tables


def configured(given: Mapping[str, Any], source: str) -> tuple[bytes, Config]:
    """Return what takes the place of a config file's bytes, and the config that it says.

    Raises :class:`ConfigError`, which names ``source`` in the place of a file, and :class:`TypeError`.
    """

    from lastgood.config import decode_config  # a program that ships by direct() reads no config

    def as_text(value: object) -> str:
        return _text(f"{source}: what modules and output hold", value, "texts, numbers, lists and mappings")

    data = json.dumps(given, default=as_text).encode()
    return data, decode_config(data, Path(os.path.abspath(source)))


def seconds(name: str, given: object, *, may_be_zero: bool) -> float:
    """Return a number of seconds. Raises :class:`TypeError` and :class:`ValueError`."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(given).__name__}.")
    if not given >= 0 or (given == 0 and not may_be_zero):
        raise ValueError(f"{name} must be {'at least' if may_be_zero else 'more than'} 0 s, not {given}.")
    try:
        return float(given)
    except OverflowError:
        raise ValueError(f"{name} is too large a number of seconds; math.inf is no limit.") from None


def function(name: str, given: Any, *parameters: str, plain: str = "") -> None:
    """Raise :class:`TypeError` if it is given, but not callable with ``parameters``.

    So is one that is async, where ``plain`` says what to do instead.
    """
    if given is None:
        return
    if not callable(given):
        raise TypeError(f"{name} must be callable, not {type(given).__name__}.")
    inner = given
    while isinstance(inner, functools.partial):
        inner = inner.func
    called = getattr(inner, "__call__", None)  # noqa: B004 - not whether there is one, but whether it is async
    if plain and (inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(called)):
        raise TypeError(f"{name} must be a plain function. {plain}")
    try:
        signature = inspect.signature(given, follow_wrapped=False)  # a decorator may take what its function does not
    except (TypeError, ValueError):  # some builtin functions have none
        return
    try:
        signature.bind(*parameters)
    except TypeError as error:
        own = name.rpartition(" ")[2]
        raise TypeError(
            f"{name} is called as {own}({', '.join(parameters)}), but it takes {signature}: {error}."
        ) from None


def flag(name: str, given: object) -> bool:
    """Return True or False. Raises :class:`TypeError`."""
    if not isinstance(given, bool):
        raise TypeError(f"{name} must be True or False, not {type(given).__name__}.")
    return given


def _text(name: str, given: object, expected: str) -> str:
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else given
    if not isinstance(text, str):
        raise TypeError(f"{name} must be {expected}, not {type(text).__name__}.")
    return text


def _entries(name: str, given: object, expected: str) -> Iterable[Any]:
    if isinstance(given, str | bytes | os.PathLike) or not isinstance(given, Iterable):
        raise TypeError(f"{name} must be {expected}, not {type(given).__name__}.")
    return given
