"""Connections over a swap: every one of them gets its answer, and none is older than one that has been given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serving import Incomplete, serving, version

pytest.importorskip("uvicorn", reason="it serves")
pytest.importorskip("uvloop", reason="one of the event loops that are tried")
pytest.importorskip("httptools", reason="one of the parsers that are tried")

QUIET = {"log_level": "critical", "access_log": False}
OPTIONS = {
    f"{loop}-{http}": {**QUIET, "loop": loop, "http": http}
    for loop in ("uvloop", "asyncio")
    for http in ("httptools", "h11")
}
BOTH = ("uvloop-httptools", "asyncio-h11")


@pytest.fixture(params=[pytest.param(name, marks=() if name in BOTH else pytest.mark.torture) for name in OPTIONS])
def options(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return OPTIONS[request.param]


@pytest.fixture(params=[pytest.param(name, marks=() if name in BOTH[:1] else pytest.mark.torture) for name in OPTIONS])
def most_common(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Tests with these are run with the other options by ``-m torture`` alone."""
    return OPTIONS[request.param]


async def test_idle_connections_go_on_in_the_next_generation(tmp_path: Path, options: Mapping[str, Any]) -> None:
    async with serving(tmp_path, options=options) as served:
        fresh, used = await served.connect(), await served.connect()
        assert await used.get() == "1"
        for number in (2, 3):
            await served.reload(version(number))
            assert await used.get() == str(number)
            assert await used.get(body=b"posted") == f"{number} posted"
        assert await fresh.get() == "3"


async def test_what_was_begun_is_answered_by_the_generation_that_took_it(
    tmp_path: Path, options: Mapping[str, Any]
) -> None:
    async with serving(tmp_path, options=options) as served:
        client, first = await served.connect(), served.bridge
        await client.send(f"/hold?{tmp_path}/go")
        await served.begun()
        await served.reload(version(2))
        await client.send()  # in advance of the answer
        (tmp_path / "go").touch()
        assert await client.answer() == "1"
        assert await client.answer() == "2"
        assert await client.get() == "2"
        await served.gone(first)


async def test_pipelined_requests_are_all_answered_in_their_order(tmp_path: Path, options: Mapping[str, Any]) -> None:
    async with serving(tmp_path, options=options) as served:
        client = await served.connect()
        await client.stream.send_all(
            f"GET /hold?{tmp_path}/go HTTP/1.1\r\nhost: x\r\n\r\n".encode() + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 5
        )
        await served.begun()
        await served.reload(version(2))
        (tmp_path / "go").touch()
        answers = [await client.answer() for _ in range(6)]
        assert answers[0] == "1"
        assert answers == sorted(answers)
        assert await client.get() == "2"


async def test_half_sent_requests(tmp_path: Path, options: Mapping[str, Any]) -> None:
    request = b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello"
    async with serving(tmp_path, options=options) as served:
        halves = {at: await served.connect() for at in (1, 10, 20, 50, len(request) - 1)}
        for at, client in halves.items():
            assert await client.get() == "1"
            await client.stream.send_all(request[:at])
        await served.begun()
        await served.reload(version(2))
        for at, client in halves.items():
            await client.stream.send_all(request[at:])
            assert await client.answer() == "1 hello"
            assert await client.get() == "2"


async def test_what_was_sent_ahead_of_an_answer_goes_along_however_large(
    tmp_path: Path, most_common: Mapping[str, Any]
) -> None:
    async with serving(tmp_path, options=most_common) as served:
        client = await served.connect()
        await client.send(f"/hold?{tmp_path}/go")
        await served.begun()
        await served.reload(version(2))
        await client.send(body=b"x" * 60_000)
        await served.get()
        (tmp_path / "go").touch()
        assert await client.answer() == "1"
        assert await client.answer() == "2 " + "x" * 60_000


