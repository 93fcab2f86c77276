"""A generation that is served: started, probed, replaced, ended."""

from __future__ import annotations

from pathlib import Path

from serving import serving, version


async def test_an_application_is_served(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        client = await served.connect()
        assert await client.get() == "1"
        assert client.headers["lastgood"] == "generation=1"
        assert client.headers["server"] == "uvicorn"
        assert await client.get(body=b"posted") == "1 posted"


async def test_the_next_generation_answers_on_the_same_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        client = await served.connect()
        assert await client.get() == "1"
        await served.reload(version(2))
        assert await client.get() == "2"
        assert await served.get() == "2"
