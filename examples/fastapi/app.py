"""A FastAPI app whose prices come from pricing.py, which can be edited while the server runs.

``pip install fastapi uvicorn``, then ``uvicorn app:app`` here, and ``curl localhost:8000/quotes/apple?quantity=3``. Edit
pricing.py: the next answer comes from the new code, and no connection is closed. Break it: the last good code goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")

app = FastAPI(lifespan=lastgood.watch(CONFIG).lifespan())


@app.get("/quotes/{sku}")
async def quote(sku: str, request: Request, quantity: int = 1) -> dict[str, object]:
    """Answer with a price, and with the state of the session."""
    from generated import pricing

    try:
        price = await pricing.quote(sku, quantity)
    except KeyError:  # the source raised it in the worker
        raise HTTPException(404, f"no such thing: {sku}") from None
    status = request.state.lastgood.status
    return {"price": price, "generation": status.generation, "stale": status.stale}


@app.get("/catalogue")
async def catalogue() -> StreamingResponse:
    """Answer with a line for each thing on sale, as the source yields them."""
    from generated import pricing

    async def lines() -> AsyncIterator[str]:
        async for line in pricing.catalogue():
            yield line

    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/prices")
async def prices(socket: WebSocket) -> None:
    """Answer each name with its price, on one connection that stays open over edits."""
    from generated import pricing

    await socket.accept()
    async for sku in socket.iter_text():
        await socket.send_json(await pricing.quote(sku))
