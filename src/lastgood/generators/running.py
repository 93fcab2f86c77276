"""Runs of every generator of a config, one after another, into a stage. All failures are reported, not only the first."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from lastgood.children.limits import in_thread
from lastgood.config import Config, GeneratorConfig
from lastgood.errors import ModuleFailure
from lastgood.generators.collecting import FileCollision, collect, written
from lastgood.generators.commands import Run, runs
from lastgood.generators.inputs import expand_sources, field_of
from lastgood.generators.process import Ended, run_process
from lastgood.wrappers import Generated

__all__ = ["run_generators"]

_FUNCTION = Path(__file__).with_name("function.py")
_LASTGOOD = Path(__file__).parents[2]


async def run_generators(
    config: Config,
    text: bytes,
    stage: Path,
    taken: Collection[str] = (),
    note: Callable[[str], object] = lambda _: None,
) -> Generated:
    """Run the generators of ``config`` into ``stage``.

    ``text`` is the content of the config file. ``taken`` are paths in the stage that exist already. ``note(label)`` is called
    before each generator.

    Every process has ended when this returns or is cancelled. Raises :class:`ConfigError` for a source that does not exist,
    and :class:`OSError`; all other errors are among the returned failures.
    """
    files: list[str] = []
    warnings: list[str] = []
    failures: list[ModuleFailure] = []
    for number, generator in enumerate(config.generators):
        note(generator.label)
        attempt = _Attempt(config, text, generator, stage / f"generator-{number}")
        for run in await in_thread(attempt.prepare):
            try:
                ended = await run_process(run.arguments, cwd=config.path.parent, timeout=generator.timeout)
            except (OSError, ValueError) as error:
                attempt.cannot_start(run, error)
                break  # it could not be started for the other sources either
            attempt.note(run, ended)
        files += await in_thread(attempt.finish, stage, {*taken, *files})
        warnings += attempt.warnings
        failures += attempt.failures
    return Generated(tuple(sorted(files)), tuple(warnings), tuple(failures))


class _Attempt:
    """One generator in one cycle. It works in ``directory``, which is removed afterwards. Its methods may block."""

    def __init__(self, config: Config, text: bytes, generator: GeneratorConfig, directory: Path) -> None:
        self.warnings: list[str] = []
        self.failures: list[ModuleFailure] = []
        self._config = config
        self._text = text
        self._generator = generator
        self._directory = directory
        self._stage = directory / "stage"
        self._answer = directory / "answer"

    def prepare(self) -> Sequence[Run]:
        """Create the files that the processes need, and return the runs."""
        config, command = self._config, self._generator.command
        self._stage.mkdir(parents=True)
        if command is not None:
            sources = expand_sources(config, self._generator)
            return runs(command, sources, config=config.path, stage=self._stage, python=sys.executable)
        call = {
            "use": self._generator.use,
            "path": str(config.path),
            "config": base64.b64encode(self._text).decode(),
            "roots": [str(root) for root in config.python_import_path],
            "stage": str(self._stage),
            "lastgood": str(_LASTGOOD),
        }
        call_file = self._directory / "call"
        call_file.write_text(json.dumps(call))
        return [Run((sys.executable, "-P", str(_FUNCTION), str(call_file), str(self._answer)))]

    def cannot_start(self, run: Run, error: Exception) -> None:
        """Record that a process could not be started."""
        why = getattr(error, "strerror", None) or error
        field = field_of(self._config, self._generator, "command")
        self._fail(f"{run.arguments[0]} cannot be started: {why}. Correct {field} in {self._config.path}.")

    def note(self, run: Run, ended: Ended) -> None:
        """Record the end of a process."""
        output = (ended.err if ended.err.strip() else ended.out).strip()
        if ended.status != 0:
            limit = f" ({self._generator.timeout:g} s)" if not ended.in_time else ""
            self._fail(f"it {ended.how}{limit}" + (f":\n{_indented(output)}" if output else "."), run.source)
        elif ended.err.strip():
            where = "" if run.source is None else f" ({run.source})"
            self.warnings.append(f"{self._generator.label}{where} said: {ended.err.strip()}")

    def finish(self, stage: Path, taken: Collection[str]) -> tuple[str, ...]:
        """Move the files to ``stage`` and return their paths there. Move nothing if this generator has failed."""
        try:
            names = self._written_files()
            return () if self.failures else collect(self._stage, names, stage, self._generator.into, taken)
        except FileCollision as clash:
            self._fail(f"it has made {clash.name}, and so has another generator. Give one of them an into of its own.")
        except OSError as error:
            self._fail(f"what it made cannot be staged: {error}.")
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
        return ()

    def _written_files(self) -> tuple[str, ...]:
        """Return the files that the generator has written, relative to its own stage."""
        if self._generator.use is None:
            return written(self._stage)
        if self.failures:
            return ()
        try:
            answer: dict[str, Any] = json.loads(self._answer.read_bytes())
        except (OSError, ValueError):  # for example after os._exit(0)
            self._fail("it ended its process before it returned.")
            return ()
        return self._take_answer(answer)

    def _take_answer(self, answer: dict[str, Any]) -> tuple[str, ...]:
        """Record the answer of a function. Return the files that it reports."""
        if "error" in answer:
            raised = answer["error"]
            first, *stack = raised["message"].split("\n")
            text = "\n".join([first, *([_indented("\n".join(stack))] if stack else [])])
            self._fail(text, None if raised["file"] is None else Path(raised["file"]), raised["line"])
            return ()
        self.warnings += answer.get("warnings", ())
        self.failures += (
            ModuleFailure(module, None if file is None else Path(file), line, message)
            for module, file, line, message in answer.get("failures", ())
        )
        names = answer["files"]
        if names is None:
            return written(self._stage)
        for name in names:
            if not _is_file_in(self._stage, name):
                self._fail(f'it says that it made "{name}", but there is no such file in its stage.')
        return tuple(sorted({os.path.normpath(name) for name in names}))

    def _fail(self, message: str, file: Path | None = None, line: int | None = None) -> None:
        self.failures.append(ModuleFailure(self._generator.label, file, line, message))


def _is_file_in(directory: Path, name: str) -> bool:
    """Return whether ``name`` is a file below ``directory``, reached without symbolic links."""
    path = directory / name
    return path.is_file() and os.path.realpath(path) == os.path.join(
        os.path.realpath(directory), os.path.normpath(name)
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
