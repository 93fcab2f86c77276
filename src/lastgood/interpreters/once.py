"""One generation without a session and without a bridge: what ``lastgood generate`` and ``lastgood undo`` do, and
``lastgood plan`` would.

The files go the way of every cycle (contract §§4, 5): claim, stage, promote, commit; or everything stays as it was.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import trio

from lastgood.effects import FileOperation, RemoveFile, ReplaceFile, WriteFile
from lastgood.errors import GenerationError, NothingToUndo, WatchError
from lastgood.generators.checking import check_staged
from lastgood.generators.running import run_generators
from lastgood.interpreters.bounded_stage import BoundedStage
from lastgood.interpreters.cycle_files import CycleFiles, Project, wrapper_texts
from lastgood.interpreters.kept_interfaces import Interfaces, changes_between
from lastgood.planner import Settings
from lastgood.planner.promotion import Promotion
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.generations import DamagedGeneration, GenerationStore, Good
from lastgood.store.promotion import OutputDirectory
from lastgood.watch_events import ApiChange
from lastgood.wrappers import Generated

__all__ = ["Once", "ask_undo", "differences", "generate_once", "output_path", "preview", "undo_once"]

_STAGE_TIMEOUT = Settings().stage_timeout

T = TypeVar("T")

_LOOK = 0.02
"""Seconds between two looks whether a session has done what it was asked."""


@dataclass(frozen=True, slots=True)
class Once:
    """What was done to the output directory, or would be.

    ``operations`` in order; ``unchanged`` are the generated files that were right already; ``recovered`` those that a
    promotion cut short had left, and that are as they were before it. All are relative to ``output``. ``changes`` are against
    the last good generation that a session has kept; only a preview has them.
    """

    output: Path
    operations: tuple[FileOperation, ...]
    unchanged: tuple[str, ...]
    warnings: tuple[str, ...]
    recovered: tuple[str, ...] = ()
    changes: tuple[ApiChange, ...] = ()

    @property
    def written(self) -> tuple[str, ...]:
        """The files that are new or replaced, sorted."""
        return tuple(sorted(each.path for each in self.operations if isinstance(each, WriteFile | ReplaceFile)))

    @property
    def removed(self) -> tuple[str, ...]:
        """The managed files that no longer exist, sorted."""
        return tuple(sorted(each.path for each in self.operations if isinstance(each, RemoveFile)))


def generate_once(project: Project, timeout: float = _STAGE_TIMEOUT) -> Once:
    """Generate every wrapper, within ``timeout`` seconds, and promote them. Raises what failed, with the output directory as
    it was.

    When the undoing fails, too, the error says so in a note, and the next run finishes it.
    """
    work = CycleFiles(project, 1)
    try:
        output, generated = _within(timeout, _staged, work)
        work.promote()
        work.commit()
    except BaseException as error:
        _undo_all(project, work, error)
        raise
    warnings = (*generated.warnings, *work.promotion.warnings, *_tidied(project, work))
    return _once(output, work.promotion, work.staged, warnings, output.recovered)


async def _staged(work: CycleFiles, bounded: BoundedStage) -> tuple[OutputDirectory, Generated]:
    await bounded.step(work, work.resolve)
    output = await bounded.step(work, work.claim)
    own = await bounded.step(work, work.generate)
    assert work.config is not None
    note, others = work.project.note, Generated(())
    if work.config.generators:
        others = await run_generators(work.config, work.config_text, work.workplace, work.made, note)
    generated = await bounded.step(work, work.accept, own, others)
    if others.files:
        failures = await check_staged(work.workplace, output.path.name, compiled=others.files, note=note)
        if failures:
            raise GenerationError(failures)
    await bounded.step(work, work.keep)
    await bounded.step(work, work.note_repetition)
    return output, generated


def _within(timeout: float, stage: Callable[[CycleFiles, BoundedStage], Awaitable[T]], work: CycleFiles) -> T:
    """Run ``stage`` on an event loop of its own. Ctrl-C ends it, and does not wait for a thread that hangs."""

    @trio.lowlevel.enable_ki_protection  # it comes while something is awaited
    async def run() -> T:
        bounded = BoundedStage()
        work.project.extractor.start()
        try:
            return await bounded.run(partial(stage, work, bounded), work, timeout)
        except KeyboardInterrupt:
            work.project.extractor.stop()
            raise

    return trio.run(run)


def _problem_of(step: Callable[[], None]) -> Exception | None:
    try:
        step()
    except Exception as error:
        return error
    return None


def undo_once(project: Project) -> Once:
    """Bring the wrappers of the good generation before the last one back, where no session runs. Raises what failed.

    :class:`~lastgood.errors.AlreadyWatched` if a session has the output directory: leave it a request then.
    """
    output = project.live = project.claim(output_path(project))
    last = project.store(output).before(None)
    project.live_manifest = None if last is None else project.store(output).path(last)
    work = CycleFiles(project, 1)
    try:
        work.take_back(project.always_watched)
        work.promote()
        work.commit()
    except BaseException as error:
        _undo_all(project, work, error)
        raise
    problems = _tidied(project, work)
    return _once(output, work.promotion, work.staged, (*work.promotion.warnings, *problems), output.recovered)


def ask_undo(project: Project, patience: float) -> Good:
    """Ask the session that has the output directory to undo its live generation: the one that it has gone back to.

    Raises :class:`NothingToUndo` where no earlier generation is kept, and :class:`WatchError` if it has not gone back within
    ``patience`` seconds (it looks for requests every two); it may do so later, or have told its user why it cannot.
    """
    output = project.look_at(output_path(project))
    store = project.store(output)
    live = store.before(None)
    if live is None or store.before(store.path(live)) is None:
        raise NothingToUndo(output.path)
    output.ask_undo()
    given_up_at = time.monotonic() + patience
    while True:
        good = store.history()
        if good and live.manifest not in {each.manifest for each in good}:
            return good[-1]
        if time.monotonic() >= given_up_at:
            raise WatchError(
                f"the session has not gone back within {patience:g} s. If it tried and failed, what it tells says why."
            )
        time.sleep(_LOOK)


def output_path(project: Project) -> Path:
    """The output directory that the config names. Raises :class:`~lastgood.errors.ConfigError`."""
    config = project.load(project.config_file, project.files.read)
    return project.files.real_path(config.output.dir)


def _undo_all(project: Project, work: CycleFiles, error: BaseException) -> None:
    for undo in (work.restore, work.discard, project.release):
        if problem := _problem_of(undo):
            error.add_note(f"Undoing it failed as well: {problem}. The next run finishes that before anything else.")


def _tidied(project: Project, work: CycleFiles) -> tuple[str, ...]:
    """After the commit: what cannot be tidied up now is no failure, and the next start does it."""
    settle = partial(work.settle, time.time())
    problems = [problem for tidy in (settle, project.release) if (problem := _problem_of(tidy))]
    return tuple(f"{work.home} could not be tidied up: {problem}." for problem in problems)


def preview(project: Project, timeout: float = _STAGE_TIMEOUT) -> Once:
    """What :func:`generate_once` would do. Nothing is written, claimed or locked. Raises as that does.

    Generators that the config names are run, into a temporary directory: nothing else tells what they make.
    A journal that a killed session left is not taken into account: the files are looked at as they stand. ``warnings`` are the
    generator's alone: what would be kept aside is among the operations.
    """
    try:
        return _foresee(project, timeout)[0]
    finally:
        project.release()


def differences(
    project: Project, label: Callable[[Path], str] = str, timeout: float = _STAGE_TIMEOUT
) -> tuple[Once, Iterator[str]]:
    """A :func:`preview`, and the files that it would change as the lines of a unified diff, each with its line ending.

    ``label`` names a file in it.
    """
    try:
        would, texts = _foresee(project, timeout)
    finally:
        project.release()
    return would, _diff(project.files, would, texts, label)


def _diff(files: FileSystem, would: Once, texts: Mapping[str, bytes], label: Callable[[Path], str]) -> Iterator[str]:
    for name in sorted((*would.written, *would.removed)):
        path = would.output / name
        standing = files.stat(path)
        before = _lines(files.read(path)) if standing is not None and standing.kind == "file" else None
        after = None if name not in texts else _lines(texts[name])
        old, new = (label(path) if lines is not None else "/dev/null" for lines in (before, after))
        for line in difflib.unified_diff(before or [], after or [], old, new):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "replace").split("\n")  # at nothing else that ends a line in some sense
    return [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def _foresee(project: Project, timeout: float) -> tuple[Once, Mapping[str, bytes]]:
    work = CycleFiles(project, 1)
    texts, generated, others, interfaces = _within(timeout, _foreseen, work)
    if failures := (*generated.failures, *others.failures):
        raise GenerationError(failures)
    assert work.config is not None
    output = project.look_at(project.files.real_path(work.config.output.dir))
    staged = {name: digest_of(text) for name, text in texts.items()}
    would = _once(output, output.plan(staged), staged, (*generated.warnings, *others.warnings), ())
    return replace(would, changes=_changes_since(project.store(output), Interfaces.of(interfaces))), texts


async def _foreseen(
    work: CycleFiles, bounded: BoundedStage
) -> tuple[Mapping[str, bytes], Generated, Generated, Mapping[str, bytes]]:
    await bounded.step(work, work.resolve)
    assert work.config is not None
    assert work.pinned is not None
    texts, generated, interfaces = await bounded.step(
        work, wrapper_texts, work.project.extractor, work.pinned, work.config, work.modules
    )
    made, others = await _made_elsewhere(work, texts)
    return {**texts, **made}, generated, others, interfaces


async def _made_elsewhere(work: CycleFiles, texts: Mapping[str, bytes]) -> tuple[Mapping[str, bytes], Generated]:
    """What the config's own generators make. They run into a temporary directory: only running them tells."""
    assert work.config is not None
    with TemporaryDirectory(prefix="lastgood-") as directory:
        stage = Path(directory)
        others = await run_generators(work.config, work.config_text, stage, texts, work.project.note)
        wrong = await check_staged(stage, work.config.output.dir.name, compiled=others.files, note=work.project.note)
        made = {name: (stage / name).read_bytes() for name in others.files}
        return made, replace(others, failures=(*others.failures, *wrong))


def _changes_since(store: GenerationStore, fresh: Interfaces) -> tuple[ApiChange, ...]:
    """What callers will see differently than in the last good generation."""
    last = store.before(None)
    try:
        return () if last is None else changes_between(Interfaces.kept(store, store.path(last)), fresh)
    except DamagedGeneration:
        return ()


def _once(
    output: OutputDirectory,
    promotion: Promotion,
    staged: Mapping[str, str],
    warnings: tuple[str, ...],
    recovered: tuple[str, ...],
) -> Once:
    touched = set(promotion.touched)
    unchanged = tuple(sorted(name for name in staged if name not in touched))
    return Once(output.path, promotion.operations, unchanged, warnings, recovered)
