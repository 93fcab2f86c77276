"""A bridge that serves an ASGI application: a generation of it answers HTTP requests instead of calls."""

from __future__ import annotations

import logging
import math
import os
import socket as sockets
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec
import trio

from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.remote import PACK, RemoteWorker
from lastgood.bridges.worker import frames
from lastgood.children.descriptors import above_standard
from lastgood.children.forks import FORKS
from lastgood.config import Config, ModuleConfig, ServeConfig
from lastgood.errors import BridgeError, ConfigError
from lastgood.sources.environment import Environment

__all__ = ["ServerBridge", "checked_options"]

logger = logging.getLogger(__name__)

_WORKER = Path(__file__).with_name("worker")

_WITHOUT_SENSE = {
    "app": "it is an argument of its own",
    "host": "the socket is bound by the app",
    "port": "the socket is bound by the app",
    "uds": "the socket is bound by the app",
    "fd": "the socket is bound by the app",
    "factory": "it is an argument of its own",
    "workers": "set pool under [runtime.process]",
    "reload": "lastgood reloads",
    "reload_dirs": "lastgood watches what the application imports; add paths by include under [watch]",
    "reload_includes": "add paths by include under [watch]",
    "reload_excludes": "leave paths out by ignore under [watch]",
    "reload_delay": "set debounce under [watch]",
    "app_dir": "set python_import_path in the config",
    "timeout_graceful_shutdown": "that is the drain",
    "limit_max_requests": "a worker lives until the next generation",
    "limit_max_requests_jitter": "a worker lives until the next generation",
    "callback_notify": "a function cannot cross to the worker",
    "timeout_notify": "a function cannot cross to the worker",
    "timeout_worker_healthcheck": "lastgood notices the end of a worker by itself",
    "ssl_context_factory": "a function cannot cross to the worker; set ssl_certfile and ssl_keyfile",
}
"""Options of uvicorn that make no sense here, and why."""


