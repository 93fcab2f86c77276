"""Every exception that a caller can see (contract §2).

LastgoodError
├── ConfigError                 the config file: what, where, what was expected
│   ├── ConfigMigrationError    a field of the past
│   └── UnwatchableModule       also a WatchError: a module that has no local source
├── WatchError                  watching itself died, or a session was used wrongly
├── GenerationError             wrappers could not be generated; names every broken module
├── PromotionError              the output directory could not be brought up to date
│   └── UnmanagedFile           a file that lastgood did not write is in the way
├── NothingToUndo               no earlier good generation is kept
├── Undone                      the status after an undo: what is live is older than what is on disk
├── AlreadyWatched              another session has the output directory
├── Disposed                    the session or reloader is over
├── NoRuntimeBridge             nothing is published
└── BridgeError                 a bridge, or the way to it
    ├── RemoteError             a function in the worker raised
    ├── CallTimeout             a call took longer than its timeout
    ├── WorkerDied              the worker process is gone
    ├── Forked                  it belongs to the process that this one was forked from
    └── ReturnTypeError         a function returned another type than it declares

Errors carry data; the text is written from it in ``__str__``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AlreadyWatched",
    "BridgeError",
    "CallTimeout",
    "ConfigError",
    "ConfigMigrationError",
    "Disposed",
    "Forked",
    "GenerationError",
    "LastgoodError",
    "ModuleFailure",
    "NoRuntimeBridge",
    "NothingToUndo",
    "PromotionError",
    "RemoteError",
    "ReturnTypeError",
    "Undone",
    "UnmanagedFile",
    "UnwatchableModule",
    "WatchError",
    "WorkerDied",
]


class LastgoodError(Exception):
    """What every error of lastgood derives from."""


class ConfigError(LastgoodError):
    """The config file is missing, is no TOML, or a field in it is not what it should be (contract §7).

    ``file`` is the config file, ``field`` the dotted name of the field (None: the file as a whole), ``problem`` what was
    found and what was expected, ``hint`` what to do (may be empty), ``line`` the line where the file says it, if known.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: Path | None = None,
        field: str | None = None,
        hint: str = "",
        line: int | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.field = field
        self.hint = hint
        self.line = line

    def __str__(self) -> str:
        where = "" if self.file is None else str(self.file) if self.line is None else f"{self.file}:{self.line}"
        parts = [where, "" if self.field is None else f'field "{self.field}"', self.problem]
        return ": ".join(part for part in parts if part) + (f" {self.hint}" if self.hint else "")


class ConfigMigrationError(ConfigError):
    """A field that an earlier version had. Its text is the contract's, word for word (§7)."""

    def __str__(self) -> str:
        return self.problem


class WatchError(LastgoodError):
    """Watching itself died, or a session was used in a way that cannot work."""


class UnwatchableModule(ConfigError, WatchError):
    """A module under ``[modules]`` that is missing or has no local source. Its text is the contract's (§6)."""

    def __init__(self, module: str, problem: str, *, file: Path | None = None) -> None:
        super().__init__(problem, file=file, field=f"modules.{module}")
        self.args = (module, problem)  # what a copy or an unpickled one is made from
        self.module = module

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True)
class ModuleFailure:
    """Why the wrapper of one module could not be generated.

    ``module`` is its dotted name; ``file`` the source (None where there is none); ``line`` counts from 1 (None: not known).
    """

    module: str
    file: Path | None
    line: int | None
    message: str

    def __str__(self) -> str:
        where = "" if self.file is None else f" ({self.file})" if self.line is None else f" ({self.file}:{self.line})"
        return f"{self.module}{where}: {self.message}"


class GenerationError(LastgoodError):
    """Wrappers could not be generated (contract §5). ``failures`` names every broken module."""

    def __init__(self, failures: tuple[ModuleFailure, ...]) -> None:
        super().__init__(failures)
        self.failures = failures

    def __str__(self) -> str:
        lines = "".join(f"\n  {failure}" for failure in self.failures)
        return f"Generation failed for {len(self.failures)} module(s):{lines}"


