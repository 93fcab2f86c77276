"""Clusters of Ray on this machine, of nodes that can be killed and frozen, and that see nothing of a project."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["CAN_HIDE", "Cluster", "Node", "cluster", "parent_of"]

_OBJECTS = 80 << 20  # bytes, about the least that Ray takes
CAN_HIDE = shutil.which("unshare") is not None and os.geteuid() == 0
"""Whether a directory can be hidden from a node."""


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Node:
    """A node: the processes of ``ray start --block``."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], hidden: Path | None = None) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += [f"--object-store-memory={_OBJECTS}", *arguments]
        if hidden is not None and CAN_HIDE:
            script = f"mount -t tmpfs none '{hidden}'; cd /; exec \"$@\""
            command = ["unshare", "--mount", "sh", "-ec", script, "sh", *command]
        self.process = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._said: list[str] = []
        self._killed = False

    def wait_until_ready(self) -> str:
        """Wait until Ray says that it runs; return the address of the cluster, if this is its head."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)
            if "To terminate the Ray runtime" in line or "--block" in line:
                found = re.search(r"ray start --address='([^']+)'", "".join(self._said))
                return found[1] if found else ""
        raise RuntimeError("".join(self._said))

    def pids(self) -> list[int]:
        """Return its processes, parents first."""
        children: dict[int, list[int]] = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                children.setdefault(parent_of(int(name)), []).append(int(name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill all its processes."""
        pids = self.pids()
        for number in (signal.SIGSTOP, signal.SIGKILL):  # none starts another meanwhile
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Cluster:
    """A cluster whose head takes no workers. ``environment`` is that of its nodes, and of who wants to connect."""

    def __init__(self, directory: Path, hidden: Path | None, environment: Mapping[str, str]) -> None:
        self._hidden = hidden
        self.environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", **environment}
        self.nodes: list[Node] = []
        arguments = ["--head", "--port=0", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={directory}"]
        self.head = Node(arguments, self.environment, hidden)
        self.address = self.head.wait_until_ready()

    def add(self, *arguments: str) -> Node:
        """Start a node."""
        node = Node([f"--address={self.address}", *arguments], self.environment, self._hidden)
        self.nodes.append(node)
        node.wait_until_ready()
        return node

    def node_of(self, pid: int) -> Node:
        """Return the node that a process belongs to."""
        return next(node for node in self.nodes if pid in node.pids())

    def remove(self, node: Node) -> None:
        """Kill a node."""
        self.nodes.remove(node)
        node.kill()

    def end(self) -> None:
        """Kill all nodes."""
        for node in (*self.nodes, self.head):
            node.kill()


@contextmanager
def cluster(hidden: Path | None = None, **environment: str) -> Iterator[Cluster]:
    """Run the head of a cluster, whose nodes do not see the directory ``hidden``."""
    directory = Path(tempfile.mkdtemp(prefix="lg-ray-"))  # a short path: Ray's sockets lie there
    made: Cluster | None = None
    try:
        made = Cluster(directory, hidden, environment)
        yield made
    finally:
        if made is not None:
            made.end()
        shutil.rmtree(directory, ignore_errors=True)
