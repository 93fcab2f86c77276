"""How events read on a terminal."""

from __future__ import annotations

import dataclasses
import io
import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from lastgood.errors import (
    BridgeError,
    ConfigError,
    GenerationError,
    ModuleFailure,
    PromotionError,
    RemoteError,
    UnwatchableModule,
    WorkerDied,
)
from lastgood.session.event_lines import EventLines, EventLog, brief, error_text, listed, make_console
from lastgood.watch_events import (
    ApiChange,
    BridgeLost,
    BridgeRestored,
    Change,
    DisposeFailed,
    EventsMissed,
    GenerationUndone,
    LeaderChanged,
    ModuleLoadedLate,
    Notice,
    PollingStarted,
    Recovered,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    RollbackFailed,
    Runaway,
    Superseded,
    Warmth,
    WatchEvent,
    WatchPaths,
)

BASE = Path("/project")
SOURCE = BASE / "pricing.py"
NOON = datetime(2026, 1, 2, 12, 0, 0)
LATER = datetime(2026, 1, 2, 12, 5, 0)
NEXT_DAY = datetime(2026, 1, 3, 9, 0, 0)

TOOK = "stage 192, promote 18, warm 131, swap <0.1, watch 1.4 ms"

BROKEN = GenerationError((ModuleFailure("pricing", SOURCE, 14, "invalid syntax"),))
REMOTE = RemoteError(
    "ZeroDivisionError",
    "division by zero",
    'Traceback (most recent call last):\n  File "/project/pricing.py", line 3, in <module>\n    import stock\n'
    '  File "/project/stock.py", line 8, in <module>\n    1/0\nZeroDivisionError: division by zero\n',
)


def lines_of(events: Sequence[WatchEvent], times: Sequence[datetime] = (), *, verbose: bool = False) -> list[str]:
    """What is printed for the events, told at these times (noon, when they run out)."""
    clock = iter(times)
    printer = EventLines(base=BASE, now=lambda: next(clock, NOON), verbose=verbose)
    return [line.plain for event in events for line in printer.lines(event)]


def success(
    generation: int = 1, written: str = "pricing.py", touched: str = "", warnings: tuple[str, ...] = ()
) -> ReloadSuccess:
    paths = [tuple(Path(name) for name in names.split()) for names in (written, touched)]
    timings = {"stage": 0.192, "promote": 0.0181, "warm": 0.1312, "swap": 0.00003, "watch": 0.0014}
    return ReloadSuccess(4, False, (SOURCE,), generation, paths[0], paths[1], warnings, timings)


@pytest.mark.parametrize(
    ("warm", "why", "line"),
    [
        ("spare", None, "spare     its worker had run the program ahead"),
        ("fresh", "spare = false", "fresh     its worker started from the beginning: spare = false"),
        ("fresh", None, None),
    ],
)
def test_a_verbose_line_says_how_the_worker_was_started(warm: Warmth, why: str | None, line: str | None) -> None:
    event = dataclasses.replace(success(), warm=warm, why_fresh=why)
    assert len(lines_of([event])) == 1
    printed = EventLines(base=BASE, now=lambda: NOON, verbose=True).lines(event)
    assert [each.plain.partition(" ")[2].strip() for each in printed][1:] == ([] if line is None else [line])


