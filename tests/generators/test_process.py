"""lastgood.generators.process: one run, bounded, and gone with all it started."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import trio

from lastgood.children import child
from lastgood.children.guardian import GUARDIAN
from lastgood.generators.process import Ended, run_process
from process_bridges import is_alive, until
from real_project import DEADLINE


async def run(code: str, cwd: Path, *, timeout: float = DEADLINE) -> Ended:
    with trio.fail_after(DEADLINE):
        return await run_process([sys.executable, "-c", code], cwd=cwd, timeout=timeout)


async def test_how_it_ended_and_what_it_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = await run(
        "import os, sys; print(os.path.basename(os.getcwd())); print('no', file=sys.stderr); sys.exit(3)", tmp_path
    )
    assert ended == Ended(3, f"{tmp_path.name}\n", "no\n")
    assert ended.how == "exited with status 3"
    assert capfd.readouterr() == ("", ""), "the app's own output has nothing of it"


async def test_a_signal_is_told_as_one(tmp_path: Path) -> None:
    ended = await run("import os; os.kill(os.getpid(), 9)", tmp_path)
    assert (ended.status, ended.how) == (-9, "was killed by signal 9")


async def test_a_status_that_nobody_knows_is_no_success(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ended = await run("pass", tmp_path)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (ended.status, ended.in_time) == (None, True)
    assert "ignores SIGCHLD" in ended.how


async def test_it_has_no_input_to_wait_for(tmp_path: Path) -> None:
    assert (await run("print(repr(input.__call__.__self__ and open(0).read()))", tmp_path)).out == "''\n"


async def test_of_much_output_the_end_is_kept(tmp_path: Path) -> None:
    ended = await run("for number in range(100_000): print(number)", tmp_path)
    lines = ended.out.splitlines()
    assert lines[-1] == "99999"
    assert lines[0][0] == "…"
    assert lines[0][1:].isdigit()
    assert len(ended.out) < 20_000


async def test_what_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run_process(["./no-such-tool"], cwd=tmp_path, timeout=1)


FORKS = """
import os, sys, time
child = os.fork()
if child:
    open("child", "w").write(str(child))
    os.rename("child", "pid")
{then}
time.sleep(100)
"""


async def test_cancelled_it_goes_with_all_that_it_started(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, FORKS.format(then=""), tmp_path)
        await until((tmp_path / "pid").exists)
        assert GUARDIAN.pid is not None, "kill -9 of the app ends it, too"
        nursery.cancel_scope.cancel()
    child = int((tmp_path / "pid").read_text())
    await until(lambda: not is_alive(child))
    assert GUARDIAN.pid is None


async def test_what_it_leaves_running_goes_with_it(tmp_path: Path) -> None:
    assert (await run(FORKS.format(then="    sys.exit(0)"), tmp_path)).status == 0
    child = int((tmp_path / "pid").read_text())
    await until(lambda: not is_alive(child))


async def test_after_its_timeout_it_is_killed(tmp_path: Path) -> None:
    ended = await run("import time; time.sleep(100)", tmp_path, timeout=0.01)
    assert (ended.status, ended.how) == (None, "was killed, for its timeout was over")


async def test_without_pidfds_its_end_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_open_pidfd", lambda _: -1)
    assert (await run("print('done')", tmp_path)).out == "done\n"
