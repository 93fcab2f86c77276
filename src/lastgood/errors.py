"""All exceptions that a caller can see.

LastgoodError
├── ConfigError                 the config file is missing or invalid
│   ├── ConfigMigrationError    the config file has a field that is no longer supported
│   └── UnwatchableModule       also a WatchError: a module has no local source
├── WatchError                  the watcher failed, or a session was used incorrectly
│   └── LeaderFailed            a cycle of the session that this one follows failed
├── GenerationError             wrappers could not be generated; names every broken module
├── PromotionError              the output directory could not be updated
│   └── UnmanagedFile           a file that lastgood did not write is in the way
├── NothingToUndo               no earlier good generation is kept
├── RunawayError                the status while files change with each reload, and are left alone
├── Undone                      the status after an undo: the live generation is older than the files on disk
├── AlreadyWatched              another session uses the output directory
├── Disposed                    the session was closed, or the reloader disposed
├── NoRuntimeBridge             no bridge is published
├── Unsupported                 this platform does not have what that needs
└── BridgeError                 a bridge, or a call on it, failed
    ├── RemoteError             a function in the worker raised
    ├── CallTimeout             a call took longer than its timeout
    ├── WorkerDied              the worker process has ended
    ├── Forked                  the session or bridge belongs to the parent of this forked process
    ├── FunctionRemoved         also an AttributeError: a function of a wrapper whose source does not have it any more
    ├── ReturnTypeError         a function returned a value that does not match its annotation
    ├── EncodeError             an argument cannot cross to the worker
    └── DecodeError             a result cannot be read on this side

Errors carry data; ``__str__`` makes the text from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "AlreadyWatched",
    "BridgeError",
    "CallTimeout",
    "ConfigError",
    "ConfigMigrationError",
    "DecodeError",
    "Disposed",
    "EncodeError",
    "Forked",
    "FunctionRemoved",
    "GenerationError",
    "LastgoodError",
    "LeaderFailed",
    "ModuleFailure",
    "NoRuntimeBridge",
    "NothingToUndo",
    "PromotionError",
    "RemoteError",
    "ReturnTypeError",
    "RunawayError",
    "Undone",
    "UnmanagedFile",
    "Unsupported",
    "UnwatchableModule",
    "WatchError",
    "WorkerDied",
]

_FROM_OUTSIDE = frozenset((-1, -9, -15))
"""The statuses of a process that was killed by SIGHUP, SIGKILL or SIGTERM."""


class LastgoodError(Exception):
    """Base class of all errors of lastgood."""


class ConfigError(LastgoodError):
    """The config file is missing, is not valid TOML, or has an invalid field.

    ``file`` is the config file; ``field`` the dotted name of the field (None: the file as a whole); ``problem`` says what was
    found and what was expected; ``hint`` suggests a fix (may be empty); ``line`` is the line in the file, if known.
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
    """The config file has a field that an earlier version supported. ``problem`` is the whole text."""

    def __str__(self) -> str:
        return self.problem


class WatchError(LastgoodError):
    """The watcher failed, or a session was used in a way that cannot work."""


class LeaderFailed(WatchError):
    """A cycle failed in the session that leads, in another process. ``type_name`` and ``message`` are those of its error."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"The session that leads has failed with {self.type_name}: {self.message}"


class UnwatchableModule(ConfigError, WatchError):
    """A module under ``[modules]`` does not exist or has no local source. ``problem`` is the whole text.

    ``others`` are the errors of the other modules that cannot be watched; a note has the text of each.
    """

    def __init__(self, module: str, problem: str, *, file: Path | None = None) -> None:
        super().__init__(problem, file=file, field=f"modules.{module}")
        self.args = (module, problem)  # pickle and copy call the class with these
        self.module = module
        self.others: tuple[UnwatchableModule, ...] = ()

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True)
class ModuleFailure:
    """The reason why the wrapper of one module could not be generated.

    ``module`` is its dotted name; ``file`` its source (None: there is none); ``line`` counts from 1 (None: not known), and so does
    ``column``, in characters.
    """

    module: str
    file: Path | None
    line: int | None
    message: str
    column: int | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.file is not None:  # a generate() of the user's own may give a text
            object.__setattr__(self, "file", Path(self.file))

    def __str__(self) -> str:
        where = "" if self.file is None else f" ({self.file})" if self.line is None else f" ({self.file}:{self.line})"
        return f"{self.module}{where}: {self.message}"


class GenerationError(LastgoodError):
    """Wrappers could not be generated. ``failures`` has an entry for every broken module."""

    def __init__(self, failures: tuple[ModuleFailure, ...]) -> None:
        super().__init__(failures)
        self.failures = failures

    def __str__(self) -> str:
        lines = "".join(f"\n  {failure}" for failure in self.failures)
        return f"Generation failed for {len(self.failures)} module(s):{lines}"


class PromotionError(LastgoodError):
    """The output directory could not be updated. ``path`` is the file or directory at which it failed."""

    def __init__(self, problem: str, *, path: Path | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        return self.problem if self.path is None else f"{self.path}: {self.problem}"


class UnmanagedFile(PromotionError):
    """A file that lastgood did not write is in the place of a wrapper. Nothing was changed."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            "lastgood did not write this file and will not overwrite it. "
            "Move it away, or choose another [output] dir in the config.",
            path=path,
        )


