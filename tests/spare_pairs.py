"""Pairs of a worker that was warmed, from a spare where it could be, and a fresh one of the same generation, compared.

A real session runs a random project and edits it; before the session sees a new bridge, a second worker is started from the same
manifest, and the two describe themselves (``worker_state.py``). What two fresh processes differ in is not counted.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config
from lastgood.errors import LastgoodError
from lastgood.session.session import Session
from lastgood.session.watch import watch
from lastgood.store.user_key import cache_directory
from process_bridges import DEADLINE
from random_projects import MAYBE, NAMES, Project, edit, random_project

__all__ = ["History", "Pair", "Trial", "pairs_of", "summary"]

History = Generator[tuple[str, Project], bool, None]
"""What edits are called, and the project after each; it is sent whether that went live."""

STATE = Path(__file__).with_name("worker_state.py")
CONFIG = """python_import_path = ["src"]
[modules.main]
functions = []
[modules.hook]
[output]
dir = "generated"
[runtime.process]
spare = {spare}
probation = 0
cwd = "."
python = "{python}"
env.PYTHONPATH = "{root}/site"
env.PYTHONHASHSEED = "0"
{more}"""
LINES = 12  # of a difference that are shown


@dataclass
class Pair:
    """The outcome of an edit. ``warm``: where the worker came from; ``differences``: what a fresh one has otherwise."""

    seed: int
    step: int
    edit: str
    warm: str = "none"
    why: str | None = None
    failed: bool = False
    differences: list[str] = field(default_factory=list)
    unstable: list[str] = field(default_factory=list)
    """What two fresh workers differ in, which was not compared."""

    def __str__(self) -> str:
        lines = "".join(f"\n    {line[:300]}" for line in self.differences)
        return f"seed {self.seed}, step {self.step}: {self.edit}; {self.warm} ({self.why}){lines}"


class Compared(ProcessBridge):
    """A bridge that is compared with a fresh one as soon as it is ready."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.trial: Trial
        self.config: Config
        self.prepared = trio.Event()
        """Set when its spare waits."""

    async def init(self) -> None:
        await self.trial.compare(self, super().init)

    async def prepare_spare(self) -> None:
        with self.trial.output("spare"):
            await super().prepare_spare()
        self.prepared.set()


@dataclass
class Seen:
    """A worker after its imports: its state or why they failed, and what they printed."""

    facts: list[str]
    pid: int | None
    error: Exception | None = None