def failure(error: BaseException = BROKEN, live: int | None = 2) -> ReloadError:
    return ReloadError(5, False, (SOURCE,), error, "stage", live)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (WatchPaths((BASE / "lastgood.toml", SOURCE)), "watching  lastgood.toml, pricing.py"),
        (WatchPaths((Path("/elsewhere/a.py"),)), "watching  /elsewhere/a.py"),
        (Change(SOURCE), "change    pricing.py"),
        (ReloadStart(1, True, ()), "reload    cycle 1: start-up"),
        (ReloadStart(2, False, (SOURCE,)), "reload    cycle 2: pricing.py"),
        (ReloadStart(3, True, ()), "reload    cycle 3: asked for"),
        (ReloadStart(3, True, (SOURCE,)), "reload    cycle 3: asked for; pricing.py"),
        (
            success(3, "a.py b.py", "b.py c.py"),
            f"live      generation 3 in 343 ms (cycle 4): wrote b.py; removed c.py; {TOOK}",
        ),
        (
            success(),
            f"live      generation 1 in 343 ms (cycle 4): no wrapper changed; {TOOK}",
        ),
        (
            failure(live=None),
            "failed    cycle 5 at stage; nothing is live yet, so the session ends",
        ),
        (DisposeFailed(1, ValueError("no")), "notice    the bridge of generation 1 was not disposed: ValueError: no"),
        (
            RollbackFailed("promote", PermissionError("no"), None),
            "notice    promote could not be undone; the next cycle tries again: PermissionError: no",
        ),
        (PollingStarted("no inotify"), "notice    files are polled from now on: no inotify"),
        (
            Recovered(BASE / "generated", (Path("a.py"),)),
            "notice    a promotion cut short was undone in generated: a.py",
        ),
        (BridgeLost(2, WorkerDied(-9, ""), 0.0), None),
        (GenerationUndone(3, None), "notice    generation 3 is undone"),
        (
            GenerationUndone(3, WorkerDied(-9, "")),
            (
                "notice    generation 3 is undone, for its bridge was lost on probation: "
                "The worker process was killed by signal 9."
            ),
        ),
        (
            ModuleLoadedLate("plugin", BASE / "plugin.py"),
            "notice    plugin was imported late, and is watched too: plugin.py",
        ),
        (BridgeRestored(2), "notice    the bridge of generation 2 is back"),
        (Superseded(3, ()), "notice    cycle 3 is superseded: an edit came while it ran, and it took long"),
        (EventsMissed(7), "notice    7 event(s) were missed"),
    ],
    ids=lambda value: getattr(value, "type", None),
)
def test_a_verbose_event_is_one_line_with_its_time(event: WatchEvent, line: str | None) -> None:
    line = line or "notice    the bridge of generation 2 broke down: The worker process was killed by signal 9."
    assert lines_of([event], verbose=True) == [f"12:00:00  {line}"]


def test_a_module_that_each_generation_imports_late_is_told_once() -> None:
    late = ModuleLoadedLate("plugin", BASE / "plugin.py")
    assert lines_of([late, late]) == ["12:00:00  notice    plugin was imported late, and is watched too: plugin.py"]
    assert len(lines_of([late, late], verbose=True)) == 2


def test_an_edit_is_one_line_with_its_total_time() -> None:
    events: list[WatchEvent] = [WatchPaths((SOURCE,)), Change(SOURCE), ReloadStart(4, False, (SOURCE,))]
    assert lines_of([*events, success(3)]) == ["12:00:00  live      generation 3 in 343 ms: pricing.py"]
    assert lines_of([*events, success(3, "a.py b.py", "b.py c.py")]) == [
        "12:00:00  live      generation 3 in 343 ms: pricing.py; wrote b.py; removed c.py"
    ]
    slow = dataclasses.replace(success(), manual=True, changed=(), timings={"stage": 1.2, "warm": 0.34})
    assert lines_of([slow]) == ["12:00:00  live      generation 1 in 1.5 s: asked for"]
    assert lines_of([failure()])[0] == "12:00:00  failed    pricing.py; cycle 5 at stage"


def test_what_callers_see_differently_is_a_line_each() -> None:
    changes = (
        ApiChange("added", "function", "pricing", "Shop.quote", None, "(sku: str) -> float", breaking=False),
        ApiChange("removed", "constant", "pricing", "LIMIT", "3", None, breaking=True),
        ApiChange("altered", "type", "pricing", "Price", "enum (A = 1)", "enum (A = 1, B = 2)", breaking=False),
        ApiChange("altered", "type", "pricing", "Late", "exception(Shop)", "exception(Shop)", breaking=True),
    )
    assert lines_of([dataclasses.replace(success(), changes=changes)])[1:] == [
        "12:00:00  added     function pricing.Shop.quote(sku: str) -> float",
        "12:00:00  removed   constant pricing.LIMIT = 3; breaking",
        "12:00:00  altered   type pricing.Price: enum (A = 1), now enum (A = 1, B = 2)",
        "12:00:00  altered   type pricing.Late: exception(Shop), now another object; breaking",
    ]


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (BridgeLost(2, WorkerDied(-9, ""), 0.5), ["it is restarted in 0.5 s"]),
        (BridgeLost(2, WorkerDied(-9, ""), 0.0), []),
        (BridgeLost(2, WorkerDied(3, "")), []),  # on probation, say: what comes next tells what becomes of it
        (
            BridgeLost(2, WorkerDied(-9, ""), final=True),
            ["it is not restarted by itself now; an edit or reload_now() replaces it"],
        ),
    ],
)
def test_what_becomes_of_a_lost_bridge_is_told_with_it(event: BridgeLost, lines: list[str]) -> None:
    assert [line.partition("notice    ")[2] for line in lines_of([event])[1:]] == lines


