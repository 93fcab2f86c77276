"""The data of a session that outlives its cycles: the config file, the claimed output directories, what is live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from lastgood.calls.live_imports import LiveImports
from lastgood.config import Config, ProcessConfig, decode_config
from lastgood.errors import ConfigError, GenerationError, LastgoodError, ModuleFailure
from lastgood.generators.inputs import Inputs, inputs_of
from lastgood.interpreters.kept_interfaces import Interfaces
from lastgood.planner import Settings
from lastgood.planner.watch_set import Rules, WatchSet
from lastgood.sources.contents import Contents
from lastgood.sources.dependencies import Dependencies
from lastgood.sources.finder import Finder, Interpreter
from lastgood.sources.links import Links, links_to
from lastgood.sources.memo import Memo
from lastgood.sources.pinning import Pinned, Pinner
from lastgood.sources.resolution import Resolved, resolve_modules
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.generations import GenerationStore, Kept, LateModule
from lastgood.store.leading import LeaderFiles
from lastgood.store.manifests_in_use import ManifestsInUse
from lastgood.store.output_directory import OutputDirectory
from lastgood.wrappers.process.extractor import Extractor, HereExtractor, NotStarted, WrapInputs

__all__ = ["Project", "StageStopped"]

_MAX_PATHS = 1 << 14
"""Paths that are reused from one cycle to the next: about four for each module."""


class StageStopped(Exception):  # an outcome rather than an error
    """Ends the blocking part of a stage whose result is not needed any more. No user sees it."""


class Digests:
    """The digests of texts. One that is the same object as the last time is not digested again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, str]] = {}

    def of(self, texts: Mapping[str, bytes]) -> dict[str, str]:
        """Return the digest of each text, by its name."""
        known = self._known
        self._known = {
            name: found if (found := known.get(name)) is not None and found[0] is text else (text, digest_of(text))
            for name, text in texts.items()
        }
        return {name: digest for name, (_, digest) in self._known.items()}


class Compared(Struct, frozen=True):
    """A comparison that was made: digests of ``wrappers`` and ``sources``, ``among`` what else, and the differences ``found``."""

    wrappers: Mapping[str, str]
    sources: Mapping[str, str]
    among: tuple[object, ...]
    found: Mapping[str, tuple[str, ...]] = {}

    def differing(self, other: Compared) -> AbstractSet[str]:
        """Return the modules that ``other`` has other wrappers or sources of."""
        pairs = (self.wrappers.items() ^ other.wrappers.items()) | (self.sources.items() ^ other.sources.items())
        return {name for name, _ in pairs}


class Resolution(Struct, frozen=True):
    """The modules of a config, what they depend on, and what is to be ``watch``-ed for that and for ``others``."""

    config: Config
    finder: Finder
    modules: Mapping[str, Resolved]
    pinned: Pinned
    others: tuple[WatchSet, Inputs]
    watch: WatchSet


