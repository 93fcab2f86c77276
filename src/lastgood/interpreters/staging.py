"""The stage of a cycle: one recipe, which every interpreter drives.

It is a generator. It does what blocks by itself, without leaving its thread, and yields a request for what only its interpreter
can do: watch files, await something, run programs. The answer is sent into it. So an interpreter under trio needs one hop to a
thread for the whole stage, unless there are requests, and the in-memory one runs it in place.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from lastgood.config import Config
from lastgood.effects import Stage
from lastgood.errors import ConfigError, GenerationError, LastgoodError
from lastgood.generators.portable_names import unportable
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.edited_modules import edited_modules
from lastgood.planner.events import Noticed, Staged
from lastgood.planner.watch_set import WatchSet, merge
from lastgood.watch_events import ApiChange, Recovered
from lastgood.wrappers import Generated
from lastgood.wrappers.process.extractor import Extractor, NotStarted

__all__ = [
    "Arm",
    "Check",
    "Generate",
    "Recipe",
    "Request",
    "RunGenerators",
    "StageResult",
    "Start",
    "advance",
    "stage",
    "stage_undo",
    "take_recovered",
]


class Arm(Struct, frozen=True):
    """Watch ``watch`` in addition, then read all that is watched. The answer is that :data:`Snapshot`."""

    watch: WatchSet


class Generate(Struct, frozen=True):
    """Call the user's ``generate(config, stage)``. The answer is what it returned."""

    config: Config
    stage: Path


class RunGenerators(Struct, frozen=True):
    """Run the generators of ``config``, whose file contains ``text``. They write into ``stage``; ``taken``: paths that exist.

    The answer is a :class:`Generated`.
    """

    config: Config
    text: bytes
    stage: Path
    taken: Collection[str]


class Check(Struct, frozen=True):
    """Check generated files in ``stage`` by :func:`~lastgood.generators.checking.check_staged`, whose result is the answer."""

    stage: Path
    package: str
    imported: Collection[str]
    compiled: Collection[str]


class Start(Struct, frozen=True):
    """Start the extractor, on the session's own thread. There is no answer."""

    extractor: Extractor


Request = Arm | Generate | RunGenerators | Check | Start


class StageResult(Struct, frozen=True):
    """The result of a stage. ``previous``: an earlier good generation is kept, which this one differs from."""

    warnings: tuple[str, ...]
    previous: bool
    changes: tuple[ApiChange, ...]

    def event(self, action: Stage, work: CycleFiles, seconds: float) -> Staged:
        """Return the event of the stage ``action``, which took ``seconds``."""
        assert work.config is not None
        process = work.config.runtime.process
        return Staged(
            action,
            seconds,
            work.watch,
            work.read,
            self.warnings,
            work.used,
            self.previous,
            process.probation,
            self.changes,
            process.overlap,
            work.config.output.dir is not None,
            None if work.is_undo else work.project.settings(work.config),
        )


Recipe = Generator[Request, Any, StageResult]


def advance(recipe: Recipe, answer: object) -> Request | StageResult:
    """Run ``recipe`` to its next request, or to its end; ``answer`` is that to the last request, None at first."""
    try:
        return recipe.send(answer)
    except StopIteration as done:
        result: StageResult = done.value
        return result


def take_recovered(work: CycleFiles) -> Noticed | None:
    """Return the notice of what the claim has recovered, at the first call after it; None if there was nothing to recover."""
    output = work.output
    if output is None or not output.recovered:
        return None
    names, output.recovered = output.recovered, ()
    return Noticed(Recovered(output.path, tuple(map(Path, names))))


def stage(work: CycleFiles, armed: WatchSet | None, *, watches: bool = True, custom: bool = False) -> Recipe:
    """Stage the wrappers of a new generation, and keep its sources.

    ``armed``: what is watched already; without ``watches``, nothing is and will be. ``custom``: the user has a ``generate()``.
    """
    problem = yield from _resolve(work, armed, watches)
    if work.config is not None and (problem is None or work.has_been_used()):
        # Even if a module is missing: recovery after a killed session must not wait until that is fixed.
        work.claim()
    if problem is not None:
        raise problem
    assert work.config is not None
    own = Generated(())
    if work.config.output.dir is None:
        if custom:
            raise ConfigError(
                "is false, but watch() was given a generate(), which writes into the output directory.",
                file=work.config.path,
                field="output.dir",
                hint="Name a directory, or leave generate out.",
            )
    elif custom:
        own = yield Generate(work.config, work.generator_directory)
    else:
        own = yield from _generate(work)
    others = Generated(())
    if work.config.generators:
        others = yield RunGenerators(work.config, work.config_text, work.generator_directory, work.made)
    generated = work.accept(own, others)
    yield from _check(work, work.staged if custom else others.files, others.files)
    work.keep()
    work.edited = edited_modules(work.project, work.pinned)
    warnings = (*generated.warnings, *unportable(work.staged))
    return StageResult(warnings, work.find_previous(), work.changes())


def stage_undo(work: CycleFiles, armed: WatchSet, *, watches: bool = True) -> Recipe:
    """Stage the kept files of the good generation before the live one."""
    work.stage_previous(armed)
    if watches:
        yield from _arm(work, work.watch, armed)
    return StageResult((), False, work.changes())


def _resolve(work: CycleFiles, armed: WatchSet | None, watches: bool) -> Generator[Request, Any, LastgoodError | None]:
    """Resolve the config, after everything that the result depends on is watched and was read; return the error, if any.

    Paths that are already watched were read by the look before the cycle. New paths are armed and read, then the config is
    resolved again: otherwise an edit between resolving and arming would never be noticed.
    """
    if watches and armed is None:
        first, extractor = work.first_watched(), work.project.extractor
        if not (extractor.has_started or work.project.is_used(first.output)):
            yield Start(extractor)  # meanwhile what is there is watched and read
        armed = yield from _arm(work, first, armed)
    while True:
        problem: LastgoodError | None = None
        try:
            work.resolve()
        except NotStarted:
            yield Start(work.project.extractor)
            continue
        except LastgoodError as error:
            problem = error
        if not watches or (armed is not None and armed.includes(work.watch)):
            return problem
        armed = yield from _arm(work, work.watch, armed)


def _generate(work: CycleFiles) -> Generator[Request, Any, Generated]:
    while True:
        try:
            return work.generate()
        except NotStarted:
            yield Start(work.project.extractor)


def _arm(work: CycleFiles, watch: WatchSet, armed: WatchSet | None) -> Generator[Request, Any, WatchSet]:
    read = yield Arm(watch)
    work.read = merge(work.read, read)
    return watch.union(armed)


def _check(work: CycleFiles, foreign: Iterable[str], compiled: Collection[str]) -> Generator[Request, Any, None]:
    """Check the files that lastgood did not generate itself, unless they are the same as in the last check.

    Raises :class:`GenerationError`.
    """
    files = {name: work.staged[name] for name in foreign}
    if files == work.project.checked:
        return
    package = work.output_directory.path.name
    failures = yield Check(work.generator_directory, package, files.keys() - set(compiled), compiled)
    if failures:
        raise GenerationError(failures)
    work.project.checked = files