def test_an_undo_ends_with_a_stale_line() -> None:
    *_, stale = lines_of([GenerationUndone(2, None), success(generation=3)])
    assert stale == (
        "12:00:00  STALE     since 12:00:00; what was live before generation 2 is live, until an edit or reload_now()"
    )


def test_every_event_has_its_line() -> None:
    kinds = {*get_args(Notice), WatchPaths, Change, ReloadStart, ReloadSuccess, ReloadError}
    assert set(get_args(WatchEvent)) == kinds


def test_a_failure_tells_the_whole_error_and_that_it_is_stale() -> None:
    assert lines_of([failure()]) == [
        "12:00:00  failed    pricing.py; cycle 5 at stage",
        "            pricing (pricing.py:14): invalid syntax",
        "12:00:00  STALE     since 12:00:00; generation 2 is live. pricing.py:14: pricing: invalid syntax",
    ]


def test_several_broken_modules_are_counted() -> None:
    both = GenerationError((*BROKEN.failures, ModuleFailure("stock", BASE / "stock.py", None, "is gone")))
    assert lines_of([failure(both)])[1:4] == [
        "            Generation failed for 2 module(s):",
        "              pricing (pricing.py:14): invalid syntax",
        "              stock (stock.py): is gone",
    ]


def test_stale_is_repeated_with_the_time_of_the_first_failure_until_a_cycle_succeeds() -> None:
    events: list[WatchEvent] = [failure(), failure(REMOTE), success(3), failure(live=3)]
    stale = [line for line in lines_of(events, [NOON, LATER, LATER, LATER]) if "STALE" in line]
    assert stale == [
        "12:00:00  STALE     since 12:00:00; generation 2 is live. pricing.py:14: pricing: invalid syntax",
        "12:05:00  STALE     since 12:00:00; generation 2 is live. stock.py:8: ZeroDivisionError: division by zero",
        "12:05:00  STALE     since 12:05:00; generation 3 is live. pricing.py:14: pricing: invalid syntax",
    ]


def test_stale_since_another_day_says_which() -> None:
    assert "since 2026-01-02 12:00:00;" in lines_of([failure(), failure()], [NOON, NEXT_DAY])[-1]


def test_warnings_of_one_cause_are_one_line_unless_each_is_asked_for() -> None:
    both = success(warnings=("m.f: left out: it is odd.", "m.g: left out: it is odd."))
    said = ["2 left out: it is odd (e.g. f, g)"]
    assert [line.partition("warning   ")[2] for line in lines_of([both]) if "warning" in line] == said
    printed = EventLines(base=BASE, now=lambda: NOON, verbose=True).lines(both)
    assert [line.plain.partition("warning   ")[2] for line in printed if "warning" in line.plain] == [*both.warnings]


def test_a_warning_is_told_once_and_again_when_it_comes_back() -> None:
    events = [success(warnings=("f: w",)), success(warnings=("f: w", "g: w")), success(), success(warnings=("f: w",))]
    said = [line.partition("  ")[2] for line in lines_of(events) if "warning" in line]
    assert said == ["warning   f: w", "warning   g: w", "warning   f: w"]


def test_a_warning_whose_line_has_moved_is_the_same() -> None:
    events = [
        success(warnings=("f: w (a.py:2)",)),
        success(warnings=("f: w (a.py:3)",)),
        success(warnings=("f: w (b.py:3)",)),
    ]
    said = [line.partition("  ")[2] for line in lines_of(events) if "warning" in line]
    assert said == ["warning   f: w (a.py:2)", "warning   f: w (b.py:3)"]


def raised_here() -> Exception:
    try:
        raise KeyError("sku")
    except KeyError as error:
        return error


