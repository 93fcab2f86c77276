"""The notifier: what is armed, hints, and what happens when the system does not play along."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from watchfiles._rust_notify import RustNotify

from lastgood.interpreters import watching
from lastgood.interpreters.watching import LIMIT_ADVICE, OPEN_FILES_ADVICE, Notifier, places
from lastgood.planner.watch_set import WatchSet
from lastgood.sources.listings import Listings
from lastgood.sources.snapshots import Linked
from lastgood.store.disk import Disk
from process_bridges import until
from real_project import DEADLINE


class Hints:
    """Counts the hints, and waits for the next."""

    def __init__(self) -> None:
        self.count = 0
        self.reasons: list[str] = []
        self._more = trio.Event()

    def hint(self, _named: Collection[str] | None) -> None:
        self.count += 1
        self._more.set()

    async def next(self) -> None:
        with trio.fail_after(DEADLINE):
            await self._more.wait()
        self._more = trio.Event()


@asynccontextmanager
async def notifying() -> AsyncIterator[tuple[Notifier, Hints]]:
    hints = Hints()
    async with trio.open_nursery() as nursery:
        yield Notifier(nursery, hints.hint, hints.reasons.append), hints
        nursery.cancel_scope.cancel()


def watch_set(*paths: Path) -> WatchSet:
    return WatchSet(tuple(sorted(paths)))


# --- places -----------------------------------------------------------------------------------------------------


def test_a_file_is_watched_through_its_directory_and_a_directory_through_both(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "module.py").touch()
    trees, alone = places(watch_set(tmp_path / "package", tmp_path / "module.py"))
    assert set(trees) == {tmp_path / "package"}
    assert set(alone) == {tmp_path}


def test_what_is_missing_is_watched_through_the_nearest_directory_above_it(tmp_path: Path) -> None:
    trees, alone = places(watch_set(tmp_path / "not" / "yet" / "there.py"))
    assert trees == {}
    assert set(alone) == {tmp_path}


def test_a_file_in_the_root_directory_is_watched_through_it() -> None:
    """As in a container, whose project is where everything is."""
    listings = Listings(Disk())
    assert set(places(watch_set(Path("/lastgood.toml"), Path("/nowhere/a.py")), listings=listings)[1]) == {Path("/")}
    assert not listings.is_absent("/")


def test_a_directory_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    before, _ = places(watch_set(package))
    package.rename(tmp_path / "gone")
    package.mkdir()
    after, _ = places(watch_set(package))
    assert set(before) == set(after)
    assert before != after


# --- hints ------------------------------------------------------------------------------------------------------


def replace(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text("x")
    fresh.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "module.py").write_text("x"),
        lambda root: replace(root / "module.py"),
        lambda root: (root / "module.py").unlink(),
        lambda root: (root / "package" / "part.py").write_text("x"),
        lambda root: (root / "package" / "deep" / "part.py").write_text("x"),
        lambda root: (root / "package" / "new").mkdir(),
        lambda root: (root / "package").rename(root / "gone"),
        lambda root: (root / "candidate.py").write_text("x"),
    ],
    ids=["write", "replace", "unlink", "in package", "deep", "mkdir", "rename root", "candidate"],
)
async def test_a_change_gives_a_hint(change: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "package" / "deep").mkdir(parents=True)
    (tmp_path / "module.py").touch()
    watch = WatchSet((tmp_path / "module.py", tmp_path / "package"), (tmp_path / "candidate.py",))
    async with notifying() as (notifier, hints):
        await notifier.arm(watch)
        change(tmp_path)
        await hints.next()


async def test_a_file_gives_hints_however_often_it_is_replaced(tmp_path: Path) -> None:
    async with notifying() as (notifier, hints):
        await notifier.arm(watch_set(tmp_path / "module.py"))
        for _ in range(5):
            replace(tmp_path / "module.py")
            await hints.next()


async def test_it_says_whether_what_is_watched_is_what_has_to_be(tmp_path: Path) -> None:
    package, candidate = tmp_path / "package", tmp_path / "candidate"
    package.mkdir()
    watch, listings = WatchSet((package,), (candidate / "__init__.py",)), Listings(Disk())
    async with notifying() as (notifier, hints):
        assert not notifier.has_armed(watch)
        await notifier.arm(watch)
        assert notifier.has_armed(watch)
        assert not notifier.has_armed(WatchSet(watch.paths, watch.candidates))  # as equal as it may be
        assert not notifier.has_armed(watch, Linked(alone=frozenset({str(tmp_path / "linked")})))
        assert notifier.still_placed({})
        candidate.mkdir()
        await hints.next()
        listings.names(str(tmp_path))
        assert not notifier.still_placed(listings.of_all())
        assert not notifier.has_armed(watch)
        await notifier.arm(watch)
        assert notifier.has_armed(watch)
        assert notifier.still_placed({})
        package.rename(tmp_path / "gone")
        package.mkdir()
        await hints.next()
        assert not notifier.still_placed({})


async def test_a_name_that_the_system_cannot_tell_is_a_hint_like_any_other(tmp_path: Path) -> None:
    async with notifying() as (notifier, hints):
        for number in range(3):
            await notifier.arm(watch_set(tmp_path))
            (tmp_path / os.fsdecode(b"caf\xe9%d.py" % number)).touch()
            await hints.next()
        await notifier.arm(watch_set(tmp_path))
        (tmp_path / "module.py").touch()
        await hints.next()
        assert not notifier.polling


async def test_when_nothing_is_armed_nothing_works(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    async with notifying() as (notifier, _):
        await notifier.arm(watch_set(tmp_path / "package"))
        await notifier.arm(watch_set())
        await until(lambda: working_threads() == 0)


async def test_arming_the_same_again_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with notifying() as (notifier, hints):
        await notifier.arm(watch_set(tmp_path / "module.py"))
        with monkeypatch.context() as patch:
            patch.setattr(watching, "_start", lambda *_: pytest.fail("started again"))
            await notifier.arm(watch_set(tmp_path / "other.py"))  # in the same directory
        (tmp_path / "module.py").touch()
        await hints.next()


async def test_a_directory_that_is_made_again_is_armed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most file systems give it the very same inode, so that nothing but the hint tells it from the one before."""
    package = tmp_path / "package"
    package.mkdir()
    start, started = watching._start, []

    def counted(directories: list[Path], recursive: bool) -> object:
        notify = start(directories, recursive)
        started.extend([directories] if recursive else [])
        return notify

    monkeypatch.setattr(watching, "_start", counted)
    async with notifying() as (notifier, hints), trio.open_nursery() as nursery:
        await notifier.arm(watch_set(package))

        async def arm_at_each_hint() -> None:  # as whoever is hinted must do, before it reads
            while True:
                await hints.next()
                await notifier.arm(watch_set(package))

        nursery.start_soon(arm_at_each_hint)
        for number in range(10):
            shutil.rmtree(package)
            package.mkdir()
            await until(lambda number=number: len(started) > number + 1)  # type: ignore[misc]  # a default binds it
            (package / "x.py").touch()
            count = hints.count
            await until(lambda count=count: hints.count > count)  # type: ignore[misc]  # a default binds it
        nursery.cancel_scope.cancel()


