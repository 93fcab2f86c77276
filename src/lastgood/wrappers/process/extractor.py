"""Whoever reads sources and makes wrappers of them: here, or in a process of its own, so that the app's loop is not held up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lastgood.config import Style
from lastgood.sources.import_statements import Imports, imports_of
from lastgood.wrappers import ModuleSource, Wrapped

if TYPE_CHECKING:
    from lastgood.wrappers.generate import Pipeline

__all__ = ["Extractor", "HereExtractor"]


class Extractor(Protocol):
    """Remembers from one call to the next. For one thread at a time."""

    note: Callable[[str, Path | None], object]
    """Is told of each module that is about to be looked into, and its file. To be set by who wants to know."""

    def start(self) -> None:
        """Get ready in the background, if that takes time. To be called on the thread that the session runs on."""
        ...

    def use(self, cache: Path | None, *, read_only: bool) -> None:
        """Keep what is found out in the directory ``cache``; None: nowhere."""
        ...

    def imports_of(self, data: bytes) -> Imports:
        """See :func:`.import_statements.imports_of`."""
        ...

    def wrap(self, sources: Sequence[ModuleSource], found: Mapping[str, ModuleSource], style: Style) -> Wrapped:
        """Wrap ``sources``; ``found`` are the modules besides that may be looked into. See :func:`.wrappers.wrap_modules`."""
        ...

    def stop(self) -> None:
        """End what it is doing, now; from any thread. Whoever waits for it gets an error."""
        ...

    def end(self) -> None:
        """Let go of everything. It may be used again."""
        ...


class HereExtractor:
    """The extractor that works where it is called. It keeps nothing on disk, and imports no wrapper."""

    def __init__(self) -> None:
        self.note: Callable[[str, Path | None], object] = lambda _name, _file: None
        self._pipeline: Pipeline | None = None
        self._paths: Mapping[str, Path | None] = {}

    def start(self) -> None:
        """Nothing."""

    def use(self, cache: Path | None, *, read_only: bool) -> None:
        """Nothing."""

    def imports_of(self, data: bytes) -> Imports:
        """See :class:`Extractor`."""
        return imports_of(data)

    def wrap(self, sources: Sequence[ModuleSource], found: Mapping[str, ModuleSource], style: Style) -> Wrapped:
        """See :class:`Extractor`."""
        # griffe takes ten times as long to import as all the rest.
        from lastgood.wrappers.generate import Pipeline

        self._pipeline = self._pipeline or Pipeline(at=self._tell, makes=self._tell)
        self._paths = {source.name: source.path for source in (*found.values(), *sources)}
        return self._pipeline.wrap(sources, found.get, style)

    def _tell(self, module: str) -> None:
        self.note(module, self._paths.get(module))

    def stop(self) -> None:
        """Nothing."""

    def end(self) -> None:
        """Forget everything."""
        self._pipeline = None