@dataclass
class Trial:
    """A project on the disk, and the pairs so far. ``compares_all``: a worker that is fresh is compared as well.

    ``is_hasty``: edits do not wait until there is a spare.
    """

    root: Path
    seed: int
    python: str = sys.executable
    spare: bool = True
    compares_all: bool = False
    is_hasty: bool = False
    pairs: list[Pair] = field(default_factory=list)
    pair: Pair | None = None
    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    pids: set[str] = field(default_factory=set)
    """The workers that may have reached outside."""
    logs: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = Path(os.path.realpath(self.root))
        (self.root / "out").mkdir(parents=True)
        (self.root / "log").mkdir()
        self.saved: dict[str, bytes] = {}

    # --- the disk

    def write(self, project: Project, random: Random) -> None:
        """Have the files of the project on the disk and no others; what is the same stays untouched.

        The module of the last edit is written last: that of the next is likely to be the same."""
        os.environ.pop("APP", None)
        os.environ.update(project.environment)
        config = CONFIG.format(root=self.root, python=self.python, spare=str(self.spare).lower(), more=project.settings)
        files = {**project.files(), "lastgood.toml": config.encode()}
        for path in self.saved.keys() - files.keys():
            target = self.root / path
            target.unlink()
            while not any(target.parent.iterdir()):
                target = target.parent
                target.rmdir()
        focus = project.source(project.focus)
        for path, data in sorted(files.items(), key=lambda item: focus is not None and item[0] == focus.path):
            if self.saved.get(path) != data:
                self.save({path: data}, in_place=random.random() < 0.5)
        self.saved = dict(files)
        self.places = tuple(str(self.root / path) for path in files if path.startswith("src/") and path.endswith(".py"))

    def save(self, files: Mapping[str, bytes], *, in_place: bool = False) -> None:
        for path, data in files.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target if in_place else target.with_name(f".{target.name}.swp")
            fresh.write_bytes(data)
            fresh.replace(target)

    def outside(self) -> set[str]:
        """Return the process ids of those who have reached outside."""
        return {name.rpartition("-")[2] for name in os.listdir(self.root / "out")}

    # --- the output of workers

    @contextmanager
    def output(self, kind: str) -> Iterator[None]:
        """Have the output of each worker that is started in this block in a file of its own."""
        with open(self.root / "log" / f"{len(self.logs)}-{kind}", "ab") as file:
            self.logs.append(Path(file.name))
            token = _OUTPUT.set(file.fileno())
            try:
                yield
            finally:
                _OUTPUT.reset(token)

    async def printed(self, end: str) -> list[str]:
        """Return what a worker has printed until it printed this end, which has the worker's process id in it."""
        with trio.fail_after(DEADLINE):
            while True:
                for path in reversed(self.logs):
                    text = path.read_text(errors="replace")
                    if f"{end}\n" in text:
                        return text.splitlines()
                await trio.sleep(0.001)

    def check_output(self) -> None:
        """Nothing is shown of a spare that was not taken."""
        for path in self.logs:
            text = path.read_text(errors="replace")
            if "-spare" in path.name and text and "\nend of " not in text:
                self.pairs[-1].differences.append(f"a spare that was not taken has printed {text[:200]!r}")

    # --- comparing

    async def compare(self, bridge: Compared, init: Callable[[], Any]) -> None:
        """Get a bridge ready, and compare it with a fresh one; what its ``init()`` raises leaves."""
        before = self.outside()
        with self.output("live"):
            live = await self.seen(bridge, init)
        pair = self.pair
        if pair is not None:
            pair.warm = self.warmth_of(bridge, live)
            pair.why = bridge.why_fresh
            pair.failed = live.error is not None
            if pair.warm == "spare" and str(live.pid) in before:
                pair.differences.append("it reached outside before it was taken")
            if pair.warm == "spare" or self.compares_all:
                await self.compare_with_fresh(bridge.config, live, pair)
        if live.error is not None:
            raise live.error

    async def compare_with_fresh(self, config: Config, live: Seen, pair: Pair) -> None:
        fresh = await self.fresh(config)
        found = differences(live.facts, fresh.facts)
        if found:
            self.forget_code(config)
            other = await self.fresh(config)
            pair.unstable = differences(fresh.facts, other.facts)
            unstable = {_subject(line) for line in set(fresh.facts) ^ set(other.facts)}
            live_facts, fresh_facts = (
                [line for line in seen.facts if _subject(line) not in unstable] for seen in (live, fresh)
            )
            found = differences(live_facts, fresh_facts)
        pair.differences += found

    def forget_code(self, config: Config) -> None:
        """Remove the cached code: whether a module is compiled can be seen from inside, by what that opens and imports."""
        assert config.pinned is not None
        cache = cache_directory(Path(os.path.abspath(config.pinned / "../../..")))
        assert cache is not None
        shutil.rmtree(cache / "code", ignore_errors=True)

    async def fresh(self, config: Config) -> Seen:
        """Return what a fresh worker is like."""
        process = msgspec.structs.replace(config.runtime.process, spare=False)
        runtime = msgspec.structs.replace(config.runtime, process=process)
        bridge = ProcessBridge.from_config(msgspec.structs.replace(config, runtime=runtime))
        bridge.on_loaded_late = None
        with self.output("fresh"):
            seen = await self.seen(bridge, bridge.init)
        await bridge.dispose()
        return seen

    async def seen(self, bridge: ProcessBridge, init: Callable[[], Any]) -> Seen:
        try:
            await init()
        except LastgoodError as error:
            text = str(getattr(error, "traceback", error))
            return Seen([f"{type(error).__name__}: {error}", *text.splitlines()], None, error)
        pid = bridge.pid
        assert pid is not None
        self.pids.add(str(pid))
        late = self.names if self.pair is not None and self.pair.step % 2 else ()
        arguments = [
            str(STATE),
            [f"{self.root}/src", f"{self.root}/site"],
            self.names,
            self.places,
            late,
            f"end of {pid}",
        ]
        text = await bridge.call("hook", "take", arguments, {})
        printed = await self.printed(f"end of {pid}")
        own = re.compile(rf"(?<=-){pid}\b|(?<=end of ){pid}$|0x[0-9a-f]{{6,}}")
        return Seen(
            [own.sub("~", line) for line in (*text.splitlines(), *(f"printed {line}" for line in printed))], pid
        )

    def warmth_of(self, bridge: ProcessBridge, live: Seen) -> str:
        """Return where the worker came from; a bridge that failed does not say it itself."""
        is_spare = live.error is not None and bridge._taken and bridge.why_fresh is None
        return "spare" if is_spare else bridge.warm

    # --- running

    def create(self, config: Config) -> Compared:
        bridge = Compared.from_config(config)
        assert isinstance(bridge, Compared)
        bridge.trial, bridge.config = self, config
        return bridge

    async def run(self, history: History) -> list[Pair]:
        """Run a project and its edits: after the first, each is sent whether the one before is live.

        A project that does not start gives a pair of step -1.
        """
        random = Random(self.seed)
        _, project = next(history)
        self.write(project, random)
        try:
            async with watch(
                self.root / "lastgood.toml",
                create_bridge=self.create,
                on_event=lambda _: None,
                debounce=1000.0,  # only what is asked for
                max_wait=2000.0,
                set_as_global=False,
            ) as session:
                await self.edit(session, history, random)
        except LastgoodError as error:
            if self.pairs:
                raise
            self.pairs.append(Pair(self.seed, -1, f"does not start: {error}"))
        os.environ.pop("APP", None)
        if not any(pair.failed for pair in self.pairs):
            self.check_output()
        reached = self.outside() - self.pids
        if reached and self.pair is not None:
            self.pairs[-1].differences.append(f"workers that were never taken reached outside: {reached}")
        return self.pairs

    async def edit(self, session: Session, history: History, random: Random) -> None:
        is_live = True
        while True:
            try:
                name, project = history.send(is_live)
            except StopIteration:
                return
            if self.spare and not self.is_hasty:
                with trio.fail_after(DEADLINE):
                    await session.bridge.prepared.wait()
            session.bridge.prepared = trio.Event()  # it is asked again if the cycle fails
            self.write(project, random)
            self.pair = Pair(self.seed, len(self.pairs), name)
            self.pairs.append(self.pair)
            is_live = await session.reload_now()
            if not is_live:
                self.pids |= self.outside()