def several_missing() -> UnwatchableModule:
    error, *others = (UnwatchableModule(name, f'Module "{name}" is not', file=BASE / "c.toml") for name in "mno")
    error.others = tuple(others)
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BROKEN, "pricing.py:14: pricing: invalid syntax"),
        (GenerationError((*BROKEN.failures, *BROKEN.failures)), "pricing.py:14: pricing: invalid syntax (and 1 more)"),
        (GenerationError((ModuleFailure("a", None, None, "no"),)), "a: no"),
        (several_missing(), 'c.toml: Module "m" is not (and 2 more)'),
        (GenerationError((ModuleFailure("a", SOURCE, None, "no"),)), "pricing.py: a: no"),
        (REMOTE, "stock.py:8: ZeroDivisionError: division by zero"),
        (RemoteError("KeyboardInterrupt", "", ""), "KeyboardInterrupt"),
        (ConfigError("is not valid TOML: x.", file=BASE / "c.toml", line=3), "c.toml:3: is not valid TOML: x."),
        (UnwatchableModule("m", 'Module "m" is not', file=BASE / "c.toml"), 'c.toml: Module "m" is not'),
        (WorkerDied(3, "a\nb\n"), "The worker process exited with status 3. Its last output: b"),
        (WorkerDied(3, "\n"), "The worker process exited with status 3."),
        (PromotionError("is no directory.", path=BASE / "generated"), "generated: is no directory."),
        (OSError(28, "No space left"), "OSError: [Errno 28] No space left"),
        (ValueError(), "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_brief_is_one_line_with_file_and_line_where_they_are_known(error: BaseException, line: str) -> None:
    assert brief(error, BASE) == line


def test_brief_names_the_line_that_raised_what_a_users_function_raised() -> None:
    line = raised_here.__code__.co_firstlineno + 2
    assert brief(raised_here(), Path(__file__).parent) == f"{Path(__file__).name}:{line}: KeyError: 'sku'"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BROKEN, "Generation failed for 1 module(s):\n  pricing (/project/pricing.py:14): invalid syntax"),
        (REMOTE, REMOTE.traceback.rstrip()),
        (RemoteError("Stop", "now", ""), "Stop: now"),
        (BridgeError("gone"), "gone"),
        (ValueError("no"), "ValueError: no"),
    ],
)
def test_describe_tells_the_whole_error(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def test_describe_tells_the_notes() -> None:
    error = BridgeError("gone")
    error.add_note("while closing")
    assert error_text(error) == "gone\nwhile closing"


def test_many_names_are_cut_short() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(9)]) == "0, 1, 2, 3, 4, 5 and 3 more"


@pytest.mark.parametrize("width", [20, 200])
def test_what_looks_like_markup_is_printed_as_it_is(width: int) -> None:
    out = io.StringIO()
    console = make_console(out)
    console.width = width
    for line in EventLines(base=BASE, now=lambda: NOON, verbose=True).lines(
        Change(BASE / "[bold]a :smile:.py"), console
    ):
        console.print(line)
    assert out.getvalue() == "12:00:00  change    [bold]a :smile:.py\n"


def printed(console: Console) -> str:
    for line in EventLines(base=BASE, now=lambda: NOON).lines(failure()):
        console.print(line)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert "\x1b[" not in printed(make_console(io.StringIO()))
    assert "\x1b[31m" in printed(make_console(Terminal()))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in printed(make_console(Terminal()))


# --- in a log ---------------------------------------------------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture, *events: WatchEvent) -> list[str]:
    """What a log of every level has of the events."""
    caplog.set_level(logging.DEBUG, "tests.log")
    log = EventLog(logging.getLogger("tests.log"))
    for event in events:
        log(event)
    return [f"{each.levelname} {each.getMessage()}" for each in caplog.records]


