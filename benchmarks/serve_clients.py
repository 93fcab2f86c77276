"""The clients of ``serve.py``: they keep connections alive, send nothing a second time, and note what comes of every request.

A client does what a careful one does: before it sends on a kept connection it looks whether the server has closed that, and makes
a new one then. A request that was sent and not answered in full is failed, and so is one that no connection could be made for, one
that has waited ``TIMEOUT`` seconds, and an answer of 500 or more.
"""

from __future__ import annotations

import contextlib
import json
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

__all__ = ["Crowd", "Listener", "Request", "broken_answers", "failures", "older_answers"]

CLIENTS = 8
TIMEOUT = 5.0
PAUSE = 0.01, 0.03


@dataclass(frozen=True)
class Request:
    """When a request was sent, when its answer had come, and of which version that was, or why there is none."""

    sent: float
    done: float
    version: int
    failed: str = ""


class Failed(Exception):
    """A request has no good answer."""


class Connection:
    """A connection to the server that is kept alive as long as the server lets it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None

    def ask(self) -> int:
        """Send one request, and return the version that answers."""
        if self.socket is not None and select.select([self.socket], [], [], 0)[0]:
            self.close()  # nothing is asked on it: what can be read is its end
        try:
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
        except OSError as error:
            raise Failed("timeout" if isinstance(error, TimeoutError) else "refused") from None
        try:
            self.socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, closes, body = self._answer(self.socket)
        except OSError as error:
            self.close()
            raise Failed("timeout" if isinstance(error, TimeoutError) else "cut") from None
        if closes:
            self.close()
        if status != 200:
            raise Failed(f"status {status}")
        version: int = json.loads(body)["version"]
        return version

    @staticmethod
    def _answer(connection: socket.socket) -> tuple[int, bool, bytes]:
        """Read a whole response: its status, whether the connection is to be closed, and the body."""
        end = time.perf_counter() + TIMEOUT
        data = b""
        length: int | None = None
        while length is None or len(data) < length:
            if time.perf_counter() > end:
                raise TimeoutError
            more = connection.recv(65536)
            if not more:
                raise ConnectionError
            data += more
            if length is None and b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                status, *lines = head.decode("latin-1").lower().split("\r\n")
                headers = dict(line.split(":", 1) for line in lines)
                length = int(headers["content-length"])
        return int(status.split()[1]), headers.get("connection", "").strip() == "close", data

    def close(self) -> None:
        """Close it, if it is open."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Crowd:
    """Clients that ask over and over, each after a short pause, from the start of the block to its end."""

    def __init__(self, port: int, seed: int) -> None:
        self.requests: list[Request] = []
        self._seen = threading.Condition()
        self._newest: dict[int, float] = {}
        self._stop = threading.Event()
        pauses = [random.Random(f"{seed} {number}") for number in range(CLIENTS)]
        self._threads = [threading.Thread(target=self._run, args=(port, pause), daemon=True) for pause in pauses]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT + 1)

    def _run(self, port: int, pause: random.Random) -> None:
        connection = Connection(port)
        while not self._stop.wait(pause.uniform(*PAUSE)):
            sent, version, failed = time.perf_counter(), -1, ""
            try:
                version = connection.ask()
            except Failed as error:
                failed = str(error)
            done = time.perf_counter()
            with self._seen:
                self.requests.append(Request(sent, done, version, failed))
                if not failed and version not in self._newest:
                    self._newest[version] = done
                    self._seen.notify_all()
        connection.close()

    def wait_for(self, version: int, timeout: float, lives: Callable[[], bool]) -> float | None:
        """Return when the first answer of a version came; None if the server is gone, or none comes in time."""
        end = time.perf_counter() + timeout
        with self._seen:
            while version not in self._newest:
                if time.perf_counter() > end or not lives():
                    return None
                self._seen.wait(0.05)
            return self._newest[version]


class Listener:
    """An open stream, as a browser keeps one: when it ends, it is opened again."""

    def __init__(self, port: int) -> None:
        self.ended = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(port,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(3)

    def _run(self, port: int) -> None:
        while not self._stop.wait(0.05):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                while not self._stop.is_set():
                    try:
                        if not connection.recv(65536):
                            break
                    except TimeoutError:
                        continue  # it is silent, and open
                else:
                    return
                self.ended += 1


def failures(requests: Iterable[Request]) -> Counter[str]:
    """Count the failed requests by what became of them."""
    return Counter(request.failed for request in requests if request.failed)


def broken_answers(requests: Iterable[Request], broken: Iterable[int]) -> int:
    """Count the answers of versions that are broken."""
    never = {*broken}
    return sum(request.version in never for request in requests if not request.failed)


def older_answers(requests: Iterable[Request]) -> int:
    """Count the requests that were sent when a newer version had answered somebody, and were answered by an older one."""
    good = [request for request in requests if not request.failed]
    answered = sorted(good, key=lambda request: request.done)
    newest, at, older = -1, 0, 0
    for request in sorted(good, key=lambda request: request.sent):
        while at < len(answered) and answered[at].done < request.sent:
            newest = max(newest, answered[at].version)
            at += 1
        older += request.version < newest
    return older
