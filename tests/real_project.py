"""A project in a real directory, bridges that only remember, and what a session told: for tests of real sessions."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.errors import NoRuntimeBridge, WorkerDied
from lastgood.session.watch import watch
from lastgood.store.disk import Disk
from lastgood.watch_events import Change, ReloadError, ReloadStart, ReloadSuccess, WatchEvent, WatchPaths

__all__ = [
    "BROKEN",
    "DEADLINE",
    "MINE",
    "MORE",
    "QUOTE",
    "FakeBridge",
    "FakeFactory",
    "Pause",
    "RealProject",
    "Told",
    "assert_another_starts",
    "assert_nothing_is_left",
    "assert_the_next_cycle_is_of",
    "hold_promote",
    "in_virtual_time",
    "quote",
    "raises",
    "raises_async",
]

DEADLINE = 30.0
"""Seconds after which a test that waits for something real has failed."""

QUOTE = "def quote(sku: str) -> float:\n    return 1.0\n"
MORE = QUOTE + "def more() -> None: ...\n"
BROKEN = "def quote(:\n"

MINE = LookupError("mine")
"""What a user's own function raises."""

T = TypeVar("T")

_END: Any = ReloadSuccess | ReloadError


class RealProject:
    """Files below ``root``. Every save is by rename, as editors do it, so that nobody ever reads half a file."""

    def __init__(self, root: Path, files: Mapping[str, str] | None = None) -> None:
        self.root = Path(os.path.realpath(root))
        self.config_file = self.root / "lastgood.toml"
        self.output = self.root / "generated"
        self.configure("pricing")
        for path, text in (files or {"pricing.py": QUOTE}).items():
            self.save(path, text)

    def configure(self, *modules: str, head: str = "", output: str = "generated") -> None:
        """Save a config that names ``modules``; ``head`` comes before the first table."""
        tables = "".join(f'[modules."{module}"]\n' for module in modules) or "[modules]\n"
        self.save("lastgood.toml", f'{head}\n{tables}[output]\ndir = "{output}"\n')

    def save(self, path: str, text: str) -> Path:
        """Write a new file and rename it over the old one."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.swp")  # a name that editors use, and that is ignored
        fresh.write_text(text)
        fresh.replace(target)
        return target

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def tree(self) -> dict[str, bytes]:
        """The output directory: every file with its bytes, bytecode apart."""
        found = (path for path in sorted(self.output.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(self.output).as_posix(): path.read_bytes() for path in found}

    def exact_tree(self) -> dict[str, tuple[bytes, int, int]]:
        """The same, each with mode and modification time."""
        stats = {name: (self.output / name).stat() for name in self.tree()}
        return {name: (data, stats[name].st_mode, stats[name].st_mtime_ns) for name, data in self.tree().items()}

    def leftovers(self) -> list[str]:
        """What lies in lastgood's own directory that must be gone between two cycles and after the end."""
        names = (path.name for path in (self.root / ".lastgood").rglob("*"))
        return sorted(name for name in names if name.startswith(("stage-", "journal", "backup", "pid")))


def in_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    """Timeouts elapse as soon as every task waits; the threshold gives real threads their moment."""
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


class FakeBridge:
    """``log``: what was done with it. A call of ``wait`` is in flight until ``answer`` is set; ``breakdown`` ends it."""

    def __init__(self, number: int, pause: Callable[[str], Any]) -> None:
        self.number = number
        self.log: list[str] = []
        self.calls: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = []
        self.in_flight = trio.Event()
        self.answer = trio.Event()
        self.breakdown = trio.Event()
        self._pause = pause

    @property
    def disposed(self) -> bool:
        return "dispose" in self.log

    async def init(self) -> None:
        self.log.append("init")
        await self._pause("init")

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        self.calls.append((module, function, tuple(args), dict(kwargs)))
        if function == "wait":
            self.in_flight.set()
            await self.answer.wait()
        await trio.lowlevel.checkpoint()
        return self.number

    async def lost(self) -> WorkerDied:
        await self.breakdown.wait()
        return WorkerDied(1, f"bridge {self.number}\n")

    async def dispose(self) -> None:
        self.log.append("dispose")
        await self._pause("dispose")


