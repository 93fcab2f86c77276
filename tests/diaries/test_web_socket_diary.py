"""FastAPI under uvicorn: one web socket stays open over good, broken and mended edits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diary import Diary
from real_project import DEADLINE
from served_programs import Served, pricing, served

pytestmark = pytest.mark.torture

APP = """
import os

import lastgood
from fastapi import FastAPI, Request, WebSocket

app = FastAPI(lifespan=lastgood.watch().lifespan())

@app.get("/")
async def root(request: Request):
    from generated import pricing

    status = request.state.lastgood.status
    return {"price": await pricing.price(), "pid": os.getpid(), "stale": status.stale, "generation": status.generation}

@app.websocket("/prices")
async def prices(socket: WebSocket):
    from generated.pricing import price, tokens

    await socket.accept()
    async for text in socket.iter_text():
        if text == "tokens":
            async for token in tokens():
                await socket.send_json(token)
        else:
            why = socket.state.lastgood.status.brief
            await socket.send_json({"price": await price(), "pid": os.getpid(), "stale": why})
"""
TOKENS = """
from collections.abc import Iterator

def tokens() -> Iterator[int]:
    yield from [price()] * 3
"""


class Socket:
    """A client on the open connection. Each question has one answer."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.asked = 0

    def ask(self) -> Any:
        self.asked += 1
        self._connection.send("price")
        return json.loads(self._connection.recv(DEADLINE))

    def until(self, right: Callable[[Any], bool]) -> Any:
        """Ask again and again, as fast as answers come."""
        for _ in range(100_000):
            if right(answer := self.ask()):
                return answer
        raise AssertionError(answer)

    def tokens(self) -> list[int]:
        self._connection.send("tokens")
        return [json.loads(self._connection.recv(DEADLINE)) for _ in range(3)]


def save(program: Served, text: str) -> None:
    program.project.save("pricing.py", text + TOKENS)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_web_socket_stays_open_over_every_edit(loop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = pytest.importorskip("websockets.sync.client", reason="it is in the extra 'reloaders'")
    pytest.importorskip(loop, reason="it is in the extra 'peers'")
    diary = Diary(f"FastAPI under uvicorn on {loop}, with a web socket that stays open", capsys)
    command = shlex.split(f"uvicorn app:app --loop {loop} --port {{port}}")
    with served(tmp_path, {"app.py": APP, "pricing.py": pricing(1) + TOKENS}, command, "async") as program:
        with diary.step("uvicorn app:app, the first answer"):
            first = program.until_price(1)
        diary.first_success()
        with client.connect(f"ws://127.0.0.1:{program.port}/prices") as connection:
            socket = Socket(connection)
            with diary.step("a web socket is opened"):
                assert socket.ask() == {"price": 1, "pid": first, "stale": ""}
                assert socket.tokens() == [1, 1, 1]
            with diary.step("a good edit"):
                save(program, pricing(2))
                assert socket.until(lambda answer: answer["price"] != 1) == {"price": 2, "pid": first, "stale": ""}
                assert socket.tokens() == [2, 2, 2]
            with diary.step("a broken edit: it is stale, and the last good generation answers"):
                save(program, "def price(:\n")
                answer = socket.until(lambda answer: answer["stale"])
                assert (answer["price"], answer["pid"], answer["stale"][:16]) == (2, first, "GenerationError:")
                assert socket.tokens() == [2, 2, 2]
            with diary.step("another one, which breaks as it is imported: the same"):
                save(program, pricing(3) + "1 / 0\n")
                answer = socket.until(lambda answer: "ZeroDivisionError" in answer["stale"])
                assert (answer["price"], answer["pid"]) == (2, first)
            with diary.step("the edit that mends it"):
                save(program, pricing(4))
                answer = socket.until(lambda answer: answer["price"] == 4 and not answer["stale"])
                assert answer["pid"] == first
                assert socket.tokens() == [4, 4, 4]
        assert program.until_price(4) == first
        with diary.step(f"Ctrl-C, after {socket.asked} answers on one connection"):
            program.interrupt()