def history_of(seed: int, steps: int, outside: str) -> History:
    """Give a random project, then edits of what is live."""
    random = Random(seed)
    project = random_project(random, outside)
    is_live = yield "", project
    for _ in range(steps):
        name, edited = edit(project, random)
        is_live = yield name, edited
        if is_live:
            project = edited


def _subject(line: str) -> str:
    """Return what a fact is of: the name before an index or a value."""
    return line.partition(" = ")[0].partition("[")[0] if line[:1] != "[" else line.partition(" = ")[0]


def differences(live: Sequence[str], fresh: Sequence[str]) -> list[str]:
    """Return the lines that only one of the two has, from where they differ, or say that they have another order."""
    if live == fresh:
        return []
    ours, theirs = list(Counter(live) - Counter(fresh)), list(Counter(fresh) - Counter(live))
    named = {line.partition(" = ")[0]: line for line in theirs}
    lines = []
    for line in ours[:LINES]:
        name = line.partition(" = ")[0]
        other = named.pop(name, name)
        start = next((index for index, pair in enumerate(zip(line, other, strict=False)) if len(set(pair)) > 1), 0)
        start = max(start - 20, 0)
        lines += [f"- {name} … {line[start:]}", f"+ {name} … {other[start:]}"]
    return lines + [f"+ {line}" for line in list(named.values())[:LINES]] or ["the same lines in another order"]


_OUTPUT: ContextVar[int] = ContextVar("output")


class _Stderr:
    """The app's stderr, as the workers get it."""

    def fileno(self) -> int:
        return _OUTPUT.get()


@contextmanager
def stderr_apart() -> Iterator[None]:
    """Have the output of each worker where its context says."""
    before = sys.__stderr__
    sys.__stderr__ = _Stderr()  # type: ignore[assignment,misc]  # what a worker's output is forwarded to
    try:
        yield
    finally:
        sys.__stderr__ = before  # type: ignore[misc]  # as above


def pairs_of(root: Path, seed: int, steps: int, history: History | None = None, **options: Any) -> list[Pair]:
    """Run a random project in this directory, or the one of ``history``."""
    trial = Trial(root, seed, **options)
    trial.names = tuple(dict.fromkeys((*NAMES, *MAYBE)))
    with stderr_apart():
        return trio.run(trial.run, history or history_of(seed, steps, f"{trial.root}/out"))


def summary(pairs: Sequence[Pair]) -> str:
    """Return how many were warm, and the reasons of the others."""
    started = [pair for pair in pairs if pair.step >= 0]
    warm = Counter(pair.warm for pair in started)
    reasons = Counter(re.sub(r"/\S+", "…", str(pair.why)) for pair in started if pair.warm == "fresh")
    failed, unstable = sum(pair.failed for pair in started), sum(bool(pair.unstable) for pair in started)
    return f"{len(started)} pairs, {dict(warm)}, {failed} failed, {unstable} left out; {dict(reasons)}"
