"""The extractor, which reads sources and generates wrappers: in the app, or in its own process so as not to block the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from lastgood.config import Config, Style
from lastgood.errors import ModuleFailure
from lastgood.sources.import_statements import Imports, imports_of
from lastgood.sources.parsing import is_newer, stub_of, with_worker
from lastgood.sources.pinning import Pinned
from lastgood.sources.resolution import Resolved, refused_by_worker
from lastgood.store.file_system import digest_of
from lastgood.wrappers import Generated, ModuleSource, Wrapped

if TYPE_CHECKING:
    from lastgood.wrappers.generate import Pipeline

__all__ = ["Extractor", "HereExtractor", "NotStarted", "WrapInputs", "wrapper_texts"]


class NotStarted(Exception):  # a request rather than an error
    """The extractor cannot answer before its :meth:`~Extractor.start`. No user sees it."""


class Extractor(Protocol):
    """An incremental generator of wrappers: it keeps results between calls. Use it from one thread at a time."""

    note: Callable[[str, Path | None], object]
    """A callback, called with each module, and its file, before that module is analysed. The caller sets it."""

    def resume(self) -> None:
        """Allow requests again after :meth:`stop`."""
        ...

    def start(self) -> None:
        """Start up in the background, if that takes time. Call this on the session's own thread."""
        ...

    @property
    def has_started(self) -> bool:
        """Whether every request can be answered. Otherwise one may raise :class:`NotStarted`."""
        ...

    def use(self, cache: Path | None, *, read_only: bool) -> None:
        """Keep results in the directory ``cache``; None: in memory alone."""
        ...

    def imports_of(self, data: bytes) -> Imports:
        """Return the imports of a source, as :func:`.import_statements.imports_of` does."""
        ...

    def wrap(
        self,
        sources: Sequence[ModuleSource],
        found: Mapping[str, ModuleSource],
        style: Style,
        annotated: tuple[str, ...] = (),
    ) -> Wrapped:
        """Wrap ``sources`` as :func:`.wrappers.wrap_modules` does. ``found`` are the other local modules, by name."""
        ...

    def stop(self) -> None:
        """Abort the running call at once, from any thread. That call raises an error."""
        ...

    def end(self) -> None:
        """Release all resources. The extractor may be used again afterwards."""
        ...


