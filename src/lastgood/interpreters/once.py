"""Generation without a session and a bridge, for ``lastgood generate``, ``lastgood undo`` and ``lastgood plan``.

The files take the same steps as in a cycle: claim, stage, promote, commit. If a step fails, everything is rolled back.
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
from lastgood.errors import GenerationError, NothingToUndo, PromotionError, WatchError
from lastgood.generators.checking import check_staged
from lastgood.generators.running import run_generators
from lastgood.interpreters.bounded_stage import BoundedStage
from lastgood.interpreters.cycle_files import CycleFiles, Project, wrapper_texts
from lastgood.interpreters.kept_interfaces import Interfaces, changes_between
from lastgood.planner import Settings
from lastgood.planner.promotion import Promotion
from lastgood.store.file_system import FileSystem, digest_of, place_of
from lastgood.store.generations import DamagedGeneration, GenerationStore, Good
from lastgood.store.promotion import OutputDirectory
from lastgood.watch_events import ApiChange
from lastgood.wrappers import Generated

__all__ = ["Once", "ask_undo", "differences", "generate_once", "output_path", "preview", "undo_once"]

_STAGE_TIMEOUT = Settings().stage_timeout

T = TypeVar("T")

_CHECK_INTERVAL = 0.02
"""Seconds between two checks whether a session has done the requested undo."""


@dataclass(frozen=True, slots=True)
class Once:
    """The changes made to the output directory, or in a preview those that would be made.

    ``operations`` in order; ``unchanged``: generated files that were up to date; ``recovered``: files that were restored to
    their state before an interrupted promotion. All paths are relative to ``output``. ``changes``: API changes since the last
    good generation that a session has stored; only a preview has them.
    """

    output: Path
    operations: tuple[FileOperation, ...]
    unchanged: tuple[str, ...]
    warnings: tuple[str, ...]
    recovered: tuple[str, ...] = ()
    changes: tuple[ApiChange, ...] = ()

    @property
    def written(self) -> tuple[str, ...]:
        """The new and replaced files, sorted."""
        return tuple(sorted(each.path for each in self.operations if isinstance(each, WriteFile | ReplaceFile)))

    @property
    def removed(self) -> tuple[str, ...]:
        """The removed files, sorted."""
        return tuple(sorted(each.path for each in self.operations if isinstance(each, RemoveFile)))


def generate_once(project: Project, timeout: float = _STAGE_TIMEOUT) -> Once:
    """Generate every wrapper, within ``timeout`` seconds, and promote them.

    If a step fails, the output directory is restored and the error raised. If the rollback fails, too, a note on the error says
    so, and the next run completes the rollback.
    """
    work = CycleFiles(project, 1)
    try:
        output, generated = _run_stage(timeout, _staged, work)
        work.promote()
        work.commit()
    except BaseException as error:
        _roll_back(project, work, error)
        raise
    warnings = (*generated.warnings, *work.promotion.warnings, *_clean_up(project, work))
    return _summary(output, work.promotion, work.staged, warnings, output.recovered)


async def _staged(work: CycleFiles, bounded: BoundedStage) -> tuple[OutputDirectory, Generated]:
    await bounded.step(work, work.resolve)
    output = await bounded.step(work, work.claim)
    own = await bounded.step(work, work.generate)
    assert work.config is not None
    note, others = work.project.note, Generated(())
    if work.config.generators:
        others = await run_generators(work.config, work.config_text, work.generator_directory, work.made, note)
    generated = await bounded.step(work, work.accept, own, others)
    if others.files:
        failures = await check_staged(work.generator_directory, output.path.name, compiled=others.files, note=note)
        if failures:
            raise GenerationError(failures)
    await bounded.step(work, work.keep)
    await bounded.step(work, work.replace_equal_generation)
    return output, generated


def _run_stage(timeout: float, stage: Callable[[CycleFiles, BoundedStage], Awaitable[T]], work: CycleFiles) -> T:
    """Run ``stage`` on an event loop of its own. Ctrl-C ends it without waiting for a thread that hangs."""

    @trio.lowlevel.enable_ki_protection  # so that KeyboardInterrupt is only raised by an await
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
    """Restore the wrappers of the good generation before the last one, when no session runs.

    If a step fails, everything is rolled back and the error raised. Raises :class:`~lastgood.errors.AlreadyWatched` if a
    session uses the output directory: call :func:`ask_undo` then.
    """
    path = output_path(project)
    try:
        output = project.live = project.claim(path)
    except OSError as error:
        raise PromotionError(
            f"the output directory cannot be prepared: {error.strerror or error}.", path=place_of(error, path)
        ) from error
    last = project.store(output).before(None)
    project.live_manifest = None if last is None else project.store(output).path(last)
    work = CycleFiles(project, 1)
    try:
        work.stage_previous(project.always_watched)
        work.promote()
        work.commit()
    except BaseException as error:
        _roll_back(project, work, error)
        raise
    problems = _clean_up(project, work)
    return _summary(output, work.promotion, work.staged, (*work.promotion.warnings, *problems), output.recovered)


def ask_undo(project: Project, timeout: float) -> Good:
    """Ask the session that uses the output directory to undo its live generation; return the generation that is live then.

    Raises :class:`NothingToUndo` if no earlier generation is kept, and :class:`WatchError` if the session has not done it within
    ``timeout`` seconds (it checks for requests every two seconds). It may still do it later, or have reported why it cannot.
    """
    output = project.look_at(output_path(project))
    store = project.store(output)
    live = store.before(None)
    if live is None or store.before(store.path(live)) is None:
        raise NothingToUndo(output.path)
    output.ask_undo()
    deadline = time.monotonic() + timeout
    while True:
        good = store.history()
        if good and live.manifest not in {each.manifest for each in good}:
            return good[-1]
        if time.monotonic() >= deadline:
            raise WatchError(
                f"the session has not gone back within {timeout:g} s. If it tried and failed, its own output says why."
            )
        time.sleep(_CHECK_INTERVAL)


def output_path(project: Project) -> Path:
    """Return the output directory that the config names. Raises :class:`~lastgood.errors.ConfigError`."""
    config = project.load(project.config_file, project.files.read)
    return project.files.real_path(config.output.dir)


def _roll_back(project: Project, work: CycleFiles, error: BaseException) -> None:
    for undo in (work.restore, work.discard, project.release):
        if problem := _problem_of(undo):
            error.add_note(f"Undoing it failed as well: {problem}. The next run finishes that before anything else.")


def _clean_up(project: Project, work: CycleFiles) -> tuple[str, ...]:
    """Clean up after the commit, and return warnings. A failed clean-up is not an error, because the next start repeats it."""
    settle = partial(work.settle, time.time())
    problems = [problem for tidy in (settle, project.release) if (problem := _problem_of(tidy))]
    return tuple(f"{work.home} could not be tidied up: {problem}." for problem in problems)


def preview(project: Project, timeout: float = _STAGE_TIMEOUT) -> Once:
    """Return what :func:`generate_once` would do, without writing, claiming or locking anything. Raises like it.

    The config's own generators are run, into a temporary directory, because their output cannot be known otherwise. The journal
    of a killed session is ignored: files are taken as they are. ``warnings`` are only those of generators; hand-edited files
    that would be set aside are among the operations.
    """
    try:
        return _preview(project, timeout)[0]
    finally:
        project.release()


def differences(
    project: Project, label: Callable[[Path], str] = str, timeout: float = _STAGE_TIMEOUT
) -> tuple[Once, Iterator[str]]:
    """Return a :func:`preview`, and its changes as the lines of a unified diff, each with its line ending.

    ``label(path)`` returns the name of a file in the diff.
    """
    try:
        planned, texts = _preview(project, timeout)
    finally:
        project.release()
    return planned, _diff(project.files, planned, texts, label)


def _diff(files: FileSystem, planned: Once, texts: Mapping[str, bytes], label: Callable[[Path], str]) -> Iterator[str]:
    for name in sorted((*planned.written, *planned.removed)):
        path = planned.output / name
        existing = files.stat(path)
        before = _lines(files.read(path)) if existing is not None and existing.kind == "file" else None
        after = None if name not in texts else _lines(texts[name])
        old, new = (label(path) if lines is not None else "/dev/null" for lines in (before, after))
        for line in difflib.unified_diff(before or [], after or [], old, new):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "replace").split("\n")  # not splitlines(), which also splits at other characters
    return [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def _preview(project: Project, timeout: float) -> tuple[Once, Mapping[str, bytes]]:
    work = CycleFiles(project, 1)
    texts, generated, others, interfaces = _run_stage(timeout, _stage_preview, work)
    if failures := (*generated.failures, *others.failures):
        raise GenerationError(failures)
    assert work.config is not None
    output = project.look_at(project.files.real_path(work.config.output.dir))
    staged = {name: digest_of(text) for name, text in texts.items()}
    planned = _summary(output, output.plan(staged), staged, (*generated.warnings, *others.warnings), ())
    return replace(planned, changes=_changes_since(project.store(output), Interfaces.of(interfaces))), texts


async def _stage_preview(
    work: CycleFiles, bounded: BoundedStage
) -> tuple[Mapping[str, bytes], Generated, Generated, Mapping[str, bytes]]:
    await bounded.step(work, work.resolve)
    assert work.config is not None
    assert work.pinned is not None
    texts, generated, interfaces = await bounded.step(
        work, wrapper_texts, work.project.extractor, work.pinned, work.config, work.modules
    )
    made, others = await _run_generators(work, texts)
    return {**texts, **made}, generated, others, interfaces


async def _run_generators(work: CycleFiles, texts: Mapping[str, bytes]) -> tuple[Mapping[str, bytes], Generated]:
    """Run the config's own generators into a temporary directory, and return the files they make."""
    assert work.config is not None
    with TemporaryDirectory(prefix="lastgood-") as directory:
        stage = Path(directory)
        others = await run_generators(work.config, work.config_text, stage, texts, work.project.note)
        wrong = await check_staged(stage, work.config.output.dir.name, compiled=others.files, note=work.project.note)
        made = {name: (stage / name).read_bytes() for name in others.files}
        return made, replace(others, failures=(*others.failures, *wrong))


def _changes_since(store: GenerationStore, fresh: Interfaces) -> tuple[ApiChange, ...]:
    """Return the API changes since the last good generation."""
    last = store.before(None)
    try:
        return () if last is None else changes_between(Interfaces.kept(store, store.path(last)), fresh)
    except DamagedGeneration:
        return ()


def _summary(
    output: OutputDirectory,
    promotion: Promotion,
    staged: Mapping[str, str],
    warnings: tuple[str, ...],
    recovered: tuple[str, ...],
) -> Once:
    touched = set(promotion.touched)
    unchanged = tuple(sorted(name for name in staged if name not in touched))
    return Once(output.path, promotion.operations, unchanged, warnings, recovered)
