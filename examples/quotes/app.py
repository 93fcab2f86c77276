"""A server that quotes prices, and stays up while pricing.py is edited.

Run ``python app.py``, then ask it from another terminal: ``nc localhost 8750``, and a line such as ``apple 3``. Edit
pricing.py: the next answer comes from the new code. Break it: answers go on coming from the last good one, marked as such.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import trio

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")


async def main(port: int) -> None:
    """Watch, and serve until Ctrl-C."""
    async with lastgood.watch(CONFIG, on_event=tell) as session, trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(serve, session), port, host="localhost"))
        print(f"listening on port {listeners[0].socket.getsockname()[1]}", flush=True)


def tell(event: lastgood.WatchEvent) -> None:
    """Print what came of each cycle."""
    match event:
        case lastgood.ReloadSuccess(generation=generation):
            print(f"generation {generation} is live", flush=True)
        case lastgood.ReloadError(error=error):
            print(f"not reloaded: {error}", flush=True)


async def serve(session: lastgood.Session, stream: trio.SocketStream) -> None:
    """Answer one client, a line for each of its lines.

    Python loses a Ctrl-C that comes while an async generator is discarded, so the lines of each client are not one.
    """
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            answer = await answer_to(line.decode(errors="replace").strip())
            mark = " (stale)" if session.status.stale else ""
            await stream.send_all(f"{answer}{mark}\n".encode())


async def answer_to(line: str) -> str:
    """The quote for ``sku`` or ``sku quantity``."""
    from generated import pricing

    sku, _, quantity = line.partition(" ")
    try:
        return f"{await pricing.quote(sku, int(quantity or 1)):.2f}"
    except ValueError as error:  # also one that the source raises
        return f"ValueError: {error}"


if __name__ == "__main__":
    try:
        trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8750)
    except* KeyboardInterrupt:
        pass
