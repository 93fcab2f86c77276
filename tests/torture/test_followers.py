"""Several processes on one project, of which the one that leads is killed, stopped and cleaned away, while edits go on.

``pytest -m torture`` kills a hundred leaders. Never do two promote at once; no edit is lost; nothing is mixed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from running import program_environment

APP = Path(__file__).with_name("follower.py")
CONFIG = 'python_import_path = ["src"]\n[modules.one]\n[modules.two]\n[output]\ndir = "generated"\nstyle = "sync"\n'
ONE = "import two\n\ndef pair(number: int = {0}) -> tuple[int, int, int]:\n    return number, {0}, two.NUMBER\n"
TWO = "NUMBER = {0}\n\ndef number(number: int = {0}) -> int:\n    return number\n"
QUIET = 60.0
"""Seconds after which an edit counts as lost. On a machine with other work to do, several start at once."""
LONG = 6.0
"""Seconds from which a wait is told with the load of the machine, which explains it, as a rule."""


class App:
    """A process, what it answered last, and what was wrong with its answers."""

    def __init__(self, root: Path, mark: str) -> None:
        path = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, APP],
            cwd=root,
            env=program_environment() | {"PYTHONPATH": path, "TORTURED": mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.answer: tuple[int, int, int] | None = None
        self.role = ""
        self.problems: list[str] = []
        self.err: list[str] = []
        self._readers = [threading.Thread(target=each) for each in (self._read, self._read_errors)]
        for each in self._readers:
            each.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match line.split():
                case ["answer", role, number, one, two]:
                    self.role, self.answer = role, (int(number), int(one), int(two))
                    if one != two:
                        self.problems.append(f"a mixture: {line}")
                case _:
                    self.problems.append(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.err.extend(self.process.stderr)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for each in self._readers:
            each.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Torture:
    """One project, and the apps that live on it."""

    def __init__(self, root: Path, seed: int, apps: int) -> None:
        self.root = root
        self.home = root / ".lastgood" / "generated"
        self.random = random.Random(seed)
        self.mark = uuid.uuid4().hex
        self.tally: Counter[str] = Counter()
        self.longest = 0.0  # until an edit was live in all that had started before
        self.acts: list[str] = []
        self.good = self.number = 0
        (root / "lastgood.toml").write_text(CONFIG)
        self.edit()
        self.apps = [App(root, self.mark) for _ in range(apps)]

    def edit(self, *, broken: bool = False) -> None:
        """Save both modules at one stroke, by the link on the way to them."""
        self.number += 1
        here = self.root / f"version{self.number}"
        here.mkdir()
        (here / "one.py").write_text(ONE.format(self.number) + ("def (" if broken else ""))
        (here / "two.py").write_text(TWO.format(self.number))
        fresh = self.root / ".src.swp"
        fresh.symlink_to(here.name)
        fresh.replace(self.root / "src")
        self.good = self.good if broken else self.number
        self.tally["broken edits" if broken else "edits"] += 1

    def log(self, what: str, pid: int) -> None:
        with (self.root / "promotions.log").open("a") as log:
            log.write(f"{what} {pid}\n")

    def leader(self) -> App | None:
        try:
            pid = int((self.home / "pid").read_text())
        except (OSError, ValueError):
            return None
        return next((app for app in self.apps if app.pid == pid), None)

    def act(self) -> None:
        """Edit, and within the cycle that follows do something terrible."""
        for _ in range(self.random.choice((0, 1, 1, 2))):
            self.edit(broken=self.random.random() < 0.25)
            time.sleep(self.random.uniform(0, 0.3))
        what = self.random.choices(("kill", "stop", "clean", "lock"), (10, 2, 1, 1))[0]
        leader = self.leader()
        self.acts.append(f"{what} {None if leader is None else leader.pid}")
        if what == "clean":
            self.tally["cleans"] += 1
            shutil.rmtree(self.home.parent, ignore_errors=True)
        elif what == "lock":
            self.tally["removed locks"] += 1
            (self.home / "lock").unlink(missing_ok=True)
        elif leader is not None and what == "stop":
            self.tally["stops"] += 1
            leader.process.send_signal(signal.SIGSTOP)
            time.sleep(self.random.choice((0.1, 1.0, 6.0)))
            if self.random.random() < 0.5:
                self.edit()
            leader.process.send_signal(signal.SIGCONT)
        elif leader is not None:
            self.tally["kills"] += 1
            self.log("killed", leader.pid)
            leader.kill()
            assert not leader.problems, leader.problems
            self.apps.remove(leader)
            self.apps.append(App(self.root, self.mark))

    def settle(self) -> None:
        """Leave it alone after a good edit, the last one if that was good, until every process has that."""
        if self.good != self.number or self.random.random() < 0.3:
            self.edit()
        begun, ready = time.monotonic(), [app for app in self.apps if app.answer is not None]
        expected = (self.good,) * 3
        while any(app.answer != expected for app in self.apps):
            self.replace_refused()
            if ready and all(app.answer == expected for app in ready):
                ready, took = [], time.monotonic() - begun  # the others are still starting
                self.longest = max(self.longest, took)
                if took > LONG:
                    load = os.getloadavg()[0] / (os.cpu_count() or 1)
                    print(f"{took:.1f} s for {self.good}, {load:.1f} at each processor, after {self.acts[-3:]}")
            found = [(app.pid, app.role, app.answer, app.problems, app.err[-8:]) for app in self.apps]
            assert time.monotonic() - begun < QUIET, f"{expected}: {found}; {self.tally}"
            time.sleep(0.01)
        for name in ("one", "two"):
            text = (self.root / "generated" / f"{name}.py").read_text()
            assert f"number: int = {self.good}" in text, (self.good, text)
        assert not [problem for app in self.apps for problem in app.problems]

    def replace_refused(self) -> None:
        """A start is refused if the one that leads says nothing, as when it was stopped before it said who it is."""
        for app in [app for app in self.apps if app.process.poll() is not None]:
            app.kill()
            assert "AlreadyWatched" in "".join(app.err), "".join(app.err)
            self.tally["refused"] += 1
            self.apps.remove(app)
            self.apps.append(App(self.root, self.mark))

    def check_log(self) -> None:
        """At no time has a process begun before another one's end, or ended what was no longer its own."""
        inside: set[str] = set()
        killed: set[str] = set()
        last = ""
        for number, line in enumerate((self.root / "promotions.log").read_text().splitlines()):
            what, pid = line.split()
            others = inside - killed - {pid}
            match what:
                case "killed":
                    killed.add(pid)
                case "begin":
                    assert not others, f"line {number}: {pid} begins while {others} are at it"
                    inside = {pid}
                case "end":
                    inside.discard(pid)
                case "apply":
                    assert pid in inside, f"line {number}: {pid} promotes out of its turn"
                    last = pid
                case "commit":
                    assert not others, f"line {number}: {pid} commits while {others} are at it"
                    assert last == pid, f"line {number}: {pid} commits what {last} has promoted"
                case "undo":
                    assert last == pid, f"line {number}: {pid} undoes what {last} has promoted"
            self.tally[f"logged {what}"] += 1

    def end(self) -> None:
        for app in self.apps:
            self.log("killed", app.pid)
            app.kill()
        until = time.monotonic() + QUIET
        while left := marked(self.mark):
            assert time.monotonic() < until, f"these were left: {left}"
            time.sleep(0.05)


def marked(mark: str) -> list[tuple[int, bytes]]:
    """The processes that one of the apps has started, or one that these have."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                if f"TORTURED={mark}".encode() in (each / "environ").read_bytes():
                    found.append((int(each.name), (each / "cmdline").read_bytes()))
            except OSError:
                continue
    return found


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_whatever_becomes_of_the_leader_no_edit_is_lost(tmp_path: Path) -> None:
    kills, stops, seed = (
        int(os.environ.get(name, value)) for name, value in (("KILLS", 100), ("STOPS", 20), ("SEED", 1))
    )
    torture = Torture(tmp_path, seed, apps=4)
    try:
        torture.settle()
        while torture.tally["kills"] < kills or torture.tally["stops"] < stops:
            torture.act()
            if torture.random.random() < 0.3:
                torture.settle()
        torture.settle()
    finally:
        torture.end()
        print(
            f"{dict(sorted(torture.tally.items()))}; every process that ran had it after {torture.longest:.2f} s at most"
        )
    torture.check_log()
    print(dict(sorted(torture.tally.items())))