async def test_nothing_is_missed_while_the_set_grows(tmp_path: Path) -> None:
    """What was armed is let go only when what replaces it is."""
    async with notifying() as (notifier, hints):
        for number in range(5):
            (tmp_path / f"p{number}").mkdir()
            await notifier.arm(watch_set(*(tmp_path / f"p{each}" for each in range(number + 1))))
            for each in range(number + 1):
                (tmp_path / f"p{each}" / f"x{number}.py").touch()
                await hints.next()


async def test_cancelling_stops_the_threads_at_once(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    await until(lambda: working_threads() == 0)  # of other tests
    with trio.fail_after(watching._WAKE_UP / 1000 / 2):  # half of what the system's own wait would take
        async with notifying() as (notifier, _):
            await notifier.arm(watch_set(tmp_path / "package"))
            await until(lambda: working_threads() == 1 + 1)  # the tree, and its parent
        await until(lambda: working_threads() == 0)


def working_threads() -> int:
    """Threads of trio's that carry a name of their own: idle ones in its cache have it taken away."""
    return sum("watch" in thread.name for thread in threading.enumerate())


async def test_a_cancel_while_arming_leaves_what_was_armed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    start, starting, go = watching._start, trio.Event(), threading.Event()

    def slowly(*arguments: object) -> object:
        trio.from_thread.run_sync(starting.set)
        go.wait(DEADLINE)
        return start(*arguments)  # type: ignore[arg-type]  # passed on as they came

    async with notifying() as (notifier, hints):
        await notifier.arm(watch_set(tmp_path / "one"))
        with monkeypatch.context() as patch:
            patch.setattr(watching, "_start", slowly)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(notifier.arm, watch_set(tmp_path / "two"))
                await starting.wait()
                nursery.cancel_scope.cancel()
                go.set()
        (tmp_path / "one" / "x.py").touch()
        await hints.next()
        await notifier.arm(watch_set(tmp_path / "two"))
        count = hints.count
        (tmp_path / "two" / "x.py").touch()
        while hints.count == count:
            await hints.next()


# --- the system does not play along -------------------------------------------------------------------------------


def refusing(error: Exception) -> Callable[..., object]:
    def notify(*_: object) -> object:
        raise error

    return notify


class BreaksLater:
    closed = 0

    def __init__(self, *_: object) -> None: ...

    def watch(self, *_: object) -> str:
        raise RuntimeError("error in underlying watcher")

    def close(self) -> None:
        type(self).closed += 1


@pytest.mark.parametrize(
    ("notify", "reason"),
    [
        (refusing(OSError("OS file watch limit reached. about [/x]")), LIMIT_ADVICE),
        (refusing(RuntimeError("Too many open files (os error 24)")), OPEN_FILES_ADVICE),
        (refusing(PermissionError(13, "Permission denied")), "Permission denied"),
        (refusing(FileNotFoundError(2, "No such file or directory")), "No such file or directory"),
        (refusing(RuntimeError("error in underlying watcher")), "error in underlying watcher"),
        (BreaksLater, "error in underlying watcher"),
    ],
    ids=["limit", "open files", "permission", "there for Python alone", "internal", "later"],
)
async def test_when_the_system_gives_out_the_caller_is_told_once_to_poll(
    notify: Callable[..., object],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(watching, "RustNotify", notify)
    package = tmp_path / "package"
    package.mkdir()
    reached = False
    async with notifying() as (notifier, hints):
        await notifier.arm(watch_set(package))
        await until(lambda: notifier.polling)
        await notifier.arm(watch_set(package, tmp_path / "more.py"))
        assert len(hints.reasons) == 1
        assert reason in hints.reasons[0]
        reached = True
    assert reached  # a cancel from within would have ended the block in silence
    assert caplog.records == [], "the caller tells it on, and logs it or does not"


async def test_a_directory_that_goes_between_look_and_start_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    gone.mkdir()
    real, tries = RustNotify, []

    def notify(paths: list[str], *rest: object) -> object:
        tries.append(paths)
        if len(tries) == 1:
            gone.rmdir()
            raise FileNotFoundError(2, "No such file or directory")
        return real(paths, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(watching, "RustNotify", notify)
    async with notifying() as (notifier, hints):
        await notifier.arm(watch_set(gone, there))
        assert tries[:2] == [[str(gone), str(there)], [str(there)]]
        (there / "x.py").touch()
        await hints.next()
        assert not notifier.polling


async def test_a_notifier_that_was_interrupted_is_armed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    class Signalled(BreaksLater):
        def __init__(self, *_: object) -> None:
            started.append(self)

        def watch(self, *_: object) -> str:
            return "signal"

    async with notifying() as (notifier, _):
        with monkeypatch.context() as patch:
            patch.setattr(watching, "RustNotify", Signalled)
            with trio.fail_after(DEADLINE):
                while len(started) < 2:
                    await notifier.arm(watch_set(tmp_path / "module.py"))
        assert not notifier.polling
