"""Rules for callable functions, and finding a function.

- Only modules named in the config can be called.
- Dots pass through classes only: ``Desk.quote`` is fine, ``os.system`` is not, even if the module imported ``os``.
- No part of a name starts with ``_``.
- The name must be that of a function, or a static or class method; not of a class, a module or an instance method.
- A module with ``__all__`` re-exports only what is listed there, or named in ``functions`` or ``classes``; one without, or with one
  that lists modules alone, re-exports everything it imported by name.
- ``functions``, ``classes`` and the excludes of the config apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ClassMethodDescriptorType, ModuleType

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Callables", "Refused"]

_MISSING = object()


class Refused(Exception):
    """The worker refuses the call; the text says why."""


class Callables:
    """The functions of the configured modules. ``selections`` are keyword arguments of :func:`.selection.allows`."""

    def __init__(self, modules: Mapping[str, ModuleType], selections: Mapping[str, Mapping[str, Any]]) -> None:
        self._modules = modules
        self._selections = selections
        self._found: dict[bytes, tuple[dict[str, Any], str, Callable[..., Any]]] = {}

    def module(self, name: str) -> ModuleType:
        """Return the module of this name."""
        return self._modules[name]

    def find(self, target: bytes) -> Callable[..., Any]:
        """Return the function for ``b"module\\0function"``. Raise :class:`Refused`."""
        found = self._found.get(target)
        if found is not None:
            namespace, name, function = found
            replaced = namespace.get(name) is not function  # user code may have assigned another one
            if not replaced:
                return function
        try:
            module_name, _, name = target.decode().partition("\0")
        except UnicodeDecodeError:
            raise Refused("The name of the function is not UTF-8.") from None
        module = self._modules.get(module_name)
        if module is None:
            known = ", ".join(sorted(self._modules)) or "none at all"
            raise Refused(
                f'"{module_name}" is not a module of this worker, so {module_name}.{name} cannot be called. '
                f"It has: {known}. Name it under [modules] in the config."
            )
        function = self._resolve(module, module_name, name)
        if "." not in name:
            self._found[target] = (module.__dict__, name, function)
        return function

    def _resolve(self, module: ModuleType, module_name: str, name: str) -> Callable[..., Any]:
        full = f"{module_name}.{name}"
        parts = name.split(".")
        if not all(parts):
            raise Refused(f'"{full}" cannot be called: it is no name of a function.')
        for part in parts:
            if part.startswith("_"):
                raise Refused(f'{full} cannot be called: "{part}" starts with "_", so it is private.')
        self._check_selection(module_name, name)
        holder: Any = module
        for depth, part in enumerate(parts):
            so_far = ".".join([module_name, *parts[: depth + 1]])
            found = getattr(module, part, _MISSING) if depth == 0 else _static(holder, part)
            if found is _MISSING:
                raise Refused(f"{so_far} does not exist.{_near_miss(holder, part)}")
            if depth == 0:
                self._check_exported(module, part, found)
            if depth == len(parts) - 1:
                break
            if not isinstance(found, type):
                kind = "a module" if isinstance(found, ModuleType) else f"of type {type(found).__name__}"
                raise Refused(f"{full} cannot be called: {so_far} is {kind}, and dots pass through classes only.")
            holder = found
        return _function(holder, parts[-1], found, full)

    def _check_selection(self, module_name: str, name: str) -> None:
        selection = self._selections.get(module_name) or {}
        chosen = any(selection.get(field) is not None for field in ("functions", "classes"))
        if not (chosen or selection.get("exclude") or selection.get("exclude_patterns")):
            return
        # Imported here because it imports fnmatch, which takes 5 ms that a worker without such a config can save.
        from .selection import allows

        if not allows(name, **selection):
            raise Refused(
                f"{module_name}.{name} cannot be called: functions, classes, exclude or exclude_patterns "
                f"under [modules.{module_name}] in the config leave it out."
            )

    def _check_exported(self, module: ModuleType, name: str, found: Any) -> None:
        listed = module.__dict__.get("__all__")
        if listed is None or name in listed or isinstance(found, ModuleType):
            return
        selection = self._selections.get(module.__name__) or {}
        if any(name in (selection.get(field) or ()) for field in ("functions", "classes")):
            return
        if listed and all(isinstance(module.__dict__.get(each), ModuleType) for each in listed):
            return
        home = getattr(found, "__module__", None)
        if home is not None and home != module.__name__:
            raise Refused(
                f"{module.__name__}.{name} cannot be called: the module imports it from {home} and does not list it in __all__."
            )


def _static(holder: type, name: str) -> Any:
    for cls in holder.__mro__:
        if name in cls.__dict__:
            return cls.__dict__[name]
    return _MISSING


def _function(holder: Any, name: str, found: Any, full: str) -> Callable[..., Any]:
    if isinstance(found, ModuleType):
        raise Refused(f"{full} cannot be called: it is a module.")
    if isinstance(found, type):
        raise Refused(
            f"{full} cannot be called: it is a class. Call one of its static or class methods, or a function."
        )
    if isinstance(holder, type):
        if not _needs_no_instance(found):
            what = "a method of its instances" if callable(found) else f"of type {type(found).__name__}"
            raise Refused(f"{full} cannot be called: it is {what}. Of a class, only static and class methods can be.")
        found = getattr(holder, name)
    if not callable(found):
        raise Refused(f"{full} cannot be called: it is of type {type(found).__name__}, no function.")
    return found  # type: ignore[no-any-return]  # checked to be callable above


def _needs_no_instance(found: Any) -> bool:
    """Return whether what a class has in its namespace is a static or class method, also one that is cached or dispatched."""
    if type(found).__module__ == "functools":
        found = getattr(found, "__wrapped__", getattr(found, "func", None))
    return isinstance(found, (staticmethod, classmethod, ClassMethodDescriptorType))


def _near_miss(holder: Any, name: str) -> str:
    from difflib import get_close_matches

    names = [n for n, v in vars(holder).items() if not n.startswith("_") and not isinstance(v, ModuleType)]
    close = get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""
