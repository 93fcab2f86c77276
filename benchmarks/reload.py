"""From a save to the first new answer: lastgood beside other reloaders, and beside a bare start of the same program, in one run.

    python benchmarks/reload.py [--full] [--only PART ...] [--json FILE]

Who is faster: each reloader has a copy of the same program, is asked over and over, and what counts is when the first answer of
the new version comes; nothing is taken off. *Bare* is a process that starts, imports the program and answers. *Swapped* is
lastgood's own moment: when calls go to the new worker, without the debounce. Rounds of all alternate in random order, so that the
noise of a shared machine hits all alike: read times as ratios. *Stall*: for how long, in all, a reload held the app's event loop
up (a task that comes round every millisecond: each time that it is more than one late, the part of that for which the app itself
was computing), from the save to a third of a second after the swap; *late* is all of the lateness, which other processes cause,
too, and *control* that while a bare process starts instead.

Who is right: a script of edits, after each of which the answer is compared with what a fresh process answers (``reload_right.py``).

Peers that are not installed are left out, with a line that says so:
pip install uvicorn granian jurigged uvicorn-hmr ipython pandas. (hmr needs Python 3.12 or newer.) ``--full`` has thirty rounds of
everything, and takes an hour; without it there are ten, fewer where imports are long, and it takes five minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reload_peers import DEBOUNCE, ENVIRONMENT, LASTGOOD, PEERS, Kind, Running, installed, missing
from reload_programs import Program, dataclasses, heavy, many, one, places
from reload_right import CASES, OUTCOMES, Script

HEAVY = next((name for name in ("pandas", "numpy") if importlib.util.find_spec(name)), None)
TAIL = 0.3
ANSWER = "import main; print(main.answer(), flush=True)"
ORDER = random.Random(15)


@dataclass
class Row:
    """What was measured of one reloader, or of the bare process, with one program: milliseconds."""

    part: str
    program: str
    who: str
    first: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    swapped: list[float] = field(default_factory=list)
    stalled: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    warm: list[str | None] = field(default_factory=list)
    why: list[str | None] = field(default_factory=list)
    effects: list[dict[str, float]] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    never: str | None = None


class Entry:
    """One reloader in a race, with its copy of a program. Without a ``kind`` it is the bare process."""

    def __init__(self, row: Row, made: Program, kind: Kind | None, root: Path) -> None:
        self.row, self.made, self.kind, self.root = row, made, kind, root
        self.version = 0
        made.write(root)
        self.running = Running(kind, root) if kind else None

    def turn(self, *, first: bool) -> float:
        """Save, and wait for the answer. Return the moment of the save."""
        self.version += 1
        start = time.perf_counter()
        self.made.edit(self.root, self.version, in_place=self.kind is not None and self.kind.in_place)
        if self.running is None:
            answered = bare(self.root, str(self.version))
        else:
            try:
                answered = (self.running.wait_for(str(self.version)) - start) * 1000
            except TimeoutError as error:
                self.row.never = str(error)
                return start
        (self.row.first if first else self.row.answered).append(answered)
        if self.kind and self.kind.tells:
            self._follow(start, first=first)
        return start

    def _follow(self, start: float, *, first: bool) -> None:
        """Note what lastgood's app tells of a reload; then wait as a person does who reads the result."""
        assert self.running is not None
        told = self.running.success_after(start)
        time.sleep(TAIL)
        stalled, late = self.running.stalled(start, told["swapped"] + TAIL)
        row = self.row
        if not first:
            row.swapped.append((told["swapped"] - start - DEBOUNCE) * 1000)
            row.stalled.append(stalled)
            row.late.append(late)
            row.warm.append(told["warm"])
            row.why.append(told["why"])
            row.effects.append(told["took"])
        time.sleep(1.2 * statistics.median(row.bare or row.first) / 1000)  # time enough to import the program once more

    def hear_control(self, start: float) -> None:
        """Note how late the loop was since a moment, in which nothing was reloaded."""
        assert self.running is not None
        time.sleep(TAIL)
        self.row.control.append(self.running.stalled(start, time.perf_counter())[1])


