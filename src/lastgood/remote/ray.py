"""Workers that Ray places: on a node of a cluster that has what they need."""

from __future__ import annotations

import hmac
import importlib.util
import json
import math
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import trio
from msgspec import Struct

from lastgood.config import Config
from lastgood.errors import BridgeError
from lastgood.remote.bridge import RemoteBridge
from lastgood.remote.link import lost_place
from lastgood.remote.place import BOOTSTRAP, Place
from lastgood.remote.ray_driver import RayDriver

__all__ = ["RayBridge", "RayPlace"]

_CONNECT = 10.0  # seconds for the connection to a host
_REMOVE = 5.0  # seconds for Ray to remove one
_WHY = 0.3  # seconds from the end of a connection until Ray says why
_READ = 1 << 18
_AVOID = 120.0  # seconds for which a node is avoided

_AVOIDED: dict[str | None, dict[str, float]] = {}
"""By the address of a cluster, the ids of the nodes where hosts were lost, and when. A node that starts again has another id."""


class Wanted(Struct, frozen=True):
    """What a host needs of a cluster."""

    address: str | None
    num_cpus: float
    num_gpus: float
    resources: Mapping[str, float]
    runtime_env: Mapping[str, Any]
    placement_group: str | None = None


class RayPlace:
    """A place on a node of a Ray cluster, see :class:`~lastgood.remote.Place`."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._driver: RayDriver | None = None
        self._number = 0
        self._stream: trio.SocketStream | None = None
        self._where = ""
        self.node: str | None = None
        """The id of its node, once that is known."""
        self.is_lost = False
        """Its host is gone or frozen; nothing waits for it any more."""

    @property
    def address(self) -> str | None:
        """The address of the cluster; None if it was started for this."""
        return self._wanted.address

    def __str__(self) -> str:
        return f"Ray node {self._where}" if self._where else "a Ray node"

    async def start(self) -> None:
        """See :class:`~lastgood.remote.Place`. A worker that no node has room for is an error that names the resource."""
        wanted = self._wanted
        self._driver = await RayDriver.of(wanted.address)
        self._number = self._driver.new_number()
        secret = secrets.token_bytes(32)
        request = {
            **msgspec.structs.asdict(wanted),
            "avoid": _avoided(wanted.address),
            "bootstrap": BOOTSTRAP,
            "secret": secret.hex(),
            "patience": _CONNECT,
        }
        where = await self._driver.ask("place", self._number, request)
        self.node, self._where = where["node"], f"{where['address']} ({where['node'][:8]})"
        try:
            with trio.fail_after(_CONNECT):
                self._stream = await trio.open_tcp_stream(where["address"], where["port"])
                await _shake_hands(self._stream, secret)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            raise lost_place(
                f"{self} cannot be reached from here at port {where['port']}: {error or 'it does not answer'}. The app connects "
                "to the nodes of the cluster as these do to each other, at any port."
            ) from error

    async def send(self, data: bytes) -> None:
        """See :class:`~lastgood.remote.Place`."""
        if self._stream is not None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # gone() finds out why
                await self._stream.send_all(data)

    async def gone(self, received: Callable[[bytes], Awaitable[None]]) -> str:
        """See :class:`~lastgood.remote.Place`."""
        assert self._stream is not None
        assert self._driver is not None
        stream, driver = self._stream, self._driver
        why = ""
        failed: list[Exception] = []

        async def read() -> None:
            try:
                while chunk := await stream.receive_some(_READ):
                    await received(chunk)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except Exception as error:  # of received(), and to be raised as it is
                failed.append(error)
            if not failed:
                await trio.sleep(_WHY)  # until Ray says why
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            why = await driver.ended(self._number)
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return why or "the connection to it has ended"

    async def remove(self) -> None:
        """See :class:`~lastgood.remote.Place`."""
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)
        if self._driver is not None and self._number:
            with (
                trio.move_on_after(0 if self.is_lost else _REMOVE),
                suppress(BridgeError),
            ):  # Ray is gone itself, or does that later
                await self._driver.ask("remove", self._number, {})
            self._driver.forget(self._number)


class RayBridge(RemoteBridge):
    """Calls functions in workers that Ray has placed. See :meth:`from_config`."""

    _name = "a RayBridge"

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        address: str | None = None,
        num_cpus: float = 1,
        num_gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        placement_group: str | None = None,
        workers: int = 1,
        heartbeat: float = 1.0,
        lost_after: float = 5.0,
        files: Sequence[str] = (),
    ) -> RayBridge:
        """Create the bridge to workers on a cluster, without connecting. Give it to a session as its ``create_bridge``.

        ``address`` is the cluster's, as ``ray.init()`` takes it. Without one it is that of ``RAY_ADDRESS``, or of the cluster that
        this process is connected to; if there is neither, a cluster is started on this machine, which ends with the last worker.

        An actor for each of the ``workers`` has Ray place it, with ``num_cpus``, ``num_gpus`` and ``resources`` of a node, in
        ``runtime_env``, which has to be made of plain data. ``placement_group`` is the name of one, for bundles of your own. The
        actor starts the worker as its child; calls go there by a connection of their own. Two generations are there at once during
        a reload, so they have to fit. Where they do not, the error names the resource; with ``overlap = false`` under
        ``[runtime.process]``, the old one is let go first.

        ``heartbeat`` and ``lost_after`` are seconds, see :class:`RemoteBridge`, and ``files`` are those of :meth:`Shipment.of`.
        Nodes where a worker was lost are avoided as long as another fits.

        Raises :class:`~lastgood.BridgeError` if Ray is not installed, has ``RAY_USE_TLS``, or is behind ``ray://``, and
        :class:`ValueError` for arguments that are invalid.
        """
        address = address if address is not None else current_address()
        require_ray(address)
        _check(num_cpus, num_gpus, resources or {}, runtime_env or {})
        wanted = Wanted(
            address,
            num_cpus,
            num_gpus,
            dict(resources or {}),
            dict(runtime_env or {}),
            placement_group,
        )

        def make_place() -> Place:
            return RayPlace(wanted)

        return cls(
            config,
            make_place,
            workers=workers,
            heartbeat=heartbeat,
            lost_after=lost_after,
            files=files,
            ahead=("ray", repr(wanted)),
        )

    def avoid(self, place: Place) -> None:
        """Have the next workers placed on other nodes than that of ``place``, as long as another fits."""
        if isinstance(place, RayPlace) and place.node is not None:
            place.is_lost = True
            _AVOIDED.setdefault(place.address, {})[place.node] = time.monotonic()


def _check(num_cpus: float, num_gpus: float, resources: Mapping[str, float], runtime_env: Mapping[str, Any]) -> None:
    for name, amount in {"num_cpus": num_cpus, "num_gpus": num_gpus, **resources}.items():
        if not 0 <= amount < math.inf:
            raise ValueError(f"{name}: expected a finite number, 0 or more, found {amount!r}.")
    if {"CPU", "GPU"} & set(resources):
        raise ValueError("resources: CPU and GPU are given as num_cpus and num_gpus.")
    try:
        json.dumps(dict(runtime_env))
    except (TypeError, ValueError) as error:
        raise ValueError(f"runtime_env: expected plain data, such as names and paths, but {error}.") from None


def require_ray(address: str | None = None) -> None:
    """Raise :class:`~lastgood.BridgeError` where no worker can be placed by Ray."""
    if importlib.util.find_spec("ray") is None:
        raise BridgeError("RayBridge needs Ray, which is not installed here: pip install 'lastgood[ray]'.")
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        raise BridgeError(
            "RayBridge does not work with RAY_USE_TLS: its connection to a worker would not be encrypted."
        )
    if address is not None and address.startswith("ray://"):
        raise BridgeError(
            f"RayBridge does not work through {address}: it connects to the nodes themselves. Run the app on a node of the "
            'cluster, where the address is "auto", or make its machine one: ray start --address=HEAD:PORT.'
        )


def current_address() -> str | None:
    """Return the address of the cluster that ``RAY_ADDRESS`` names, or that this process is connected to; None if none."""
    address = os.environ.get("RAY_ADDRESS")
    ray = sys.modules.get("ray")
    if not address and ray is not None and ray.is_initialized():
        address = ray.get_runtime_context().gcs_address
    return address or None


def _avoided(address: str | None) -> list[str]:
    """Return the nodes to avoid. After two minutes Ray knows itself of a node that is gone or frozen; others are good again."""
    now = time.monotonic()
    return [node for node, lost in _AVOIDED.get(address, {}).items() if now - lost < _AVOID]


async def _shake_hands(stream: trio.SocketStream, secret: bytes) -> None:
    """Prove to the host that this is the app, and have it prove that it is the host."""
    mine = secrets.token_bytes(32)
    await stream.send_all(mine)
    theirs = b""
    while len(theirs) < 64:
        chunk = await stream.receive_some(64 - len(theirs))
        if not chunk:
            raise trio.BrokenResourceError("it has closed the connection")
        theirs += chunk
    if not hmac.compare_digest(theirs[32:], hmac.digest(secret, b"host" + mine + theirs[:32], "sha256")):
        raise trio.BrokenResourceError("another program answers there")
    await stream.send_all(hmac.digest(secret, b"app" + theirs[:32] + mine, "sha256"))
