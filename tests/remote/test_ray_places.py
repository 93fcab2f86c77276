"""What does not need a cluster of what a RayBridge does: connections, placement, errors."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig, RuntimeConfig
from lastgood.errors import BridgeError
from lastgood.remote import RayBridge, ray
from lastgood.remote.ray_program import Failed, HostActor, Placing, cause, shortage

SECRET = bytes(range(32))
WANTED = {
    "num_cpus": 1,
    "num_gpus": 0,
    "resources": {},
    "runtime_env": {},
    "placement_group": None,
    "avoid": [],
    "bootstrap": "",
    "secret": "",
    "patience": 1,
}


def config(**process: Any) -> Config:
    return Config(
        path=Path("/project/lastgood.toml"),
        python_import_path=(Path("/project"),),
        modules={"svc": ModuleConfig()},
        output=OutputConfig(dir=Path("/project/generated")),
        runtime=RuntimeConfig(process=ProcessConfig(**process)),
    )


# --- the connection


@contextmanager
def listening(do: Callable[[HostActor], Any]) -> Iterator[tuple[int, list[Any]]]:
    """An actor that listens; ``do`` is done in its thread. Give its port, and what came of it."""
    actor, results = HostActor(), list[Any]()
    actor.listener = socket.create_server(("127.0.0.1", 0))
    port = actor.listener.getsockname()[1]
    thread = threading.Thread(target=lambda: results.append(do(actor)))
    thread.start()
    try:
        yield port, results
    finally:
        thread.join()


async def connected(port: int, secret: bytes) -> trio.SocketStream:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    try:
        await ray._shake_hands(stream, secret)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def test_only_who_knows_the_secret_gets_the_host() -> None:
    with listening(lambda actor: actor.accept(SECRET, 30)) as (port, accepted):
        with pytest.raises(trio.BrokenResourceError, match="another program answers"):
            await connected(port, b"x" * 32)
        async with await trio.open_tcp_stream("127.0.0.1", port):
            pass  # one that says nothing
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(bytes(64))  # one that guesses
            with suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass
        stream = await connected(port, SECRET)
    with accepted[0]:
        accepted[0].sendall(b"hello")
        assert await stream.receive_some() == b"hello"
        await stream.aclose()


async def test_what_is_wrong_with_what_the_host_sends_is_raised_as_it_is() -> None:
    async def received(_: bytes) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async def ended(_: int) -> str:
        await trio.sleep_forever()
        raise AssertionError

    error = ValueError("nonsense")
    with listening(lambda actor: actor.accept(SECRET, 30)) as (port, accepted):
        place = ray.RayPlace(ray.Wanted(None, 1, 0, {}, {}))
        place._stream = await connected(port, SECRET)
        place._driver = cast("Any", SimpleNamespace(ended=ended))
    accepted[0].sendall(b"nonsense")
    with pytest.raises(ValueError, match="nonsense") as raised:
        await place.gone(received)
    assert raised.value is error
    accepted[0].close()
    await place._stream.aclose()


def test_a_host_that_nobody_wants_is_not_started() -> None:
    with listening(lambda actor: actor.run("raise SystemExit", SECRET.hex(), 0.01)) as (_, said):
        pass
    assert said == ["the app did not connect within 0.01 s"]


async def test_the_connection_is_the_stdin_and_stdout_of_the_host() -> None:
    program = "import os, sys; os.write(1, os.read(0, 9)); sys.exit('last words')"
    with listening(lambda actor: actor.run(program, SECRET.hex(), 30)) as (port, said):
        async with await connected(port, SECRET) as stream:
            await stream.send_all(b"there and")
            assert await stream.receive_some() == b"there and"
            assert await stream.receive_some() == b""
    assert said == ["the host ended with status 1: last words"]
    with listening(lambda actor: actor.run("import os; os.kill(os.getpid(), 9)", SECRET.hex(), 30)) as (port, said):
        async with await connected(port, SECRET) as stream:
            assert await stream.receive_some() == b""
    assert said == ["the host was killed by SIGKILL"]


# --- placement


class FakeActor:
    """An actor that listens as soon as it is made, and whose host runs until ``end``."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.running: list[Future[str]] = []
        self.listen = SimpleNamespace(remote=lambda: ("10.0.0.1", 4000, self.node))
        self.run = SimpleNamespace(remote=self._run)

    def _run(self, *_: object) -> Any:
        self.running.append(Future())
        return SimpleNamespace(future=lambda: self.running[-1])

    def end(self) -> None:
        self.running[-1].set_result("the host ended with status 0")


