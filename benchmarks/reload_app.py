"""The app that ``reload.py`` measures lastgood with: it has a session, answers by HTTP, and notes what happens to its loop.

    python reload_app.py PROJECT PORT DEBOUNCE

``GET /`` calls the live worker's ``main.answer()``. ``GET /told`` gives what was noted since it was last asked, as JSON: when the
session had started, each success and failure, and each tick of the loop that came more than a millisecond late: by how much, and
for how much of that the app itself (any of its threads) was computing; the rest is other processes'. All times are of the system's
monotonic clock, which the processes of a machine share.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import trio

from lastgood import ReloadError, ReloadSuccess, Session, WatchEvent, watch

TICK = 0.001
LATE = 0.001


class Notes:
    """What happened, until somebody asks."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def event(self, event: WatchEvent) -> None:
        """Note a success, with the moment of its swap, or a failure."""
        now = time.perf_counter()
        if isinstance(event, ReloadSuccess):
            after = event.timings.get("dispose", 0.0) + event.timings.get("watch", 0.0)
            how = {
                "warm": getattr(event, "warm", None),
                "why": getattr(event, "why_fresh", None),
            }  # newer than some versions
            took = {name: round(seconds * 1000, 1) for name, seconds in event.timings.items()}
            self.told.append({"what": "success", "at": now, "swapped": now - after, "took": took, **how})
        elif isinstance(event, ReloadError):
            self.told.append({"what": "failure", "at": now})

    async def ticks(self) -> None:
        """Come round every millisecond, and note each time that this was late."""
        while True:
            before, used = time.perf_counter(), time.process_time()
            await trio.sleep(TICK)
            now = time.perf_counter()
            late = now - before - TICK
            if late > LATE:
                own = min(late, time.process_time() - used)
                self.told.append({"what": "late", "at": now, "by": late, "own": own})

    def take(self) -> list[dict[str, Any]]:
        """Give what was noted, and forget it."""
        told, self.told = self.told, []
        return told


async def answered(session: Session, notes: Notes, stream: trio.SocketStream) -> None:
    """Answer one request."""
    request = bytes(await stream.receive_some(4096))
    status = "200 OK"
    if request.startswith(b"GET /told "):
        body = json.dumps(notes.take())
    else:
        try:
            body = await session.handle.call("main", "answer", (), {})
        except Exception as error:
            status, body = "500 Error", type(error).__name__
    try:
        await stream.send_all(f"HTTP/1.0 {status}\r\n\r\n{body}".encode())
        await stream.aclose()
    except trio.BrokenResourceError:
        pass  # whoever asked has not waited


async def main(project: Path, port: int, debounce: float) -> None:
    """Start the session, and answer until killed."""
    notes = Notes()
    start = time.perf_counter()  # before watch(), which imports what a session is made of
    program = watch(project / "lastgood.toml", on_event=notes.event, debounce=debounce)
    async with program as session, trio.open_nursery() as nursery:
        notes.take()
        notes.told.append({"what": "start", "at": start, "took": time.perf_counter() - start})
        nursery.start_soon(notes.ticks)
        await trio.serve_tcp(partial(answered, session, notes), port, host="127.0.0.1")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
