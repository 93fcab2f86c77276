"""Workers on a machine that ``ssh`` reaches, by the system's own ``ssh``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lastgood.config import Config
from lastgood.remote.bridge import RemoteBridge
from lastgood.remote.command import CommandPlace
from lastgood.remote.place import BOOTSTRAP

__all__ = ["SshBridge", "SshPlace"]

_OPTIONS = (
    "-T",
    *("-o", "BatchMode=yes"),  # nobody is there to be asked
    *("-o", "ConnectTimeout=30"),
    *("-o", "RemoteCommand=none"),
    *("-o", "RequestTTY=no"),
)
_OWN_FAILURE = 255  # of ssh itself
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # of the shell there


class SshPlace(CommandPlace):
    """A place for one worker at ``host``, any destination that ``ssh`` takes, where ``python`` is the interpreter."""

    def __init__(self, host: str, python: str = "python3") -> None:
        _check(host, python)
        super().__init__(["ssh", *_OPTIONS, "--", host, remote_command(python)], name=f"ssh {host}")
        self._host = host
        self._python = python

    def _cannot_start(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            return "there is no ssh command on PATH. Install OpenSSH's client."
        return super()._cannot_start(error)

    def reason(self, status: int | None, stderr: str) -> str:
        """See :class:`.CommandPlace`."""
        said = stderr.splitlines()[-1] if stderr else ""
        by_hand = f"ssh -o BatchMode=yes {self._host} true"
        if status == _NOT_FOUND:
            return f"there is no {self._python} there, so set python= to an interpreter of Python 3.9 or newer ({said})"
        if status == _NOT_EXECUTABLE:
            return f"{self._python} may not be executed there, so set python= to an interpreter ({said})"
        if status != _OWN_FAILURE:
            return said or super().reason(status, stderr)
        if "Could not resolve hostname" in stderr:
            return f"the host is unknown ({said})"
        if "Permission denied" in stderr:
            return (
                f"authentication was refused ({said}). Nobody is asked for a password here: have a key in an agent or in the "
                f"config of ssh, until this works: {by_hand}"
            )
        if "Host key verification failed" in stderr:
            return f"its host key is not known, or another than it was ({said}). Connect once by hand: ssh {self._host}"
        return said or "the connection was closed, or the host there was killed"


class SshBridge(RemoteBridge):
    """Calls functions in workers on a machine that ``ssh`` reaches. See :meth:`from_config`."""

    _name = "an SshBridge"

    @classmethod
    def from_config(
        cls,
        config: Config,
        host: str,
        *,
        python: str = "python3",
        heartbeat: float = 1.0,
        lost_after: float = 5.0,
        files: Sequence[str] = (),
    ) -> SshBridge:
        """Create the bridge to workers at ``host``, without connecting. Give it to a session as its ``create_bridge``.

        ``host`` is any destination that ``ssh`` takes: a name, an alias of its config, ``user@host``, ``ssh://user@host:port``.
        Keys, agents, jump hosts and all else are the business of the system's ``ssh``, which asks nothing (``BatchMode``). On the
        other side ``python`` has to be Python 3.9 or newer, found by the shell there; nothing needs to be installed in it but what
        the sources import. ``heartbeat`` and ``lost_after`` are seconds, see :class:`RemoteBridge`, and ``files`` are those of
        :meth:`Shipment.of`. Each worker has a connection of its own, and what was started there ends with it.

        Raises :class:`ValueError` for a ``host`` that is empty or would be an option, and for the others if they are invalid.
        """
        _check(host, python)
        return cls(
            config,
            lambda: SshPlace(host, python),
            heartbeat=heartbeat,
            lost_after=lost_after,
            files=files,
            ahead=("ssh", host, python, heartbeat, lost_after),
        )


def remote_command(python: str) -> str:
    """Return the command for a shell on the other side, whichever it is, that runs the host by ``python``."""
    home, rest = ("~/", python[2:]) if python.startswith("~/") else ("", python)
    return f"exec {home}{shlex.quote(rest)} -c '{BOOTSTRAP}'"


def _check(host: str, python: str) -> None:
    if not host or host.startswith("-") or any(each.isspace() or each == "\0" for each in host):
        raise ValueError(
            f"host: expected a destination for ssh, such as user@host or ssh://user@host:22, found {host!r}."
        )
    if not python or python.startswith("-") or "\0" in python or "\n" in python:
        raise ValueError(f"python: expected a command of the other side, such as python3, found {python!r}.")
