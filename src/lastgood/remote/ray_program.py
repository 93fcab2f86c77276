"""The program that talks to Ray for an app: it places hosts, and says when they are gone.

It is a process of its own, ``python -m lastgood.remote.ray_program DESCRIPTOR SETTINGS``, because Ray ends the process that has
called ``ray.init()`` a minute after it has lost the head of the cluster, and replaces signal handlers and ``sys.excepthook`` in it.

Both sides send lines of JSON. The app asks ``{"id": 1, "do": "place", …}``; the answer has the same ``id``, and ``error`` if that
failed. Unasked, the program sends ``ready`` or ``failed`` first, and ``gone`` for each host that has ended. It ends with the app's
end of the connection.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

__all__ = ["PATIENCE", "Placing", "main", "shortage"]

PATIENCE = 3.0
"""Seconds for resources to become free before that is an error: those of a host that was removed take one or two."""

_CHECK_INTERVAL = 0.2
_IDLE = 3.0  # seconds for which an actor is kept without a host
_END_WAIT = 3.0  # seconds for a host to end by itself, before its actor is killed
_LEAVE_WAIT = 8.0  # seconds for Ray to let go, before the process ends all the same
_MOST_AT_ONCE = 32  # requests
_MOST_READ = 1 << 22  # bytes of a request


class HostActor:
    """The actor that starts a host where Ray has placed it. It is shipped by value: the cluster has no lastgood.

    The host's stdin and stdout are the connection to the app, so that Ray carries no call.
    """

    def listen(self) -> tuple[str, int, str]:
        """Listen for the app; return the node's address, the port, and the node's id."""
        import socket

        import ray

        address = ray.util.get_node_ip_address()
        self.listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        return address, self.listener.getsockname()[1], ray.get_runtime_context().get_node_id()

    def run(self, bootstrap: str, secret: str, patience: float) -> str:
        """Start the host for the app, which proves that it knows ``secret``; return why it has ended."""
        import os
        import signal
        import subprocess
        import sys

        connection = self.accept(bytes.fromhex(secret), patience)
        if connection is None:
            return f"the app did not connect within {patience:g} s"
        with connection:
            host = subprocess.Popen(
                [sys.executable, "-c", bootstrap],
                stdin=connection,
                stdout=connection,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        assert host.stderr is not None
        said = b""
        with host.stderr:
            while chunk := os.read(host.stderr.fileno(), 1 << 16):
                said = (said + chunk)[-2000:]
        status = host.wait()
        how = f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
        last = said.decode(errors="replace").strip()
        return f"the host {how}" + (f": {last}" if last else "")

    def accept(self, secret: bytes, patience: float) -> Any:
        """Return the connection of whoever knows ``secret``, or None; it learns that this side knows it, too."""
        import hmac
        import os
        import socket
        import time

        deadline = time.monotonic() + patience
        with self.listener:
            while (left := deadline - time.monotonic()) > 0:
                self.listener.settimeout(left)
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    break
                connection.settimeout(2.0)
                try:
                    theirs = self.receive(connection)
                    mine = os.urandom(32)
                    connection.sendall(mine + hmac.digest(secret, b"host" + theirs + mine, "sha256"))
                    proof = self.receive(connection)
                    if hmac.compare_digest(proof, hmac.digest(secret, b"app" + mine + theirs, "sha256")):
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        connection.settimeout(None)
                        return connection
                except OSError:
                    pass
                connection.close()
        return None

    def receive(self, connection: Any) -> bytes:
        """Return the next 32 bytes, or fewer at the end."""
        data = b""
        while len(data) < 32 and (chunk := connection.recv(32 - len(data))):
            data += chunk
        return data


class Failed(Exception):
    """A request failed. The text is for the person at the terminal."""


class _Placed:
    """An actor with a host, ``like``: what it was placed by."""

    def __init__(self, actor: Any, like: str) -> None:
        self.actor = actor
        self.like = like
        self.node = ""
        self.runs = False
        self.ended = threading.Event()
        self.can_run_again = False


class _Idle(NamedTuple):
    """An actor whose host has ended. It keeps its resources for the next one: to start an actor takes a second or more."""

    actor: Any
    node: str
    like: str
    since: float


class Placing:
    """The hosts of an app, on the cluster that this process is connected to. ``tell`` sends a message to the app."""

    def __init__(self, ray: Any, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self._ray = ray
        self._tell = tell
        self._actor_class = ray.remote(HostActor)
        self._strategies = ray.util.scheduling_strategies
        self._placed: dict[int, _Placed] = {}
        self._idle: list[_Idle] = []
        self._starting: dict[int, str] = {}  # with their nodes
        self._removed: set[int] = set()
        self._lock = threading.Lock()

    def place(self, number: int, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have Ray place a host, or take an actor whose host has ended; return where it listens for the app."""
        try:
            where = self._listen_again(number, request) or self._listen(number, request)
        except Exception as error:
            self.remove(number)
            raise error if isinstance(error, Failed) else Failed(cause(error)) from error
        finally:
            self._starting.pop(number, None)
        placed = self._placed[number]
        placed.node = where["node"]
        running = placed.actor.run.remote(request["bootstrap"], request["secret"], request["patience"])
        running.future().add_done_callback(lambda future: self._note_end(number, placed, future))
        placed.runs = True
        return where

    def _note_end(self, number: int, placed: _Placed, future: Any) -> None:
        error = future.exception()
        placed.can_run_again = error is None
        placed.ended.set()
        self._tell({"gone": number, "why": future.result() if error is None else cause(error)})

    def _listen_again(self, number: int, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take an actor that is like the wanted one; None if there is none that answers."""
        while True:
            with self._lock:
                alike = [
                    each for each in self._idle if each.like == _like(request) and each.node not in request["avoid"]
                ]
                if not alike:
                    return None
                idle = alike[0]
                self._idle.remove(idle)
                placed = self._placed[number] = _Placed(idle.actor, idle.like)
            where = placed.actor.listen.remote()
            if self._ray.wait([where], timeout=PATIENCE)[0]:
                try:
                    return _where(self._ray.get(where))
                except self._ray.exceptions.RayError:
                    pass  # it has died meanwhile
            self._kill(placed)

    def _listen(self, number: int, request: Mapping[str, Any]) -> dict[str, Any]:
        return _where(self._ray.get(self._create(number, request).listen.remote()))

    def _create(self, number: int, request: Mapping[str, Any]) -> Any:
        """Create the actor once there is room for it: one that waits for a node that never comes holds up those after it."""
        options = {
            "num_cpus": request["num_cpus"],
            "num_gpus": request["num_gpus"],
            "resources": request["resources"] or None,
            "max_restarts": 0,
        }
        if request["runtime_env"]:
            options["runtime_env"] = request["runtime_env"]
        begun = time.monotonic()
        while True:
            with self._lock:
                if number in self._removed:
                    raise Failed("it was removed before it was placed")
                strategy = self._strategy(number, request, is_late=time.monotonic() - begun > PATIENCE)
                if strategy is not None:
                    actor = self._actor_class.options(scheduling_strategy=strategy, **options).remote()
                    self._placed[number] = _Placed(actor, _like(request))
                    return actor
            self.end_idle(0)
            time.sleep(_CHECK_INTERVAL)

    def _strategy(self, number: int, request: Mapping[str, Any], *, is_late: bool) -> Any:
        """Return how Ray is to place it: on a node that has room, and is not to be avoided. None: there is no room yet.

        Raises :class:`Failed` if there is none and ``is_late``.
        """
        if request["placement_group"] is not None:
            return self._in_group(request["placement_group"], request["avoid"])
        demand, nodes = _demand(request), self._nodes()
        others = [node for node in nodes if node["id"] not in request["avoid"]]
        room = self._room(demand, others)
        if room is None and (is_late or not any(_fits(demand, node["total"]) for node in others)):
            room = self._room(demand, nodes)
        if room is not None:
            self._starting[number] = room["id"]
            return self._strategies.NodeAffinitySchedulingStrategy(room["id"], soft=not request["avoid"])
        if is_late and not self._starting:
            raise Failed(shortage(demand, nodes, has_others=bool(self._placed)))
        return None

    def _room(self, demand: Mapping[str, float], nodes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return the node with room that has fewest hosts, so that its loss is not that of all, and of the one that is ahead.

        Of hosts that are being started it is not known whether the free resources are without theirs: they count twice.
        """
        starting = Counter(self._starting.values())
        ours = Counter(each.node for each in self._placed.values()) + starting
        free = [node for node in nodes if _slots(demand, node["free"]) > starting[node["id"]]]
        return min(free, key=lambda node: (ours[node["id"]], -float(node["free"].get("CPU", 0))), default=None)

    def _in_group(self, name: str, avoid: Sequence[str]) -> Any:
        try:
            group = self._ray.util.get_placement_group(name)
            bundles = self._ray.util.placement_group_table(group)["bundles_to_node_id"]
        except ValueError:
            raise Failed(
                f"Ray has no placement group named {name!r} in the namespace of the app's connection"
            ) from None
        others = [int(bundle) for bundle, node in bundles.items() if node not in avoid]
        index = others[0] if others and len(others) < len(bundles) else -1
        return self._strategies.PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)

    def _nodes(self) -> list[dict[str, Any]]:
        free = self._ray._private.state.available_resources_per_node()
        return [
            {"id": node["NodeID"], "total": node["Resources"], "free": free.get(node["NodeID"], {})}
            for node in self._ray.nodes()
            if node["Alive"]
        ]

    def remove(self, number: int) -> dict[str, Any]:
        """Remove a host, which ends by itself when its connection is at its end. Its actor may have another one soon."""
        with self._lock:
            self._removed.add(number)
            placed = self._placed.get(number)
        if placed is None:
            return {}
        if placed.runs and placed.ended.wait(_END_WAIT) and placed.can_run_again:
            with self._lock:
                self._idle.append(_Idle(placed.actor, placed.node, placed.like, time.monotonic()))
        else:
            self._kill(placed)
        self._placed.pop(number, None)
        return {}

    def end_idle(self, after: float = _IDLE) -> None:
        """Free what is kept for hosts to come, if none has come for ``after`` seconds."""
        with self._lock:
            old = [each for each in self._idle if time.monotonic() - each.since >= after]
            self._idle = [each for each in self._idle if each not in old]
        for each in old:
            self._kill(each)

    def remove_all(self) -> None:
        """Remove all hosts, without waiting for any."""
        for placed in self._placed.values():
            self._kill(placed)
        self.end_idle(0)

    def _kill(self, placed: _Placed | _Idle) -> None:
        with contextlib.suppress(Exception):  # it may be gone, its node too
            self._ray.kill(placed.actor)