class NothingToUndo(LastgoodError):
    """No earlier good generation is kept, so there is nothing to restore. ``output`` is the output directory."""

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        self.output = output

    def __str__(self) -> str:
        return f"{self.output}: no earlier good generation is kept, so there is nothing to go back to."


class Undone(LastgoodError):
    """The status is stale because a generation was undone.

    ``generation`` is the one that was undone; ``reason`` is the loss that caused it (None: ``undo()`` was called).
    """

    def __init__(self, generation: int, reason: BaseException | None = None) -> None:
        super().__init__(generation, reason)
        self.generation = generation
        self.reason = reason

    def __str__(self) -> str:
        why = "" if self.reason is None else f" Its bridge was lost on probation: {self.reason}"
        return f"Generation {self.generation} was undone; the one before is live until an edit or reload_now().{why}"


class RunawayError(LastgoodError):
    """The status while ``files`` change during each reload, so that each would cause the next: they start none for now."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        super().__init__(files)
        self.files = files

    def __str__(self) -> str:
        names = ", ".join(map(str, self.files))
        return (
            f"{names} changed during each of the last reloads, which nothing else had caused. Its edits start no reload for now. "
            "If it was saved that often: save it once more after five seconds without a change, or reload (r, reload_now()). If "
            "the program writes it when it is imported: have it write elsewhere, or name it in `ignore` under [watch]."
        )


class AlreadyWatched(LastgoodError):
    """Another session uses this output directory, and cannot be followed. ``pid`` is its process (None: unknown).

    ``difference``: what would have to be the same, and is not, as a clause; empty if that session says nothing about itself.
    """

    def __init__(self, output: Path, pid: int | None, difference: str = "") -> None:
        super().__init__(output, pid)
        self.output = output
        self.pid = pid
        self.difference = difference

    def __str__(self) -> str:
        who = "another session" if self.pid is None else f"the session of process {self.pid}"
        why = f", which this one cannot follow: {self.difference}" if self.difference else ""
        return f"{self.output} is already kept up to date by {who}{why}. Close that one first, or choose another [output] dir."


class Disposed(LastgoodError):
    """The session was closed, or the reloader was disposed."""


class NoRuntimeBridge(LastgoodError):
    """No bridge is published. A note says how to publish one; ``hint``, if given, replaces that note."""

    def __init__(self, problem: str = "No runtime bridge configured", *, hint: str = "") -> None:
        super().__init__(problem)
        self.add_note(
            hint
            or "Wrappers call through the bridge of a session that runs: start one by `with lastgood.watch():` or "
            "`lastgood.watch().start()`, under trio and asyncio by `async with lastgood.watch():`. Without a worker, `with "
            "lastgood.direct():` calls the sources in this process. A bridge of your own is "
            "published by `lastgood.set_runtime_bridge(bridge)`."
        )


class Unsupported(LastgoodError):
    """This platform does not have what something needs. ``what`` is that, ``platform`` the name of the platform for people."""

    def __init__(self, what: str, platform: str) -> None:
        super().__init__(what, platform)
        self.what = what
        self.platform = platform

    def __str__(self) -> str:
        wsl = " WSL is a Linux, and has them." if self.platform == "Windows" else ""
        return (
            f"{self.what} needs processes, pipes and signals as Linux and macOS have them, and {self.platform} has none. What "
            "works here: direct() and InProcessBridge, create_bridge_reloader(), wrappers that were generated elsewhere, "
            f"plan(), and the World of lastgood.testing.{wsl}"
        )


Blame = Literal["code", "place"]
"""The cause of a loss: the code that ran, or the place where it ran (killed from outside, node gone)."""


class BridgeError(LastgoodError):
    """A bridge, or a call on it, failed.

    ``blame`` is the cause if a bridge was lost: ``"code"``, or ``"place"`` for what another generation could not prevent. A
    generation whose bridge is lost on probation is undone unless its place is to blame.
    """

    blame: Blame = "code"


class Forked(BridgeError):
    """A session or bridge was used in a forked process. ``owner`` describes it; ``pid`` is the process it belongs to."""

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
    """A function in the worker raised.

    ``type_name`` is the name of the exception's type in the worker, ``message`` its text, ``traceback`` the worker's traceback.
    ``attributes`` are those of its attributes that could be sent, by name.

    The error is also an instance of what it was, if that derives from :class:`Exception`: of the builtin class, of the class
    that a wrapper declares, or of the nearest base of these. Then ``args`` and ``str()`` are those of the exception as it was
    raised, and ``__traceback__`` leads to the frames of the worker.
    """

    def __init__(
        self, type_name: str, message: str, traceback: str, attributes: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.attributes = dict(attributes or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what bridges/raised.py keeps there: a traceback cannot be pickled.
        state = {name: value for name, value in vars(self).items() if not name.startswith("_lastgood")}
        return type(self), self.args, state

    def __str__(self) -> str:
        head = f"{self.type_name}: {self.message}" if self.message else self.type_name
        return f"{head}\n\n{self.traceback.rstrip()}" if self.traceback else head


class CallTimeout(BridgeError):
    """A call took longer than ``timeout`` seconds.

    ``call`` is the function, as ``module.function``; ``missed`` is what it did not do: return, or yield an item. ``waited`` is a
    sentence about the calls that it had waited behind, empty if there were none.
    """

    def __init__(self, call: str, timeout: float, missed: str = "return", waited: str = "") -> None:
        super().__init__(call, timeout, missed, waited)
        self.call = call
        self.timeout = timeout
        self.missed = missed
        self.waited = waited

    def __str__(self) -> str:
        text = f"{self.call} did not {self.missed} within {self.timeout:g} s (runtime.process.timeout)."
        return f"{text} {self.waited}" if self.waited else text


class WorkerDied(BridgeError):
    """The worker process has ended.

    ``status`` is its exit status as in :mod:`subprocess` (negative: the signal that killed it; None: not known); ``stderr`` are
    the last lines it wrote to standard error; ``doing`` says, in the text, what it was doing. ``blame`` is by default
    ``"place"`` if it was killed by SIGKILL, SIGTERM or SIGHUP, which come from outside.
    """

    def __init__(self, status: int | None, stderr: str, *, doing: str = "", blame: Blame | None = None) -> None:
        super().__init__(status, stderr)
        self.blame = ("place" if status in _FROM_OUTSIDE else "code") if blame is None else blame
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
            f" Its last output:\n{self.stderr.rstrip()}" if self.stderr.strip() else ""
        )


class FunctionRemoved(BridgeError, AttributeError):
    """A function that was taken from a wrapper is called, and the source does not have it any more.

    ``module`` and ``function`` are the dotted names in the source.
    """

    def __init__(self, module: str, function: str) -> None:
        super().__init__(module, function)
        self.module = module
        self.function = function

    def __str__(self) -> str:
        return (
            f"{self.module}.{self.function} is gone: the live generation of {self.module} has no wrapper for it any more. "
            f"Remove this call, or define {self.function} in {self.module} again."
        )


class EncodeError(BridgeError):
    """An argument of a call cannot cross to the worker. The text names its type, and where it sits."""


class DecodeError(BridgeError):
    """A result cannot be read on this side, which lacks a library or does not know a class. The text says which, and where."""


class ReturnTypeError(BridgeError):
    """A function returned a value that does not match its annotation. All attributes are text.

    ``call`` is the function as ``module.function``; ``declared`` its annotated return type; ``came`` the type that was found at
    ``where`` in the result; ``expected`` the type expected there (None: the annotated one).
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
            f"{self.call} is annotated `-> {self.declared}`, but its result does not match: "
            f"{self.where}: expected {self.expected}, got {self.came}. Correct the function or its annotation."
        )
