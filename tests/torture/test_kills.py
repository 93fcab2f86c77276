"""A session killed at random instants leaves the old wrappers or the new ones, never a mixture.

Most of the kills hit a promotion: the victim says when one begins, and is killed after a random part of the time that its
last one took. ``pytest -m torture`` does two hundred of them.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pytest
import trio

from lastgood.bridges.worker.manifest import Manifest
from lastgood.config import Config
from lastgood.session.watch import WatchProgram, watch
from lastgood.store.generations import KEPT
from lastgood.watch_events import Recovered, WatchEvent
from lastgood.wrappers import Generated
from real_project import DEADLINE
from torture.victim import ExactTree, Idle, exact_tree, wrappers_of, write_wrappers

VICTIM = Path(__file__).with_name("victim.py")


class Lines:
    """The lines that come through a pipe, each within the deadline."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def next(self) -> str:
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._descriptor], [], [], DEADLINE)
            assert ready, f"nothing came within {DEADLINE} s"
            more = os.read(self._descriptor, 4096)
            assert more, f"it ended, and said last: {self._rest!r}"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def next_with(self, word: str) -> str:
        """The next line that begins with ``word``; others are passed over."""
        while not (line := self.next()).startswith(word):
            pass
        return line


@contextmanager
def python(*arguments: str, stderr: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Another Python that finds what this one does; killed at the end, if it still lives."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class Killing:
    """One output directory, and sessions on it that come to a bad end."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.output = root / "generated"
        self.home = root / ".lastgood" / "generated"
        self.random = random.Random(seed)
        self.generation = 0
        self.backup = self.home / "backup"
        self.takes = deque[float](maxlen=9)
        self.tally: Counter[str] = Counter()
        (root / "lastgood.toml").write_text('[modules]\n[output]\ndir = "generated"\n')
        self.run(self.program(self.generate))

    def once(self) -> None:
        """Kill a session, sometimes the next one, too; then look at what is there after a start that cannot generate."""
        self.act_like_a_user()
        self.kill_a_promotion()
        self.tally[self.moment()] += 1
        was_promoting = (self.home / "journal.json").exists()
        if self.random.random() < 0.25:
            self.kill_a_start()
        is_promoting = (self.home / "journal.json").exists()
        told: list[WatchEvent] = []
        with pytest.raises(LookupError, match="a source is broken"):
            self.run(self.program(cannot_generate, told))
        self.check_tree(was_promoting)
        self.check_leftovers()
        assert [type(event) for event in told if isinstance(event, Recovered)] == [Recovered] * is_promoting, told
        self.run(self.program(self.generate))
        assert {path: text for path, (text, _, _) in exact_tree(self.output).items() if text} == {
            path: text for path, text in wrappers_of(self.generation).items() if text
        }
        self.check_leftovers()

    def kill_a_promotion(self) -> None:
        with python(str(VICTIM), str(self.root), str(self.generation + 1)) as victim:
            assert victim.stdout is not None
            lines = Lines(victim.stdout.fileno())
            for _ in range(self.random.randrange(1, 3)):
                lines.next_with("generated")
                self.spin_until(self.backup.exists)
                begun = time.perf_counter()
                lines.next_with("promoted")
                self.takes.append(time.perf_counter() - begun)
            lines.next_with("generated")
            # Some at any moment, most from the first backup on; what comes soon after the end is worth a try, too.
            if self.random.random() < 0.8:
                self.spin_until(self.backup.exists)
            self.spin(self.random.uniform(0, 1.5) * median(self.takes))
            victim.kill()

    def kill_a_start(self) -> None:
        """The next session comes to recover, and is killed as well."""
        with python(str(VICTIM), str(self.root), "0") as victim:
            pid = self.home / "pid"
            self.spin_until(lambda: pid.exists() and pid.read_text() == f"{victim.pid}\n")
            self.spin(self.random.uniform(0, median(self.takes)))
            victim.kill()

    def spin_until(self, condition: Callable[[], bool]) -> None:
        """Not a sleep: those end too late by more than an operation on a file takes."""
        until = time.perf_counter() + DEADLINE
        while not condition():
            assert time.perf_counter() < until

    def spin(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        self.spin_until(lambda: time.perf_counter() >= until)

    def check_tree(self, was_promoting: bool) -> None:
        record = json.loads((self.root / "record.json").read_text())
        old, new = (as_tree(record[which]) for which in ("old", "new"))
        found = exact_tree(self.output)
        # While its journal is there a promotion is not committed; whoever kills the recovery does not change that.
        assert found == old or (found == new and not was_promoting), difference(found, old, new)
        self.generation = record["generation"]
        self.tally["came back to the old" if found == old else "has the new"] += 1

    def moment(self) -> str:
        """When it was killed, by what it left."""
        left = set(os.listdir(self.home))
        if "journal.json" in left:
            return "in the promotion, with a journal"
        return "in the promotion, before its journal or after the commit" if "backup" in left else "outside of it"

    def check_leftovers(self) -> None:
        """Nothing of a promotion, and no generation but the last good ones."""
        assert sorted(os.listdir(self.home)) == ["followers", "generations", "leader", "lock", "manifest.json"]
        assert os.listdir(self.home / "followers") == []
        kept = {name: set(os.listdir(self.home / "generations" / name)) for name in ("manifests", "objects")}
        manifests = [
            Manifest.loads((self.home / "generations" / "manifests" / name).read_bytes(), name)
            for name in kept["manifests"]
        ]
        assert len(manifests) <= KEPT + 1
        assert kept["objects"] == {digest for manifest in manifests for digest in manifest.files.values()}

    def act_like_a_user(self) -> None:
        """Modes are the user's."""
        files = [path for path in self.output.rglob("*") if self.random.random() < 0.1]
        for path in files:
            path.chmod(0o750 if path.is_dir() else 0o640)

    def generate(self, _config: Config, stage: Path) -> Generated:
        self.generation += 1
        return write_wrappers(stage, wrappers_of(self.generation))

    def program(self, generate: object, told: list[WatchEvent] | None = None) -> WatchProgram:
        return watch(
            self.root / "lastgood.toml",
            create_bridge=lambda _: Idle(),
            generate=generate,  # type: ignore[arg-type]  # any of the two kinds
            on_event=None if told is None else told.append,
        )

    def run(self, program: WatchProgram) -> None:
        async def start_and_end() -> None:
            async with program:
                pass

        trio.run(start_and_end)


def cannot_generate(_config: Config, _stage: Path) -> Generated:
    raise LookupError("a source is broken")


def as_tree(record: dict[str, list[object]]) -> ExactTree:
    return {path: (str(text), int(str(mode)), int(str(time))) for path, (text, mode, time) in record.items()}


def difference(found: ExactTree, old: ExactTree, new: ExactTree) -> str:
    """What to know of a mixture."""
    paths = sorted({*found, *old, *new})
    is_as = {(False, False): "neither", (True, False): "old", (False, True): "new", (True, True): "both"}
    lines = [f"{path}: {is_as[found.get(path) == old.get(path), found.get(path) == new.get(path)]}" for path in paths]
    return "\n".join(line for line in lines if not line.endswith("both"))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the wrappers are. In memory nothing waits for a device, so that a kill hits operations and not the waiting."""
    if request.param == "disk":
        yield tmp_path
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm")
    with TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.mark.parametrize(
    ("place", "kills"),
    [
        ("memory", 4),
        pytest.param("memory", 200, marks=pytest.mark.torture),
        pytest.param("disk", 100, marks=pytest.mark.torture),
    ],
    indirect=["place"],
)
def test_a_killed_session_leaves_the_old_wrappers_or_the_new_ones(kills: int, place: Path) -> None:
    killing = Killing(place, seed=kills)
    for _ in range(kills):
        killing.once()
    print(f"{kills} kills: {dict(sorted(killing.tally.items()))}")
    if kills >= 100:
        assert killing.tally["in the promotion, with a journal"] > kills / 10


# --- the workers of a killed session ------------------------------------------------------------------------------

APP = "import sys, trio; from lastgood.session.watch import watch; trio.run(watch(sys.argv[1]))"
SOURCE = "import os\nprint('worker', os.getpid())\ndef quote() -> float:\n    return 1.0\n"


@pytest.mark.parametrize(
    ("edit", "workers"),
    [("", 1), ("while True: pass\n", 2), ("import time; time.sleep(1000)\n", 2)],
    ids=[
        "while it is quiet",
        "while the next worker is busy with an import",
        "while the next worker waits in an import",
    ],
)
def test_a_killed_session_leaves_no_worker(edit: str, workers: int, tmp_path: Path) -> None:
    (tmp_path / "lastgood.toml").write_text('[modules.pricing]\n[output]\ndir = "generated"\n')
    source = tmp_path / "pricing.py"
    source.write_text(SOURCE)
    with python("-c", APP, str(tmp_path / "lastgood.toml"), stderr=subprocess.PIPE) as app:
        assert app.stderr is not None
        lines = Lines(app.stderr.fileno())
        alive = [os.pidfd_open(int(lines.next_with("worker").split()[1]))]
        if edit:
            source.write_text(SOURCE + edit)
            alive.append(os.pidfd_open(int(lines.next_with("worker").split()[1])))
        app.kill()
        app.wait()
        for worker in alive:
            gone, _, _ = select.select([worker], [], [], DEADLINE)
            os.close(worker)
            assert gone
    assert len(alive) == workers
