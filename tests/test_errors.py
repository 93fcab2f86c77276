"""The errors: one family, and texts that say what, where, and what to do."""

from __future__ import annotations

import copy
import pickle
import re
import signal
from pathlib import Path

import pytest

from lastgood import errors
from lastgood.errors import (
    AlreadyWatched,
    BridgeError,
    CallTimeout,
    ConfigError,
    ConfigMigrationError,
    DecodeError,
    Disposed,
    EncodeError,
    Forked,
    FunctionRemoved,
    GenerationError,
    LastgoodError,
    LeaderFailed,
    ModuleFailure,
    NoRuntimeBridge,
    NothingToUndo,
    PromotionError,
    RemoteError,
    ReturnTypeError,
    RunawayError,
    Undone,
    UnmanagedFile,
    Unsupported,
    UnwatchableModule,
    WatchError,
    WorkerDied,
)

FILE = Path("/p/lastgood.toml")

PARENTS: dict[type, tuple[type, ...]] = {
    LastgoodError: (Exception,),
    ConfigError: (LastgoodError,),
    ConfigMigrationError: (ConfigError,),
    UnwatchableModule: (ConfigError, WatchError),
    WatchError: (LastgoodError,),
    GenerationError: (LastgoodError,),
    PromotionError: (LastgoodError,),
    UnmanagedFile: (PromotionError,),
    NothingToUndo: (LastgoodError,),
    RunawayError: (LastgoodError,),
    Undone: (LastgoodError,),
    AlreadyWatched: (LastgoodError,),
    LeaderFailed: (WatchError,),
    Disposed: (LastgoodError,),
    NoRuntimeBridge: (LastgoodError,),
    Unsupported: (LastgoodError,),
    BridgeError: (LastgoodError,),
    RemoteError: (BridgeError,),
    CallTimeout: (BridgeError,),
    WorkerDied: (BridgeError,),
    Forked: (BridgeError,),
    FunctionRemoved: (BridgeError, AttributeError),
    ReturnTypeError: (BridgeError,),
    EncodeError: (BridgeError,),
    DecodeError: (BridgeError,),
}


@pytest.mark.parametrize("error", PARENTS, ids=lambda error: error.__name__)
def test_the_family(error: type) -> None:
    assert error.__bases__ == PARENTS[error]
    assert issubclass(error, LastgoodError)


def test_every_error_of_the_module_is_in_the_table_and_in_the_tree_at_its_top() -> None:
    public = {getattr(errors, name) for name in errors.__all__} - {ModuleFailure}
    assert public == set(PARENTS)
    drawn = re.findall(r"^[│├└─ ]*(\w+)(?:  |$)", errors.__doc__ or "", re.MULTILINE)
    assert {error.__name__ for error in PARENTS} <= set(drawn)


