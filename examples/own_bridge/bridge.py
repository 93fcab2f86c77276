"""A bridge of one's own: a worker process as usual, with something done around each call."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from lastgood import ProcessBridge


class CountingBridge(ProcessBridge):
    """Counts the calls of each function, and the seconds that they took."""

    calls: ClassVar[Counter[str]] = Counter()
    seconds: ClassVar[Counter[str]] = Counter()

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function: used by ``session.handle.call(...)``."""
        return await self._counted(module, function, super().call(module, function, args, kwargs))

    async def call_exact(
        self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any], known: Callable[..., Any]
    ) -> Any:
        """Call a function, and return instances of the classes that wrappers declare: used by wrappers."""
        return await self._counted(module, function, super().call_exact(module, function, args, kwargs, known))

    async def _counted(self, module: str, function: str, calling: Any) -> Any:
        name, begun = f"{module}.{function}", time.perf_counter()
        try:
            return await calling
        finally:
            self.calls[name] += 1
            self.seconds[name] += time.perf_counter() - begun
