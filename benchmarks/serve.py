"""What clients see of a web application that is edited while it serves: lastgood beside other servers that reload, in one run.

    python benchmarks/serve.py [--edits N] [--only PART ...] [--no-peers] [--json FILE]

Each server has a copy of the same FastAPI application, and eight clients that ask over and over on connections which they keep, and
send nothing a second time. 100 times the module with the routes is saved, at random moments; 20 of these edits are broken, by a
syntax error or an import that fails, and are mended by the next one. What is counted: requests that failed (``serve_clients.py``
says what that is), answers from broken code, answers that are older than one that somebody had before the request was sent. What
is measured: from a save to the first new answer, the same after an edit that mends, and the slowest request.

The parts: ``plain``; ``stream``, beside which a client keeps a stream of events open, as a browser's page does; ``pandas``, which
the edited module imports; ``cost``, the instructions that a request costs the process which answers it (``serve_cost.py``).

Nothing hangs: a server that answers no edit within ten seconds three times in a row is *stuck*, one whose process ends is *gone*,
and both are over then. Servers that are not installed are left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import serve_cost
from reload_peers import Kind, Running, missing
from serve_clients import Crowd, Listener, broken_answers, failures, older_answers
from serve_peers import BREAKS, OURS, SERVERS, edit, ours, write

PARTS = {"plain": ("", False), "stream": ("", True), "pandas": ("pandas", False)}
START = 60.0
PATIENCE = 10.0
GIVES_UP = 3
SEED = 20
"""Also the number of edits that are broken, of a hundred."""
MOST = {"plain": 120.0, "stream": 120.0, "pandas": 150.0}
"""Milliseconds from a save to the first new answer that lastgood may take, as the median."""
DEARER = 1.02


@dataclass
class Row:
    """What was measured of one server: times in milliseconds."""

    part: str
    who: str
    edits: int = 0
    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    older: int = 0
    answered: list[float] = field(default_factory=list)
    mended: list[float] = field(default_factory=list)
    slowest: float = 0.0
    streams: int = 0
    never: str | None = None


class Run:
    """One server, its clients, and the edits."""

    def __init__(self, part: str, kind: Kind, edits: int, top: Path) -> None:
        self.imported, self.streams = PARTS[part]
        self.row = Row(part, kind.name)
        self.root = top / "app"
        self.random = random.Random(SEED)
        order = range(1, edits + 1)
        self.order = order
        self.broken = {*self.random.sample(order[:-1], edits * SEED // 100)}
        write(self.root, self.imported)
        self.running = Running(kind, self.root)

    def measure(self) -> Row:
        """Edit, and judge what the clients have seen."""
        try:
            if not self._starts():
                self.row.never = "does not start"
                return self.row
            with ExitStack() as clients:
                crowd = clients.enter_context(Crowd(self.running.port, SEED))
                listener = clients.enter_context(Listener(self.running.port)) if self.streams else None
                self._edit(crowd)
                row, requests = self.row, [*crowd.requests]
        finally:
            self.running.stop()
        row.requests = len(requests)
        row.failed = dict(failures(requests))
        row.broken = broken_answers(requests, self.broken)
        row.older = older_answers(requests)
        row.slowest = max((request.done - request.sent for request in requests), default=0.0) * 1000
        row.streams = listener.ended if listener else 0
        return row

    def lives(self) -> bool:
        """Return whether the server's process has not ended."""
        return self.running.process.poll() is None

    def _starts(self) -> bool:
        end = time.perf_counter() + START
        while self.lives() and time.perf_counter() < end:
            if self.running.ask(5) == '{"version":0}':
                return True
            time.sleep(0.05)
        return False

    def _edit(self, crowd: Crowd) -> None:
        """Save version after version, until all are done, or the server is."""
        row, unanswered, mends = self.row, 0, False
        for version in self.order:
            time.sleep(self.random.uniform(0.4, 1.2))
            breaks = self.random.choice(BREAKS) if version in self.broken else ""
            saved = time.perf_counter()
            edit(self.root, version, self.imported, breaks)
            row.edits = version
            if not breaks:
                seen = crowd.wait_for(version, PATIENCE, self.lives)
                if seen is not None:
                    (row.mended if mends else row.answered).append((seen - saved) * 1000)
                unanswered = 0 if seen is not None else unanswered + 1
            mends = bool(breaks) or (mends and unanswered > 0)
            if not self.lives():
                row.never = f"gone after edit {version}"
            elif unanswered == GIVES_UP:
                row.never = f"stuck after edit {version}"
            if row.never:
                return
        time.sleep(0.5)