class FakeRay:
    """A cluster of nodes with this many free CPUs."""

    def __init__(self, **free: float) -> None:
        self.free = free
        self.made: list[FakeActor] = []
        self.killed: list[FakeActor] = []
        self.exceptions = SimpleNamespace(RayError=RuntimeError)
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft))
        self.util = SimpleNamespace(scheduling_strategies=strategies)
        self._private = SimpleNamespace(state=SimpleNamespace(available_resources_per_node=self.available))

    def available(self) -> dict[str, dict[str, float]]:
        return {node: {"CPU": cpus} for node, cpus in self.free.items()}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": node, "Resources": {"CPU": 4.0}, "Alive": True} for node in self.free]

    def remote(self, _: type) -> Any:
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda: self._make(**options)))

    def _make(self, *, scheduling_strategy: tuple[str, bool], num_cpus: float, **_: object) -> FakeActor:
        node, _soft = scheduling_strategy
        self.free[node] -= num_cpus
        self.made.append(FakeActor(node))
        return self.made[-1]

    def get(self, value: Any) -> Any:
        return value

    def wait(self, values: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:  # noqa: ARG002 - as Ray has it
        return values, []

    def kill(self, actor: FakeActor) -> None:
        self.killed.append(actor)
        self.free[actor.node] += 1


def placing(cluster: FakeRay) -> tuple[Placing, list[Mapping[str, Any]]]:
    told: list[Mapping[str, Any]] = []
    return Placing(cluster, told.append), told


def test_hosts_are_spread_and_nodes_to_avoid_are_avoided_as_long_as_another_fits() -> None:
    cluster = FakeRay(a=4, b=2)
    made, _ = placing(cluster)
    assert [made.place(number, WANTED)["node"] for number in (1, 2, 3)] == ["a", "b", "a"]
    assert made.place(4, {**WANTED, "avoid": ["a"]})["node"] == "b"
    assert made.place(5, {**WANTED, "avoid": ["b", "a"]})["node"] == "a"


def test_an_actor_whose_host_has_ended_has_the_next_one() -> None:
    cluster = FakeRay(a=2)
    made, told = placing(cluster)
    made.place(1, WANTED)
    cluster.made[0].end()
    made.remove(1)
    assert told == [{"gone": 1, "why": "the host ended with status 0"}]
    made.place(2, WANTED)
    assert (len(cluster.made), cluster.killed) == (1, [])
    cluster.made[0].end()
    made.remove(2)
    made.place(3, {**WANTED, "resources": {"CPU": 1}})  # one that is not like it
    assert len(cluster.made) == 2
    made.end_idle(0)
    assert cluster.killed == [cluster.made[0]]


def test_what_is_kept_for_the_next_one_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastgood.remote.ray_program._CHECK_INTERVAL", 0)
    cluster = FakeRay(a=1)
    made, _ = placing(cluster)
    made.place(1, WANTED)
    cluster.made[0].end()
    made.remove(1)
    made.place(2, {**WANTED, "runtime_env": {"env_vars": {"X": "1"}}})
    assert cluster.killed == [cluster.made[0]]


def test_where_no_node_has_room_the_error_names_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastgood.remote.ray_program.PATIENCE", 0)
    monkeypatch.setattr("lastgood.remote.ray_program._CHECK_INTERVAL", 0)
    made, _ = placing(FakeRay(a=1))
    made.place(1, WANTED)
    with pytest.raises(
        Failed, match=r"^no node of the cluster has CPU 1 free: .* CPU 0\. .* set overlap = false under"
    ):
        made.place(2, WANTED)
    with pytest.raises(
        Failed, match=r"^no node of the cluster can take a worker that needs CPU 1, GPU 2: .* is GPU 0\.$"
    ):
        made.place(3, {**WANTED, "num_gpus": 2})


def test_one_that_was_removed_before_it_was_placed_is_not_placed() -> None:
    cluster = FakeRay(a=1)
    made, _ = placing(cluster)
    made.remove(1)
    with pytest.raises(Failed, match="was removed"):
        made.place(1, WANTED)
    assert cluster.made == []


def test_a_shortage_of_another_users_making_does_not_speak_of_overlap() -> None:
    nodes = [{"total": {"GPU": 1.0}, "free": {}}]
    assert shortage({"GPU": 0.5}, nodes, has_others=False) == (
        "no node of the cluster has GPU 0.5 free: the most that is left on one is GPU 0."
    )


def test_of_what_ray_says_of_a_dead_actor_the_cause_is_kept() -> None:
    error = RuntimeError("The actor died.\n\tclass_name: HostActor\n\tactor_id: 12\n\tpid: 7\nIts node died.")
    assert cause(error) == "The actor died. Its node died."
    assert cause(KeyError()) == "KeyError"


# --- what is refused


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_gpus": -1}, "^num_gpus: expected a finite number, 0 or more, found -1"),
        ({"resources": {"a100": float("inf")}}, "^a100: expected a finite number"),
        ({"resources": {"GPU": 1}}, "num_gpus"),
        ({"runtime_env": {"py_modules": [sys]}}, "^runtime_env: expected plain data"),
        ({"workers": 0}, "^workers"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], match: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(ValueError, match=match):
        RayBridge.from_config(config(), **options)


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BridgeError, match=r"pip install 'lastgood\[ray\]'"):
        RayBridge.from_config(config())


def test_where_rays_own_connections_are_encrypted_there_is_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with pytest.raises(BridgeError, match="RAY_USE_TLS"):
        RayBridge.from_config(config())


def test_a_cluster_behind_rays_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(BridgeError, match="does not work through ray://head:10001"):
        RayBridge.from_config(config(), address="ray://head:10001")


def test_the_address_is_that_of_the_environment_or_of_the_apps_own_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert ray.current_address() is None
    context = SimpleNamespace(gcs_address="10.0.0.5:6379")
    connected = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", connected)
    assert ray.current_address() == "10.0.0.5:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.6:6379")
    assert ray.current_address() == "10.0.0.6:6379"
