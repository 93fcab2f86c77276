"""On a file system without locks one session works, and a second one is refused and told what to do."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from lastgood import WatchProgram
from lastgood.cli.commands import main
from lastgood.cli.doctor import surroundings
from lastgood.errors import AlreadyWatched
from lastgood.store import disk
from lastgood.store.disk import Disk
from lastgood.store.file_system import NoLocks
from lastgood.store.output_directory import OutputDirectory
from real_project import MORE, RealProject, Told
from running import program_environment

ERRORS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@pytest.fixture(params=ERRORS, ids=errno.errorcode.get, autouse=True)
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    disk._warn_of_no_locks.cache_clear()
    yield
    disk._warn_of_no_locks.cache_clear()


@pytest.fixture
def marker(project: RealProject) -> Path:
    return project.root / ".lastgood" / "generated" / "lock.held"


async def test_one_session_works_and_says_so_once(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    marker: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with start():
        project.save("pricing.py", MORE)
        while (await told.success()).generation < 2:
            pass
        assert b"def more" in project.tree()["pricing.py"]
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [text for text in warnings if "has no locks" in text and "local file system" in text] == warnings
    assert len(warnings) == 1
    assert marker.name not in os.listdir(marker.parent)
    async with start() as session:
        assert session.role == "leader"


async def test_a_second_session_is_refused_and_told_what_to_do(
    start: Callable[..., WatchProgram], marker: Path
) -> None:
    async with start() as first:
        with pytest.raises(AlreadyWatched) as refused:
            async with start(set_as_global=False):
                pass
        assert refused.value.pid == os.getpid()
        assert f"the file system has no locks (if no session runs, on no machine, remove {marker})" in str(
            refused.value
        )
        assert await first.reload_now()


def test_a_command_beside_a_session_is_refused(project: RealProject) -> None:
    session = OutputDirectory.claim(Disk(), project.output, os.getpid())
    done = CliRunner().invoke(main, ["generate", str(project.config_file)])
    assert done.exit_code == 1
    assert "has no locks" in " ".join(done.output.split())
    session.release()


def test_a_claim_of_another_machine_stays_until_it_is_removed(tmp_path: Path) -> None:
    marker = tmp_path / "lock.held"
    claim = Disk().lock(tmp_path / "lock")
    assert claim is not None
    theirs = marker.read_text().splitlines()
    claim.release()
    marker.write_text("\n".join([theirs[0], "another-machine", *theirs[2:], ""]))
    with pytest.raises(NoLocks):
        Disk().lock(tmp_path / "lock")
    marker.unlink()
    claim = Disk().lock(tmp_path / "lock")
    assert claim is not None
    claim.release()


def test_the_doctor_finds_it(tmp_path: Path) -> None:
    assert not surroundings._has_locks(tmp_path)


DIES = """
import errno, fcntl, os, sys
from pathlib import Path

def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = flock
from lastgood.store.disk import Disk
from lastgood.store.output_directory import OutputDirectory

held = OutputDirectory.claim(Disk(), Path(sys.argv[1]), os.getpid())
os.kill(os.getpid(), 9)
"""


async def test_a_session_that_was_killed_keeps_nobody_out(
    project: RealProject, start: Callable[..., WatchProgram], marker: Path
) -> None:
    died = await trio.run_process(
        [sys.executable, "-c", DIES, str(project.output)], check=False, env=program_environment()
    )
    assert died.returncode == -signal.SIGKILL
    assert marker.name in os.listdir(marker.parent)
    async with start() as session:
        assert session.role == "leader"
