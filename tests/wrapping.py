"""Pipeline a source given as text, and calling the result with a bridge that is a plain function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from unittest.mock import patch

from lastgood.calls import declarations
from lastgood.config import ModuleConfig, Style
from lastgood.wrappers import ModuleSource, Wrapped, wrap_modules

__all__ = ["Calls", "load", "run", "source", "text_of", "told", "wrap"]

Calls = Callable[[str, str, tuple[Any, ...], dict[str, Any]], Any]


def source(
    name: str, text: str | bytes, *, is_package: bool = False, selection: ModuleConfig | None = None
) -> ModuleSource:
    data = text if isinstance(text, bytes) else text.encode()
    path = Path("/project", *name.split("."), "__init__.py" if is_package else "")
    path = path if is_package else path.with_suffix(".py")
    return ModuleSource(name, path, data, is_package, selection or ModuleConfig())


def wrap(
    text: str | bytes, *local: ModuleSource, selection: ModuleConfig | None = None, style: Style = "async"
) -> Wrapped:
    """Wrap ``text`` as the module ``pricing``, beside the ``local`` modules, which are there to be found."""
    found = {module.name: module for module in local}
    return wrap_modules([source("pricing", text, selection=selection)], find=found.get, style=style, local=found)


def text_of(wrapped: Wrapped, path: str = "pricing.py") -> str:
    """The body of one wrapper, without its header, all failures excluded."""
    assert wrapped.failures == ()
    return wrapped.files[path].decode().split("\n", 2)[2]


def told(wrapped: Wrapped) -> tuple[str, ...]:
    """Its warnings, without those about names that are left out, also all names of a module."""
    return tuple(
        each for each in wrapped.warnings if ": left out: " not in each and ": its wrapper is empty" not in each
    )


def load(data: bytes | str, answer: Calls) -> dict[str, Any]:
    """Execute a generated wrapper; its calls go to ``answer``."""

    class Handle:
        async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            return self.call_blocking(module, function, args, kwargs)

        def call_blocking(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            assert type(args) is tuple
            assert type(kwargs) is dict
            return answer(module, function, args, kwargs)

    stand_in = ModuleType("lastgood.runtime")
    remote = FunctionType(declarations.remote.__code__, {**vars(declarations), "get_runtime_bridge": Handle})
    remote.__kwdefaults__ = declarations.remote.__kwdefaults__
    vars(stand_in)["remote"] = remote
    space: dict[str, Any] = {"__name__": "generated"}
    with patch.dict(sys.modules, {"lastgood.runtime": stand_in}):
        exec(compile(data, "generated.py", "exec", dont_inherit=True), space)
    return space


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that never really waits, as none does over :func:`load`."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")
