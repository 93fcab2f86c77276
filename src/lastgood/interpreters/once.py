"""Generation without a session and a bridge, for ``lastgood generate``, ``lastgood undo`` and ``lastgood plan``.

The files take the same steps as in a cycle: claim, stage, promote, commit. If a step fails, everything is rolled back.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import trio
from msgspec import Struct
from msgspec.structs import replace

from lastgood.effects import FileOperation, RemoveFile, ReplaceFile, WriteFile
from lastgood.errors import AlreadyWatched, NothingToUndo, PromotionError
from lastgood.interpreters.bounded_stage import BoundedStage
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.leading import ask_leader
from lastgood.interpreters.project import Project
from lastgood.interpreters.staging import StageResult, advance, stage, stage_undo
from lastgood.planner.promotion import Promotion
from lastgood.store.file_system import FileSystem, place_of
from lastgood.store.generations import Good
from lastgood.watch_events import ApiChange

__all__ = ["Once", "ask_generate", "ask_undo", "differences", "generate_once", "output_path", "preview", "undo_once"]


class Once(Struct, frozen=True):
    """The changes made to the output directory, or in a preview those that would be made.

    ``operations`` in order; ``unchanged``: generated files that were up to date; ``recovered``: files that were restored to
    their state before an interrupted promotion. All paths are relative to ``output``. ``changes``: API changes since the last
    good generation that a session has stored; only a preview has them. ``wraps``: there is an output directory.
    """

    output: Path
    operations: tuple[FileOperation, ...]
    unchanged: tuple[str, ...]
    warnings: tuple[str, ...]
    recovered: tuple[str, ...] = ()
    changes: tuple[ApiChange, ...] = ()
    wraps: bool = True

    @property
    def written(self) -> tuple[str, ...]:
        """The new and replaced files, sorted."""
        return tuple(sorted(each.path for each in self.operations if isinstance(each, WriteFile | ReplaceFile)))

    @property
    def removed(self) -> tuple[str, ...]:
        """The removed files, sorted."""
        return tuple(sorted(each.path for each in self.operations if isinstance(each, RemoveFile)))


def generate_once(project: Project) -> Once:
    """Generate every wrapper, within the config's ``stage_timeout``, and promote them.

    If a step fails, the output directory is restored and the error raised. If the rollback fails, too, a note on the error says
    so, and the next run completes the rollback.
    """
    work = CycleFiles(project, 1)
    try:
        staged = _run_stage(work)
        work.promote()
        work.begin_commit()
        work.commit()
    except BaseException as error:
        _roll_back(project, work, error)
        raise
    return _summary(work, work.promotion, (*staged.warnings, *work.promotion.warnings, *_clean_up(project, work)))


def _run_stage(work: CycleFiles) -> StageResult:
    """Run a stage on an event loop of its own. Ctrl-C ends it without waiting for a thread that hangs."""
    timeout = work.project.first_settings().stage_timeout

    @trio.lowlevel.enable_ki_protection  # so that KeyboardInterrupt is only raised by an await
    async def run() -> StageResult:
        bounded = BoundedStage()
        try:
            return await bounded.run(partial(_staged, work, bounded), work, timeout)
        except KeyboardInterrupt:
            work.project.stop()
            raise

    return trio.run(run)


async def _staged(work: CycleFiles, bounded: BoundedStage) -> StageResult:
    recipe = stage(work, None, watches=False)
    step = await bounded.step(work, advance, recipe, None)
    while not isinstance(step, StageResult):
        answer = await bounded.answer(step, work.project.note)
        step = await bounded.step(work, advance, recipe, answer)
    return step


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
        staged = advance(stage_undo(work, project.always_watched, watches=False), None)
        assert isinstance(staged, StageResult), "it has no request, because nothing is watched"
        work.promote()
        work.begin_commit()
        work.commit()
    except BaseException as error:
        _roll_back(project, work, error)
        raise
    return _summary(work, work.promotion, (*work.promotion.warnings, *_clean_up(project, work)))


def ask_undo(project: Project, error: AlreadyWatched) -> Good | None:
    """Ask the session because of which ``error`` was raised to undo its live generation; return the one that is live then.

    Return None if that session has ended meanwhile. Raises :class:`NothingToUndo` if no earlier generation is kept, and
    :class:`~lastgood.errors.LeaderFailed` if it could not be done, else like :func:`~lastgood.interpreters.leading.ask_leader`.
    """
    store = project.store(project.look_at(error.output))
    live = store.before(None)
    if live is None or store.before(store.path(live)) is None:
        raise NothingToUndo(error.output)
    news = ask_leader(project, error, "undo")
    return None if news is None else store.history()[-1]


def ask_generate(project: Project, error: AlreadyWatched) -> Once | None:
    """Ask the session because of which ``error`` was raised to generate; return what it has done, None if it has ended meanwhile.

    Raises :class:`~lastgood.errors.LeaderFailed` if that failed, else like :func:`~lastgood.interpreters.leading.ask_leader`.
    """
    news = ask_leader(project, error, "reload")
    if news is None or news.good is None:
        return None
    good, written = news.good, set(news.good.written)
    operations = tuple(
        WriteFile(path.as_posix()) if path in written else RemoveFile(path.as_posix()) for path in good.touched
    )
    unchanged = tuple(path.as_posix() for path in good.written if path not in good.touched)
    return Once(error.output, operations, unchanged, good.warnings)


def output_path(project: Project) -> Path:
    """Return the output directory that the config names. Raises :class:`~lastgood.errors.ConfigError`."""
    return project.files.real_path(project.config(project.files.read).place)


def _roll_back(project: Project, work: CycleFiles, error: BaseException) -> None:
    for undo in (work.restore, work.discard, project.release):
        if problem := _problem_of(undo):
            error.add_note(f"Undoing it failed as well: {problem}. The next run finishes that before anything else.")


def _clean_up(project: Project, work: CycleFiles) -> tuple[str, ...]:
    """Clean up after the commit, and return warnings. A failed clean-up is not an error, because the next start repeats it."""
    settle = partial(work.settle, time.time())
    problems = [problem for tidy in (settle, project.release) if (problem := _problem_of(tidy))]
    return tuple(f"{work.home} could not be tidied up: {problem}." for problem in problems)


def preview(project: Project) -> Once:
    """Return what :func:`generate_once` would do, without writing, claiming or locking anything. Raises like it.

    The config's own generators are run, into a temporary directory, because their output cannot be known otherwise. The journal
    of a killed session is ignored: files are taken as they are. ``warnings`` are only those of generators; files that
    would be kept aside are among the operations.
    """
    try:
        return _preview(project)[0]
    finally:
        project.release()


def differences(project: Project, label: Callable[[Path], str] = str) -> tuple[Once, Iterator[str]]:
    """Return a :func:`preview`, and its changes as the lines of a unified diff, each with its line ending.

    ``label(path)`` returns the name of a file in the diff.
    """
    try:
        planned, texts = _preview(project)
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


def _preview(project: Project) -> tuple[Once, Mapping[str, bytes]]:
    work = CycleFiles(project, 1, dry=True)
    try:
        staged = _run_stage(work)
    finally:
        work.discard()
    output = work.output_directory
    planned = _summary(work, output.plan(work.staged, output.existing(), output.manifest()), staged.warnings)
    return replace(planned, changes=staged.changes), work.texts


def _summary(work: CycleFiles, promotion: Promotion, warnings: tuple[str, ...]) -> Once:
    touched = set(promotion.touched)
    unchanged = tuple(sorted(name for name in work.staged if name not in touched))
    output = work.output_directory
    wraps = work.config is None or work.config.output.dir is not None
    return Once(output.path, promotion.operations, unchanged, warnings, output.recovered, wraps=wraps)
