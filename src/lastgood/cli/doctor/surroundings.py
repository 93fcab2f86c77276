"""The checks of what is around the sources: what may be written, which session runs, whether the system tells of edits, git."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from lastgood.cli.doctor.machine import Said, file_system_of
from lastgood.cli.doctor.project import Examined, near
from lastgood.errors import ConfigError
from lastgood.interpreters.watching import failure_to_watch, seconds_to_notice
from lastgood.session.error_texts import listed
from lastgood.store.access import check_can_be_private
from lastgood.store.disk import Disk, is_running

__all__ = ["git", "permissions", "session", "watching"]

_SILENT = frozenset(
    {"9p", "afs", "ceph", "cifs", "fakeowner", "nfs", "nfs4", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
)
"""File systems that tell of no change which another machine, or the host of a virtual one, has made."""
_NOTICED_WITHIN = 2.0
_GIT_TIMEOUT = 10.0
_POLL = "Set poll = true under [watch]. Without it edits are found, too, but only after some seconds."


@contextmanager
def _trial_directory(output: Path) -> Iterator[Path | None]:
    """Make a directory in the output directory's ``.lastgood/``; None if there is no directory to put that in yet."""
    around = output.parent / ".lastgood"
    if not output.parent.is_dir():
        yield None
        return
    is_new = not around.exists()
    if is_new:
        around.mkdir(mode=0o700)
    directory = None
    try:
        directory = Path(tempfile.mkdtemp(prefix="doctor-", dir=around))
        yield directory
    finally:
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                around.rmdir()


def permissions(examined: Examined) -> Said:
    """Try whether wrappers, and what lastgood keeps beside them, can be written."""
    config, project = examined.known()
    output = project.files.real_path(config.place)
    home = project.look_at(output).home
    check_can_be_private(project.files, (home.parent, home), config.path)
    closed = sorted(str(path) for path in _directories(output) if not os.access(path, os.W_OK | os.X_OK))
    if closed:
        names = listed([near(Path(path)) for path in closed])
        user = "" if all(os.stat(path).st_uid == os.getuid() for path in closed) else f"sudo chown -R {os.getuid()} "
        run = f"{user or 'chmod u+rwx '}{' '.join(map(quote, closed))}"
        yield "wrong", f"{names} cannot be written to", f"Run: {run}"
        return
    with _trial_directory(output) as directory:
        if directory is None:
            yield "ok", f"{near(output.parent)} can be made", ""
            return
        kind = file_system_of(directory) or "the file system"
        (directory / "file").write_bytes(b"x")
        (directory / "file").replace(directory / "moved")
        links = "" if _has_links(directory) else ", without hard links, so that files are copied"
        if not _has_locks(directory):
            text = f"{kind} has no locks, so only one session can use it, and no other can follow"
            yield "wrong", text, "Put the project, or the [output] dir, on a local file system."
            return
    yield "ok", f"{near(output)} and {near(home.parent)} can be written to ({kind}{links})", ""


def _directories(output: Path) -> Iterator[Path]:
    """Yield the directories that wrappers are written to, or the nearest one in which these would be made."""
    place = output
    while not place.exists() and place != place.parent:
        place = place.parent
    if place == output:
        yield output.parent
        for found, names, _ in os.walk(output):
            names[:] = [name for name in names if name != "__pycache__"]
            yield Path(found)
    else:
        yield place


def _has_links(directory: Path) -> bool:
    try:
        os.link(directory / "moved", directory / "linked")
    except OSError:
        return False
    return True


def _has_locks(directory: Path) -> bool:
    with contextlib.ExitStack() as held:
        try:
            for _ in range(2):
                if (lock := Disk().lock(directory / "lock")) is None:
                    return True
                held.callback(lock.release)
        except OSError:  # NoLocks, at the second
            return False
    return False


def session(examined: Examined) -> Said:
    """Say which session runs."""
    config, project = examined.known()
    output = project.look_at(project.files.real_path(config.place))
    pid = output.pid
    if pid is not None and is_running(pid):
        yield "ok", f"the session of process {pid} keeps {near(output.path)} up to date", ""
    elif project.files.stat(output.home / "journal.json") is not None:
        text = "a session ended while it wrote wrappers"
        yield "warn", text, 'The next start, or "lastgood generate", brings them back to what they were.'
    else:
        yield "ok", "none runs here", ""


def watching(examined: Examined) -> Said:
    """Try whether the system tells of edits."""
    config, project = examined.known()
    if config.watch.poll:
        yield "ok", f"files are read every {config.watch.interval:g} s, as poll under [watch] says", ""
        return
    trees, alone = examined.watched()
    reason = failure_to_watch(trees, alone)
    if reason is not None:
        yield "warn", "the system does not watch the directories of this project", f"{reason[0].upper()}{reason[1:]}."
        return
    with _trial_directory(project.files.real_path(config.place)) as directory:
        if directory is not None:
            kind, device = file_system_of(directory) or "the file system", os.stat(directory).st_dev
            seconds = seconds_to_notice(directory, _NOTICED_WITHIN)
            if seconds is None:
                yield "warn", f"the system told of no edit within {_NOTICED_WITHIN:g} s ({kind})", _POLL
            else:
                yield "ok", f"the system tells of an edit after {seconds * 1000:.0f} ms ({kind})", ""
            trees = [place for place in trees if _is_other(place, device)]
            alone = [place for place in alone if _is_other(place, device)]
    silent = {place: kind for place in (*trees, *alone) if _is_silent(kind := file_system_of(place))}
    if silent:
        places, kinds = listed([near(place) for place in silent]), ", ".join(sorted(set(silent.values())))
        yield "warn", f"{places}: {kinds} tells of no edit that is made elsewhere", _POLL


def _is_other(place: Path, device: int) -> bool:
    """Return whether a directory is on another device than the trial was."""
    return os.stat(place).st_dev != device


def _is_silent(kind: str) -> bool:
    return kind in _SILENT or kind.startswith("fuse")


def git(examined: Examined) -> Said:
    """Look whether git and reviewers know that wrappers are generated."""
    config, project = examined.known()
    output = project.files.real_path(config.place)
    top = config.path.parent
    if shutil.which("git") is None or _git(top, "rev-parse", "--is-inside-work-tree") != (0, "true"):
        return
    name = os.path.relpath(output, top)
    if _git(top, "check-ignore", "-q", "--", f"{name}/wrapper.py")[0] == 0:
        yield "ok", f"{near(output)} is ignored", ""
        return
    is_marked = _git(top, "check-attr", "linguist-generated", "--", f"{name}/wrapper.py")[1].endswith(
        (": set", ": true")
    )
    is_ignored = _git(top, "check-ignore", "-q", "--", f"{name}/wrapper.py.edited")[0] == 0
    if is_marked and is_ignored:
        yield "ok", "wrappers are marked as generated, and what was kept of edited ones is ignored", ""
    if not is_marked:
        text = "wrappers are not marked as generated, so that reviewers are shown each line of them"
        yield "warn", text, f'Write "*.py linguist-generated" into {near(output)}/.gitattributes'
    if not is_ignored:
        text = "what is kept of wrappers that were edited by hand, *.edited, is not ignored"
        yield "warn", text, f'Write "*.edited*" into {near(output)}/.gitignore'


def _git(directory: Path, *args: str) -> tuple[int, str]:
    """Run git; return its status and what it printed."""
    command = ["git", "-c", "core.fsmonitor=false", *args]
    try:
        ran = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_GIT_TIMEOUT, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"git did not answer within {_GIT_TIMEOUT:g} s: {' '.join(args)}.") from error
    return ran.returncode, ran.stdout.strip()
