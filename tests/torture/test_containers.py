"""A session in what containers are made of: namespaces, users, mounts. Skipped where these may not be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

pytestmark = pytest.mark.torture

APP = """
import os
import lastgood

with lastgood.watch(modules=["pricing"], import_path=["."]) as session:
    from generated import pricing
    print("first", session.handle.call_blocking("pricing", "quote", ["apple"]))
    print("large", len(session.handle.call_blocking("pricing", "many", [[0.5] * 400_000])))
    with open("pricing.py", "a") as file:
        file.write("\\ndef quote(sku): return 3.5\\n")
    assert session.settle()
    print("second", session.handle.call_blocking("pricing", "quote", ["apple"]))
print("pid", os.getpid(), "user", os.geteuid())
"""
SHARED = """
import sys
import lastgood

with lastgood.watch(modules=["pricing"], import_path=["."]) as session:
    print(session.role, session.generation, flush=True)
    for line in sys.stdin:
        for event in session.events() if line == "lead\\n" and session.role != "leader" else ():
            if session.role == "leader":
                break
        assert session.settle()
        print(session.role, session.handle.call_blocking("pricing", "quote", ["apple"]), flush=True)
"""
PRICING = "def quote(sku): return 2.5\ndef many(numbers): return numbers\n"

# What is done before the app is started, by a shell in namespaces of its own. The project is at /mnt, where all may go.
PLACES = {
    "PID 1": ":",
    "an init as PID 1": "tini --version > /dev/null && as='tini --'",  # docker run --init
    "no /proc": "mount -t tmpfs none /proc",
    "a read-only root": "mount -o remount,bind,ro / && ! touch /etc/lastgood 2> /dev/null",
    "a small /dev/shm": "mount -t tmpfs -o size=4k none /dev/shm",
    "root without capabilities": "as='setpriv --inh-caps=-all --bounding-set=-all --no-new-privs'",
    "a user without rights": "as='setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all'",
}
OWNERS = {"a user without rights": 65534}


def contained(before: str, directory: Path, *program: str) -> list[str]:
    """The command that runs a program as the first process of a pid namespace, with mounts of its own."""
    home = " ".join(f"{name}=/mnt/home" for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"))
    script = f"as=; mount --bind {directory} /mnt && {before} && cd /mnt && exec $as env {home} {' '.join(program)}"
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", script]


def made(directory: Path, owner: int = 0) -> Path:
    """A project in ``directory`` of this user."""
    (directory / "app.py").write_text(APP)
    (directory / "shared.py").write_text(SHARED)
    (directory / "pricing.py").write_text(PRICING)
    (directory / "home").mkdir(mode=0o700)
    for path in (directory, *directory.iterdir()):
        os.chown(path, owner, owner)
    return directory


def skip_unless_possible(before: str, directory: Path) -> None:
    tried = subprocess.run(
        contained(before, directory, sys.executable, "-c", "pass"), capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"this cannot be made here: {tried.stderr.strip()[-200:]}")


needs_unshare = pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0, reason="only root makes namespaces, by unshare(1)"
)


@needs_unshare
@pytest.mark.parametrize("place", PLACES)
def test_a_session_runs_and_reloads(place: str, tmp_path: Path) -> None:
    project = made(tmp_path, OWNERS.get(place, 0))
    skip_unless_possible(PLACES[place], project)
    command = contained(PLACES[place], project, sys.executable, "app.py")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    *lines, last = ran.stdout.splitlines() or [""]
    assert lines == ["first 2.5", "large 400000", "second 3.5"], ran.stderr
    _, pid, _, user = last.split()
    assert (pid == "1", user) == (place != "an init as PID 1", str(OWNERS.get(place, 0)))


@needs_unshare
def test_in_two_pid_namespaces_on_one_volume_the_second_follows_and_leads_when_the_first_is_killed(
    tmp_path: Path,
) -> None:
    project = made(tmp_path)
    skip_unless_possible(":", project)
    command = contained(":", project, sys.executable, "shared.py")
    with (
        subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as first,
        subprocess.Popen([*command[:-1], f"read _; {command[-1]}"], stdin=PIPE, stdout=PIPE, text=True) as second,
    ):
        try:
            assert first.stdout is not None
            assert second.stdin is not None
            assert second.stdout is not None
            assert first.stdout.readline() == "leader 1\n"
            second.stdin.write("start\n")
            second.stdin.flush()
            assert second.stdout.readline() == "follower 1\n"
            first.kill()
            (project / "pricing.py").write_text(PRICING.replace("2.5", "4.5"))
            second.stdin.write("lead\n")
            second.stdin.flush()
            assert second.stdout.readline() == "leader 4.5\n"
        finally:
            first.kill()
            second.kill()