class ServerBridge:
    """Serves an ASGI application from ``socket``, by uvicorn in a worker process, which ``await init()`` starts.

    It is made by :meth:`from_config`, for ``watch(create_bridge=…)``: with each swap the new generation begins to accept, and the
    old one stops. A request that has come is answered by the generation that took it, within ``drain`` seconds; a connection
    that is idle goes on in the new generation.

    ``pids`` are the process ids of the living workers. ``warm`` and ``why_fresh`` are as those of a :class:`ProcessBridge`.

    Use it on the trio event loop that awaited ``init()``.
    """

    ends_in_background = True
    most_draining = 16
    """Replaced generations that may have something under way at once: edits come faster than long responses end."""

    def __init__(self, server: _Server, drain: float) -> None:
        self._server = server
        self._drain = drain
        self._stopping: list[tuple[RemoteWorker, PendingAnswer]] | None = None
        self._header: str | None = None

    @classmethod
    def from_config(
        cls,
        config: Config,
        app: str,
        *,
        socket: sockets.socket | Sequence[sockets.socket],
        probe: str | None = None,
        drain: float = 10.0,
        options: Mapping[str, Any] | None = None,
        factory: bool = False,
        header: bool = True,
    ) -> ServerBridge:
        """Create the bridge for the generation that ``config`` describes, without starting it.

        ``app`` is ``"module:attribute"``, a dotted attribute is allowed; with ``factory`` it is a function that returns the
        application. ``socket`` is a listening stream socket, or several; it stays the caller's, and has to outlive the bridge.
        A generation is good if its lifespan has started and a GET request for the path ``probe``, if there is one, is answered
        below 500. ``drain`` is in seconds. ``options`` are those of ``uvicorn.Config``. Unless ``header`` is false, responses
        have the header that :meth:`tell` sets. Raises :class:`ConfigError` for wrong arguments.
        """
        listening = [socket] if isinstance(socket, sockets.socket) else list(socket)
        settings = {
            "code": str(_WORKER),
            "app": _checked_app(app),
            "factory": factory,
            "probe": _checked_probe(probe),
            "options": checked_options(options or {}),
            "header": header,
            "drain": drain if math.isfinite(drain) else ServeConfig().drain,
        }
        return cls(_Server.of(config, app.partition(":")[0], _Desk.of(listening), settings), float(drain))

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the living workers."""
        return self._server.pids

    @property
    def warm(self) -> Literal["fresh", "spare"]:
        """``"spare"`` if all its workers had been spares, else ``"fresh"``."""
        return self._server.warm

    @property
    def why_fresh(self) -> str | None:
        """The reason if one of them had not."""
        return self._server.why_fresh

    @property
    def drain(self) -> float:
        """The seconds that responses have to end, once this generation is replaced."""
        return self._drain

    @property
    def is_last(self) -> bool:
        """True of the live bridge, unless the next one is made after it has gone: if it is told to stop, all is to end."""
        return self._server.desk.live is self and self._server.overlaps

    @property
    def ends_within(self) -> float:
        """The seconds that :meth:`dispose` takes at most."""
        return self._server.ends_within

    async def init(self) -> None:
        """Start the workers, and wait until the application has started in each, and has answered the probe.

        Raises :class:`RemoteError` for what the program raises, its lifespan and the probed request included, and the other
        errors of :meth:`ProcessBridge.init`. When it fails or is cancelled, no process is left running.
        """
        await self._server.init()
        if self._header is not None:
            self._send("tell", self._header)

    def live(self) -> None:
        """Begin to accept connections, once the workers of the bridge that was live before have stopped; these are told to."""
        desk = self._server.desk
        earlier, desk.live = desk.live, self
        pids: tuple[int, ...] = ()
        if earlier is not None and earlier is not self:
            pids = earlier.pids
            earlier._stop(takes_over=True)
        self._send("live", list(pids))

    def tell(self, generation: int, stale: bool) -> None:
        """Set the header ``Lastgood`` of the responses from now on, to say which generation this is, and whether it is stale."""
        if self._server.settings["header"]:
            self._header = f"generation={generation}{'; stale' if stale else ''}"
            self._send("tell", self._header)

    async def idle(self) -> None:
        """Accept no more, and wait until all responses that were begun are complete, at most ``drain`` seconds."""
        if self._stopping is None:
            desk = self._server.desk
            if desk.live is self:
                desk.live = None
            self._stop(takes_over=not self._server.overlaps)
        with trio.move_on_after(self._drain):
            async with trio.open_nursery() as nursery:
                for worker, answer in self._stopping or ():
                    nursery.start_soon(_wait, worker, answer)

    async def dispose(self) -> None:
        """End the workers. Responses that are not complete are cut, web sockets closed with 1012, then the lifespan ends.

        That has ``grace`` seconds; see :meth:`ProcessBridge.dispose`. May be called again.
        """
        desk = self._server.desk
        if desk.live is self:
            desk.live = None
        await self._server.dispose()
        if desk.live is None and self._server.overlaps:
            desk.close_connections()

    async def lost(self) -> BridgeError:
        """Wait until a worker has ended by itself, and return the error that says how.

        Meanwhile, take the workers' reports of modules that they have imported late: there are no calls with which these come.
        """
        async with trio.open_nursery() as nursery:
            for worker in self._server.workers():
                nursery.start_soon(_wait, worker, worker.channel.submit(frames.SERVE, PACK(["listen", None])))
            error = await self._server.lost()
            nursery.cancel_scope.cancel()
        return error

    async def prepare_spare(self) -> None:
        """Start a spare worker for each worker of this bridge, see :meth:`ProcessBridge.prepare_spare`."""
        await self._server.prepare_spare()

    async def call(
        self,
        module: str,
        function: str,
        args: Sequence[Any] = (),  # noqa: ARG002 - a bridge's
        kwargs: Mapping[str, Any] | None = None,  # noqa: ARG002 - likewise
    ) -> NoReturn:
        """Raise :class:`BridgeError`: a server takes requests, and no calls."""
        raise BridgeError(
            f"{module}.{function} cannot be called: this session serves {self._server.settings['app']} over HTTP, and takes no "
            "calls. Start a session of its own for wrappers: `async with lastgood.watch():`."
        )

    def _send(self, name: str, argument: Any) -> None:
        body = PACK([name, argument])
        for worker in self._server.workers():
            worker.channel.serve(body)

    def _stop(self, *, takes_over: bool) -> None:
        if self._stopping is None:
            body = PACK(["stop", takes_over])
            living = [worker for worker in self._server.workers() if not worker.channel.failed()]
            self._stopping = [(worker, worker.channel.submit(frames.SERVE, body)) for worker in living]


async def _wait(worker: RemoteWorker, answer: PendingAnswer) -> None:
    with suppress(BridgeError):  # it has ended, and has nothing under way
        await worker.channel.wait(answer)


class _Desk:
    """What all generations that are served from the same sockets have: these, the mailbox, the gate, and which one is live.

    The mailbox is a pair of sockets for connections on their way (worker/mailbox.py), the gate a file whose bytes workers lock.
    """

    def __init__(self, listening: Sequence[sockets.socket]) -> None:
        self.listening = [each.fileno() for each in listening]
        self.live: ServerBridge | None = None
        ends = sockets.socketpair(sockets.AF_UNIX, _MAILBOX)
        for end in ends:  # the kernel limits it to net.core.wmem_max; the default is room for some 280 connections
            end.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, _ROOM)
            end.setblocking(False)
        self.mailbox = [above_standard(end.detach()) for end in ends]
        with tempfile.TemporaryFile() as file:
            self.gate = above_standard(os.dup(file.fileno()))
        weakref.finalize(self, _close, [*self.mailbox, self.gate])  # when neither the sockets nor a bridge are left
        FORKS.add(self)

    def leave_to_parent(self) -> list[int]:
        """See :class:`.Owner`."""
        return [*self.mailbox, self.gate]

    def close_connections(self) -> None:
        """Close the connections that are on their way: no generation is to come."""
        with sockets.socket(fileno=os.dup(self.mailbox[0])) as taking, suppress(BlockingIOError):
            while True:
                _, descriptors, _, _ = sockets.recv_fds(taking, _MESSAGE, 2)
                _close(descriptors)
                if not descriptors:
                    break

    @classmethod
    def of(cls, listening: Sequence[sockets.socket]) -> _Desk:
        """Return the desk of these sockets."""
        if not listening:
            raise ConfigError(
                "there is no socket to serve from: give one that listens, such as socket.create_server(...)."
            )
        for each in listening:
            if each.fileno() < 0:
                raise ConfigError("a socket to serve from is closed; it has to outlive the session.")
            if each.fileno() <= 2:
                raise ConfigError(
                    f"a socket to serve from has the descriptor {each.fileno()}, of a standard stream. Move it."
                )
            if each.type != sockets.SOCK_STREAM or not each.getsockopt(sockets.SOL_SOCKET, sockets.SO_ACCEPTCONN):
                raise ConfigError(
                    f"a socket to serve from does not listen ({each}): call listen() of a stream socket first."
                )
        desk = _desks.get(listening[0])
        if desk is None or desk.listening != [each.fileno() for each in listening]:
            desk = _desks[listening[0]] = cls(listening)
        return desk


_ROOM = 4 << 20  # bytes
_MESSAGE = 1 << 15  # bytes, more than there are in one
_MAILBOX = getattr(sockets, "SOCK_SEQPACKET", sockets.SOCK_DGRAM)  # macOS has no SOCK_SEQPACKET
_desks: weakref.WeakKeyDictionary[sockets.socket, _Desk] = weakref.WeakKeyDictionary()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Server(ProcessBridge):
    """The workers. What is not served differs from a :class:`ProcessBridge` in nothing."""

    desk: _Desk
    settings: dict[str, Any]
    overlaps: bool

    @classmethod
    def of(cls, config: Config, module: str, desk: _Desk, settings: dict[str, Any]) -> _Server:
        """Create the workers of a generation, which import ``module`` alone."""
        made = cls.from_config(msgspec.structs.replace(config, modules={module: ModuleConfig()}))
        assert isinstance(made, _Server)
        made.desk = desk
        made.settings = settings
        made.overlaps = config.runtime.process.overlap
        return made

    async def dispose(self) -> None:
        """See :meth:`ProcessBridge.dispose`; say it if the application had to be killed."""
        ending = [worker for worker in self.workers() if not worker.has_exited()]
        await super().dispose()
        if any(worker.was_killed() for worker in ending):
            logger.warning(
                "%s was killed: its shutdown took longer than %g s (grace under [runtime.process]).",
                self.settings["app"],
                self._process.grace,
            )

    def workers(self) -> Sequence[RemoteWorker]:
        """Return the workers that are ready."""
        return self._workers if self._state == "ready" else ()

    def _setup(self) -> dict[str, Any]:
        desk = self.desk
        place = {"sockets": desk.listening, "mailbox": desk.mailbox, "gate": desk.gate}
        return {**super()._setup(), "server": {**self.settings, **place, "overlap": self.overlaps}}

    def _pass_fds(self) -> Sequence[int]:
        return (*self.desk.listening, *self.desk.mailbox, self.desk.gate)

    def _take_blank(self, environment: Environment) -> None:
        """Take none: a blank has been started without the sockets."""


def _checked_app(app: str) -> str:
    module, _, attribute = app.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    if not all(name.isidentifier() for name in names) or module.endswith(".py"):
        meant = module.removesuffix(".py").replace(os.sep, ".")
        hint = f' Did you mean "{meant}:{attribute or "app"}"?' if meant.replace(".", "").isidentifier() else ""
        raise ConfigError(
            f'the application is written as "module:attribute", such as "main:app", and not {app!r}.{hint}'
        )
    return app


def _checked_probe(probe: str | None) -> str | None:
    if probe is not None and (not probe.startswith("/") or any(ord(each) <= 32 or ord(each) > 126 for each in probe)):
        raise ConfigError(f'the probe is the path of a request, such as "/health", and not {probe!r}.')
    return probe


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return these options of uvicorn as they cross to the worker. Raises :class:`ConfigError`."""
    for name, value in options.items():
        if name in _WITHOUT_SENSE:
            raise ConfigError(f"uvicorn's option {name} makes no sense here: {_WITHOUT_SENSE[name]}.")
        try:
            PACK(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"uvicorn's option {name} cannot cross to the worker: {error}. Options are plain data; a class is named by its "
                'import path, such as "module:Class".'
            ) from None
    return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in options.items()}