HEAD = (
    f"{'':<8}{'':<24}{'edits':>6}{'requests':>10}{'failed':>8}{'broken':>8}{'older':>7}"
    f"{'median ms':>11}{'worst':>7}{'mended':>8}{'worst':>7}{'slowest request':>17}"
)


def show(row: Row) -> None:
    """Print what was measured of one server."""

    def times(values: Sequence[float], width: int) -> str:
        if not values:
            return f"{'-':>{width}}{'-':>7}"
        return f"{statistics.median(values):>{width}.0f}{max(values):>7.0f}"

    counts = f"{row.edits:>6}{row.requests:>10,}{sum(row.failed.values()):>8,}{row.broken:>8}{row.older:>7}"
    line = f"{row.part:<8}{row.who:<24}{counts}{times(row.answered, 11)}{times(row.mended, 8)}{row.slowest:>17.0f}"
    why = ", ".join(f"{number:,} {what}" for what, number in sorted(row.failed.items()))
    print(line + "".join(f"  {text}" for text in (row.never, why) if text), flush=True)


def targets(rows: Sequence[Row], costs: Sequence[serve_cost.Cost]) -> list[tuple[str, float, float]]:
    """Return each target of which the parts were run: what it is, what was measured, and the most that it may be."""
    told: list[tuple[str, float, float]] = []
    for row in rows:
        if row.who == OURS.name:
            told += [
                (f"{row.part}: edits that were not answered", row.never is not None, 0),
                (f"{row.part}: failed requests", sum(row.failed.values()), 0),
                (f"{row.part}: answers from broken code", row.broken, 0),
                (f"{row.part}: older answers after newer ones", row.older, 0),
            ]
            if row.answered:
                told.append((f"{row.part}: save to new answer, ms", statistics.median(row.answered), MOST[row.part]))
    for cost in costs:
        times = serve_cost.ratio(cost, costs)
        if (cost.who, cost.app) == (OURS.name, "FastAPI") and times is not None:
            told.append((f"FastAPI, {cost.http}: instructions of a request, x uvicorn", times, DEARER))
    return told


def servers(options: argparse.Namespace) -> list[Kind]:
    """Return who is measured, and say who is left out."""
    kinds = [OURS]
    if options.beside:
        kinds.append(ours(options.beside, "lastgood, beside"))
    for kind in () if options.no_peers else SERVERS:
        if missing(kind):
            print(f"{kind.name} is left out: {', '.join(missing(kind))} is not installed")
        else:
            kinds.append(kind)
    return kinds


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [*PARTS, "cost"]
    parser.add_argument("--edits", type=int, default=100, metavar="N", help="100, if not given")
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--no-peers", action="store_true", help="lastgood alone")
    parser.add_argument("--beside", metavar="PYTHON", help="an interpreter with another version of lastgood")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every single time")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends this ends all that it has started
    begin = time.perf_counter()
    kinds = servers(options)
    rows: list[Row] = []
    costs: list[serve_cost.Cost] = []
    for part in [part for part in PARTS if part in options.only]:
        print(HEAD, flush=True)
        for kind in kinds:
            with tempfile.TemporaryDirectory() as directory:
                rows.append(Run(part, kind, options.edits, Path(directory)).measure())
            show(rows[-1])
        print(flush=True)
    if "cost" in options.only:
        with tempfile.TemporaryDirectory() as directory:
            costs = serve_cost.costs(Path(directory))
        serve_cost.show(costs)
        print(flush=True)
    for text, value, most in targets(rows, costs):
        print(f"{'held' if value <= most else 'missed':<8}{value:>8.2f}  (at most {most:g})  {text}")
    print(f"{time.perf_counter() - begin:.0f} s")
    if options.json:
        told = {"rows": [asdict(row) for row in rows], "costs": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
