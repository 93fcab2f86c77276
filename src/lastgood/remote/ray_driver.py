"""The app's side of the program that talks to Ray (ray_program.py): one for each cluster, shared by all places on it."""

from __future__ import annotations

import json
import math
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import count
from typing import Any, NamedTuple

import trio

from lastgood.children.child import Child, exit_text
from lastgood.children.descriptors import above_standard
from lastgood.children.forks import FORKS
from lastgood.children.output import Output
from lastgood.remote.link import lost_place

__all__ = ["RayDriver"]

_MOST_READ = 1 << 22
_LINGER = 5.0  # seconds without a place, after which the connection ends
_GRACE = 10.0  # seconds from the end of the connection to SIGKILL; the program gives Ray eight
_LAST_GRACE = 2.0  # the same, when the app's event loop is at its end
_TOKEN_HINT = (
    " If it wants a token, which Ray does not always say, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, "
    "in the environment of the app."
)


class _Key(NamedTuple):
    token: trio.lowlevel.TrioToken
    address: str | None


class RayDriver:
    """The connection of an app to a cluster. It ends by itself when it has had no place for some seconds.

    Get it with :meth:`of`, on the trio event loop that uses it.
    """

    def __init__(self, key: _Key) -> None:
        self._key = key
        self._numbers = count(1)
        self._asked: dict[int, tuple[trio.Event, dict[str, Any]]] = {}
        self._ended: dict[int, tuple[trio.Event, list[str]]] = {}
        self._ready = trio.Event()
        self._failure: str | None = None
        self._needed = trio.CancelScope()  # its deadline passes when there has been no place for some seconds
        self._sending = trio.Lock()
        self._ours = -1
        FORKS.add(self)
        with ExitStack() as undo:
            self._directory = tempfile.mkdtemp(prefix="lastgood-ray-")
            undo.callback(shutil.rmtree, self._directory)
            with FORKS.starting:
                ours, theirs = (socket.socket(fileno=above_standard(each.detach())) for each in socket.socketpair())
                self._ours = ours.fileno()
            undo.callback(ours.close)
            settings = json.dumps({"address": key.address, "directory": self._directory})
            with theirs:
                program = [sys.executable, "-P", "-m", "lastgood.remote.ray_program", str(theirs.fileno()), settings]
                self._child = Child(program, output=Output(forward=False), pass_fds=[theirs.fileno()])
            undo.pop_all()
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        trio.lowlevel.spawn_system_task(self._read, name="lastgood's connection to Ray")

    def leave_to_parent(self) -> list[int]:
        """See :class:`lastgood.children.forks.Owner`."""
        return [self._ours]

    @classmethod
    async def of(cls, address: str | None) -> RayDriver:
        """Return the connection to the cluster at ``address`` (None: one that is started on this machine).

        Raises :class:`BridgeError` with Ray's own words if there is none.
        """
        key = _Key(trio.lowlevel.current_trio_token(), address)
        driver = _drivers.get(key)
        if driver is None or driver._failure is not None:
            try:
                driver = _drivers[key] = cls(key)
            except OSError as error:
                raise lost_place(f"The program that talks to Ray cannot be started: {error}.") from error
        await driver._ready.wait()
        if driver._failure is not None:
            raise lost_place(driver._failure)
        return driver

    def new_number(self) -> int:
        """Return a number for a place."""
        number = next(self._numbers)
        self._ended[number] = (trio.Event(), [])
        self._needed.deadline = math.inf
        return number

    async def ask(self, do: str, place: int, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request about a place and return the answer. Raises :class:`BridgeError` if it failed, blame ``"place"``."""
        number, answered, answer = next(self._numbers), trio.Event(), dict[str, Any]()
        self._asked[number] = answered, answer
        try:
            if self._failure is None:
                line = json.dumps({"id": number, "do": do, "place": place, **request}).encode() + b"\n"
                with trio.CancelScope(shield=True):  # half a line would be the end of the connection
                    async with self._sending:
                        await self._stream.send_all(line)
                await answered.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await answered.wait()  # the reader finds out why
        finally:
            del self._asked[number]
        if self._failure is not None or "error" in answer:
            raise lost_place(self._failure or answer["error"])
        return answer

    async def ended(self, place: int) -> str:
        """Wait until Ray says that the host of this place has ended; return why."""
        event, why = self._ended[place]
        await event.wait()
        return why[0] if why else self._failure or "the connection to Ray has ended"

    def forget(self, place: int) -> None:
        """Forget a place that was removed."""
        self._ended.pop(place, None)
        self._expect_places()

    def _expect_places(self) -> None:
        if not self._ended:
            self._needed.deadline = trio.current_time() + _LINGER

    async def _read(self) -> None:
        rest = b""
        try:
            with self._needed:
                while (chunk := await self._stream.receive_some(1 << 16)) and len(rest) < _MOST_READ:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self._take(json.loads(line))
            if self._needed.cancelled_caught:
                self._fail("The connection to Ray has ended: it was not needed any more.")
        except trio.BrokenResourceError:
            pass  # the program was killed
        finally:
            await self._end()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "ready" in message:
            self._ready.set()
            self._expect_places()
        elif "failed" in message:
            hint = "" if self._key.address is None else _TOKEN_HINT
            where = "a cluster on this machine" if self._key.address is None else f"the cluster at {self._key.address}"
            self._fail(f"Ray could not connect to {where}: {message['failed'].rstrip('.')}.{hint}")
        elif "gone" in message:
            if message["gone"] in self._ended:
                event, why = self._ended[message["gone"]]
                why.append(message["why"])
                event.set()
        elif message["id"] in self._asked:
            answered, answer = self._asked[message["id"]]
            answer.update(message)
            answered.set()

    def _fail(self, failure: str) -> None:
        """Have all requests, now and later, fail."""
        if self._failure is None:
            self._failure = failure
        if _drivers.get(self._key) is self:
            del _drivers[self._key]
        self._ready.set()
        for answered, _ in self._asked.values():
            answered.set()

    async def _end(self) -> None:
        """Wait for the end of the program, which ends a cluster of its own first; it has less time if the event loop ends."""
        try:
            self._ours = -1
            await trio.aclose_forcefully(self._stream)
            await self._child.exited(_GRACE)
        finally:
            with trio.CancelScope(shield=True):
                await self._child.exited(_LAST_GRACE)
                await self._child.end(0)
            last = self._child.out.tail().strip()[-500:] or "it printed nothing"
            self._fail(f"The program that talks to Ray {exit_text(self._child)}: {last}")
            for event, _ in self._ended.values():
                event.set()
            shutil.rmtree(self._directory, ignore_errors=True)  # what a cluster that was killed has left


_drivers: dict[_Key, RayDriver] = {}
