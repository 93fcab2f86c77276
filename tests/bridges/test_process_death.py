"""A worker that dies, and one that is disposed: who is told, and what goes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from imitated import not_on_darwin
from lastgood.bridges.process import ProcessBridge
from lastgood.children import child as child_module
from lastgood.errors import BridgeError, WorkerDied
from process_bridges import DEADLINE, Gate, forget_a_call, is_alive, links_of, pipes_of, running, until

pytestmark = pytest.mark.usefixtures("nothing_is_left")

# --- death


@pytest.mark.parametrize(
    ("function", "argument", "status", "text"),
    [
        ("die", 3, 3, "exited with status 3"),
        ("die_by", 9, -9, "killed by signal 9"),
        ("die_by", 11, -11, "killed by signal 11"),
    ],
    ids=["exit", "kill", "segfault"],
)
async def test_a_worker_that_dies_tells_how(
    bridge: ProcessBridge, function: str, argument: int, status: int, text: str
) -> None:
    with pytest.raises(WorkerDied, match=text) as died:
        await bridge.call("svc", function, [argument], {})
    assert died.value.status == status
    assert function != "die" or died.value.stderr.endswith("last words")
    with pytest.raises(WorkerDied, match=text):
        await bridge.call("svc", "give", [1], {})
    assert bridge.pid is None


async def test_in_an_app_that_ignores_sigchld_the_status_is_unknown_and_a_workers_own_are_true(tmp_path: Path) -> None:
    (tmp_path / "svc.py").write_text(
        "import os, subprocess\ndef run(code): return subprocess.run(['sh', '-c', code]).returncode\ndef die(): os._exit(3)\n"
    )
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        bridge = ProcessBridge(import_path=[tmp_path], modules=["svc"])
        await bridge.init()
        assert await bridge.call("svc", "run", ["exit 3"], {}) == 3
        with pytest.raises(WorkerDied, match="ended with a status that is not known") as died:
            await bridge.call("svc", "die", [], {})
        assert (died.value.status, died.value.blame) == (None, "code")
        await bridge.dispose()
    finally:
        signal.signal(signal.SIGCHLD, before)


async def test_death_reaches_every_call_in_flight(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    died: list[int | None] = []

    async def caller(function: str, *args: Any) -> None:
        try:
            await bridge.call("svc", function, args, {})
        except WorkerDied as error:
            died.append(error.status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller, "hold", gate.path)
        await gate.reached()
        nursery.start_soon(caller, "give", 1)
        nursery.start_soon(caller, "give", bytes(5_000_000))
        await trio.testing.wait_all_tasks_blocked()
        assert bridge.pid is not None
        os.kill(bridge.pid, signal.SIGKILL)
    assert died == [-9] * 3
    gate.open()


async def test_death_between_calls_is_noticed_by_the_next(bridge: ProcessBridge) -> None:
    assert bridge.pid is not None
    os.kill(bridge.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="signal 9"):
        await bridge.call("svc", "give", [1], {})


async def test_death_is_noticed_while_a_forked_child_holds_the_pipes(bridge: ProcessBridge, source: Path) -> None:
    with (source / "forking.py").open("w") as file:
        file.write(
            "import os, signal\ndef fork_and_die():\n    if os.fork() == 0:\n        signal.pause()\n    os._exit(4)\n"
        )
    async with running(source, modules=["forking"]) as bridge:
        with pytest.raises(WorkerDied, match="status 4"):
            await bridge.call("forking", "fork_and_die", [], {})


@pytest.mark.parametrize("how", ["idle", "busy"])
async def test_a_killed_app_leaves_no_worker(source: Path, tmp_path: Path, how: str) -> None:
    gate = Gate(tmp_path)
    app = f"""
import trio
from lastgood.bridges.process import ProcessBridge

async def main():
    bridge = ProcessBridge(import_path=[{str(source)!r}], modules=["svc"])
    await bridge.init()
    print(bridge.pid, flush=True)
    if {how == "busy"}:
        await bridge.call("svc", "hold", [{gate.path!r}], {{}})
    await trio.sleep_forever()