class HereExtractor:
    """An extractor that works in the calling thread. It keeps nothing on disk, and imports no wrapper."""

    def __init__(self) -> None:
        self.note: Callable[[str, Path | None], object] = lambda _name, _file: None
        self._pipeline: Pipeline | None = None
        self._paths: Mapping[str, Path | None] = {}

    def resume(self) -> None:
        """Do nothing."""

    def start(self) -> None:
        """Do nothing."""

    @property
    def has_started(self) -> bool:
        """See :class:`Extractor`."""
        return True

    def use(self, cache: Path | None, *, read_only: bool) -> None:
        """Do nothing."""

    def imports_of(self, data: bytes) -> Imports:
        """See :class:`Extractor`."""
        return imports_of(data)

    def wrap(
        self,
        sources: Sequence[ModuleSource],
        found: Mapping[str, ModuleSource],
        style: Style,
        annotated: tuple[str, ...] = (),
    ) -> Wrapped:
        """See :class:`Extractor`."""
        # Imported late: an app that has it done in another process does not need it.
        from lastgood.wrappers.generate import Pipeline

        if self._pipeline is None or self._pipeline.annotated != annotated:
            self._pipeline = Pipeline(at=self._report_progress, makes=self._report_progress, annotated=annotated)
        self._paths = {source.name: source.path for source in (*found.values(), *sources)}
        return self._pipeline.wrap(sources, found.get, style, local=found)

    def _report_progress(self, module: str) -> None:
        self.note(module, self._paths.get(module))

    def stop(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Drop all results."""
        self._pipeline = None


class WrapInputs(Struct, frozen=True):
    """The inputs of :meth:`Extractor.wrap`, and what they were made of. ``failures``: sources that cannot be read."""

    pinned: Pinned
    config: Config
    modules: Mapping[str, Resolved]
    sources: Sequence[ModuleSource]
    found: Mapping[str, ModuleSource]
    failures: tuple[ModuleFailure, ...]

    @classmethod
    def of(
        cls, pinned: Pinned, config: Config, modules: Mapping[str, Resolved], last: WrapInputs | None = None
    ) -> WrapInputs:
        """Return the inputs for the wrappers of ``modules``, which are those of ``config``.

        What is as in the ``last`` ones is the same object.
        """
        if (
            last is None
            or modules is not last.modules
            or config != last.config
            or not pinned.has_same_files(last.pinned)
        ):
            sources, found, failures = _sources(pinned, config, modules)
            return cls(pinned, config, modules, sources, found, tuple(failures))
        changed = list(pinned.changed_since(last.pinned))
        digests = {each.file: each.digest for each in changed}
        names = {each.name for each in changed} | {stub_of(each.name) for each in changed}

        def renewed(source: ModuleSource) -> ModuleSource:
            path = source.path
            if path is None or path not in digests:
                return source
            return replace(source, data=pinned.read(path), digest=digests[path])

        found = {**last.found, **{name: renewed(last.found[name]) for name in names & last.found.keys()}}
        sources = [renewed(source) if source.name in names else source for source in last.sources]
        return cls(pinned, config, modules, sources, found, last.failures)

    def wrapped_by(self, extractor: Extractor) -> Wrapped:
        """Have them wrapped. See :meth:`Extractor.wrap`."""
        return extractor.wrap(self.sources, self.found, self.config.output.style, self.config.output.annotated)


def _sources(
    pinned: Pinned, config: Config, modules: Mapping[str, Resolved]
) -> tuple[list[ModuleSource], dict[str, ModuleSource], list[ModuleFailure]]:
    found = {name: ModuleSource(name, None, b"", is_package=True) for name in pinned.namespaces}
    for each in pinned.modules:
        if each.name not in found:
            data = pinned.read(each.file)
            found[each.name] = ModuleSource(each.name, each.file, data, each.is_package, digest=each.digest)
    sources: list[ModuleSource] = []
    failures: list[ModuleFailure] = []
    for each in pinned.stubs:
        name = stub_of(each.name)
        try:
            found[name] = ModuleSource(name, each.file, pinned.read(each.file), each.is_package, digest=each.digest)
        except OSError as error:
            failures.append(_unreadable(each.name, each.file, "stub", error))
    for name, module in modules.items() if config.makes_wrappers else ():
        try:
            data = b"" if module.file is None else pinned.read(module.file)
        except OSError as error:
            failures.append(_unreadable(module.name, module.file, "source", error))
            continue
        known = found.get(name)
        digest = known.digest if known is not None and known.path == module.file else digest_of(data)
        sources.append(ModuleSource(name, module.file, data, module.is_package, config.modules[name], digest))
    return sources, found, failures


def wrapper_texts(
    extractor: Extractor, inputs: WrapInputs, python: tuple[int, int]
) -> tuple[Mapping[str, bytes], Generated, Mapping[str, bytes]]:
    """Generate the wrappers of every module, without writing them. ``python`` is the version of the worker's Python.

    Returns the texts by path relative to the output directory, the result with warnings and failures, and the IRs by module.
    """
    wrapped, modules = inputs.wrapped_by(extractor), inputs.modules
    asked = ((each, partial(_refused, inputs.pinned, inputs.config, each.file)) for each in wrapped.failures)
    found_broken = [with_worker(each, python, refused) for each, refused in asked]
    # The worker can import a helper that only its own Python reads. Of what is in it nothing is known here.
    unread = [each for each in found_broken if each.module not in modules and is_newer(each)]
    failures = [*inputs.failures, *(each for each in found_broken if each not in unread)]
    warnings = (*wrapped.warnings, *map(_about_unread, unread))
    generated = Generated(tuple(wrapped.files), warnings, tuple(sorted(failures, key=lambda each: each.module)))
    return wrapped.files, generated, wrapped.modules


def _about_unread(failure: ModuleFailure) -> str:
    line = "" if failure.line is None else f"line {failure.line}: "
    return (
        f"{failure.module}: what wrapped modules take from it is left out, or became Any, since its source cannot be read: "
        f"{line}{failure.message}"
    )


def _refused(pinned: Pinned, config: Config, file: Path | None) -> tuple[int | None, str] | None:
    """Return why the worker's Python cannot read a source; None if it can."""
    if file is None:
        raise ValueError("it has no source")
    return refused_by_worker(config.runtime.process, pinned.read(file))


def _unreadable(module: str, file: Path | None, what: str, error: OSError) -> ModuleFailure:
    return ModuleFailure(module, file, None, f"the {what} cannot be read: {error.strerror or error}")
