"""The files of a cycle: the steps of stage, promote, swap and rollback, which may block.

Every interpreter takes these steps: the trio interpreter in a thread and on the disk, the in-memory one directly and on a dict,
``lastgood generate`` without a bridge. :mod:`lastgood.interpreters.staging` puts those of the stage together.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from lastgood.bridges.late import EditedModule
from lastgood.calls.refresh import Refresh
from lastgood.config import Config
from lastgood.errors import (
    AlreadyWatched,
    ConfigError,
    GenerationError,
    LastgoodError,
    NothingToUndo,
    PromotionError,
)
from lastgood.generators.inputs import Inputs
from lastgood.generators.portable_names import unportable
from lastgood.interpreters.kept_interfaces import Interfaces, changes_between
from lastgood.interpreters.kept_wrappers import CONFIG, INPUTS, WRAPPERS, KeptWrappers, packed_inputs
from lastgood.interpreters.project import Project, Resolution
from lastgood.interpreters.watch_sets import inputs_of_a_cycle, named_in, places_of_a_mending
from lastgood.planner.promotion import Promotion
from lastgood.planner.watch_set import Snapshot, WatchSet
from lastgood.sources.finder import Finder
from lastgood.sources.links import digest_of_link
from lastgood.sources.pinning import Pinned
from lastgood.sources.resolution import Resolved, check_sources
from lastgood.store.file_system import digest_of, place_of
from lastgood.store.generations import DamagedGeneration
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting, empty
from lastgood.store.temporary import make_temporary_directory
from lastgood.store.trees import make_directories, remove_tree, staged_files, staged_place
from lastgood.watch_events import ApiChange
from lastgood.wrappers import Generated, check_generated
from lastgood.wrappers.process.extractor import WrapInputs, wrapper_texts

__all__ = ["CycleFiles"]

_NOTHING = Generated(())


class CycleFiles:
    """The files of one cycle: the resolved config and modules, the stage, and the promotion.

    ``dry``: nothing is claimed or written; the cycle ends with its stage.
    """

    def __init__(self, project: Project, cycle: int, *, dry: bool = False) -> None:
        self.project = project
        project.refused = None
        self.cycle = cycle
        self._is_dry = dry
        self.config: Config | None = None
        self.watch = project.always_watched
        self.read: Snapshot = {}
        self.used: dict[Path, str] = {}
        self.config_text = b""  # the bytes of the config file, as read for this cycle
        self._finder: Finder | None = None
        self.modules: Mapping[str, Resolved] = {}
        self._python = sys.version_info[:2]
        self.output: OutputDirectory | None = None
        self.stage: Path | None = None
        self._generator_directory: Path | None = None
        self.staged: Mapping[str, str] = {}
        self.pinned: Pinned | None = None
        self.manifest: Path | None = None
        self.edited: Sequence[EditedModule] = ()  # what the next worker has to be able to compile
        self.interfaces: Interfaces | None = None
        self._inputs: bytes | None = None
        self._texts: dict[str, tuple[str, bytes]] = {}  # digest and text of each staged file
        self.is_undo = False
        self._repeats: Path | None = None  # the manifest of the live generation, if this one is equal to it
        self.promoting: Promoting | None = None
        self.refresh: Refresh | None = None  # from promote() on, if this process is an app
        self.former: OutputDirectory | None = None
        self.only_waited = False  # the stage has read nothing: the thread of an earlier one did not return in time
        self._committing = contextlib.ExitStack()
        self._is_discarded = False
        self._is_sharing = False  # a thread is using what all cycles share: the claims, or the store

    # --- stage

    def resolve(self) -> None:
        """Read the config, find every module, and pin the sources. Set ``watch`` to the inputs of this, even on an error.

        If a symbolic link on the way is swung meanwhile, do it again, so that what it led to before is not mixed with what it
        leads to now. Raises :class:`ConfigError`, :class:`UnwatchableModule`.
        """
        project = self.project
        while True:
            self._finder = None
            links = project.links_to((project.config_file,))
            try:
                self._resolve()
            except LastgoodError:
                if self._lead_still(links):
                    raise
            else:
                if self._lead_still(links):
                    return

    def first_watched(self) -> WatchSet:
        """Return what is watched before a config is resolved; by polling if it says so, as far as it can be read.

        So are the modules that it names, if they are found: then what is watched and what is pinned is of one reading.
        """
        project = self.project
        project.enter(project.config_file.name, project.config_file)
        config = project.first_config()
        if config is None:
            return project.always_watched
        with contextlib.suppress(LastgoodError, OSError):
            return named_in(project, config, project.files.real_path(config.place))
        return replace(project.always_watched, poll=config.watch.interval)

    def _lead_still(self, links: Mapping[Path, str]) -> bool:
        """Return whether all links lead where they led: ``links``, to the config file, and those that the finder has met."""
        is_same = self._finder is None or self._finder.listings.links_hold()
        return is_same and self.project.links_to((self.project.config_file,)) == links

    def _resolve(self) -> None:
        project, files = self.project, self.project.files
        project.enter(project.config_file.name, project.config_file)
        self.watch = project.always_watched
        self.used.clear()
        self.config_text = project.arguments or b""
        self.config = config = project.config(self._read_config)
        output = files.real_path(config.place)
        cache = files.cache(project.look_at(output).home)
        project.extractor.use(cache, read_only=output not in project.claimed)
        inputs = project.generator_inputs(config)
        try:
            self._pin(config, inputs, output)
        except BaseException:
            self.watch = places_of_a_mending(project, config, inputs, output)
            raise

    def _pin(self, config: Config, inputs: Inputs, output: Path) -> None:
        project = self.project
        if inputs.problem is not None:
            raise inputs.problem
        finder, last = project.finder(config), project.resolution
        self._finder = finder
        self._python = finder.python
        if last is not None and last.finder is finder and last.config == config:
            self.modules = last.modules
        else:
            last, self.modules = None, project.find_modules(config, finder)
            check_sources(config, self.modules, output, project.files)
        self.pinned = project.pin(config, self.modules, finder)
        self.used.update(self.pinned.digests)
        others = project.always_watched, inputs
        if last is not None and last.others == others and last.pinned.has_same_files(self.pinned):
            self.watch = last.watch
        else:
            self.watch = inputs_of_a_cycle(project, config, inputs, output, self.modules, self.pinned, finder)
        texts = ((link, finder.listings.read_link(str(link))) for link in self.watch.links)
        self.used.update((link, digest_of_link(text)) for link, text in texts)
        project.resolution = Resolution(config, finder, self.modules, self.pinned, others, self.watch)

    def _read_config(self, path: Path) -> bytes:
        file = self.project.files.real_path(path)
        self.used[file], self.config_text = self.project.contents.read(file)
        return self.config_text

    @contextlib.contextmanager
    def _sharing(self, what: str, path: Path) -> Iterator[None]:
        """Use what all cycles share, unless the stage was discarded first."""
        self.project.enter(what, path)
        self._is_sharing = True  # set before the check: discard() sets its flag, then reads this one
        try:
            if self._is_discarded:
                raise RuntimeError("the stage was given up before this began")
            yield
        finally:
            self._is_sharing = False

    def has_been_used(self) -> bool:
        """Return whether a session has used the output directory before. If none has, there is nothing to recover."""
        path = self._config.place
        self.project.enter("output directory", path)
        path = self.project.files.real_path(path)
        return self.project.files.is_dir(self.project.look_at(path).home)

    def claim(self) -> OutputDirectory:
        """Claim the output directory, recover it after a killed session or a failed rollback, and make the stage directory.

        Raises :class:`AlreadyWatched`, :class:`PromotionError`.
        """
        files = self.project.files
        path = files.real_path(self._config.place)
        if self._is_dry:
            self.output = self.project.look_at(path)
            return self.output
        try:
            with self._sharing("output directory", path):
                output = self.output = self._claimed(path)
                self.project.on_claim(self._config)
            taken = set(files.children(output.home))
            numbers = (
                f"stage-{self.cycle}" if number == 1 else f"stage-{self.cycle}-{number}"
                for number in itertools.count(1)
            )
            self.stage = output.home / next(name for name in numbers if name not in taken)
            files.mkdir(self.stage)
        except OSError as error:
            raise PromotionError(
                f"the output directory cannot be prepared: {error.strerror or error}.", path=place_of(error, path)
            ) from error
        return output

    def _claimed(self, path: Path) -> OutputDirectory:
        project = self.project
        output = project.claimed.get(path)
        if output is not None and output.is_held():
            with output.turn_if_held() as is_held:
                if is_held:
                    output.recover()
                    with contextlib.suppress(OSError):
                        output.sweep()
                    project.release_imports(output)
                    return output
        if output is not None:
            del project.claimed[path]
            output.release()  # its file was removed, for example by `git clean`: this lock protects nothing any more
        return project.claim(path)

    def generate(self) -> Generated:
        """Generate the wrappers of every module of the config into the stage, by the built-in generator."""
        project, pinned, extractor = self.project, self._pinned, self.project.extractor
        extractor.use(project.files.cache(self.output_directory.home), read_only=self._is_dry)
        inputs = project.inputs = WrapInputs.of(pinned, self._config, self.modules, project.inputs)
        if not extractor.has_started:
            store = project.store(self.output_directory)
            kept = KeptWrappers.of_last(store, pinned, self._python, self.config_text)
            if kept is not None:
                project.unprimed = inputs
                self.interfaces = kept.interfaces
                return self._stage_wrappers(kept.texts, Generated(tuple(kept.texts), kept.warnings))
        project.unprimed = None
        texts, generated, irs = wrapper_texts(extractor, inputs, self._python)
        self.interfaces = Interfaces.of(irs, project.interfaces.of(irs))
        return self._stage_wrappers(texts, generated)

    def _stage_wrappers(self, texts: Mapping[str, bytes], generated: Generated) -> Generated:
        if not self._config.generators:
            self._inputs = packed_inputs(self._pinned, self._python, tuple(generated.warnings))
        self._write_stage(texts)
        return generated

    def _write_stage(self, texts: Mapping[str, bytes]) -> None:
        """Write files to the stage, except those that the output directory is known to have, by its manifest."""
        fresh = self.project.texts.of(texts)
        if self._is_discarded:
            return
        self._texts |= {name: (digest, texts[name]) for name, digest in fresh.items()}
        if self._is_dry:
            return
        files, stage, there = self.project.files, self._stage, self.output_directory.expected()
        missing = [name for name, digest in fresh.items() if there.get(name) != digest]
        try:
            for directory in sorted({(stage / name).parent for name in missing}):
                make_directories(files, directory)
            for name in missing:
                files.write(staged_place(stage, name), texts[name])
        except OSError as error:
            why = isinstance(error, FileExistsError) and "; ".join(unportable(fresh))  # two names may be one file
            raise PromotionError(
                f"the wrappers could not be staged: {why or error.strerror or error}.", path=place_of(error, stage)
            ) from error

    def _link_generated(self, made: Mapping[str, str]) -> None:
        """Link the files that generators have made in :attr:`generator_directory` (path to digest) into the stage."""
        files = self.project.files
        try:
            for name, digest in made.items():
                place = self.generator_directory / name
                if not self._is_dry:
                    place, source = staged_place(self._stage, name), place
                    make_directories(files, place.parent)
                    files.link(source, place)
                self._texts[name] = (digest, files.read(place))
        except OSError as error:
            raise PromotionError(
                f"the generated files could not be staged: {error.strerror or error}.",
                path=place_of(error, self.generator_directory),
            ) from error

    @property
    def generator_directory(self) -> Path:
        """The directory to which the user's own generators write. It is outside of the project, since others may watch that."""
        if self._generator_directory is None:
            self._generator_directory = make_temporary_directory() / "stage"
            self._generator_directory.mkdir()
        return self._generator_directory

    @property
    def made(self) -> Collection[str]:
        """The paths of the staged files."""
        return self._texts.keys()

    def accept(self, generated: object, others: Generated = _NOTHING) -> Generated:
        """Check the result of ``generate``, and take over its files; ``others`` is the result of the config's own generators.

        Raises :class:`GenerationError` with all failures that they report.
        """
        generated = check_generated(generated)
        failures = (*generated.failures, *others.failures)
        if failures:
            raise GenerationError(failures)
        generated_files = [name for name in (*generated.files, *others.files) if name not in self._texts]
        if generated_files:
            self._link_generated(staged_files(self.project.files, self.generator_directory, generated_files))
        self.staged = {name: digest for name, (digest, _) in sorted(self._texts.items())}
        return replace(generated, warnings=(*generated.warnings, *others.warnings))

    def keep(self) -> None:
        """Store the sources as they were read, and the wrappers; set ``config.pinned`` to the manifest.

        Raises :class:`PromotionError`.
        """
        output = self.output_directory
        self._remove_generator_directory()
        if self._is_dry:
            return
        try:
            kept = {f"{WRAPPERS}{name}": digest_and_text for name, digest_and_text in self._texts.items()}
            kept |= {} if self.interfaces is None else self.interfaces.to_keep()
            others = {CONFIG: self.config_text, INPUTS: self._inputs}
            kept |= {name: (digest_of(text), text) for name, text in others.items() if text is not None}
            with self._sharing("kept generations", output.home):
                self.manifest = self.project.store(output).put(self._pinned, kept)
        except OSError as error:
            raise PromotionError(
                f"the generation could not be stored: {error.strerror or error}.", path=place_of(error, output.home)
            ) from error
        self.config = msgspec.structs.replace(self._config, pinned=self.manifest)

    def _remove_generator_directory(self) -> None:
        directory, self._generator_directory = self._generator_directory, None
        if directory is not None:
            shutil.rmtree(directory.parent, ignore_errors=True)

    # --- stage, for an undo

    def stage_previous(self, watch: WatchSet) -> None:
        """Stage the stored files of the good generation before the live one.

        ``watch`` stays watched, together with the modules that the earlier generation imported dynamically.
        Raises :class:`NothingToUndo`, :class:`DamagedGeneration`, :class:`PromotionError`.
        """
        project, files, live = self.project, self.project.files, self.project.live
        self.is_undo = True
        if live is None:  # the session waits for its first good generation
            raise NothingToUndo(project.config(project.files.read).place)
        self.watch = watch
        project.enter("kept generations", live.home)
        store = project.store(live)
        good = store.before(project.live_manifest)
        if good is None:
            raise NothingToUndo(live.path)
        self.manifest = store.path(good)
        kept = store.open(self.manifest)
        self.watch = watch.with_paths([*map(files.real_path, kept.late.values())])
        config = project.decode(kept.files[CONFIG])
        self.config = config.with_output(live.path, pinned=self.manifest)
        self.claim()
        texts = {name: text for name, text in kept.files.items() if name.startswith(WRAPPERS)}
        self._write_stage({name.removeprefix(WRAPPERS): text for name, text in texts.items()})
        self.staged = {name: digest for name, (digest, _) in sorted(self._texts.items())}

    def find_previous(self) -> bool:
        """Return whether an undo could restore another generation than the one that this one is equal to, if there is any.

        A generation that is equal to the live one or, if none is live, to the last good one, replaces it in the history.
        """
        store = self.project.store(self.output_directory)
        last = self.project.live_manifest
        if last is None and (good := store.before(None)) is not None:
            last = store.path(good)
        if last is not None and self.manifest is not None and store.is_still(last, self.manifest):
            self._repeats = last
            return False
        return store.before(self.manifest) is not None

    def changes(self) -> tuple[ApiChange, ...]:
        """Return the API changes since the live generation or, if none is live, since the last one that was stored."""
        project = self.project
        store = former = project.store(self.output_directory)
        before = project.live_manifest
        if project.live is not None:
            former = project.store(project.live)
        elif (good := store.before(None)) is not None:
            before = store.path(good)
        if before is None:
            return ()
        try:
            after = self.interfaces
            if self.is_undo and self.manifest is not None:
                after = Interfaces.kept(store, self.manifest)
            return changes_between(project.live_interfaces or Interfaces.kept(former, before), after)
        except DamagedGeneration:
            return ()

    # --- promote, swap, watch

    def promote(self) -> None:
        """Change the content of the output directory to that of the stage."""
        self.former = self._find_former()
        with self.output_directory.turn():
            self.output_directory.check_is_held()
            self.promoting = Promoting(self.output_directory, self._stage, self.staged, self.former, self.texts)
            self.promoting.apply(self._hold_imports)

    def _hold_imports(self) -> None:
        """Let imports of wrappers in the app get the present files until the swap; until the first swap, what there is."""
        project, output = self.project, self.output_directory
        if project.imports is None:
            return
        assert self.promoting is not None
        before = self.promoting.texts_before()
        replaced = {name: text for name, text in before.items() if isinstance(text, bytes)}
        project.imports.hold(output.path, {} if project.live is None else before)
        self.refresh = Refresh(output.path, self.texts, replaced)

    def _find_former(self) -> OutputDirectory | None:
        """Return the output directory that this one replaces: of this session, or of one that was killed before it emptied it."""
        project = self.project
        if project.live is not None:
            return project.live if project.live.path != self.output_directory.path else None
        left = self.output_directory.former()
        if left is None:
            return None
        try:
            return project.claim(left.path)
        except (AlreadyWatched, ConfigError, PromotionError):  # another session takes care of it
            return None

    def begin_commit(self) -> None:
        """Wait for the turn to :meth:`commit`, which follows at once, and does not wait.

        Raises :class:`PromotionError` if the lock was removed: what was promoted is for whoever has taken the lock to undo.
        """
        if self.promoting is None:
            self.former = self._find_former()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.output_directory.turn())
            self.output_directory.check_is_held()
            self._committing = stack.pop_all()

    def commit(self) -> None:
        """Commit the promotion, if there was one, after :meth:`begin_commit`: the part of the swap that concerns files."""
        with self._committing:
            if self.promoting is not None:
                self.promoting.commit()
        if self.project.imports is not None:
            self.project.imports.follow(self.output_directory.path)
        self.project.live, self.project.live_pinned = self.output_directory, self.pinned
        self.project.live_manifest, self.project.live_interfaces = self.manifest, self.interfaces
        self.project.generation += 1
        if self.manifest is not None:
            self.project.manifests.begin(self.cycle, self.manifest)

    def settle(self, now: float) -> None:
        """Clean up after the swap: remove backups and the stage, and empty the former output directory if it changed.

        ``now``: when the generation became good, in seconds since the epoch.
        """
        with contextlib.ExitStack() as steps:  # runs from the last step to the first, each one even if another fails
            steps.callback(self.project.release_others)
            if not steps.enter_context(self.output_directory.turn_if_held()):
                return
            if self.former is not None:
                steps.callback(self._empty, self.former)
            steps.callback(self._sweep_generations)
            steps.callback(self._record, now)
            steps.callback(remove_tree, self.project.files, self._stage)
            if self.promoting is not None:
                steps.callback(self.promoting.sweep)

    def _record(self, now: float) -> None:
        manifest = self.project.manifests.latest(self.cycle)  # not that of keep(), if modules were imported late
        if manifest is None:
            return
        store = self.project.store(self.output_directory)
        if self.is_undo:
            store.retract(manifest)
        else:
            store.record(manifest, generation=self.project.generation, at=now, repeats=self._repeats)

    def _sweep_generations(self) -> None:
        if self.output is not None:
            self.project.store(self.output).sweep(self.project.manifests_in_use(self.output))

    def _empty(self, former: OutputDirectory) -> None:
        if self.promoting is None:
            self.output_directory.put_manifest({}, former)
        self.project.files.barrier(
            (self.home,)
        )  # a power failure that takes the commit back leaves the former wrappers
        empty(former, self._stage)
        self.output_directory.forget_former()

    # --- undoing

    def restore(self) -> None:
        """Undo :meth:`promote`, even if it was not completed; unless the lock was removed: the next to take it does that."""
        if self.promoting is not None:
            self._committing.close()
            with self.output_directory.turn_if_held() as is_held:
                if is_held:
                    self.promoting.undo()
            self.project.release_imports(self.output_directory)

    def discard(self) -> None:
        """Undo the stage, even if it was not completed. Leave to the next cycle what an abandoned thread is still using."""
        self._is_discarded = True
        is_shared = self._is_sharing
        self._remove_generator_directory()
        try:
            if self.stage is not None and not self.has_lost_its_lock:
                remove_tree(self.project.files, self.stage)
                if not is_shared:
                    self._sweep_generations()
        finally:
            if not is_shared:
                self.project.release_others()

    def clear_if_discarded(self) -> None:
        """Remove files that an abandoned thread has written to the stage after it was discarded, and release its claim."""
        if self._is_discarded and self.stage is not None:
            self._remove_generator_directory()
            with contextlib.suppress(OSError):
                if not self.has_lost_its_lock:
                    remove_tree(self.project.files, self.stage)
                self.project.release_others()

    @property
    def has_lost_its_lock(self) -> bool:
        """True if the lock was removed since :meth:`claim`: another session may be using what lies beside it."""
        return self.output is not None and not self._is_dry and not self.output.is_held()

    @property
    def home(self) -> Path:
        """The ``.lastgood`` directory of the output directory."""
        return self.output_directory.home

    @property
    def written(self) -> tuple[Path, ...]:
        """Every generated file, relative to the output directory, sorted."""
        return self.project.paths_of(tuple(self.staged))

    @property
    def promotion(self) -> Promotion:
        """The operations and warnings of the promotion."""
        assert self.promoting is not None, "promote() comes first"
        return self.promoting.promotion

    @property
    def _config(self) -> Config:
        assert self.config is not None, "load() comes first"
        return self.config

    @property
    def _pinned(self) -> Pinned:
        assert self.pinned is not None, "resolve() comes first"
        return self.pinned

    @property
    def output_directory(self) -> OutputDirectory:
        """The output directory, after :meth:`claim`."""
        assert self.output is not None, "claim() comes first"
        return self.output

    @property
    def texts(self) -> Mapping[str, bytes]:
        """The text of each staged file, by its path."""
        return {name: text for name, (_, text) in self._texts.items()}

    @property
    def _stage(self) -> Path:
        assert self.stage is not None, "claim() comes first"
        return self.stage