trio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", app], stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220 - it takes no time
        assert parent.stdout is not None
        pid = int(await trio.to_thread.run_sync(parent.stdout.readline))
        if how == "busy":
            await gate.reached()
        assert is_alive(pid)
        parent.kill()
    await until(lambda: not is_alive(pid))
    if how == "busy":
        gate.open()


async def test_ctrl_c_in_the_terminal_does_not_reach_the_worker(bridge: ProcessBridge) -> None:
    assert bridge.pid is not None
    assert os.getpgid(bridge.pid) != os.getpgrp()
    assert os.getsid(bridge.pid) != os.getsid(0)


async def test_a_worker_inherits_nothing_of_another_or_of_the_app(source: Path) -> None:
    async with running(source) as first, running(source) as second:
        pipes = [pipes_of(bridge.pid) for bridge in (first, second)]
        assert not pipes[0] & pipes[1]
        for bridge in (first, second):
            own = [
                link for link in links_of(bridge.pid).values() if "/libffi.so" not in link
            ]  # some hold themselves open
            arenas = 2 if hasattr(os, "memfd_create") else 0
            assert len(own) == 6 + arenas  # stdin, stdout, stderr, three pipes


# --- disposing


async def test_dispose_is_idempotent_and_can_be_awaited_by_several(bridge: ProcessBridge) -> None:
    pid = bridge.pid
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.dispose)
        nursery.start_soon(bridge.dispose)
    await bridge.dispose()
    assert pid is not None
    assert not is_alive(pid)
    assert bridge.pid is None


async def test_dispose_ends_calls_in_flight(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    errors: list[str] = []

    async def caller(function: str, *args: Any) -> None:
        try:
            await bridge.call("svc", function, args, {})
        except BridgeError as error:
            errors.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller, "hold", gate.path)
        await gate.reached()
        nursery.start_soon(caller, "give", 1)
        nursery.start_soon(caller, "give", bytes(5_000_000))
        await trio.testing.wait_all_tasks_blocked()
        await bridge.dispose()
    assert errors == ["The bridge was disposed while the call was in flight."] * 3
    gate.open()


async def test_an_idle_worker_has_its_grace_to_exit_by_itself(source: Path, tmp_path: Path) -> None:
    gate, told = Gate(tmp_path), tmp_path / "told"
    async with running(source, grace=5) as bridge:
        await bridge.call("svc", "part_slowly", [gate.path, str(told)], {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.dispose)
            await gate.reached()
            gate.open()
    assert told.read_text() == "parted"


async def test_a_call_that_was_forgotten_and_is_over_costs_it_nothing(source: Path, tmp_path: Path) -> None:
    gate, held, told = Gate(tmp_path, "part"), Gate(tmp_path, "held"), tmp_path / "told"
    async with running(source, grace=5) as bridge:
        await bridge.call("svc", "part_slowly", [gate.path, str(told)], {})
        await forget_a_call(bridge, held)
        held.open()
        answers = os.dup(bridge._workers[0].channel._answers)
        with trio.fail_after(DEADLINE):
            await trio.lowlevel.wait_readable(answers)  # the worker has said that it is over, and nobody has read it
        os.close(answers)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.dispose)
            await gate.reached()
            gate.open()
    assert told.read_text() == "parted"


async def test_a_forked_child_that_lives_does_not_hold_up_its_exit(source: Path) -> None:
    async with running(source, grace=1000) as bridge:
        child = os.fork()
        if child == 0:
            signal.pause()
        try:
            await bridge.dispose()
        finally:
            os.kill(child, signal.SIGKILL)
            await trio.to_thread.run_sync(os.waitpid, child, 0)


async def test_one_that_is_busy_has_none(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with running(source, grace=1000) as bridge:
        pid = bridge.pid
        assert pid is not None
        await forget_a_call(bridge, gate)
    assert not is_alive(pid)
    gate.open()


@pytest.mark.parametrize("state", ["stubborn", "stopped"])
async def test_a_worker_that_will_not_go_is_killed(source: Path, state: str) -> None:
    async with running(source, grace=0.05) as bridge:
        pid = bridge.pid
        assert pid is not None
        if state == "stubborn":
            await bridge.call("svc", "stubborn", [], {})
        os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)