def test_a_log_has_one_record_of_each_event_in_full_paths(caplog: pytest.LogCaptureFixture) -> None:
    events: list[WatchEvent] = [
        WatchPaths((SOURCE,)),
        Change(SOURCE),
        ReloadStart(5, False, (SOURCE,)),
        failure(),
        success(3, "a.py", "a.py", warnings=("pricing.f is left out",)),
        DisposeFailed(1, WorkerDied(-9, "")),
        RollbackFailed("promote", PromotionError("disk full.", path=SOURCE), None),
        PollingStarted("no inotify"),
        Recovered(BASE / "generated", (Path("a.py"),)),
        BridgeLost(2, WorkerDied(-9, ""), 0.5),
        BridgeRestored(2),
        GenerationUndone(3, None),
        ModuleLoadedLate("plugin", BASE / "plugin.py"),
        Runaway((SOURCE,), 5),
        Superseded(3, (SOURCE,)),
        LeaderChanged("leader", 7),
        LeaderChanged("follower", 7),
        LeaderChanged("follower", 7, responding=False),
        EventsMissed(7),
    ]
    assert {type(event) for event in events} == {
        *get_args(Notice),
        WatchPaths,
        Change,
        ReloadStart,
        ReloadSuccess,
        ReloadError,
    }
    assert logged(caplog, *events) == [
        "DEBUG watching: /project/pricing.py",
        "DEBUG change: /project/pricing.py",
        "DEBUG reload: cycle 5: /project/pricing.py",
        "ERROR reload failed, generation 2 stays live: /project/pricing.py:14: pricing: invalid syntax",
        f"INFO live: generation 3 (cycle 4): wrote a.py; {TOOK}\n  warning: pricing.f is left out",
        "WARNING the bridge of generation 1 was not disposed: The worker process was killed by signal 9.",
        "ERROR promote could not be undone; the next cycle tries again: /project/pricing.py: disk full.",
        "WARNING files are polled from now on: no inotify",
        "WARNING a promotion cut short was undone in /project/generated: a.py",
        (
            "WARNING the bridge of generation 2 broke down: The worker process was killed by signal 9.\n"
            "  it is restarted in 0.5 s"
        ),
        "INFO the bridge of generation 2 is back",
        "WARNING generation 3 is undone",
        "INFO plugin was imported late, and is watched too: /project/plugin.py",
        (
            "WARNING /project/pricing.py changed during each of the last 5 reloads, and caused the next one: its edits "
            "start no more reloads for now\n"
            "  if you saved that often: save once more after 5 s, or reload (r, reload_now())\n"
            "  if the program writes it: write it elsewhere, or `ignore` it under [watch]\n"
            "  STALE: until that file changes after 5 quiet seconds, another one changes, or a reload"
        ),
        "INFO cycle 3 is superseded: an edit came while it ran, and it took long",
        "INFO this session leads from now on",
        "INFO the session of process 7 leads; this one takes over what it makes",
        "WARNING the session of process 7, which leads, has stopped responding",
        "WARNING 7 event(s) were missed",
    ]


def test_a_log_leaves_a_failed_start_to_who_raises_it(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, failure(live=None)) == []


def noted(error: BaseException) -> BaseException:
    error.add_note("try again")
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (noted(GenerationError(BROKEN.failures)), "/project/pricing.py:14: pricing: invalid syntax\n  try again"),
        (
            GenerationError((*BROKEN.failures, ModuleFailure("stock", BASE / "stock.py", None, "is gone"))),
            (
                "/project/pricing.py:14: pricing: invalid syntax (and 1 more)\n  Generation failed for 2 module(s):\n"
                "    pricing (/project/pricing.py:14): invalid syntax\n    stock (/project/stock.py): is gone"
            ),
        ),
        (REMOTE, "/project/stock.py:8: ZeroDivisionError: division by zero\n  Traceback (most recent call last):\n"),
        (
            WorkerDied(3, "last\nwords\n"),
            "The worker process exited with status 3. Its last output: words\n  last\n  words",
        ),
        (noted(LookupError("mine")), "LookupError: mine\n  try again\nLookupError: mine\ntry again"),
    ],
    ids=["one module", "several", "in the worker", "a dead worker", "a function of the user's"],
)
def test_a_failed_cycle_in_a_log(error: BaseException, text: str, caplog: pytest.LogCaptureFixture) -> None:
    logged(caplog, failure(error))
    (record,) = caplog.records
    assert logging.Formatter().format(record).startswith(f"reload failed, generation 2 stays live: {text}")


@pytest.mark.parametrize(
    ("innermost", "line"),
    [
        ("/usr/lib/python3.12/json/decoder.py", "pricing.py:2: JSONDecodeError: no"),
        ("/app/.venv/lib/python3.12/site-packages/yaml/reader.py", "pricing.py:2: JSONDecodeError: no"),
        (r"C:\Python312\Lib\site-packages\yaml\reader.py", "pricing.py:2: JSONDecodeError: no"),
        ("<frozen importlib._bootstrap>", "pricing.py:2: JSONDecodeError: no"),
        (str(BASE / "stock.py"), "stock.py:9: JSONDecodeError: no"),
    ],
    ids=["standard library", "package", "on Windows", "no file", "the user's own"],
)
def test_brief_names_the_users_line_where_a_library_raised(innermost: str, line: str) -> None:
    frames = f'  File "{BASE / "pricing.py"}", line 2, in <module>\n  File "{innermost}", line 9, in decode\n'
    assert brief(RemoteError("JSONDecodeError", "no", frames), BASE) == line
    only = RemoteError("JSONDecodeError", "no", '  File "/usr/lib/python3.12/json/decoder.py", line 9, in decode\n')
    assert brief(only, BASE) == "/usr/lib/python3.12/json/decoder.py:9: JSONDecodeError: no"