async def test_a_slow_reader_gets_all_of_it_and_goes_on_in_the_next_generation(
    tmp_path: Path, most_common: Mapping[str, Any]
) -> None:
    async with serving(tmp_path, options=most_common) as served:
        client = await served.connect()
        await client.send("/large")
        assert await client.head() == 200
        await served.reload(version(2))
        assert await served.get() == "2"
        assert await client.exactly(4_000_000) == b"1" * 4_000_000
        assert await client.get() == "2"


async def test_a_body_that_is_still_coming(tmp_path: Path, most_common: Mapping[str, Any]) -> None:
    async with serving(tmp_path, options=most_common) as served:
        client = await served.connect()
        body = b"x" * 300_000
        head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        await client.stream.send_all(head + body[:100_000])
        await served.begun()
        await served.reload(version(2))
        await client.stream.send_all(body[100_000:])
        assert await client.answer() == f"1 {body.decode()}"
        assert await client.get() == "2"


async def test_a_stream_is_cut_at_the_end_of_the_drain_and_looks_truncated(
    tmp_path: Path, most_common: Mapping[str, Any]
) -> None:
    async with serving(tmp_path, options=most_common) as served:
        client, first = await served.connect(), served.bridge
        await client.send("/stream")
        assert await client.head() == 200
        assert await client.chunk() == b"1.0;"
        served.drain = 0.05
        assert first is not None
        first._drain = 0.2
        await served.reload(version(2))
        with pytest.raises(Incomplete):
            while await client.chunk():
                pass
        await served.gone(first)
        assert first.pids == ()


async def test_http_1_0_is_answered_and_closed(tmp_path: Path, most_common: Mapping[str, Any]) -> None:
    async with serving(tmp_path, options=most_common) as served:
        client, held = await served.connect(), await served.connect()
        await held.send(f"/hold?{tmp_path}/go", version="1.0")
        await served.begun()
        await served.reload(version(2))
        (tmp_path / "go").touch()
        assert await held.answer() == "1"
        assert await held.ended()
        assert await client.get(version="1.0") == "2"
        assert await client.ended()


async def test_a_client_that_asks_for_the_end_gets_it(tmp_path: Path, most_common: Mapping[str, Any]) -> None:
    async with serving(tmp_path, options=most_common) as served:
        client = await served.connect()
        await client.send(f"/hold?{tmp_path}/go", more="connection: close\r\n")
        await served.begun()
        await served.reload(version(2))
        (tmp_path / "go").touch()
        assert await client.answer() == "1"
        assert await client.ended()


async def test_four_hundred_idle_connections(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET) as served:
        clients = [await served.connect() for _ in range(400)]
        for client in clients:
            assert await client.get() == "1"
        await served.reload(version(2))
        for client in clients:
            assert await client.get() == "2"


async def test_a_close_ends_idle_connections_and_waits_for_answers(
    tmp_path: Path, most_common: Mapping[str, Any]
) -> None:
    async with serving(tmp_path, options=most_common) as served:
        idle, busy = await served.connect(), await served.connect()
        assert await idle.get() == "1"
        await busy.send(f"/hold?{tmp_path}/go")
        await served.begun()
        last, served.bridge = served.bridge, None
        assert last is not None
        served.nursery.start_soon(served.retire, last)
        assert await idle.ended()
        (tmp_path / "go").touch()
        assert await busy.answer() == "1"
        assert busy.headers["connection"] == "close"
        assert await busy.ended()


async def test_a_failure_in_the_application_is_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET) as served:
        client = await served.connect()
        assert await client.get("/fails") == "500 Internal Server Error"
        assert (await served.get()) == "1"


async def test_a_close_ends_connections_that_nobody_takes(tmp_path: Path, most_common: Mapping[str, Any]) -> None:
    async with serving(tmp_path, options=most_common) as served:
        client = await served.connect()
        await client.send(f"/hold?{tmp_path}/go")
        await served.begun()
        first = served.bridge
        await served.reload(version(2))
        last, served.bridge = served.bridge, None
        assert last is not None
        await served.retire(last)
        (tmp_path / "go").touch()  # the older generation gives the connection away, after the newer one has ended
        assert await client.answer() == "1"
        await served.gone(first)
        assert await client.ended()
