"""The page's own program, in Pyodide: a source is edited, and what calls it stays as it is.

A world in memory makes the wrappers, the reloader replaces the bridge that runs the source, and after a broken edit the last good
of both stay.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import lastgood
from lastgood.testing import World

CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'
APP = Path("/app")
SOURCE = APP / "src" / "pricing.py"


class Page:
    """One source, its wrapper, and the bridge that is live."""

    async def start(self, source: str) -> str:
        """Write the first source, make its wrapper, and start the reloader. Returns what the page shows."""
        SOURCE.parent.mkdir(parents=True)
        sys.path[:0] = [str(APP)]
        self._world = World({"lastgood.toml": CONFIG, "pricing.py": source})
        self._world.start()
        self._save(source)
        self._reloader = await lastgood.create_bridge_reloader(self._create)
        self._stale = ""
        return await self._shown()

    async def edit(self, source: str) -> str:
        """Take an edited source over, or keep the last good one. Returns what the page shows."""
        self._world.write("pricing.py", source)
        self._stale = ""
        if self._world.settle():
            await self._reload(source)
        else:
            self._stale = str(self._world.status.error)
        return await self._shown()

    async def _reload(self, source: str) -> None:
        good = SOURCE.read_text()
        SOURCE.write_text(source)
        try:
            await self._reloader.reload()
        except lastgood.BridgeError as error:
            SOURCE.write_text(good)
            self._stale = str(error)
        else:
            self._save(source)

    def _create(self) -> lastgood.InProcessBridge:
        return lastgood.InProcessBridge(import_path=[SOURCE.parent], modules=["pricing"], fresh=True)

    def _save(self, source: str) -> None:
        """Write the source, and the wrapper that was made of it, which the page's program imports anew."""
        SOURCE.write_text(source)
        for path, text in self._world.files.items():
            if path.startswith("generated/"):
                (APP / path).parent.mkdir(exist_ok=True)
                (APP / path).write_text(text)
        importlib.invalidate_caches()
        if "generated.pricing" in sys.modules:
            importlib.reload(sys.modules["generated.pricing"])

    async def _shown(self) -> str:
        status = f"STALE: {self._stale}" if self._stale else "live"
        return f"{status}\n{await self._called()}"

    async def _called(self) -> str:
        """Call the source through its wrapper. Returns what came of it."""
        pricing: Any = importlib.import_module("generated.pricing")
        try:
            quote = await pricing.quote("apple", 3)
            lines = [f"{quote.quantity} of {quote.sku}: {quote.total} (a {type(quote).__name__})"]
            lines += [f"  rising: {each.total}" async for each in pricing.rising("apple", 3)]
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "\n".join(lines)

    def wrapper(self) -> str:
        """Return the text of the wrapper that is live."""
        return (APP / "generated" / "pricing.py").read_text()

    async def ship(self) -> str:
        """Call the last good source as a program that ships does, by ``direct()``. The reloader ends, and begins anew."""
        await self._reloader.dispose()
        try:
            async with lastgood.direct(modules=["pricing"], import_path=[SOURCE.parent]):
                return await self._called()
        finally:
            sys.modules.pop("pricing", None)  # direct() imports a source once, as every program does
            self._reloader = await lastgood.create_bridge_reloader(self._create)


page = Page()