@dataclass(slots=True)
class Project:
    """The data of a session that outlives a cycle: the config file, how to read it, and the claimed output directories.

    - ``load(path, read)`` reads and decodes the config. ``ask_interpreter(process)`` returns where the worker's interpreter
      looks for modules.
    - ``adapt(config)`` changes what the config says, for ``lastgood serve``.
    - ``arguments`` are those of :func:`lastgood.watch` that take the place of the bytes of a config file.
    - ``given`` are the seconds that :func:`lastgood.watch` was given, by name.
    - ``extractor`` reads the sources and makes the wrappers.
    - ``imports``: the hook on imports of wrappers in this process, if it is an app that may import them at any time.
    - ``live``: the output directory of the live generation. ``live_manifest``: its stored manifest. ``generation``: its number.
    - ``manifests``: those of the bridges that are not disposed yet, because their workers import from the stored files.
    - ``at``: the module, or other step, that a stage is working on, and its file.
    """

    files: FileSystem
    config_file: Path
    extra_watch_paths: tuple[Path, ...]
    load: Callable[[Path, Callable[[Path], bytes]], Config]
    ask_interpreter: Callable[[ProcessConfig], Interpreter]
    pid: int
    extractor: Extractor = field(default_factory=HereExtractor)
    given: Mapping[str, float] = field(default_factory=dict)
    arguments: bytes | None = None
    imports: LiveImports | None = None
    adapt: Callable[[Config], Config] | None = None
    asked_for: tuple[Path, ...] = ()
    """What followers of this session want to have watched."""
    on_claim: Callable[[Config], object] = bool
    """Called when the output directory of a config was claimed."""
    adopted: Mapping[str, bytes] = field(default_factory=dict)
    """The wrappers of the live generation, if they were taken over from the session that leads."""
    claimed: dict[Path, OutputDirectory] = field(default_factory=dict)
    live: OutputDirectory | None = None
    expected: Config | None = None
    """The config of the first cycle, before its stage, if that can be read."""
    live_manifest: Path | None = None
    live_pinned: Pinned | None = None
    """The sources of the live generation, if they were read in this session."""
    live_interfaces: Interfaces | None = None
    """Those of the live generation, unless they are to be read from its manifest."""
    generation: int = 0
    at: tuple[str, Path | None] = ("", None)
    inputs: WrapInputs | None = None
    """Those of the last wrappers that were asked for."""
    unprimed: WrapInputs | None = None
    """The inputs of the live wrappers, if those were made by an earlier session. An extractor that has seen them is faster."""
    checked: Mapping[str, str] = field(default_factory=dict)
    """The digests by path of the files in the last import check that succeeded."""
    refused: tuple[ProcessConfig, ConfigError] | None = None
    """The error of the worker's interpreter in this cycle. One that hangs is not started twice."""
    manifests: ManifestsInUse = field(default_factory=ManifestsInUse)
    differences: Memo = field(default_factory=Memo)
    """What comparisons of wrappers with their worker have found; see :mod:`lastgood.interpreters.comparison`."""
    compared: Compared | None = None
    """The last of them."""
    texts: Digests = field(default_factory=Digests)
    interfaces: Digests = field(default_factory=Digests)
    dependencies: Dependencies = field(default_factory=Dependencies)
    contents: Contents = field(init=False)
    resolution: Resolution | None = None
    """The last one that succeeded."""
    _finder: Finder | None = None
    _found: tuple[Finder, Config, Mapping[str, Resolved]] | None = None
    _pinner: Pinner = field(init=False)
    _path_of: Callable[[str], Path] = field(init=False)
    _stores: dict[Path, GenerationStore] = field(default_factory=dict)

    _named: tuple[tuple[str, ...], tuple[Path, ...]] = ((), ())
    _is_stopped: bool = False
    _is_priming: bool = False

    def __post_init__(self) -> None:
        self.extractor.note = self.note
        self._path_of = lru_cache(_MAX_PATHS)(Path)
        self.contents = Contents(self.files, self._path_of)
        self._pinner = Pinner(self.contents, self.extractor.imports_of, self.enter)

    def begin_stage(self) -> None:
        """Forget an earlier :meth:`stop`, which was for an earlier stage."""
        self._is_stopped = False
        self.extractor.resume()

    def stop(self) -> None:
        """Stop the stage that runs, from any thread, because its result is not needed any more."""
        self._is_stopped = True
        self.extractor.stop()

    def timeout_error(self, timeout: float, *, waited: bool = False) -> GenerationError:
        """Make the error of a stage that takes longer than ``timeout`` seconds.

        ``waited``: the stage has only waited for the thread of an earlier stage.
        """
        name, file = self.at
        limit = f"{timeout:g} s (stage_timeout)"
        if waited:
            problem = f"an earlier stage is still working on this; the next one has waited for it for {limit}."
        else:
            problem = f"the stage was not done within {limit}; it was abandoned while working on this."
        return GenerationError((ModuleFailure(name, file, None, f"{problem} Simplify it, or raise stage_timeout."),))

    def prime_extractor(self) -> None:
        """Have the extractor, which runs, wrap what is ``unprimed``, and drop the result. What fails is not an error yet."""
        inputs, self.unprimed = self.unprimed, None
        self._is_priming = inputs is not None
        with suppress(LastgoodError, NotStarted):
            if inputs is not None:
                inputs.wrapped_by(self.extractor)
        self._is_priming = False

    def stop_priming(self) -> None:
        """Stop :meth:`prime_extractor`, now and later, from any thread."""
        self.unprimed = None
        if self._is_priming:
            self.extractor.stop()

    def note(self, name: str, file: Path | None = None) -> None:
        """Record the module or step that a stage is working on, for the error if it takes too long."""
        self.at = name, file

    def enter(self, name: str, file: Path | None = None) -> None:
        """Do :meth:`note` at the beginning of a step that may block. Raises :class:`StageStopped` after :meth:`stop`."""
        self.note(name, file)
        if self._is_stopped:
            raise StageStopped

    def settings(self, config: Config) -> Settings:
        """Return the timing of a session: what :func:`lastgood.watch` was given, else the config's, else the default."""
        return Settings(**{**config.watch.seconds, **self.given})

    def config(self, read: Callable[[Path], bytes]) -> Config:
        """Return the config, whose file is read by ``read`` if there is one. Raises :class:`ConfigError`."""
        if self.arguments is not None:
            return self.decode(self.arguments)
        config = self.load(self.config_file, read)
        return config if self.adapt is None else self.adapt(config)

    def decode(self, text: bytes) -> Config:
        """Return the config whose file had this text, or was replaced by it. Raises :class:`ConfigError`."""
        config = decode_config(text, self.config_file)
        return config if self.adapt is None else self.adapt(config)

    def first_config(self) -> Config | None:
        """Return the config before the first cycle, which gets the same bytes; None if it cannot be read."""
        try:
            return self.config(lambda path: self.contents.read(self.files.real_path(path))[1])
        except (LastgoodError, OSError):
            return None

    def first_settings(self) -> Settings:
        """Return the timing of the first stage: that of the config, as far as it can be read."""
        config = self.expected = self.first_config()
        return Settings(**self.given) if config is None else self.settings(config)

    @property
    def always_watched(self) -> WatchSet:
        """The paths that are watched whatever the config contains: the file itself, extra paths, and links on the way to them."""
        named = (*(() if self.arguments is not None else (self.config_file,)), *self.extra_watch_paths, *self.asked_for)
        paths = {self.files.real_path(path) for path in named}
        return WatchSet(tuple(sorted(paths)), links=tuple(sorted(self.links_to(named), key=str)))

    def links_to(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the symbolic links on the way to each of ``paths``, with their texts."""
        return links_to(paths, Links(self.files.read_link))

    def rules(self, config: Config, trees: AbstractSet[Path]) -> Rules:
        """Return the rules of what counts below the watched paths, of which ``trees`` are modules."""
        watch, free = config.watch, self.always_watched.paths
        roots = frozenset(str(path) for path in trees if path not in free)
        others = frozenset(str(path) for path in self.included_in(config) if path not in free and path not in trees)
        return Rules(str(config.path.parent), roots, watch.include, watch.ignore, others)

    def included_in(self, config: Config) -> tuple[Path, ...]:
        """Return the directories outside of packages that are watched for what ``include`` names: a served program's own."""
        is_asked = config.serve is not None and bool(config.watch.include)
        return (self.files.real_path(config.path.parent),) if is_asked else ()

    def finder(self, config: Config) -> Finder:
        """Return a finder that looks where the worker of ``config`` would: the last one, if it would find the same.

        Raises :class:`ConfigError`.
        """
        interpreter = self._worker_interpreter(config)
        # A cycle begins with a reading of what is watched, or has one made of what it finds to watch. What that has listed need
        # not be asked of the disk again; what has changed since then is found by the next reading.
        known, listed = self._finder, self.contents.listed
        if known is None or not known.is_for(config.python_import_path, interpreter, listed):
            known = self._finder = Finder(self.files, config.python_import_path, interpreter, self._path_of, listed)
        return known

    def find_modules(self, config: Config, finder: Finder) -> Mapping[str, Resolved]:
        """Find every module of ``config``. Raises :class:`UnwatchableModule`."""
        if self._found is None or self._found[0] is not finder or self._found[1] != config:
            self._found = finder, config, resolve_modules(config, finder)
        return self._found[2]

    def pin(self, config: Config, modules: Mapping[str, Resolved], finder: Finder) -> Pinned:
        """Read, once, all sources that ``modules`` depend on."""
        pinned = self._pinner.pin(config, modules, finder)
        self._pinner.forget_others()
        self.contents.forget_others()
        return pinned

    def generator_inputs(self, config: Config) -> Inputs:
        """Find the inputs of the config's own generators; modules are looked up as by this process's interpreter."""
        return inputs_of(config, self.files, self._pinner, self.ask_interpreter(ProcessConfig()))

    def _worker_interpreter(self, config: Config) -> Interpreter:
        process = config.runtime.process
        if self.refused is not None and self.refused[0] == process:
            raise self.refused[1]
        try:
            return self.ask_interpreter(process)
        except ConfigError as error:
            error.file = config.path  # ask_interpreter() does not know the config file
            self.refused = process, error
            raise

    def paths_of(self, names: tuple[str, ...]) -> tuple[Path, ...]:
        """Return the sorted paths of these names; the last result, if they are the same."""
        if self._named[0] != names:
            self._named = names, tuple(sorted(map(Path, names)))
        return self._named[1]

    def look_at(self, path: Path) -> OutputDirectory:
        """Return the output directory at ``path``, unclaimed. Raises :class:`ConfigError`, :class:`PromotionError`."""
        return OutputDirectory.unclaimed(self.files, path, self.config_file)

    def is_used(self, path: Path | None) -> bool:
        """Return whether a session may have used the output directory at ``path`` before; None: its path is not known."""
        try:
            return path is None or self.files.is_dir(self.look_at(path).home)
        except LastgoodError:
            return True

    def claim(self, path: Path) -> OutputDirectory:
        """Claim and return the output directory at ``path``. Raises like :meth:`OutputDirectory.claim`."""
        output = self.claimed[path] = OutputDirectory.claim(self.files, path, self.pid, self.config_file)
        return output

    def store(self, output: OutputDirectory) -> GenerationStore:
        """Return the stored generations of ``output``."""
        return self._stores.setdefault(output.home, GenerationStore(self.files, output.home))

    def kept(self, manifest: Path) -> Kept:
        """Return the stored files of a generation. Raises :class:`DamagedGeneration`."""
        return self._store_of(manifest).open(manifest)

    def _store_of(self, manifest: Path) -> GenerationStore:
        return self._stores[manifest.parents[2]]

    def last_good(self) -> Path | None:
        """Return the manifest of the generation that was live last, in an earlier session; None if there is none.

        Any thread may call it. Raises :class:`OSError`.
        """
        for output in list(self.claimed.values()):
            store = GenerationStore(self.files, output.home)  # of its own, since another thread may use the stage's
            last = store.before(None)
            return None if last is None else store.path(last)
        return None

    def store_late(self, cycle: int, late: Sequence[LateModule]) -> Path | None:
        """Store modules that the bridge of ``cycle`` imported dynamically as a part of its generation.

        Returns the new manifest, for :meth:`use_late`; None if that bridge was disposed, or if a later bridge runs an equal
        generation, which these modules do not belong to. Raises :class:`OSError`, :class:`DamagedGeneration`.
        """
        before = self.manifests.latest(cycle)
        if before is None or not self.manifests.is_last_of(cycle):
            return None
        store = self._store_of(before)
        made = store.put_late(before, late, in_history=bool(self.claimed))
        if made != before and not self.manifests.is_given(before):
            store.forget(before)
        return made

    def use_late(self, cycle: int, manifest: Path) -> None:
        """Make ``manifest`` the manifest of the generation of ``cycle``, if its bridge is not disposed yet."""
        self.manifests.grow(cycle, manifest)
        if self.manifests.is_live(cycle):
            self.live_manifest = manifest

    def manifests_in_use(self, output: OutputDirectory) -> set[Path]:
        """Return the manifests of generations that this session, or one that follows it, may still read."""
        followers, store = LeaderFiles(self.files, output.home).followers(), self.store(output)
        return self.manifests.paths() | {store.named(name) for each in followers.values() for name in each.manifests}

    def release_imports(self, output: OutputDirectory) -> None:
        """Stop redirecting imports of wrappers: ``output`` has the content from before the last promotion again."""
        if self.imports is not None:
            self.imports.free(output.path)

    def release_others(self) -> None:
        """Release all output directories except the live one, and those with a journal that still has to be undone."""
        for path, output in list(self.claimed.items()):
            journal = self.files.stat(output.home / "journal.json")
            is_other = (self.live is None or path != self.live.path) and journal is None
            # An abandoned thread may have released it in the meantime.
            if is_other and self.claimed.pop(path, None) is not None:
                output.release()

    def release(self) -> None:
        """Release the extractor, the hook on imports, and every claimed output directory."""
        if self.imports is not None:
            self.imports.close()
        self.extractor.end()
        while self.claimed:
            _, output = self.claimed.popitem()
            output.release()