class PromotionError(LastgoodError):
    """The output directory could not be brought up to date. ``path`` is the file or directory it happened at."""

    def __init__(self, problem: str, *, path: Path | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        return self.problem if self.path is None else f"{self.path}: {self.problem}"


class UnmanagedFile(PromotionError):
    """A file that lastgood did not write stands where a wrapper belongs (contract §5). Nothing was changed."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            "lastgood did not write this file and will not overwrite it. "
            "Move it away, or choose another [output] dir in the config.",
            path=path,
        )


class NothingToUndo(LastgoodError):
    """There is no earlier good generation to go back to. ``output`` is the output directory."""

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        self.output = output

    def __str__(self) -> str:
        return f"{self.output}: no earlier good generation is kept, so there is nothing to go back to."


class Undone(LastgoodError):
    """Why the status is stale after an undo. ``generation`` is the one that was undone, ``reason`` what made it so (None: it
    was asked for)."""

    def __init__(self, generation: int, reason: BaseException | None = None) -> None:
        super().__init__(generation, reason)
        self.generation = generation
        self.reason = reason

    def __str__(self) -> str:
        why = "" if self.reason is None else f" Its bridge was lost on probation: {self.reason}"
        return f"Generation {self.generation} was undone; the one before is live until an edit or reload_now().{why}"


class AlreadyWatched(LastgoodError):
    """Another session has this output directory (contract §5). ``pid`` is its process (None: it could not be read)."""

    def __init__(self, output: Path, pid: int | None) -> None:
        super().__init__(output, pid)
        self.output = output
        self.pid = pid

    def __str__(self) -> str:
        who = "another session" if self.pid is None else f"the session of process {self.pid}"
        return (
            f"{self.output} is already kept up to date by {who}. Close that one first, or choose another [output] dir."
        )


class Disposed(LastgoodError):
    """The session was closed, or the reloader disposed."""


class NoRuntimeBridge(LastgoodError):
    """No bridge is published. A note says how to set one; ``hint``, if given, replaces it."""

    def __init__(self, problem: str = "No runtime bridge configured", *, hint: str = "") -> None:
        super().__init__(problem)
        self.add_note(
            hint
            or "Wrappers call through the bridge of a session that runs: start one by `with lastgood.watch():` or "
            "`lastgood.watch().start()`, under trio and asyncio by `async with lastgood.watch():`. A bridge of your own is "
            "published by `lastgood.set_runtime_bridge(bridge)`."
        )


class BridgeError(LastgoodError):
    """A bridge, or the way to it, failed."""


class Forked(BridgeError):
    """What was used belongs to the process that this one was forked from. ``owner`` is what it was, ``pid`` that process."""

    def __init__(self, owner: str, pid: int) -> None:
        super().__init__(owner, pid)
        self.owner = owner
        self.pid = pid

    def __str__(self) -> str:
        return (
            f"This process was forked from process {self.pid}, and {self.owner} stayed there. Start a session here, after the "
            'fork, with an [output] dir of its own, or start processes by multiprocessing\'s "spawn".'
        )


class RemoteError(BridgeError):
    """A function in the worker raised (contract §10).

    ``type_name`` is the exception's type as the worker names it, ``message`` its text, ``traceback`` the worker's.
    """

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        head = f"{self.type_name}: {self.message}" if self.message else self.type_name
        return f"{head}\n\n{self.traceback.rstrip()}" if self.traceback else head


class CallTimeout(BridgeError):
    """A call took longer than its ``timeout`` (seconds). ``call`` is the function, as ``module.function``."""

    def __init__(self, call: str, timeout: float) -> None:
        super().__init__(call, timeout)
        self.call = call
        self.timeout = timeout

    def __str__(self) -> str:
        return f"{self.call} did not return within {self.timeout:g} s (runtime.process.timeout)."


class WorkerDied(BridgeError):
    """The worker process is gone.

    ``status`` is its exit status as :mod:`subprocess` gives it (negative: the signal that killed it; None: not known),
    ``stderr`` the last lines it wrote there.
    """

    def __init__(self, status: int | None, stderr: str, *, doing: str = "") -> None:
        super().__init__(status, stderr)
        self.status = status
        self.stderr = stderr
        self.doing = doing

    def __str__(self) -> str:
        how = (
            "ended"
            if self.status is None
            else f"was killed by signal {-self.status}"
            if self.status < 0
            else f"exited with status {self.status}"
        )
        doing = f" {self.doing}" if self.doing else ""
        return f"The worker process {how}{doing}." + (
            f" Its last output:\n{self.stderr.rstrip()}" if self.stderr else ""
        )


class ReturnTypeError(BridgeError):
    """A function returned another type than it declares (contract §10). Everything it carries is text.

    ``call`` is the function as ``module.function``, ``declared`` its return type; ``came`` the type that was found at ``where``
    in the result, ``expected`` the one that belongs there (None: the declared one).
    """

    def __init__(self, call: str, declared: str, came: str, expected: str | None = None, where: str = "result") -> None:
        super().__init__(call, declared, came, expected, where)
        self.call = call
        self.declared = declared
        self.came = came
        self.expected = declared if expected is None else expected
        self.where = where

    def __str__(self) -> str:
        return (
            f"{self.call} is declared to return {self.declared}, but what it returned is something else: "
            f"{self.where}: expected {self.expected}, got {self.came}. Correct the function or its annotation."
        )
