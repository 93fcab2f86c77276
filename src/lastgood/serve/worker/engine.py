"""An ASGI application, served by uvicorn on the main thread of a worker.

In the order of time:

- *Before the program* is imported, what ``uvicorn main:app`` does then as well: uvicorn and its protocols are imported, and logging
  is set up. A spare does that ahead. There is no event loop yet.
- *Start*: the application is found in its module, its lifespan begins, and the probe is answered.
- *Live*: connections are accepted, once every worker of the generation before has stopped. Each worker holds a lock until it has
  stopped, which the kernel releases if it is killed.
- *Stop*: no more is accepted, idle connections are handed to the live generation (retiring.py), and what was begun is done.
- *End*: what is left is cut, web sockets are closed with 1012, and the lifespan ends.

Commands come from the thread that reads from the app, and are done on the event loop.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import sys
from contextlib import suppress
from functools import partial

from .errors import frames_of_program
from .lifespan import begin_lifespan
from .mailbox import Mailbox
from .probing import ask
from .program import find_application, import_uvicorn, load_application, make_config
from .retiring import Arriving, Passing, Retiring, cut, is_http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Engine"]

_POLL = 0.002  # seconds between two looks at what is left of a generation that has stopped
_GATE_POLL = 0.001  # seconds between two looks at whether the generation before has stopped
_GATE_WAIT = 2.0  # seconds for that, in which its event loop may be blocked by the program
_MAX_POLL = 0.05  # seconds, while nothing changes
_LOOKS = 3
_AT_ONCE = 16  # connections that are accepted before others are looked after
_FULL_WAIT = 1.0  # seconds until more are accepted, where there are too many open files
_CUT_WAIT = 0.2  # seconds for tasks to heed that their client has gone, before they are cancelled


class Engine:
    """``settings`` is what the app says in SETUP under "server" (serve/bridge.py)."""

    def __init__(self, settings: dict[str, Any], close_in_forks: Callable[[Callable[[], object]], object]) -> None:
        self._settings = settings
        self._listening = settings["sockets"]
        self._gate = settings["gate"]
        self._inherited = [*self._listening, self._gate, *settings["mailbox"]]
        for descriptor in self._inherited:
            os.set_inheritable(descriptor, False)
        self._mailbox = Mailbox(
            *settings["mailbox"], has_reader=settings["overlap"]
        )  # it makes its sockets later, for which a spare would wait
        close_in_forks(self._leave)
        self._accepting: list[socket.socket] = []
        import_uvicorn(settings["options"])
        self._header: list[tuple[bytes, bytes]] = []
        self._stopping = False
        self._takes_over = False
        self._waits = False  # for the generation before, to go live
        self._done: list[Callable[[], object]] = []

    def _leave(self) -> None:
        """Close the sockets in a process that was forked by the program: the port must not outlive the worker there."""
        for descriptor in (
            *self._inherited,
            *(each.fileno() for each in self._accepting),
        ):
            if descriptor >= 0:
                os.close(descriptor)
        self._inherited, self._accepting = [], []

    frames_of_program = staticmethod(frames_of_program)

    def configure(self) -> None:
        """Set up logging, and what else comes before the program. Raises :class:`ServeError`."""
        self._config = make_config(self._settings)

    # Start, on the main thread.

    def start(self) -> None:
        """Find the application, begin its lifespan, ask the probe. Raises :class:`ServeError`, and what the program raises."""
        settings, config = self._settings, self._config
        load_application(config, find_application(settings["app"]), settings)
        factory = config.get_loop_factory()
        self._loop = asyncio.new_event_loop() if factory is None else factory()
        asyncio.set_event_loop(self._loop)
        # The lock is on the byte that has the number of this process.
        fcntl.lockf(self._gate, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, os.getpid())
        self._loop.run_until_complete(self._start())

    async def _start(self) -> None:
        from uvicorn.server import ServerState

        self._end = asyncio.Event()
        self._state = ServerState()
        self._set_headers()
        self._lifespan = await begin_lifespan(self._config, self._settings["app"])
        if self._settings["probe"] is not None:
            await ask(self._settings, self._config, self._make_protocol, self._state.tasks)

    def _make_protocol(self, rest: bytes = b"") -> Any:
        """Create the protocol of a new connection, from which another worker has read ``rest``."""
        if self._stopping and self._takes_over and self._config.ssl is None:
            return Passing(self._mailbox, self._state.connections, rest)
        return self._config.http_protocol_class(
            config=self._config, server_state=self._state, app_state=self._lifespan.state, _loop=self._loop
        )

    # Commands, from another thread.

    def command(self, name: str, argument: Any, answer: Callable[[], object]) -> None:
        """Do what the app says; ``answer`` is called on the event loop when that is done."""
        commands: dict[str, Callable[[Any, Callable[[], object]], object]] = {
            "live": self._go_live,
            "tell": self._tell,
            "stop": self._stop,
            "listen": lambda *_: None,  # it is never answered: the app waits for what else comes
        }
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(commands[name], argument, answer)

    def end(self) -> None:
        """End everything: the app has gone, or has no use for this worker any more."""
        with suppress(AttributeError, RuntimeError):  # it has not begun, or is closed already
            self._loop.call_soon_threadsafe(self._end.set)

    # On the event loop.

    def run(self) -> None:
        """Serve until :meth:`end`, on the main thread."""
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.run_until_complete(self._cancel_all())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_CUT_WAIT)

    async def _serve(self) -> None:
        self._tick()
        await self._end.wait()
        await self._finish()

    def _tick(self) -> None:
        self._set_headers()  # they have the time
        self._loop.call_later(1, self._tick)

    def _set_headers(self) -> None:
        from email.utils import formatdate

        date = [(b"date", formatdate(usegmt=True).encode())] if self._config.date_header else []
        self._state.default_headers = [*date, *self._config.encoded_headers, *self._header]

    def _tell(self, header: str | None, answer: Callable[[], object]) -> None:
        self._header = [] if header is None else [(b"lastgood", header.encode())]
        self._set_headers()
        answer()

    def _go_live(self, earlier: list[int], answer: Callable[[], object]) -> None:
        self._waits = True
        self._live = self._loop.create_task(self._accept_after(earlier, answer))
        self._live.add_done_callback(self._end_if_failed)

    async def _accept_after(self, earlier: list[int], answer: Callable[[], object]) -> None:
        """Accept connections, when the workers with these process ids have stopped."""
        # One that is blocked, or gets no processor time, may answer a request or two before it stops.
        deadline = self._loop.time() + max(_GATE_WAIT, self._settings["drain"])
        while any(self._runs(each) for each in earlier) and self._loop.time() < deadline:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(_GATE_POLL)
        self._waits = False
        if self._stopping:
            self._open_gate()
        else:
            self._accept()
        answer()

    def _accept(self) -> None:
        for descriptor in self._listening:
            listener = socket.socket(fileno=os.dup(descriptor))
            listener.setblocking(False)
            self._accepting.append(listener)
            self._listen(listener)
        self._loop.add_reader(self._mailbox.descriptor, self._mailbox.take, self._receive)

    def _listen(self, listener: socket.socket) -> None:
        if listener in self._accepting:
            self._loop.add_reader(listener.fileno(), self._take, listener)

    def _take(self, listener: socket.socket) -> None:
        """Accept connections that wait. ``loop.create_server()`` would drop those that it accepts just before it is closed."""
        for _ in range(_AT_ONCE):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # there are too many open files
                self._loop.remove_reader(listener.fileno())
                self._loop.call_later(_FULL_WAIT, self._listen, listener)
                return
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                with suppress(OSError):  # the client has gone
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._attach(connection, lambda: Arriving(self._make_protocol), self._config.ssl)

    def _end_if_failed(self, live: asyncio.Task[None]) -> None:
        """End the process if it cannot accept: the app makes another one."""
        error = None if live.cancelled() else live.exception()
        if error is not None:
            print(f"The worker cannot accept connections: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    def _open_gate(self) -> None:
        """Let the next generation accept. One that has waited for another itself does so when that has stopped."""
        if not self._waits:
            fcntl.lockf(self._gate, fcntl.LOCK_UN, 1, os.getpid())

    def _runs(self, earlier: int) -> bool:
        try:
            fcntl.lockf(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, earlier)
        except OSError:
            return True
        fcntl.lockf(self._gate, fcntl.LOCK_UN, 1, earlier)
        return False

    def _receive(self, connection: socket.socket, rest: bytes) -> None:
        self._attach(connection, lambda: Arriving(partial(self._make_protocol, rest), rest))

    def _attach(self, connection: socket.socket, make: Callable[[], Any], ssl: Any = None) -> None:
        task = self._loop.create_task(self._connect(connection, make, ssl))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _connect(self, connection: socket.socket, make: Callable[[], Any], ssl: Any) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(make, connection, ssl=ssl)
        except OSError:  # the client has gone, or does not speak TLS
            connection.close()

    def _accept_no_more(self) -> None:
        for listener in self._accepting:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._accepting.clear()
        self._loop.remove_reader(self._mailbox.descriptor)

    def _stop(self, takes_over: bool, answer: Callable[[], object]) -> None:
        """Accept no more, and give idle connections away; ``takes_over``: another generation takes them."""
        self._stopping, self._takes_over = True, takes_over
        self._accept_no_more()
        for protocol in list(self._state.connections):
            if not (is_http(protocol) or isinstance(protocol, Passing) or self._is_web_socket(protocol)):
                protocol.shutdown()  # by others than httptools and h11, such as HTTP/2: it ends when it is idle
        self._retire_all()
        self._open_gate()
        self._draining = self._loop.create_task(self._drain(answer))

    def _retire_all(self) -> None:
        for protocol in list(self._state.connections):
            current = protocol.transport.get_protocol()
            if isinstance(current, (Retiring, Passing)):
                current.attempt()
            elif is_http(protocol):
                self._retire(protocol)

    def _retire(self, protocol: Any) -> None:
        try:
            Retiring(protocol, self._mailbox if self._takes_over else None)
        except Exception:  # this is another uvicorn than those that were tried
            logging.getLogger("uvicorn.error").exception("A connection cannot be handed over")
            protocol.shutdown()

    def _is_web_socket(self, protocol: Any) -> bool:
        kind = self._config.ws_protocol_class
        return kind is not None and isinstance(protocol, kind)

    async def _drain(self, answer: Callable[[], object]) -> None:
        """Call ``answer`` when nothing is left. A connection that was just accepted is not there at the first look."""
        looks, left, pause = 0, 0, _POLL
        while looks < _LOOKS:
            await asyncio.sleep(pause)
            self._retire_all()
            needed = [each for each in self._state.connections if _is_needed(each.transport)]
            before, left = left, len(needed) + len(self._state.tasks)
            looks = 0 if left else looks + 1
            pause = _POLL if left != before or not left else min(2 * pause, _MAX_POLL)
        answer()

    async def _finish(self) -> None:
        """Cut what is left, and end the lifespan."""
        self._stopping = True
        self._accept_no_more()
        for protocol in list(self._state.connections):
            if is_http(protocol):
                cut(protocol)
            elif isinstance(protocol, Passing):
                protocol.cut()
            else:
                protocol.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_CUT_WAIT)
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_CUT_WAIT)
        await self._lifespan.shutdown()


def _is_needed(transport: Any) -> bool:
    """Return whether something of a connection is left. After its close, an encrypted one waits for the client's goodbye."""
    return not transport.is_closing() or bool(transport.get_write_buffer_size())
