"""What workers elsewhere cost, beside one that runs here: one run, all of it on this machine.

    python benchmarks/remote.py [--rounds N] [--json FILE] [--ssh DESTINATION] [--python INTERPRETER]

- here: a ``ProcessBridge``, whose worker runs here and shares memory with the app;
- process: the host and its worker in a process beside the app, through pipes: what the way of a call costs without a network;
- ssh: through an sshd on loopback, which is started for this (from the package openssh-server; left out where there is none), or at
  ``--ssh DESTINATION``;
- ray: on a cluster of two nodes, which are started for this (from the package ray; left out where it is not installed), and beside
  it "actor", a plain actor of Ray's on such a node: what ``ray.get(actor.echo.remote(1))`` takes.

"warm" is the time of ``init()`` at a new place. "swapped" begins with the write of the edited file and ends with the swap; the
worker was started ahead. "sent" is what an edit of one file sends, counted by the bridge.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

import lastgood
from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config
from lastgood.remote import BOOTSTRAP, CommandPlace, RayBridge, RemoteBridge, SshBridge

CALLS = 2000
SIZES = (10, 100)
"""Megabytes of the arrays."""

SERVICE = """
VERSION = {}

def version():
    return VERSION

def echo(value):
    return value

def size(value):
    return value.nbytes

def array(megabytes):
    import numpy
    return numpy.ones(megabytes * 125_000)
"""

ACTOR = """
import statistics, sys, time, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")

class Actor:
    def echo(self, value):
        return value

actor, times = ray.remote(Actor).remote(), []
ray.get(actor.echo.remote(1))
for _ in range(int(sys.argv[2])):
    before = time.perf_counter()
    ray.get(actor.echo.remote(1))
    times.append(time.perf_counter() - before)
print(statistics.median(times))
"""

Create = Callable[[Config], Any]


def project(root: Path) -> Path:
    """A project of eleven modules, of which one is edited. Return its config file."""
    (root / "src").mkdir()
    for number in range(10):
        (root / "src" / f"helper{number}.py").write_text(f"VALUE = {number}\n" * 50)
    edit(root, 0)
    config = root / "lastgood.toml"
    config.write_text('python_import_path = ["src"]\n[modules.svc]\n[output]\ndir = "generated"\n')
    return config


def edit(root: Path, version: int) -> None:
    """Save the module in a new version, as an editor does it."""
    imports = "".join(f"import helper{number}\n" for number in range(10))
    (root / "svc.py.new").write_text(imports + SERVICE.format(version))
    (root / "svc.py.new").replace(root / "src" / "svc.py")


@contextmanager
def sshd(destination: str | None, python: str | None) -> Iterator[tuple[str, str] | None]:
    """A destination for ssh, and the interpreter there; None if there is none."""
    if destination is not None:
        yield destination, python or "python3"
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from ssh_server import can_serve, ssh_server

    if not can_serve():
        print("ssh is left out: there is no sshd on this machine (apt-get install openssh-server)")
        yield None
        return
    with tempfile.TemporaryDirectory() as directory, ssh_server(Path(directory, "there")) as server:
        os.environ["PATH"] = f"{server.commands}:{os.environ['PATH']}"
        yield server.host, python or sys.executable


@contextmanager
def ray_nodes() -> Iterator[str | None]:
    """The address of a cluster of Ray's with two nodes; None if there is none."""
    if importlib.util.find_spec("ray") is None:
        print("ray is left out: it is not installed here (pip install 'lastgood[ray]')")
        yield None
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from ray_clusters import cluster

    os.environ["RAY_AUTH_MODE"] = "disabled"
    with cluster() as nodes:
        for _ in range(2):
            nodes.add("--num-cpus=2")
        yield nodes.address


def bare_actor(address: str) -> float:
    """The seconds of a call of an actor."""
    command = [sys.executable, "-c", ACTOR, address, str(CALLS)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


async def measure(create: Create, rounds: int) -> dict[str, Any]:
    """Measure one way to run a worker."""
    found: dict[str, Any] = {"warm": [], "swapped": [], "call": [], "sent": []}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        config = project(root)

        async def warmed(config: Config) -> Any:
            bridge = create(config)
            before = time.perf_counter()
            await bridge.init()
            found["warm"].append(time.perf_counter() - before)
            bridge.init = trio.lowlevel.checkpoint
            return bridge

        async with lastgood.watch(config, create_bridge=warmed, debounce=0.02) as session:
            call = session.handle.call
            for version in range(1, rounds + 1):
                await session.bridge.prepare_spare()  # or wait for the one that is under way
                await trio.sleep(0.2)
                before = time.perf_counter()
                edit(root, version)
                await session.settle()
                found["swapped"].append(time.perf_counter() - before)
                assert await call("svc", "version") == version
                found["sent"].append(getattr(session.bridge, "bytes_shipped", 0))
            for _ in range(CALLS):
                before = time.perf_counter()
                await call("svc", "echo", [1])
                found["call"].append(time.perf_counter() - before)
            await arrays(call, found)
    return {name: values[0] if name == "warm" else statistics.median(values) for name, values in found.items()}


async def arrays(call: Callable[..., Any], found: dict[str, Any]) -> None:
    """Send arrays there and back, if there is a numpy on both sides."""
    try:
        import numpy

        await call("svc", "array", [1])
    except (ImportError, lastgood.BridgeError):
        print("arrays are left out: one of the sides has no numpy")
        return
    for megabytes in SIZES:
        array = numpy.ones(megabytes * 125_000)
        for name, function, argument in (("to", "size", array), ("from", "array", megabytes)):
            times = found[f"{name} {megabytes} MB"] = []
            for _ in range(4):
                before = time.perf_counter()
                await call("svc", function, [argument])
                times.append(time.perf_counter() - before)
            del times[0]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ssh")
    parser.add_argument("--python", help="the interpreter at --ssh, or on the other side of the sshd on loopback")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as cache,
        sshd(options.ssh, options.python) as destination,
        ray_nodes() as address,
    ):
        env = {**os.environ, "XDG_CACHE_HOME": cache}

        def place() -> CommandPlace:
            return CommandPlace([sys.executable, "-c", BOOTSTRAP], env=env, name="a process")

        ways: dict[str, Create] = {
            "here": ProcessBridge.from_config,
            "process": lambda config: RemoteBridge(config, place, ahead="process"),
        }
        if destination is not None:
            host, python = destination
            ways["ssh"] = lambda config: SshBridge.from_config(config, host, python=python)
        if address is not None:
            ways["ray"] = lambda config: RayBridge.from_config(config, address=address)
        found = {name: trio.run(measure, create, options.rounds) for name, create in ways.items()}
        if address is not None:
            found["actor"] = {"call": bare_actor(address)}
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    print(f"{'':10}" + "".join(f"{column:>14}" for column in columns))
    for name, row in found.items():
        print(f"{name:10}" + "".join(f"{shown(column, row.get(column)):>14}" for column in columns))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


def shown(column: str, value: float | None) -> str:
    """A value with its unit."""
    if value is None:
        return "–"
    if column == "sent":
        return f"{value / 1000:.1f} kB"
    return f"{value * 1e6:.0f} µs" if column == "call" else f"{value * 1000:.0f} ms"


if __name__ == "__main__":
    main()
