"""An app whose bridge counts the calls, over all reloads.

Run ``python app.py``, and edit pricing.py: the counts go on, since they belong to the class and not to one bridge.
"""

from __future__ import annotations

from pathlib import Path

import trio
from bridge import CountingBridge

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")


async def main() -> None:
    """Call twice a second, and show the counts."""
    async with lastgood.watch(CONFIG, create_bridge=CountingBridge.from_config) as session:
        from generated import pricing

        while True:
            price = await pricing.quote("apple", 3)
            state = "STALE" if session.status.stale else "live"
            print(f"generation {session.generation} ({state}): {price}, {dict(CountingBridge.calls)}", flush=True)
            await trio.sleep(0.5)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        pass