def bare(root: Path, answer: str) -> float:
    """Milliseconds for a process to start, import a program and answer; its end is not counted."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", ANSWER], cwd=root, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().decode().strip() == answer
        return (time.perf_counter() - start) * 1000


@dataclass(frozen=True)
class Pace:
    """How many rounds, in how many seconds at the most where there is a choice, of which installations of lastgood."""

    full: bool
    ours: tuple[Kind, ...] = (LASTGOOD,)

    def rounds(self, seconds: float) -> Iterator[int]:
        """Count rounds, from now on: thirty, or ten within the time, but three at least."""
        end = math.inf if self.full else time.perf_counter() + seconds
        for number in range(30 if self.full else 10):
            if number < 3 or time.perf_counter() < end:
                yield number


Runner = tuple[str, Program, Sequence[Kind | None]]


def race(part: str, runners: Iterable[Runner], rounds: Iterable[int], top: Path) -> list[Row]:
    """Run rounds of several programs, each with several reloaders, in random order; None is a bare process.

    The first edit of each comes before the rounds, and is by itself. Programs without a bare process are compared with the first's.
    """
    entries: list[Entry] = []
    for program, made, kinds in runners:
        for kind in kinds:
            row = Row(part, program, kind.name if kind else "bare")
            entries.append(Entry(row, made, kind, top / f"p{len(entries)}"))
            row.bare = [each.row for each in entries if each.kind is None][-1].answered
    ours = [entry for entry in entries if entry.kind and entry.kind.tells]
    try:
        for entry in entries:
            if entry.running:
                entry.running.wait_for("0", 60)
        for number in itertools.chain([-1], rounds):
            for entry in ORDER.sample(entries, len(entries)):
                if entry.row.never is None:
                    start = entry.turn(first=number < 0)
                    time.sleep(0.1)
                    if entry.kind is None and ours and number >= 0:
                        ours[0].hear_control(start)
    finally:
        for entry in entries:
            if entry.running:
                entry.running.stop()
    return [entry.row for entry in entries]


# The parts: each gives its rows.


def part_one(pace: Pace, peers: Sequence[Kind], top: Path) -> list[Row]:
    """One module."""
    return race("one", [("one module", one(), [None, *pace.ours, *peers])], pace.rounds(25), top)


def part_heavy(pace: Pace, peers: Sequence[Kind], top: Path) -> list[Row]:
    """pandas imported before, and after, the edited place."""
    if HEAVY is None:
        print("neither pandas nor numpy is installed: left out")
        return []
    runners: list[Runner] = [
        (f"{HEAVY} before the edit", heavy(HEAVY, "before"), [None, *pace.ours, *peers]),
        (f"{HEAVY} after the edit", heavy(HEAVY, "after"), pace.ours),
    ]
    return race("heavy", runners, pace.rounds(35), top)


def part_places(pace: Pace, peers: Sequence[Kind], top: Path) -> list[Row]:
    """Local imports of 0.5, 2 and 8 s, edited at the bottom, in the middle, at the top; of 8 s, at the bottom, unless in full."""
    rows = []
    for seconds in (0.5, 2, 8):
        beside = peers if pace.full or seconds == 0.5 else ()
        runners: list[Runner] = [(f"{seconds} s, bottom", places(seconds, "bottom"), [None, *pace.ours, *beside])]
        if pace.full or seconds < 8:
            runners += [(f"{seconds} s, {place}", places(seconds, place), pace.ours) for place in ("middle", "top")]
        rows += race("places", runners, pace.rounds(35), top / f"{seconds}")
    return rows


def part_modules(pace: Pace, _: Sequence[Kind], top: Path) -> list[Row]:
    """1, 100 and 1,000 modules, each wrapped, of which the last is edited; and the first, after which all others run again."""
    runners: list[Runner] = [("1 module", many(1), [None, *pace.ours])]
    for count in (100, 1000):
        runners.append((f"{count:,} modules, the last", many(count, count - 1), [None, *pace.ours]))
        if pace.full or count == 100:
            runners.append((f"{count:,} modules, the first", many(count), pace.ours))
    return race("modules", runners, pace.rounds(35), top)


def part_dataclasses(pace: Pace, peers: Sequence[Kind], top: Path) -> list[Row]:
    """200 local modules of ten dataclasses each."""
    runners: list[Runner] = [
        ("200 modules, the last", dataclasses(200, 199), [None, *pace.ours, *(peers if pace.full else ())]),
        ("200 modules, the middle", dataclasses(200, 100), pace.ours),
    ]
    return race("dataclasses", runners, pace.rounds(35), top)


def part_start(pace: Pace, _: Sequence[Kind], top: Path) -> list[Row]:
    """The start of a session with 100 modules: the first of all, then with what is kept on disk."""
    made = many(100)
    made.write(top / "bare")
    alone, first, kept = (Row("start", "100 modules", who) for who in ("bare", "first start", "start"))
    for number in pace.rounds(15):
        root = top / f"p{number}"
        made.write(root)
        alone.answered.append(bare(top / "bare", "0"))
        for row in (first, kept):
            running = Running(LASTGOOD, root)
            try:
                running.wait_for("0")
                row.answered.append(running.hear()[0]["took"] * 1000)
                time.sleep(0.5)  # what was read is remembered for the next session when nothing was asked for a moment
            finally:
                running.stop()
    alone.bare = first.bare = kept.bare = alone.answered
    return [alone, first, kept]


PARTS: dict[str, Callable[[Pace, Sequence[Kind], Path], list[Row]]] = {
    "one": part_one,
    "heavy": part_heavy,
    "places": part_places,
    "modules": part_modules,
    "start": part_start,
    "dataclasses": part_dataclasses,
}

# What is printed.


def show(rows: Sequence[Row]) -> None:
    """Print the table of one part."""
    columns = (
        "",
        "",
        "first ms",
        "median",
        "worst",
        "x bare",
        "swapped",
        "x bare",
        "n",
        "spare",
        "stall",
        "late",
        "control",
    )
    head = "{:<26}{:<18}{:>9}{:>9}{:>8}{:>8}{:>10}{:>8}{:>5}{:>7}{:>8}{:>8}{:>9}"
    print(head.format(*columns))
    program = None
    for row in rows:
        name, program = (row.program if row.program != program else ""), row.program
        if not row.answered:
            print(f"{name:<26}{row.who:<18}never: {row.never}")
            continue
        median, bare = statistics.median(row.answered), statistics.median(row.bare)
        own = ["", "", str(len(row.answered)), "", "", "", ""]
        if row.swapped:
            swapped = statistics.median(row.swapped)
            spare = f"{row.warm.count('spare')}" if any(row.warm) else "-"
            control = f"{statistics.median(row.control):.1f}" if row.control else ""
            own[:2] = [f"{swapped:.1f}", f"{swapped / bare:.2f}"]
            own[3:] = [spare, f"{statistics.median(row.stalled):.1f}", f"{statistics.median(row.late):.1f}", control]
        figures = (
            f"{row.first[0]:.0f}" if row.first else "",
            f"{median:.1f}",
            f"{max(row.answered):.0f}",
            f"{median / bare:.2f}",
        )
        print(head.format(name, row.who, *figures, *own) + (f"  then {row.never}" if row.never else ""))
    print(flush=True)


def show_outcomes(outcomes: dict[str, dict[str, list[str]]]) -> None:
    """Print who was how often right, and in what each was not."""
    print(f"{'':<20}" + "".join(f"{name:>8}" for name in OUTCOMES) + f"   of {len(CASES)} edits")
    for who, by_outcome in outcomes.items():
        print(f"{who:<20}" + "".join(f"{len(by_outcome[name]):>8}" for name in OUTCOMES))
    for who, by_outcome in outcomes.items():
        for name in OUTCOMES[1:]:
            if by_outcome[name]:
                print(f"  {who}, {name}: {'; '.join(by_outcome[name])}")
    print(flush=True)


def targets(rows: Sequence[Row], outcomes: dict[str, dict[str, list[str]]]) -> list[tuple[str, float, float]]:
    """Return each target of which the parts were run: what it is, what was measured, and the most that it may be."""

    def swapped(program: str) -> list[float]:
        return next((row.swapped for row in rows if row.program == program and row.who == LASTGOOD.name), [])

    def alone(program: str) -> list[float]:
        return next((row.bare for row in rows if row.program == program), [])

    def started(who: str) -> list[float]:
        return next((row.answered for row in rows if row.part == "start" and row.who == who), [])

    wanted = [
        ("100 modules, the last, save to swap, x 1 module", swapped("100 modules, the last"), swapped("1 module"), 2.0),
        (
            "1,000 modules, the last, save to swap, x 1 module",
            swapped("1,000 modules, the last"),
            swapped("1 module"),
            4.0,
        ),
        ("100 modules, start, x a bare import", started("start"), started("bare"), 3.0),
        (
            "200 modules, the last, save to swap, x bare",
            swapped("200 modules, the last"),
            alone("200 modules, the last"),
            0.1,
        ),
        (
            "200 modules, the middle, save to swap, x bare",
            swapped("200 modules, the middle"),
            alone("200 modules, the middle"),
            0.6,
        ),
    ]
    told = [(text, statistics.median(a) / statistics.median(b), most) for text, a, b, most in wanted if a and b]
    told += [
        (f"{row.program}: stall, ms in all", statistics.median(row.stalled), 10.0)
        for row in rows
        if row.stalled and row.who == LASTGOOD.name
    ]
    if outcomes:
        told.append(("edits after which lastgood is not right", len(CASES) - len(outcomes[LASTGOOD.name]["right"]), 0))
    return told


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="thirty rounds")
    parser.add_argument(
        "--only", nargs="+", default=[], choices=[*PARTS, "right"], metavar="PART", help=", ".join([*PARTS, "right"])
    )
    parser.add_argument("--no-peers", action="store_true", help="lastgood and the bare process alone")
    parser.add_argument(
        "--beside", metavar="PYTHON", help="an interpreter with another version of lastgood, measured too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every single time")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends this ends all that it has started
    for kind in PEERS:
        if missing(kind):
            print(f"{kind.name} is left out: {', '.join(missing(kind))} is not installed")
    peers = [] if options.no_peers else [kind for kind in PEERS if not missing(kind)]
    ours = (LASTGOOD, installed(options.beside, "lastgood, beside")) if options.beside else (LASTGOOD,)
    rows: list[Row] = []
    outcomes: dict[str, dict[str, list[str]]] = {}
    begin = time.perf_counter()
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            with tempfile.TemporaryDirectory() as directory:
                rows += (of_part := part(Pace(options.full, ours), peers, Path(directory)))
            show(of_part)
    if not options.only or "right" in options.only:
        with tempfile.TemporaryDirectory() as directory:
            outcomes = Script([*ours, *peers], Path(directory), 6.0 if options.full else 2.5).judge()
        show_outcomes(outcomes)
    for text, value, most in targets(rows, outcomes):
        print(f"{'held' if value <= most else 'missed':<8}{value:>8.2f}  (at most {most:g})  {text}")
    print(f"{time.perf_counter() - begin:.0f} s")
    if options.json:
        options.json.write_text(json.dumps({"rows": [asdict(row) for row in rows], "outcomes": outcomes}, indent=1))


if __name__ == "__main__":
    main()
