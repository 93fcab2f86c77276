"""Wrappers generated from sources in a real directory, importable, and a real worker behind them."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType

import trio

from lastgood import clear_runtime_bridge, set_runtime_bridge
from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config, load_config
from lastgood.sources.contents import Contents
from lastgood.sources.finder import Finder, Interpreter
from lastgood.sources.pinning import Pinner
from lastgood.sources.resolution import resolve_modules
from lastgood.store.disk import Disk
from lastgood.wrappers.process.extractor import HereExtractor, WrapInputs, wrapper_texts

__all__ = ["Generated", "generated", "importable", "running"]

_numbers = itertools.count()


class Generated:
    """The wrappers of ``modules``, written below ``root`` as a package of a name of its own."""

    def __init__(self, root: Path, files: Mapping[str, str], modules: tuple[str, ...]) -> None:
        self.root = root
        for name, text in files.items():
            self.save(name, text)
        tables = "".join(f'[modules."{module}"]\n' for module in modules)
        (root / "lastgood.toml").write_text(f'python_import_path = ["src"]\n{tables}[output]\ndir = "generated"\n')
        self.config: Config = load_config(root / "lastgood.toml")
        finder = Finder(Disk(), self.config.python_import_path, Interpreter())
        resolved = resolve_modules(self.config, finder)
        pinned = Pinner(Contents(Disk())).pin(self.config, resolved, finder)
        inputs = WrapInputs.of(pinned, self.config, resolved)
        texts, told, _ = wrapper_texts(HereExtractor(), inputs, finder.python)
        assert told.failures == ()
        self.warnings = told.warnings
        self.package = f"generated_{next(_numbers)}"
        self.files = {name: data.decode() for name, data in texts.items()}
        for name, text in self.files.items():
            path = root / self.package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def save(self, name: str, text: str) -> None:
        path = self.root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def load(self, module: str) -> ModuleType:
        """The wrapper of ``module``."""
        return importlib.import_module(f"{self.package}.{module}")


@contextmanager
def importable(directory: Path, package: str) -> Iterator[None]:
    """While it lasts, ``package`` can be imported from ``directory``; afterwards nothing of it is left."""
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


def generated(root: Path, files: Mapping[str, str], *modules: str) -> Generated:
    """The wrappers of ``modules``, whose sources are ``files``."""
    return Generated(root, files, modules)


@asynccontextmanager
async def running(made: Generated) -> AsyncIterator[Generated]:
    """While it lasts, calls through the wrappers go to a worker of their own."""
    bridge = ProcessBridge.from_config(made.config)
    with trio.fail_after(60), importable(made.root, made.package):
        try:
            await bridge.init()
            set_runtime_bridge(bridge)
            yield made
        finally:
            clear_runtime_bridge()
            await bridge.dispose()