def _where(answer: tuple[str, int, str]) -> dict[str, Any]:
    address, port, node = answer
    return {"address": address, "port": port, "node": node}


def _like(request: Mapping[str, Any]) -> str:
    """Return all that an actor is placed by."""
    names = ("num_cpus", "num_gpus", "resources", "runtime_env", "placement_group")
    return json.dumps([request[name] for name in names], sort_keys=True)


def _demand(request: Mapping[str, Any]) -> dict[str, float]:
    """Return the resources that a host needs, by their names in Ray."""
    demand = {"CPU": request["num_cpus"], "GPU": request["num_gpus"], **(request["resources"] or {})}
    return {name: float(amount) for name, amount in demand.items() if amount}


def _fits(demand: Mapping[str, float], offer: Mapping[str, float]) -> bool:
    return all(float(offer.get(name, 0)) >= amount for name, amount in demand.items())


def _slots(demand: Mapping[str, float], offer: Mapping[str, float]) -> int:
    """Return how many such demands fit."""
    return int(min((float(offer.get(name, 0)) // amount for name, amount in demand.items()), default=_MOST_AT_ONCE))


def shortage(demand: Mapping[str, float], nodes: Sequence[Mapping[str, Any]], *, has_others: bool) -> str:
    """Return a sentence about the resource that no node has, or has free, though each may have the others."""
    wanted = ", ".join(f"{name} {amount:g}" for name, amount in demand.items())
    whole = [node for node in nodes if _fits(demand, node["total"])]
    if not whole:
        most = {name: max((float(node["total"].get(name, 0)) for node in nodes), default=0.0) for name in demand}
        lacking = [name for name in demand if most[name] < demand[name]] or list(demand)
        has = ", ".join(f"{name} {most[name]:g}" for name in lacking)
        return f"no node of the cluster can take a worker that needs {wanted}: the most that one has is {has}."
    most = {name: max(float(node["free"].get(name, 0)) for node in whole) for name in demand}
    lacking = [name for name in demand if most[name] < demand[name]] or list(demand)
    has = ", ".join(f"{name} {most[name]:g}" for name in lacking)
    text = f"no node of the cluster has {wanted} free: the most that is left on one is {has}."
    if has_others:
        text += (
            f" The live generation may be what holds {lacking[0]}: where two do not fit at once, set overlap = false under "
            "[runtime.process] in the config, and the old one is let go before the new one is placed."
        )
    return text


def cause(error: BaseException) -> str:
    """Return what went wrong, in a line or a few, of an error of Ray's."""
    text = str(getattr(error, "error_msg", None) or error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not line.startswith(("class_name:", "actor_id:", "pid:", "namespace:", "ip:", "name:"))
    ]
    return " ".join(kept)[:600] or type(error).__name__


def connect(address: str | None, directory: str) -> Any:
    """Connect to the cluster at ``address``, or start one on this machine, with its files in ``directory``; return Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.util.scheduling_strategies

    common = {"namespace": "lastgood", "log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        ray.init(address, **common)
        return ray
    # Not ray.init() without an address: it joins whatever cluster has left its address in a file, also a dead one.
    ray.init("local", include_dashboard=False, object_store_memory=80 << 20, _temp_dir=directory, **common)
    return ray


class _Connection:
    """Lines of JSON to and from the app."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = threading.Lock()
        self._rest = b""

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a line. If the app is gone, the reader notices."""
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def requests(self, within: float) -> list[Any] | None:
        """Return the requests that have come within these seconds; None when the app is gone, or needs nothing any more."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(within * 1000):
            return []
        try:
            chunk = self._socket.recv(1 << 16)
        except OSError:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return None if not chunk or len(self._rest) > _MOST_READ else [json.loads(line) for line in lines]


def main(descriptor: int, settings: Mapping[str, Any]) -> None:
    """Serve the app on this descriptor until that ends the connection."""
    connection = _Connection(descriptor)
    ended = threading.Event()
    threading.Thread(target=_leave_in_time, args=(ended,), daemon=True).start()
    try:
        ray = connect(settings["address"], settings["directory"])
    except BaseException as error:
        connection.tell({"failed": cause(error)})
        raise SystemExit(1) from None
    try:
        connection.tell({"ready": ray.get_runtime_context().gcs_address})
        placing = Placing(ray, connection.tell)
        with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
            _serve(connection, placing, pool)
            ended.set()
            placing.remove_all()
    finally:
        ended.set()
        ray.shutdown()
        _remove(settings["directory"])  # the app may be gone


def _serve(connection: _Connection, placing: Placing, pool: ThreadPoolExecutor) -> None:
    def perform(request: Mapping[str, Any]) -> None:
        try:
            answer = (
                placing.remove(request["place"])
                if request["do"] == "remove"
                else placing.place(request["place"], request)
            )
        except Failed as error:
            answer = {"error": str(error)}
        except Exception as error:  # such as what Ray raises when its head is gone
            answer = {"error": cause(error)}
        connection.tell({"id": request["id"], **answer})

    while (requests := connection.requests(1.0)) is not None:
        for request in requests:
            pool.submit(perform, request)
        placing.end_idle()


def _remove(directory: str) -> None:
    """Remove what the cluster has written; processes of it that end may still write."""
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):
            return
        time.sleep(0.1)


def _leave_in_time(ended: threading.Event) -> None:
    """End the process some seconds after it should have ended: Ray may wait for a head that is gone or frozen."""
    ended.wait()
    time.sleep(_LEAVE_WAIT)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
