"""A bridge to workers elsewhere: everything that does not depend on what has placed them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Literal

import trio

from lastgood.bridges.late import EDITED_MODULES
from lastgood.bridges.logs import LEVELS
from lastgood.bridges.remote import PACK
from lastgood.bridges.worker import frames
from lastgood.bridges.workers import WorkerBridge, pin
from lastgood.children.limits import in_thread
from lastgood.children.platforms import require_processes
from lastgood.config import MAX_POOL, Config
from lastgood.errors import BridgeError
from lastgood.remote.ahead import AheadWorker, take_ahead
from lastgood.remote.elsewhere import PlacedWorker
from lastgood.remote.link import Link
from lastgood.remote.place import Place
from lastgood.remote.shipment import Address, Shipment

__all__ = ["RemoteBridge"]

logger = logging.getLogger(__name__)


class RemoteBridge(WorkerBridge):
    """Calls functions in workers on the other side of a :class:`Place`, as a :class:`~lastgood.ProcessBridge` does in one here.

    ``make_place()`` returns a new place; it is called on the trio event loop of the bridge, once for each of the ``workers``
    (None: the ``pool`` of ``[runtime.process]``), and once more for each worker that is started ahead. A call goes to the least
    busy worker. ``files`` are those of :meth:`Shipment.of`.

    Host and app tell each other every ``heartbeat`` seconds that they live. A place whose host is gone, or silent for
    ``lost_after`` seconds, is lost: the calls there raise :class:`~lastgood.WorkerDied`, with an unknown status and blame
    ``"place"``, :meth:`avoid` is called, and a session starts the bridge again. A host that hears nothing for 30 s, or whose
    connection is gone, ends its worker and all that this has started, and itself.

    ``ahead`` names what the places depend on, such as host and interpreter: with ``spare = true``, workers are started ahead for
    the next bridge of the same ``ahead``. None: no worker is started ahead.

    Of ``[runtime.process]``, ``python`` and ``virtual_env`` say here where installed modules are looked for, and nothing about the
    other side. ``env`` is added to the environment that there is on the other side.
    """

    _name = "a RemoteBridge"

    def __init__(
        self,
        config: Config,
        make_place: Callable[[], Place],
        *,
        workers: int | None = None,
        heartbeat: float = 1.0,
        lost_after: float = 5.0,
        files: Sequence[str] = (),
        ahead: Hashable | None = None,
    ) -> None:
        require_processes(type(self).__name__)
        process = config.runtime.process
        super().__init__(process, [str(entry) for entry in config.python_import_path])
        _check(workers, heartbeat, lost_after)
        self._config = config
        self._make_place = make_place
        self._count = process.pool if workers is None else workers
        self._heartbeat = float(heartbeat)
        self._lost_after = float(lost_after)
        self._files = files
        self._ahead = ahead if process.spare and process.overlap else None
        self._links: list[Link] = []  # those that have no worker yet
        self._waiting: list[AheadWorker] = []
        self._preparing = trio.Lock()
        self.warm: Literal["fresh"] = "fresh"
        self.why_fresh = "the worker runs elsewhere"
        self.bytes_shipped = 0
        """The bytes that the start of this bridge has sent, without what was sent ahead."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The places of the living workers."""
        return tuple(each.link.place for each in self._placed() if not each.has_exited())

    def avoid(self, place: Place) -> None:
        """Note that ``place`` was lost or is frozen: place the next worker elsewhere, if another place fits. Does nothing here."""

    def _placed(self) -> list[PlacedWorker]:
        return [each for each in self._workers if isinstance(each, PlacedWorker)]

    async def _start(self) -> None:
        shipment = await in_thread(Shipment.of, self._config, self._files)
        failed: list[Exception] = []

        async def start() -> None:
            try:
                await self._start_worker(shipment)
            except Exception as error:
                failed.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for _ in range(self._count):
                nursery.start_soon(start)
        if failed:
            raise failed[0]

    async def _start_worker(self, shipment: Shipment) -> None:
        taken = None if self._ahead is None else await self._taken_ahead(shipment)
        if taken is None:
            worker, there = await self._placed_worker(shipment)
            self._workers.append(worker)
            before = 0
        else:
            worker, there, before = taken
            worker.show()
        worker.levels = LEVELS.current
        edited = [(name, worker.there(path), before) for name, path, before in EDITED_MODULES.get()]
        setup = {**self._setup(worker.address, there), "edited": edited}
        answer = worker.channel.submit(frames.SETUP, PACK(setup))
        for late in self._loaded_late.values():
            pin(worker, late)
        await worker.channel.wait(answer)
        self._result(worker, answer, is_import=True)
        worker.ready = True
        self.bytes_shipped += worker.link.sent - before

    async def _taken_ahead(self, shipment: Shipment) -> tuple[PlacedWorker, dict[str, str], int] | None:
        """Take a worker that was started ahead. Return it, the paths of what was shipped, and the bytes that were sent before.

        None if there is none. One whose place turns out to be lost is passed over: a connection breaks while nobody uses it.
        """
        while (worker := await take_ahead(self._key(shipment))) is not None:
            before = worker.link.sent
            worker.link.on_lost = self._note_lost
            self._workers.append(worker)
            loaded = partial(self._note_loaded, worker)
            worker.channel.adopt(threads=self._process.threads, timeout=self._process.timeout, on_loaded=loaded)
            try:
                worker.address, there = await worker.link.ship(shipment)
            except BridgeError as error:
                if not worker.has_exited():
                    raise
                logger.info("a worker that was started ahead is passed over: %s", error)
                self._workers.remove(worker)
                await worker.end(0)
            else:
                return worker, there, before
        return None

    async def _placed_worker(
        self, shipment: Shipment, *, is_spare: bool = False
    ) -> tuple[PlacedWorker, dict[str, str]]:
        """Start a worker at a new place. Return it, and the paths of what was shipped there."""
        link = Link(self._make_place(), self._heartbeat, self._lost_after, self._note_lost)
        self._links.append(link)
        try:
            await link.open()
            address, there = await link.ship(shipment)
        except BaseException:  # also if cancelled: its place may be the last one that there is
            await link.end()
            raise
        worker = PlacedWorker(
            link,
            address,
            self._settings(shipment),
            threads=self._process.threads,
            timeout=self._process.timeout,
            grace=self._process.grace,
            on_loaded=self._note_loaded,
            is_spare=is_spare,
        )
        self._links.remove(link)
        return worker, there

    def _key(self, shipment: Shipment) -> Hashable:
        """Return all that the start of a worker depends on."""
        settings = self._settings(shipment)
        return (
            self._ahead,
            shipment.tree_name,
            settings["cwd"],
            settings["grace"],
            tuple(sorted(settings["env"].items())),
        )

    def _note_lost(self, link: Link) -> None:
        self.avoid(link.place)

    def _settings(self, shipment: Shipment) -> dict[str, Any]:
        """Return the body of START."""
        process = self._process
        return {"env": process.env, "cwd": shipment.working_directory, "grace": process.grace}

    def _setup(self, address: Address, there: dict[str, str]) -> dict[str, Any]:
        """Return the body of SETUP. See :meth:`.ProcessBridge._setup`."""
        process = self._process
        return {
            "import_path": address.import_path,
            "pinned": there["manifest"],
            "codes": there["codes"],
            "threads": process.threads,
            "grace": process.grace,
            "async_backend": process.async_backend,
            "log_levels": LEVELS.renew(),
            "modules": dict(self._config.modules),
        }

    def _companions(self) -> Sequence[Any]:
        links, self._links = self._links, []
        waiting, self._waiting = self._waiting, []
        return [*links, *waiting]

    async def prepare_spare(self) -> None:
        """Start a worker ahead for each worker of this bridge, for the next bridge. Return when they wait for it.

        They have what this bridge has shipped, and have run nothing of it. Errors are only logged.
        """
        if self._state != "ready" or self._ahead is None:
            return
        async with self._preparing:
            shipment = await in_thread(Shipment.of, self._config, self._files)
            key = self._key(shipment)
            for ahead in [each for each in self._waiting if each.key != key or not each.is_usable()]:
                await ahead.end()
            self._waiting = [each for each in self._waiting if each.is_waiting()]
            more = [AheadWorker(key) for _ in range(self._count - len(self._waiting))]
            self._waiting += more
            async with trio.open_nursery() as nursery:
                for ahead in more:
                    ahead.wait()
                    nursery.start_soon(self._start_ahead, ahead, shipment)

    async def _start_ahead(self, ahead: AheadWorker, shipment: Shipment) -> None:
        try:
            worker, _ = await self._placed_worker(shipment, is_spare=True)
            if ahead.is_waiting():
                ahead.worker = worker
            else:
                await worker.end(0)  # this bridge was disposed meanwhile
        except BridgeError as error:
            logger.info("no worker could be started ahead: %s", error)  # there may never be room for one
        finally:
            if ahead.worker is None:
                self._waiting = [each for each in self._waiting if each is not ahead]
                await ahead.end()
            ahead.started.set()


def _check(workers: int | None, heartbeat: float, lost_after: float) -> None:
    if workers is not None and not 1 <= workers <= MAX_POOL:
        raise ValueError(f"workers: expected worker processes, from 1 to {MAX_POOL}, found {workers}.")
    if not 0 < heartbeat < math.inf:
        raise ValueError(f"heartbeat: expected seconds, finite and more than 0, found {heartbeat}.")
    if not 2 * heartbeat <= lost_after < math.inf:
        raise ValueError(f"lost_after: expected seconds, finite and at least two heartbeats, found {lost_after}.")
