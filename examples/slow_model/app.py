"""A model that takes seconds to load, and code around it that can be edited without loading it again.

Run ``python app.py``, and edit SCALE in predict.py. The first line of each generation says how its worker was started: ``spare``
means that the model had been loaded ahead. ``python app.py one_at_a_time.toml`` never has two models in memory.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import lastgood

HERE = Path(__file__).parent


def tell(event: lastgood.WatchEvent) -> None:
    """Print how each generation began, and why a reload has failed."""
    match event:
        case lastgood.ReloadSuccess(generation=generation, warm=warm, timings=timings):
            print(f"generation {generation} ({warm}): ready after {sum(timings.values()):.2f} s", flush=True)
        case lastgood.ReloadError(error=error):
            print(f"not reloaded: {error}", flush=True)


async def main(config: str) -> None:
    """Ask the model twice a second."""
    async with lastgood.watch(HERE / config, on_event=tell):
        from generated import predict

        while True:
            print(await predict.predict("good good bad"), flush=True)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "lastgood.toml"))