def test_files_that_change_with_each_reload_are_said_to_be_stale() -> None:
    assert lines_of([Runaway((SOURCE,), 5)]) == [
        (
            "12:00:00  notice    pricing.py changed during each of the last 5 reloads, and caused the next one: its edits start "
            "no more reloads for now"
        ),
        "12:00:00  notice    if you saved that often: save once more after 5 s, or reload (r, reload_now())",
        "12:00:00  notice    if the program writes it: write it elsewhere, or `ignore` it under [watch]",
        "12:00:00  STALE     until that file changes after 5 quiet seconds, another one changes, or a reload",
    ]


# --- a failure behind a newer one

STOCK = RemoteError("ImportError", "no", '  File "/project/stock.py", line 8, in <module>\n')
SHOP = RemoteError("KeyError", "no", '  File "/project/shop.py", line 2, in <module>\n')
CONFIG = ConfigError("is not valid TOML.", file=BASE / "lastgood.toml", line=1)


def fails(error: BaseException, effect: str, changed: str) -> ReloadError:
    return ReloadError(5, False, (BASE / changed,), error, effect, 2)


def behind(*events: WatchEvent) -> list[str]:
    """What the last event shows of the failures before it."""
    lines = EventLines(base=BASE, now=lambda: NOON)
    *_, last = [lines.lines(event) for event in events]
    return [line.plain.partition("behind    ")[2] for line in last if "behind" in line.plain]


def test_a_failure_that_a_newer_one_hides_is_still_told() -> None:
    first, second = fails(STOCK, "warm", "stock.py"), fails(BROKEN, "stage", "pricing.py")
    since = "since 12:00:00, and not reached again: "
    assert behind(first, second) == [f"{since}stock.py:8: ImportError: no"]
    assert behind(first, second, second, fails(CONFIG, "stage", "lastgood.toml")) == [
        f"{since}stock.py:8: ImportError: no",
        f"{since}pricing.py:14: pricing: invalid syntax",
    ]
    assert behind(first, fails(SHOP, "warm", "shop.py")) == [f"{since}stock.py:8: ImportError: no"]


@pytest.mark.parametrize(
    "events",
    [
        [fails(STOCK, "warm", "stock.py"), fails(STOCK, "warm", "pricing.py")],
        [fails(STOCK, "warm", "stock.py"), fails(BROKEN, "stage", "stock.py")],
        [fails(BROKEN, "stage", "pricing.py"), fails(STOCK, "warm", "stock.py")],
        [fails(CONFIG, "stage", "lastgood.toml"), fails(BROKEN, "stage", "pricing.py")],
        [fails(STOCK, "warm", "stock.py"), success(3), fails(BROKEN, "stage", "pricing.py")],
    ],
    ids=["told again", "edited", "got past", "every broken module is named", "mended"],
)
def test_a_failure_that_is_over_is_told_no_more(events: list[WatchEvent]) -> None:
    assert behind(*events) == []


def test_of_many_hidden_failures_the_last_few_are_told() -> None:
    errors = [RemoteError("KeyError", "no", f'  File "/project/m{n}.py", line 1, in f\n') for n in range(9)]
    assert len(behind(*(fails(error, "warm", f"m{n}.py") for n, error in enumerate(errors)))) == 5


def test_what_a_follower_takes_over_is_not_said_to_be_written_by_it() -> None:
    lines = lines_of([LeaderChanged("follower", 7), Superseded(1, ()), success(3, "a.py", "a.py")])
    assert lines[1].endswith("cycle 1 is superseded: what the session of process 7 makes is taken over instead")
    assert "taken over from process 7" in lines[2]
    assert "wrote" in lines_of([LeaderChanged("leader", 8), success(3, "a.py", "a.py")])[1]
