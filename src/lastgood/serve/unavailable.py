"""The answers of a server whose first generation could not start: 503, with the reason, until an edit mends it."""

from __future__ import annotations

import html
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress

import h11
import trio

__all__ = ["Unavailable"]

_MOST = 64
"""Connections that are answered at once. Others wait in the kernel."""
_PATIENCE = 5.0
"""Seconds that a connection has to send its request and to take the answer."""
_READ = 1 << 14
_AFTER = 1 << 16
"""Bytes of a request that are read after its answer, since an unread rest would reset the connection."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="1">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 3em auto; max-width: 60em; padding: 0 1em; color: #222; background: #fff; }}
pre {{ background: #f4f4f4; border-left: 4px solid #c00; padding: 1em; overflow-x: auto; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #1b1b1b; }} pre {{ background: #2a2a2a; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{sentence}</p>
<pre>{text}</pre>
</body>
</html>
"""


class Unavailable:
    """Answers 503 on ``sockets``, from :meth:`begin` to :meth:`end`.

    ``title`` and ``sentence`` stand above the text of the error, which is the last one that :meth:`begin` was given. ``tls``: the
    connections are encrypted. ``headers`` are added to each answer.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        title: str,
        sentence: str,
        tls: ssl.SSLContext | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._sockets = sockets
        self._title = title
        self._sentence = sentence
        self._tls = tls
        self._headers = headers
        self._text = ""
        self._begun = trio.Event()
        self._ended = False
        self._accepting: trio.CancelScope | None = None

    def begin(self, text: str) -> None:
        """Answer from now on, with this text."""
        self._text = text
        self._begun.set()

    def end(self) -> None:
        """Accept no more connections. Those that were accepted are answered."""
        self._ended = True
        self._begun.set()
        if self._accepting is not None:
            self._accepting.cancel()

    async def run(self) -> None:
        """Answer until :meth:`end`, which may come before :meth:`begin`."""
        await self._begun.wait()
        if self._ended:
            return
        free = trio.Semaphore(_MOST)
        async with trio.open_nursery() as nursery, trio.open_nursery() as accepting:
            self._accepting = accepting.cancel_scope
            for each in self._sockets:
                accepting.start_soon(self._accept, each, free, nursery)

    async def _accept(self, listener: socket.socket, free: trio.Semaphore, nursery: trio.Nursery) -> None:
        with trio.socket.from_stdlib_socket(listener.dup()) as own:
            while True:
                await free.acquire()
                try:
                    connection, _ = await own.accept()
                except OSError:  # the client has gone, or there are too many open files
                    free.release()
                    await trio.sleep(0.1)
                    continue
                except BaseException:
                    free.release()
                    raise
                nursery.start_soon(self._answer, trio.SocketStream(connection), free.release)

    async def _answer(self, stream: trio.SocketStream, done: Callable[[], object]) -> None:
        whole: trio.abc.Stream = stream
        if self._tls is not None:
            whole = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
        try:
            with (
                trio.move_on_after(_PATIENCE),
                suppress(trio.BrokenResourceError, h11.RemoteProtocolError, ssl.SSLError),
            ):
                await self._exchange(whole)
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(whole)
            done()

    async def _exchange(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_READ)))
        if not isinstance(event, h11.Request):
            return
        body, kind = self._body(event)
        headers = [
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Retry-After", "1"),
            ("Connection", "close"),
            *self._headers,
        ]
        answer = connection.send(h11.Response(status_code=503, headers=headers, reason=b"Service Unavailable"))
        if event.method != b"HEAD":
            answer = (answer or b"") + (connection.send(h11.Data(data=body)) or b"")
        await stream.send_all(answer or b"")
        if isinstance(stream, trio.SocketStream):
            await stream.send_eof()
            left = _AFTER
            while left > 0 and (rest := await stream.receive_some(_READ)):
                left -= len(rest)

    def _body(self, request: h11.Request) -> tuple[bytes, str]:
        accepted = next((value for name, value in request.headers if name == b"accept"), b"")
        if b"text/html" not in accepted:
            return f"{self._title}. {self._sentence}\n\n{self._text}\n".encode(), "text/plain"
        page = _PAGE.format(
            title=html.escape(self._title), sentence=html.escape(self._sentence), text=html.escape(self._text)
        )
        return page.encode("utf-8", "backslashreplace"), "text/html"