class Pause:
    """A point at which the code under test stops until the test has seen it (``reached``) and says ``go``."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self._go = trio.Event()
        self._go_in_thread = threading.Event()
        self._token = trio.lowlevel.current_trio_token()

    def go(self) -> None:
        self._go.set()
        self._go_in_thread.set()

    async def here(self) -> None:
        self.reached.set()
        await self._go.wait()

    def here_in_thread(self) -> None:
        self._token.run_sync_soon(self.reached.set)
        if not self._go_in_thread.wait(DEADLINE):
            raise TimeoutError("nobody said go")


def hold_promote(monkeypatch: pytest.MonkeyPatch) -> Pause:
    """Stop in the middle of the next promotion."""
    pause, link = Pause(), Disk.link

    def held(self: Disk, source: Path, target: Path) -> None:
        monkeypatch.setattr(Disk, "link", link)
        link(self, source, target)
        pause.here_in_thread()

    monkeypatch.setattr(Disk, "link", held)
    return pause


class FakeFactory:
    """``create_bridge``, ``generate`` and ``probe`` for a session, at which faults and pauses can be set.

    The points: "generate", "create", "init", "probe", "dispose". A fault or a pause is for the next time alone.
    """

    def __init__(self) -> None:
        self.bridges: list[FakeBridge] = []
        self.configs: list[Config] = []
        self._at: dict[str, Callable[[], Any]] = {}

    @property
    def latest(self) -> FakeBridge:
        return self.bridges[-1]

    def fail(self, point: str, error: BaseException) -> None:
        """Raise ``error`` at the next ``point``."""

        def raise_it() -> None:
            raise error

        self._at[point] = raise_it

    def call(self, point: str, function: Callable[[], object]) -> None:
        """Call something at the next ``point``; what it gives is awaited, if it can be."""
        self._at[point] = function

    def pause(self, point: str) -> Pause:
        """Stop at the next ``point``."""
        pause = Pause()
        self._at[point] = pause.here
        return pause

    def hang(self, point: str) -> None:
        """Never come back from the next ``point``."""
        self._at[point] = trio.sleep_forever

    async def pass_by(self, point: str) -> None:
        action = self._at.pop(point, None)
        result = None if action is None else action()
        if inspect.isawaitable(result):
            await result
        await trio.lowlevel.checkpoint()

    async def create_bridge(self, config: Config) -> FakeBridge:
        self.configs.append(config)
        await self.pass_by("create")
        self.bridges.append(FakeBridge(len(self.bridges) + 1, self.pass_by))
        return self.latest

    async def probe(self, bridge: FakeBridge) -> None:
        bridge.log.append("probe")
        await self.pass_by("probe")


class Told:
    """``on_event`` of a session: keeps every event, and can be waited on."""

    def __init__(self) -> None:
        self.events: list[WatchEvent] = []
        self._more = trio.Event()
        self._seen = 0

    def __call__(self, event: WatchEvent) -> None:
        self.events.append(event)
        self._more.set()

    async def next(self, kind: type[T]) -> T:
        """The next event of that class; what comes before it is passed over."""
        with trio.fail_after(DEADLINE):
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if isinstance(event, kind):
                        return event
                self._more = trio.Event()
                await self._more.wait()

    async def success(self) -> ReloadSuccess:
        """The end of the next cycle, which must be a good one."""
        end = await self.next(_END)
        assert isinstance(end, ReloadSuccess), end
        return end

    async def failure(self) -> ReloadError:
        """The end of the next cycle, which must be a failure."""
        end = await self.next(_END)
        assert isinstance(end, ReloadError), end
        return end

    async def end(self) -> ReloadSuccess | ReloadError:
        """The end of the next cycle, good or not."""
        end: ReloadSuccess | ReloadError = await self.next(_END)
        return end

    @property
    def cycles(self) -> list[tuple[str, int]]:
        """What became of the cycles so far: tag and number of their starts and ends."""
        told = (event for event in self.events if isinstance(event, ReloadStart | ReloadSuccess | ReloadError))
        return [(event.type, event.cycle) for event in told]

    @property
    def changes(self) -> list[Path]:
        return [event.path for event in self.events if isinstance(event, Change)]

    @property
    def watched(self) -> tuple[Path, ...]:
        """The watched set as it was told last."""
        return [event for event in self.events if isinstance(event, WatchPaths)][-1].paths


def assert_nothing_is_left(project: RealProject) -> None:
    assert project.leftovers() == [], project.leftovers()
    with pytest.raises(NoRuntimeBridge):
        runtime.get_runtime_bridge()


async def assert_another_starts(project: RealProject) -> None:
    """No lock, no registry entry, no journal is in the way of the next session."""
    async with watch(project.config_file, create_bridge=FakeFactory().create_bridge) as session:
        assert session.generation == 1


def raises(error: BaseException) -> Callable[..., Any]:
    def plain(*_: object) -> Any:
        raise error

    return plain


def raises_async(error: BaseException) -> Callable[..., Any]:
    async def awaited(*_: object) -> Any:
        await trio.lowlevel.checkpoint()
        raise error

    return awaited


def quote(version: int) -> str:
    """A source in this version."""
    return QUOTE.replace("1.0", f"{version}.5")


async def assert_the_next_cycle_is_of(project: RealProject, told: Told, *paths: str) -> None:
    good = await told.success()
    assert good.changed == tuple(sorted(project.root / path for path in paths)), good.changed