async def test_a_cancelled_dispose_kills_at_once(source: Path) -> None:
    bridge = ProcessBridge(import_path=[source], modules=["svc"], grace=1000)
    with trio.fail_after(DEADLINE):
        await bridge.init()
        pid = bridge.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.dispose)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert not is_alive(pid)


async def test_what_a_worker_started_goes_with_it(bridge: ProcessBridge) -> None:
    sleeper = await bridge.call("svc", "start_sleeper", [False], {})
    await bridge.dispose()
    await until(lambda: not is_alive(sleeper))


@not_on_darwin("without /proc, what it has started is found by nobody, and is killed with its group")
async def test_what_a_worker_started_is_asked_to_end_before_it_is_killed(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate, told = Gate(tmp_path), tmp_path / "told"
    script = f"trap 'echo asked > {told}; exit' TERM; : > {gate.path}; while :; do sleep 0.01; done"
    child = await bridge.call("svc", "start", ["sh", "-c", script], {})
    await trio.to_thread.run_sync(Path(gate.path).read_bytes)
    await bridge.dispose()
    assert not is_alive(child)
    assert told.read_text() == "asked\n"


@not_on_darwin("without /proc, what it has started is found by nobody, and is killed with its group")
@pytest.mark.parametrize("how", ["a crash", "a crash of one that had left"])
async def test_what_a_worker_that_dies_had_started_is_asked_to_end_before_the_death_is_told(
    how: str, bridge: ProcessBridge, tmp_path: Path
) -> None:
    gate, told = Gate(tmp_path), tmp_path / "told"
    script = f"trap 'echo asked > {told}; exit' TERM; : > {gate.path}; while :; do sleep 0.01; done"
    if how == "a crash of one that had left":  # its parent is not there any more
        script = f"({script}) &"
    await bridge.call("svc", "start", ["sh", "-c", script], {})
    await trio.to_thread.run_sync(Path(gate.path).read_bytes)
    with pytest.raises(WorkerDied, match="status 3"):
        await bridge.call("svc", "die", [3], {})
    assert told.read_text() == "asked\n"


async def test_what_will_not_end_when_its_worker_has_died_is_killed(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    script = f"trap '' TERM; : > {gate.path}; while :; do sleep 0.01; done"
    async with running(source, grace=0.05) as bridge:
        child = await bridge.call("svc", "start", ["sh", "-c", script], {})
        await trio.to_thread.run_sync(Path(gate.path).read_bytes)
        with pytest.raises(WorkerDied, match="status 3"):
            await bridge.call("svc", "die", [3], {})
        await until(lambda: not is_alive(child))


async def test_a_grandchild_that_holds_stderr_does_not_hold_up_dispose(bridge: ProcessBridge) -> None:
    sleeper = await bridge.call("svc", "start_sleeper", [True], {})
    try:
        await bridge.dispose()
    finally:
        os.kill(sleeper, signal.SIGKILL)


@pytest.mark.usefixtures("many_open")
async def test_an_app_that_has_more_than_1024_descriptors_open_sees_an_exit(source: Path) -> None:
    async with running(source) as bridge:
        (worker,) = bridge._workers
        assert not worker.has_exited()
        with pytest.raises(WorkerDied, match="status 3"):
            await bridge.call("svc", "die", [3], {})
        assert worker.has_exited()


async def test_without_pidfds_life_and_death_go_on(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_open_pidfd", lambda _: -1)
    async with running(source) as bridge:
        assert await bridge.call("svc", "give", [1], {}) == 1
        with pytest.raises(WorkerDied, match="status 3"):
            await bridge.call("svc", "die", [3], {})
    async with running(source) as bridge:
        pid = bridge.pid
    assert pid is not None
    assert not is_alive(pid)
