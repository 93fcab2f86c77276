"""A session where threads, processes, files or memory run short: the last good stays, the limit is named, and it goes on."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import pytest

import lastgood
from lastgood import WatchProgram
from lastgood.errors import BridgeError, WatchError
from lastgood.interpreters import trio_interpreter, watching
from lastgood.sources.snapshots import Reader
from lastgood.store.disk import Disk
from lastgood.watch_events import PollingStarted
from lastgood.wrappers.process import extractor_process
from real_project import MORE, QUOTE, FakeFactory, RealProject, Told
from scarcity import SCARCITIES, Scarcity, few_descriptors, no_process, no_threads


def real(project: RealProject, told: Told) -> WatchProgram:
    """With the default bridge, and no spare, which is made at moments of its own."""
    project.configure("pricing", head="[runtime.process]\nspare = false\n")
    return lastgood.watch(project.config_file, on_event=told, debounce=0.01)


def notes_of(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


@pytest.mark.parametrize(("scarcity", "remedy"), SCARCITIES.values(), ids=SCARCITIES)
async def test_a_cycle_that_fails_of_it_names_the_limit_and_the_next_one_goes_on(
    scarcity: Scarcity, remedy: str, project: RealProject, told: Told
) -> None:
    async with real(project, told) as session:
        await told.success()
        before = project.tree()
        project.save("pricing.py", MORE)
        with scarcity():
            failure = await told.failure()
            assert remedy in notes_of(failure.error)
            assert session.status.stale
            assert await session.bridge.call("pricing", "quote", ["a"], {}) == 1.0
        assert project.tree() == before
        assert await session.reload_now()
        assert b"def more" in project.tree()["pricing.py"]
        assert await session.bridge.call("pricing", "more", [], {}) is None


@pytest.mark.apart
@pytest.mark.parametrize("scarcity", ["no thread", "no process", "no memory for a process"])
async def test_a_start_that_fails_of_it_raises_the_error_itself(
    scarcity: str, project: RealProject, told: Told
) -> None:
    lack, remedy = SCARCITIES[scarcity]
    with lack(), pytest.raises(BridgeError, match="cannot be started") as caught:
        async with real(project, told):
            pass
    assert remedy in notes_of(caught.value)
    assert "under [runtime.process]" not in str(caught.value)
    assert project.tree() == {}
    async with real(project, told) as session:
        assert await session.bridge.call("pricing", "quote", ["a"], {}) == 1.0


async def test_a_start_with_few_files_left_is_refused_early(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    with few_descriptors(60), pytest.raises(WatchError, match=r"a session needs 64. Raise .*: ulimit -n 4096"):
        async with start():
            pass
    assert factory.bridges == []
    assert not (project.root / ".lastgood").exists()
    with few_descriptors(80):
        async with start():
            pass


def test_a_session_of_a_thread_names_the_limit_of_threads(project: RealProject) -> None:
    with no_threads(), pytest.raises(RuntimeError) as caught:
        lastgood.watch(project.config_file).start()
    assert "ulimit -u" in notes_of(caught.value)


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "df -h"), (errno.EDQUOT, "quota -s"), (errno.EROFS, "mounted read-only")]
)
@pytest.mark.parametrize("operation", ["write", "mkdir", "replace"])
async def test_a_disk_that_takes_nothing_is_named_and_what_comes_when_it_does_again_goes_on(
    number: int,
    remedy: str,
    operation: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Disk, path: Path, *__: object) -> NoReturn:
        raise OSError(number, os.strerror(number), str(path))

    async with start() as session:
        await told.success()
        before, live = project.exact_tree(), session.bridge
        with monkeypatch.context() as patch:
            patch.setattr(Disk, operation, fail)
            project.save("pricing.py", MORE)
            failure = await told.failure()
            assert remedy in notes_of(failure.error)
            assert session.status.stale
        assert (project.exact_tree(), session.bridge) == (before, live)
        project.save("pricing.py", QUOTE.replace("sku", "code"))
        await told.success()
        assert not session.status.stale


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), MemoryError()], ids=repr)
async def test_a_look_that_fails_of_it_is_repeated(
    error: Exception,
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    read, failing = Reader.read, [error] * 3

    def short(self: Reader, *arguments: Any) -> Any:
        if failing:
            raise failing.pop()
        return read(self, *arguments)

    monkeypatch.setattr(trio_interpreter, "_PAUSE", 0)
    async with start() as session:
        await told.success()
        with monkeypatch.context() as patch:
            patch.setattr(Reader, "read", short)
            project.save("pricing.py", MORE)
            await told.success()
        assert not failing
        assert not session.status.stale
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([message for message in logged if "cannot be read for now" in message]) == 1


async def test_without_a_thread_the_system_is_not_asked_to_watch(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watchfiles starts one, and aborts the process if it cannot."""
    monkeypatch.setattr(watching, "RustNotify", None)
    with no_threads():
        async with start() as session:
            notice = await told.next(PollingStarted)
            assert "ulimit -u" in notice.reason
            assert "Files are polled instead" in notice.reason
            await told.success()
            project.save("pricing.py", MORE)
            await told.success()
            assert not session.status.stale


@pytest.mark.apart
async def test_sources_are_read_in_another_process_as_soon_as_one_can_be_started(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bool] = []
    make = extractor_process._start_process

    def start_process() -> Any:
        with nullcontext() if tried else no_process(errno.EAGAIN):
            tried.append(True)
            return make()

    monkeypatch.setattr(extractor_process, "_start_process", start_process)
    async with start():
        await told.success()
        project.save("pricing.py", QUOTE.replace("sku", "code"))
        await told.success()
    assert len(tried) >= 2
