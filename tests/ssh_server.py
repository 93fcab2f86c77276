"""A real sshd on loopback, in whose sessions neither the sources nor lastgood can be seen: another machine, as far as that goes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lastgood
from marked_processes import marked
from process_bridges import interpreter
from real_project import DEADLINE

__all__ = ["SshServer", "can_serve", "ssh_server"]

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/hostkey
AuthorizedKeysFile {home}/key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
SetEnv {variables}
"""
_CLIENT = """\
Host *
  HostName 127.0.0.1
  Port {port}
  IdentityFile {home}/key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {home}/known
  StrictHostKeyChecking accept-new
  LogLevel ERROR
"""
_HIDDEN = 'for each in "$@"; do mount -t tmpfs none "$each" || exit 99; done; shift $#; exec'


class SshServer:
    """``host`` is what the ``ssh`` in ``commands`` takes, ``python`` an interpreter there.

    ``hides``: the sources cannot be seen there.

    ``cache`` is that of the hosts there; ``directory`` marks the processes there (marked_processes.py).
    """

    def __init__(self, home: Path, port: int, hides: bool) -> None:
        self.host = "elsewhere"
        self.commands = home / "bin"
        self.python = str(interpreter("3.9") or "python3")
        self.cache = home / "cache" / "lastgood" / "remote"
        self.directory = home
        self.port = port
        self.hides = hides


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def can_serve() -> bool:
    """Whether this machine has what an sshd needs."""
    return _sshd() is not None and shutil.which("ssh") is not None


@contextmanager
def ssh_server(home: Path, hidden: Sequence[Path] = ()) -> Iterator[SshServer]:
    """Run an sshd, in whose sessions the directories ``hidden`` are empty, if this user can do that."""
    sshd, ssh = _sshd(), shutil.which("ssh")
    assert sshd is not None
    home.mkdir(parents=True)
    (home / "cache").mkdir()
    for key in ("hostkey", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (there := home / "there").mkdir()
    (there / "python3").symlink_to(interpreter("3.9") or os.path.realpath(sys.executable))
    variables = {"PATH": f"{there}:{os.defpath}", "XDG_CACHE_HOME": home / "cache", **marked(home)}
    (home / "sshd_config").write_text(
        _CONFIG.format(port=port, home=home, variables=" ".join(f"{name}={value}" for name, value in variables.items()))
    )
    (home / "ssh_config").write_text(_CLIENT.format(port=port, home=home))
    (home / "bin").mkdir()
    (home / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F {home}/ssh_config "$@"\n')
    (home / "bin" / "ssh").chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command: list[str | Path] = [sshd, "-D", "-f", home / "sshd_config", "-E", home / "log"]
    hides = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    if hides:
        everything = [*hidden, Path(lastgood.__file__).parent]
        command = ["unshare", "-m", "sh", "-c", f"{_HIDDEN} {' '.join(map(str, command))}", "sh", *everything]
    server = subprocess.Popen(command)
    try:
        _wait_for(server, port, home / "log")
        yield SshServer(home, port, hides)
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert server.poll() is None, log.read_text() if log.exists() else "it has not started"
            assert time.monotonic() < end
            time.sleep(0.01)
        else:
            return
