"""The same scripts on both interpreters: the world in memory, and a real session on real files.

After every step both must have told the same events, hold the same generation and status, have the same bridges in the same
states, and have the very same wrappers. A :class:`~lastgood.watch_events.Change` is left out: when it comes is up to the system.

What they agree on, all but the text of wrappers, is that of ``records/scripts/``; ``recording.py`` says how to renew it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
import trio
import trio.testing

from lastgood.errors import BridgeError, Disposed
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.session.session import Session, Status
from lastgood.session.watch import watch
from lastgood.store.disk import Disk
from lastgood.testing import ROOT, World
from lastgood.watch_events import Change, ReloadError, ReloadStart, ReloadSuccess, WatchEvent, WatchPaths
from real_project import BROKEN, QUOTE, FakeFactory, RealProject, Told
from recording import compare_with_record

MORE = QUOTE + "def more(sku: str) -> str: ...\n"
SAME = QUOTE.replace("1.0", "2.0")
CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'
TWO = '[modules.pricing]\n[modules."shop.cart"]\n[output]\ndir = "generated"\n'
ALONE = CONFIG + "[runtime.process]\noverlap = false\n"
ELSEWHERE = '[modules.pricing]\n[output]\ndir = "wrappers"\n'
FILES = {"lastgood.toml": CONFIG, "pricing.py": QUOTE}

POINTS = ("create", "init", "probe")
CHANGES = ("write", "replace", "link", "unlink", "mkdir", "rmdir", "chmod", "barrier")

Step = tuple[Any, ...]


class Player(Protocol):
    """Does the steps of a script. ``edit`` and ``remove`` lead to a cycle, and wait for its end; ``quietly`` to none."""

    async def edit(self, path: str, text: str) -> None: ...
    async def remove(self, path: str) -> None: ...
    async def quietly(self, path: str, text: str) -> None: ...
    async def edit_during(self, point: str, path: str, text: str) -> None: ...
    async def fail_warm(self, point: str) -> None: ...
    async def fail_promote(self, at: int) -> None: ...
    async def reload(self, expected: bool) -> None: ...
    async def reload_twice(self, point: str) -> None: ...
    async def begin_call(self) -> None: ...
    async def end_calls(self, bridge: int) -> None: ...
    async def close(self) -> None: ...
    async def close_during(self, point: str) -> None: ...

    def standing(self) -> tuple[Any, ...]:
        """Everything that must agree."""
        ...


def rows(events: Sequence[WatchEvent], root: Path) -> list[tuple[Any, ...]]:
    """What was told, as far as both can tell the same."""

    def names(paths: Sequence[Path]) -> list[str]:
        return [path.relative_to(root).as_posix() if path.is_absolute() else path.as_posix() for path in paths]

    told: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case Change():
                continue
            case WatchPaths():
                told.append((event.type, names(event.paths)))
            case ReloadStart():
                told.append((event.type, event.cycle, event.manual, names(event.changed)))
            case ReloadSuccess():
                files = names(event.written), names(event.touched)
                told.append((event.type, event.cycle, event.generation, event.manual, names(event.changed), *files))
            case ReloadError():
                what = event.effect, type(event.error).__name__, event.live_generation
                told.append((event.type, event.cycle, event.manual, names(event.changed), *what))
            case _:
                told.append((event.type,))
    return told


def brief(status: Status) -> tuple[Any, ...]:
    return status.generation, status.stale, status.since is None, type(status.error).__name__


class Virtual:
    """Plays on :class:`lastgood.testing.World`."""

    def __init__(self, files: dict[str, str]) -> None:
        self.world = World(files)
        self.world.start()

    async def edit(self, path: str, text: str) -> None:
        told = len(self.world.events)
        self.world.write(path, text)
        self.world.advance(0.1)
        assert isinstance(self.world.events[-1], ReloadSuccess | ReloadError)
        assert len(self.world.events) > told

    async def remove(self, path: str) -> None:
        self.world.remove(path)
        self.world.advance(0.1)

    async def quietly(self, path: str, text: str) -> None:
        told = len(self.world.events)
        self.world.write(path, text)
        self.world.advance(10)
        assert len(self.world.events) == told

    async def edit_during(self, point: str, path: str, text: str) -> None:
        self.world.at("warm", POINTS.index(point) + 1, lambda: self.world.write(path, text))
        self.world.reload_now()
        self.world.advance(0.1)

    async def fail_warm(self, point: str) -> None:
        self.world.fail("warm", POINTS.index(point) + 1, LookupError(point))

    async def fail_promote(self, at: int) -> None:
        self.world.fail("promote", at)

    async def reload(self, expected: bool) -> None:
        assert self.world.reload_now() is expected

    async def reload_twice(self, point: str) -> None:
        second: list[int] = []
        self.world.at("warm", 1, lambda: second.append(self.world.request_reload()))
        self.world.fail("warm", POINTS.index(point) + 1, LookupError(point))
        assert not self.world.reload_now()
        assert self.world.answer(second[0]) is True

    async def begin_call(self) -> None:
        self.world.begin_call()

    async def end_calls(self, bridge: int) -> None:
        self.world.end_calls(self.world.bridges[bridge])

    async def close(self) -> None:
        self.world.close()

    async def close_during(self, point: str) -> None:
        self.world.at("warm", POINTS.index(point) + 1, self.world.close)
        assert not self.world.reload_now()

    def standing(self) -> tuple[Any, ...]:
        bridges = [bridge.state == "disposed" for bridge in self.world.bridges]
        output = {name: text for name, text in self.world.files.items() if name.startswith(("generated/", "wrappers/"))}
        return rows(self.world.events, ROOT), brief(self.world.status), bridges, output, list(self.world.leftovers)


class Real:
    """Plays on a session on real files, with bridges that only remember."""

    def __init__(
        self, project: RealProject, session: Session, factory: FakeFactory, told: Told, nursery: trio.Nursery
    ) -> None:
        self.project = project
        self.session = session
        self.factory = factory
        self.told = told
        self._nursery = nursery
        self._patch = pytest.MonkeyPatch()

    async def edit(self, path: str, text: str) -> None:
        self.project.save(path, text)
        await self.told.end()

    async def remove(self, path: str) -> None:
        self.project.remove(path)
        await self.told.end()

    async def quietly(self, path: str, text: str) -> None:
        self.project.save(path, text)

    async def edit_during(self, point: str, path: str, text: str) -> None:
        self.factory.call(point, lambda: self.project.save(path, text))
        await self.session.reload_now()
        await self.told.end()
        await self.told.end()

    async def fail_warm(self, point: str) -> None:
        self.factory.fail(point, LookupError(point))

    async def fail_promote(self, at: int) -> None:
        """Make change number ``at`` of the next promotion fail, counted as the world counts."""
        left = [at]
        promote = CycleFiles.promote

        def counted(real: Callable[..., None]) -> Callable[..., None]:
            def change(*arguments: Any) -> None:
                left[0] -= 1
                if left[0] == 0:
                    raise OSError("injected")
                real(*arguments)

            return change

        def promote_faultily(work: CycleFiles) -> None:
            if not isinstance(work.project.files, Disk):
                return promote(work)  # the world's
            for name in CHANGES:
                self._patch.setattr(Disk, name, counted(getattr(Disk, name)))
            try:
                promote(work)
            finally:
                self._patch.undo()
            return None

        self._patch.setattr(CycleFiles, "promote", promote_faultily)

    async def reload(self, expected: bool) -> None:
        assert await self.session.reload_now() is expected
        await self.told.end()

    async def reload_twice(self, point: str) -> None:
        answers: list[bool] = []

        async def reload() -> None:
            answers.append(await self.session.reload_now())

        pause = self.factory.pause("create")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            await pause.reached.wait()
            nursery.start_soon(reload)
            await trio.testing.wait_all_tasks_blocked()
            self.factory.fail(point, LookupError(point))
            pause.go()
        assert answers == [False, True]
        await self.told.end()
        await self.told.end()

    async def begin_call(self) -> None:
        bridge = self.factory.latest
        bridge.in_flight = trio.Event()
        self._nursery.start_soon(self._call)
        await bridge.in_flight.wait()

    async def _call(self) -> None:
        with suppress(BridgeError):  # it may be cut off
            await self.session.handle.call("pricing", "wait")

    async def end_calls(self, bridge: int) -> None:
        self.factory.bridges[bridge].answer.set()
        await trio.testing.wait_all_tasks_blocked()

    async def close(self) -> None:
        await self.session.close()

    async def close_during(self, point: str) -> None:
        answers: list[bool] = []

        async def reload() -> None:
            answers.append(await self.session.reload_now())

        pause = self.factory.pause(point)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            await pause.reached.wait()
            await self.session.close()
        assert answers == [False]
        with pytest.raises(Disposed):
            await self.session.reload_now()

    def standing(self) -> tuple[Any, ...]:
        bridges = [bridge.disposed for bridge in self.factory.bridges]
        output = {
            path.relative_to(self.project.root).as_posix(): path.read_text()
            for directory in ("generated", "wrappers")
            for path in sorted((self.project.root / directory).rglob("*"))
            if path.is_file()
        }
        left = [name for name in self.project.leftovers() if name != "pid"]
        return rows(self.told.events, self.project.root), brief(self.session.status), bridges, output, left


@asynccontextmanager
async def real(root: Path, files: dict[str, str]) -> AsyncIterator[Real]:
    project, factory, told = RealProject(root, files), FakeFactory(), Told()
    program = watch(
        project.config_file,
        create_bridge=factory.create_bridge,
        probe=factory.probe,
        on_event=told,
        debounce=0.01,
        drain_timeout=3600,
    )
    async with trio.open_nursery() as nursery, program as session:
        await told.end()
        yield Real(project, session, factory, told, nursery)
        for bridge in factory.bridges:
            bridge.answer.set()


SCRIPTS: dict[str, list[Step]] = {
    "edit, break, fix": [
        ("edit", "pricing.py", MORE),
        ("edit", "pricing.py", BROKEN),
        ("edit", "pricing.py", BROKEN + "again"),
        ("edit", "pricing.py", MORE),
        ("edit", "pricing.py", SAME),
        ("close",),
    ],
    "the same bytes are no edit": [
        ("quietly", "pricing.py", QUOTE),
        ("quietly", "lastgood.toml", CONFIG),
        ("quietly", "other.py", "x = 1\n"),
        ("edit", "pricing.py", MORE),
        ("quietly", "pricing.py", MORE),
        ("edit", "pricing.py", QUOTE),
    ],
    "what failed is tried again by reload_now alone": [
        ("edit", "pricing.py", BROKEN),
        ("quietly", "pricing.py", BROKEN),
        ("reload", False),
        ("edit", "pricing.py", QUOTE),
        ("reload", True),
    ],
    "warming fails at each point": [
        *((("fail_warm", point), ("edit", "pricing.py", MORE + "#" * number)) for number, point in enumerate(POINTS)),
    ],
    "a promotion fails at each of its first operations": [
        *((("fail_promote", at), ("edit", "pricing.py", MORE + f"def f{at}() -> None: ...\n")) for at in range(1, 9)),
    ],
    "a promotion that adds and removes fails at each of its first operations": [
        ("quietly", "shop/cart.py", QUOTE),
        *((("fail_promote", at), ("edit", "lastgood.toml", TWO + "#" * at)) for at in range(1, 12)),
        ("edit", "lastgood.toml", TWO),
        *((("fail_promote", at), ("edit", "lastgood.toml", CONFIG + "#" * at)) for at in range(1, 12)),
        ("edit", "lastgood.toml", CONFIG),
    ],
    "modules come and go": [
        ("edit", "lastgood.toml", TWO),  # one of them is missing
        ("edit", "shop/cart.py", QUOTE),
        ("edit", "shop/cart.py", BROKEN),
        ("edit", "pricing.py", MORE),
        ("edit", "shop/cart.py", MORE),
        ("remove", "shop/cart.py"),
        ("edit", "lastgood.toml", CONFIG),
        ("quietly", "shop/cart.py", QUOTE),
        ("edit", "pricing.py", QUOTE),
    ],
    "a module becomes a package and a module again": [
        ("edit", "pricing/__init__.py", MORE),
        ("remove", "pricing.py"),
        ("edit", "pricing/part.py", "x = 1\n"),
        ("edit", "pricing.py", QUOTE),
        ("remove", "pricing/__init__.py"),
        ("close",),
    ],
    "the config breaks, goes, and comes back": [
        ("edit", "lastgood.toml", "["),
        ("edit", "lastgood.toml", "[development]\n" + CONFIG),
        ("remove", "lastgood.toml"),
        ("edit", "pricing.py", MORE),
        ("edit", "lastgood.toml", CONFIG),
    ],
    "another output directory": [
        ("edit", "lastgood.toml", ELSEWHERE),
        ("edit", "pricing.py", MORE),
        ("fail_warm", "init"),
        ("edit", "lastgood.toml", CONFIG),
        ("reload", True),
    ],
    "an edit during a cycle": [
        ("edit_during", "create", "pricing.py", MORE),
        ("edit_during", "init", "pricing.py", QUOTE),
        ("edit_during", "probe", "pricing.py", BROKEN),
        ("edit", "pricing.py", QUOTE),
    ],
    "two reloads of which the first fails": [("reload_twice", "init"), ("reload_twice", "probe"), ("close",)],
    "a call in flight keeps its bridge": [
        ("begin_call",),
        ("reload", True),
        ("begin_call",),
        ("edit", "pricing.py", MORE),
        ("end_calls", 0),
        ("reload", True),
        ("end_calls", 1),
    ],
    "no two bridges overlap": [
        ("edit", "lastgood.toml", ALONE),
        ("edit", "pricing.py", MORE),
        ("edit", "pricing.py", BROKEN),
        ("edit", "pricing.py", SAME),
        ("edit_during", "create", "pricing.py", QUOTE),
        ("edit", "lastgood.toml", CONFIG),
    ],
    "at most two bridges drain": [*((("begin_call",), ("reload", True)) for _ in range(4)), ("end_calls", 2)],
    "a hand-edited wrapper is kept aside": [
        ("quietly", "generated/pricing.py", "mine = True\n"),
        ("edit", "pricing.py", MORE),
        ("quietly", "generated/foreign.py", "mine = True\n"),
        ("edit", "pricing.py", QUOTE),
    ],
    "a foreign file is in the way": [
        ("quietly", "generated/shop/cart.py", "mine = True\n"),
        ("quietly", "shop/cart.py", QUOTE),
        ("edit", "lastgood.toml", TWO),
        ("edit", "lastgood.toml", CONFIG + "\n"),
    ],
    # Not during create: in memory a bridge is there from then on, in reality only when its factory has returned.
    **{f"close during {point}": [("edit", "pricing.py", MORE), ("close_during", point)] for point in POINTS[1:]},
}


def flat(script: Sequence[Any]) -> list[Step]:
    """A script is written with groups of steps among its steps."""
    return [step for each in script for step in ([each] if isinstance(each[0], str) else each)]


class Transcript:
    """What a script leads to: under each step what it made told, and what stands after it where that is something else."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._told = 0
        self._stands: tuple[Any, ...] = ()

    def add(self, step: str, standing: tuple[Any, ...]) -> None:
        events, status, disposed, output, left = standing
        self.lines.append(step)
        self.lines += [f"    {' '.join(map(str, event))}" for event in events[self._told :]]
        self._told = len(events)
        stands = status, disposed, list(output), left
        if stands != self._stands:
            self._stands = stands
            generation, stale, _, error = status
            gone = ", ".join("disposed" if each else "there" for each in disposed)
            self.lines.append(
                f"    = generation {generation}, {f'stale: {error}' if stale else 'good'}; bridges {gone}"
            )
            self.lines.append(f"      {' '.join(output)}; left {' '.join(left) or 'nothing'}")


@pytest.mark.parametrize("name", SCRIPTS)
async def test_both_interpreters_agree(name: str, tmp_path: Path) -> None:
    virtual, transcript = Virtual(FILES), Transcript()
    transcript.add("start", virtual.standing())
    async with real(tmp_path, FILES) as live:
        assert live.standing() == virtual.standing()
        for step, *arguments in flat(SCRIPTS[name]):
            for player in (virtual, live):
                await getattr(player, step)(*arguments)
            assert live.standing() == virtual.standing(), (step, *arguments)
            transcript.add(" ".join([step, *map(repr, arguments)]), live.standing())
    compare_with_record(f"scripts/{name.replace(', ', ' ').replace(' ', '-')}", "\n".join(transcript.lines) + "\n")
