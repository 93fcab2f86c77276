"""A child: its exit is seen, and it ends with all that it has started."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from imitated import not_on_darwin
from imitated.sitecustomize import KQUEUE
from lastgood.children import child as child_module
from lastgood.children.child import Child, exit_text
from lastgood.children.guardian import GUARDIAN
from lastgood.children.output import Output
from real_project import DEADLINE

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture(params=["pidfds", "kqueue", "no pidfds", "no waitid either"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "kqueue":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        for name, value in KQUEUE.items():
            monkeypatch.setattr(select, name, value, raising=False)
    if request.param == "no pidfds" and not hasattr(os, "waitid"):
        pytest.skip("this system has no waitid() either")
    if request.param.startswith("no "):
        monkeypatch.setattr(child_module, "_open_pidfd", lambda _: -1)
    if request.param in ("kqueue", "no waitid either"):
        monkeypatch.delattr(os, "waitid", raising=False)
    return str(request.param)


class Held:
    """A file that a shell script keeps open, with all that it starts: it has gone when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def child(self, script: str) -> Child:
        """Start a script that says on the file when it is ready, by ``echo ready >&9``."""
        return Child(["sh", "-c", f"exec 9> {self.path}\n{script}"])

    async def says(self) -> str:
        with trio.fail_after(DEADLINE):
            await trio.lowlevel.wait_readable(self._end)
        return os.read(self._end, 1024).decode()

    async def gone(self) -> None:
        while await self.says():
            pass

    def close(self) -> None:
        os.close(self._end)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    held = Held(tmp_path / "held")
    yield held
    held.close()


async def test_every_task_that_waits_sees_its_exit(held: Held, system: str) -> None:
    child = held.child("echo ready >&9; exec sleep 1000")
    seen: list[bool] = []

    async def wait() -> None:
        seen.append(await child.exited())

    await held.says()
    assert not child.has_exited(), system
    assert not child.has_exited(0.01)
    assert not await child.exited(0.01)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            child.signal(signal.SIGTERM)
    assert seen == [True] * 3
    assert child.has_exited(DEADLINE)
    assert await child.end(0)
    assert child.status == -signal.SIGTERM
    assert child.has_exited()
    assert await child.exited(0)


@pytest.fixture
def ignored() -> Iterator[None]:
    """The app ignores SIGCHLD: the system reaps its children at once."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("ignored")
@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$", "sleep 1000"])
async def test_where_sigchld_is_ignored_its_status_is_unknown_and_never_0(script: str, system: str) -> None:
    child = Child(["sh", "-c", script])
    with trio.fail_after(DEADLINE):
        assert script == "sleep 1000" or await child.exited(), system
        assert await child.end(0)
    assert (child.gone, child.status) == (True, None)
    assert exit_text(child) == "ended with a status that is not known"


def reap_any_child() -> None:
    """As an app does that waits for all its children, here until the child has gone and the guardian is left."""
    assert os.waitpid(-1, 0)[0] != GUARDIAN.pid


async def test_where_the_app_reaps_all_its_children_its_status_is_unknown_and_never_0(system: str) -> None:
    child = Child(["sh", "-c", "exit 3"])
    reap_any_child()
    assert await child.exited(DEADLINE), system
    assert await child.end(0)
    assert (child.gone, child.status) == (True, None)


async def test_its_exit_is_seen_by_a_thread_that_waits(system: str) -> None:
    child = Child(["sh", "-c", "exit 3"])
    assert child.has_exited(DEADLINE), system
    child.kill()
    assert child.status == 3


async def test_it_may_exit_by_itself_before_it_is_asked(held: Held, system: str) -> None:
    child = held.child("trap 'echo asked >&9; exit' TERM; echo ready >&9")
    assert await child.end(0, patience=DEADLINE), system
    assert (child.status, await held.says()) == (0, "ready\n")


async def test_it_is_asked_to_end_before_it_is_killed(held: Held, system: str) -> None:
    child = held.child("trap 'echo asked >&9; exit 4' TERM; echo ready >&9; while :; do sleep 0.01; done")
    await held.says()
    assert await child.end(DEADLINE), system
    assert (child.status, await held.says()) == (4, "asked\n")


async def test_if_it_will_not_end_it_is_killed(held: Held, system: str) -> None:
    child = held.child("trap '' TERM; echo ready >&9; while :; do sleep 0.01; done")
    await held.says()
    assert await child.end(0.05), system
    assert child.status == -signal.SIGKILL
    await held.gone()


async def test_cancelled_the_end_comes_at_once(held: Held) -> None:
    child = held.child("trap '' TERM; echo ready >&9; while :; do sleep 0.01; done")
    await held.says()
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.end, 1000)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert child.status == -signal.SIGKILL
    await held.gone()


# Without waitid an exit cannot be seen without reaping, and afterwards the group may be somebody else's.
@pytest.mark.parametrize("system", ["pidfds", "kqueue", "no pidfds"], indirect=True)
@pytest.mark.parametrize("how", ["ended", "killed"])
async def test_what_it_has_left_behind_goes_with_it(how: str, held: Held, system: str) -> None:
    child = held.child("(trap '' TERM; echo ready >&9; while :; do sleep 0.01; done) & exit 3")
    await held.says()
    assert await child.exited(DEADLINE)
    if how == "ended":
        assert await child.end(0.05), system
    else:
        child.kill()
    assert child.status == 3
    await held.gone()


@not_on_darwin("without /proc, what it has left behind is found by nobody, and is killed with its group")
async def test_what_it_has_left_behind_is_asked_to_end_before_it_is_killed(held: Held) -> None:
    child = held.child("(trap 'echo asked >&9; exit' TERM; echo ready >&9; while :; do sleep 0.01; done) & exit 3")
    await held.says()
    await child.end(DEADLINE, patience=DEADLINE)
    assert (child.status, await held.says()) == (3, "asked\n")
    await held.gone()


def test_where_there_are_no_process_groups_it_is_killed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(["sleep", "1000"])
    monkeypatch.delattr(os, "killpg")
    child.kill()
    assert child.status == -signal.SIGKILL


def test_no_signal_is_sent_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(["true"])
    child.kill()
    monkeypatch.setattr(os, "killpg", None)  # its pid may be another process's by now
    child.signal(signal.SIGKILL)
    child.kill()


def test_its_output_is_kept_apart_and_its_end_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    child = Child(
        [
            sys.executable,
            "-c",
            "import os; os.write(2, b'no'); [os.write(1, b'x' * 65535 + b'\\n') for _ in range(999)]",
        ]
    )
    assert child.has_exited(DEADLINE)
    child.kill()
    assert child.err.text() == "no"
    assert child.out.text() == f"…{'x' * 16_383}\n"
    assert capfd.readouterr() == ("", "")


def test_its_output_may_be_one_and_the_apps_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    child = Child(["sh", "-c", "echo one; echo two >&2"], output=Output(forward=True))
    assert child.has_exited(DEADLINE)
    child.kill()
    assert child.out is child.err
    assert child.out.tail() == "one\ntwo"
    assert capfd.readouterr() == ("", "one\ntwo\n")


@pytest.mark.parametrize("command", ["/no/such/program", "null\0"])
def test_what_cannot_be_started_leaves_nothing(command: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError)):
        Child([command])
