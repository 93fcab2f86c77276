"""Sources on the disk and the generation that they were when it was staged, for workers to run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from lastgood.bridges import Bridge
from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig
from lastgood.sources.contents import Contents
from lastgood.sources.finder import Finder
from lastgood.sources.pinning import Pinner
from lastgood.sources.resolution import resolve_modules, worker_interpreter
from lastgood.store.disk import Disk
from lastgood.store.generations import GenerationStore

DEADLINE = 60
SERVICE = r'''
"""The service."""
import helper
from shop import prices
from ns import near
VERSION = "pinned"

def versions():
    """Of everything, imported early and late."""
    import late
    from shop.deep import cellar
    import ns.far
    from shop import unused
    modules = (helper, prices, prices.stock, near, late, cellar, ns.far, unused)
    return {"svc": VERSION, **{module.__name__: module.VERSION for module in modules}}

def attributes(name):
    import importlib
    module = importlib.import_module(name)
    spec = module.__spec__
    return [getattr(module, "__file__", None), spec.origin, list(getattr(module, "__path__", [])), module.__package__]

def fail():
    helper.fail()

def late_version():
    import late
    return late.VERSION

def thing():
    return helper.Thing()

LATE = """import importlib
result = importlib.import_module('dynamic').VERSION"""

def run(code):
    """Whatever a test wants done in here."""
    scope = {}
    exec(code, scope)
    return scope.get("result")
'''
SOURCES = {
    "svc.py": SERVICE,
    "helper.py": "VERSION = 'pinned'\n\ndef fail():\n    raise ValueError('here')  # pinned\n\nclass Thing:\n    x = 'pinned'\n",
    "late.py": "import helper\nVERSION = 'pinned'\n",
    "shop/__init__.py": "VERSION = 'pinned'\n",
    "shop/prices.py": "from . import stock\nVERSION = 'pinned'\n",
    "shop/stock.py": "from . import prices\nVERSION = 'pinned'\n",
    "shop/unused.py": "VERSION = 'pinned'\n",
    "shop/deep/cellar.py": "from ..stock import VERSION\n",
    "ns/near.py": "VERSION = 'pinned'\n",
    "../more/ns/far.py": "VERSION = 'pinned'\n",
    "dynamic.py": "VERSION = 'pinned'\n",
}


@dataclass
class StagedProject:
    """Sources on the disk, and the generation that they were when it was staged."""

    top: Path
    modules: tuple[str, ...] = ("svc", "shop")
    manifest: Path = field(init=False)

    @property
    def src(self) -> Path:
        return self.top / "src"

    @property
    def import_path(self) -> tuple[Path, ...]:
        return (self.src, self.top / "more")

    def write(self, sources: Mapping[str, str]) -> None:
        for name, text in sources.items():
            path = self.src / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def stage(self) -> None:
        config = Config(
            path=self.top / "lastgood.toml",
            python_import_path=self.import_path,
            modules={name: ModuleConfig() for name in self.modules},
            output=OutputConfig(dir=self.top / "generated"),
        )
        finder = Finder(Disk(), self.import_path, worker_interpreter(ProcessConfig()))
        pinned = Pinner(Contents(Disk())).pin(config, resolve_modules(config, finder), finder)
        self.manifest = GenerationStore(Disk(), self.top / ".lastgood").put(pinned)

    def age_bytecode(self) -> None:
        """Make what the import system has just written an hour old: a spare does not rely on what was written just before it."""
        for path in self.top.rglob("*.pyc"):
            status = path.stat()
            os.utime(path, (status.st_atime - 3600, status.st_mtime - 3600))

    def files(self) -> list[Path]:
        return [path for root in self.import_path for path in sorted(root.rglob("*.py"))]

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[ProcessBridge]:
        bridge = ProcessBridge(
            import_path=self.import_path,
            **{"modules": self.modules, "pinned": self.manifest, "timeout": DEADLINE, **options},
        )
        with trio.fail_after(DEADLINE):
            await bridge.init()
            try:
                yield bridge
            finally:
                await bridge.dispose()


async def run(bridge: Bridge, code: str) -> Any:
    return await bridge.call("svc", "run", [code], {})


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("pinned", "edited, and longer"))