TEXTS = [
    (ConfigError("is missing."), "is missing."),
    (ConfigError("is missing.", file=FILE), f"{FILE}: is missing."),
    (
        ConfigError("expected a table, found an integer.", file=FILE, field="modules", hint="Add one.", line=3),
        f'{FILE}:3: field "modules": expected a table, found an integer. Add one.',
    ),
    (ConfigMigrationError("Legacy.", file=FILE, field="development"), "Legacy."),
    (
        UnwatchableModule("x", 'Module "x" could not be resolved for watching', file=FILE),
        'Module "x" could not be resolved for watching',
    ),
    (
        GenerationError((ModuleFailure("a", Path("/p/a.py"), 3, "boom"),)),
        "Generation failed for 1 module(s):\n  a (/p/a.py:3): boom",
    ),
    (
        GenerationError(
            (ModuleFailure("a", Path("/p/a.py"), None, "boom"), ModuleFailure("b.c", None, None, "cannot be found"))
        ),
        "Generation failed for 2 module(s):\n  a (/p/a.py): boom\n  b.c: cannot be found",
    ),
    (PromotionError("disk full."), "disk full."),
    (PromotionError("disk full.", path=FILE), f"{FILE}: disk full."),
    (
        UnmanagedFile(FILE),
        (
            f"{FILE}: lastgood did not write this file and will not overwrite it. "
            "Move it away, or choose another [output] dir in the config."
        ),
    ),
    (
        AlreadyWatched(Path("/p/g"), 42),
        (
            "/p/g is already kept up to date by the session of process 42. "
            "Close that one first, or choose another [output] dir."
        ),
    ),
    (
        AlreadyWatched(Path("/p/g"), None),
        "/p/g is already kept up to date by another session. Close that one first, or choose another [output] dir.",
    ),
    (
        AlreadyWatched(Path("/p/g"), 42, "its watch() has other arguments"),
        (
            "/p/g is already kept up to date by the session of process 42, which this one cannot follow: its watch() has "
            "other arguments. Close that one first, or choose another [output] dir."
        ),
    ),
    (
        LeaderFailed("GenerationError", "Generation failed for 1 module(s):"),
        "The session that leads has failed with GenerationError: Generation failed for 1 module(s):",
    ),
    (NothingToUndo(Path("/p/g")), "/p/g: no earlier good generation is kept, so there is nothing to go back to."),
    (Undone(3), "Generation 3 was undone; the one before is live until an edit or reload_now()."),
    (NoRuntimeBridge(), "No runtime bridge configured"),
    (
        Unsupported("watch()", "Windows"),
        (
            "watch() needs processes, pipes and signals as Linux and macOS have them, and Windows has none. What works here: "
            "direct() and InProcessBridge, create_bridge_reloader(), wrappers that were generated elsewhere, plan(), and the World "
            "of lastgood.testing. WSL is a Linux, and has them."
        ),
    ),
    (RemoteError("ValueError", "bad", "Traceback…\n"), "ValueError: bad\n\nTraceback…"),
    (RemoteError("ValueError", "", ""), "ValueError"),
    (CallTimeout("pricing.quote", 1.5), "pricing.quote did not return within 1.5 s (runtime.process.timeout)."),
    (
        CallTimeout("m.f", 2.0, "begin", "It waited."),
        "m.f did not begin within 2 s (runtime.process.timeout). It waited.",
    ),
    (
        RunawayError((FILE,)),
        (
            f"{FILE} changed during each of the last reloads, which nothing else had caused. Its edits start no reload for now. "
            "If it was saved that often: save it once more after five seconds without a change, or reload (r, reload_now()). If "
            "the program writes it when it is imported: have it write elsewhere, or name it in `ignore` under [watch]."
        ),
    ),
    (WorkerDied(3, "\n"), "The worker process exited with status 3."),
    (WorkerDied(3, ""), "The worker process exited with status 3."),
    (
        WorkerDied(0, "bye\n", doing="while it began"),
        "The worker process exited with status 0 while it began. Its last output:\nbye",
    ),
    (WorkerDied(-9, ""), "The worker process was killed by signal 9."),
    (WorkerDied(None, ""), "The worker process ended."),
    (
        FunctionRemoved("pricing", "quote"),
        (
            "pricing.quote is gone: the live generation of pricing has no wrapper for it any more. "
            "Remove this call, or define quote in pricing again."
        ),
    ),
    (
        ReturnTypeError("m.f", "list[int]", "str", "int", "result[3]"),
        (
            "m.f is annotated `-> list[int]`, but its result does not match: result[3]: expected int, got str. "
            "Correct the function or its annotation."
        ),
    ),
]


def test_what_an_undo_was_for_is_told() -> None:
    assert str(Undone(3, WorkerDied(-9, ""))) == (
        "Generation 3 was undone; the one before is live until an edit or reload_now(). "
        "Its bridge was lost on probation: The worker process was killed by signal 9."
    )


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_the_text(error: LastgoodError, text: str) -> None:
    assert str(error) == text


def test_errors_carry_their_data() -> None:
    unwatchable = UnwatchableModule("a.b", "gone", file=FILE)
    assert (unwatchable.module, unwatchable.field, unwatchable.file) == ("a.b", "modules.a.b", FILE)
    died = WorkerDied(-9, "last words")
    assert died.blame == "place"
    assert (died.status, died.stderr) == (-9, "last words")
    watched = AlreadyWatched(FILE, 7)
    assert (watched.output, watched.pid, watched.difference) == (FILE, 7, "")
    failed = LeaderFailed("ValueError", "bad")
    assert (failed.type_name, failed.message) == ("ValueError", "bad")
    timeout = CallTimeout("m.f", 2.0)
    assert (timeout.call, timeout.timeout, timeout.waited) == ("m.f", 2.0, "")


@pytest.mark.parametrize("error", [error for error, _ in TEXTS], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("how", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_an_error_survives_copying(how: object, error: LastgoodError) -> None:
    """Test runners and process pools pickle what went wrong; one that cannot be hides what happened."""
    assert callable(how)
    again = how(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("status", [*range(-15, 4), None])
def test_a_signal_from_outside_is_blamed_on_the_place(status: int | None) -> None:
    killed_from_outside = status in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
    assert WorkerDied(status, "").blame == ("place" if killed_from_outside else "code")
    assert WorkerDied(status, "", blame="code").blame == "code"


def test_other_errors_are_blamed_on_the_code() -> None:
    assert BridgeError().blame == CallTimeout("m.f", 2.0).blame == "code"


def test_the_file_of_a_failure_may_be_a_text() -> None:
    failure = ModuleFailure("pricing", "pricing.py", 3, "boom")  # type: ignore[arg-type]  # what is tried
    assert failure == ModuleFailure("pricing", Path("pricing.py"), 3, "boom")
    assert isinstance(failure.file, Path)
