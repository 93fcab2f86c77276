"""Where a generation is served: several workers, several interfaces, a unix socket, with TLS, in processes that are forked."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import trio

from lastgood.serve.binding import bind, bind_unix, release
from serving import APP, Client, serving, version

pytest.importorskip("uvicorn", reason="it serves")

QUIET = {"log_level": "critical", "access_log": False}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    top = tmp_path_factory.mktemp("tls")
    key, cert = top / "key.pem", top / "cert.pem"
    make = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "3",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, *make, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_close_does_not_wait_for_an_encrypted_connection_that_is_idle(
    tmp_path: Path, certificate: tuple[Path, Path], loop: str
) -> None:
    cert, key = map(str, certificate)
    context = ssl.create_default_context(cafile=cert)
    options = {**QUIET, "loop": loop, "ssl_certfile": cert, "ssl_keyfile": key}
    async with serving(tmp_path, options=options, context=context) as served:
        client = await served.connect()
        assert await client.get() == "1"
        assert served.bridge is not None
        with trio.fail_after(20):  # the client never says goodbye, for which asyncio waits 30 s
            await served.bridge.idle()


@pytest.mark.parametrize(("loop", "http"), [("asyncio", "h11"), ("uvloop", "httptools")])
async def test_under_tls_the_old_generation_says_that_it_closes(
    tmp_path: Path, certificate: tuple[Path, Path], loop: str, http: str
) -> None:
    cert, key = map(str, certificate)
    context = ssl.create_default_context(cafile=cert)
    options = {**QUIET, "loop": loop, "http": http, "ssl_certfile": cert, "ssl_keyfile": key}
    async with serving(tmp_path, options=options, context=context) as served:
        first = served.bridge
        idle, busy = await served.connect(), await served.connect()
        assert await idle.get() == "1"
        await busy.send(f"/hold?{tmp_path}/go")
        await served.begun()
        await served.reload(version(2))
        (tmp_path / "go").touch()
        assert await busy.answer() == "1"
        assert busy.headers["connection"] == "close"
        assert await idle.get() == "1"
        assert idle.headers["connection"] == "close"
        assert await served.get() == "2"
        await idle.aclose()
        await busy.aclose()
        await served.gone(first)
        fresh = await served.connect()
        await fresh.stream.do_handshake()
        await served.begun()
        last, served.bridge = served.bridge, None
        assert last is not None
        served.nursery.start_soon(served.retire, last)
        assert await fresh.ended()


async def test_several_workers_stop_before_others_accept(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET, process={"pool": 3}) as served:
        assert served.bridge is not None
        assert len(served.bridge.pids) == 3
        clients = [await served.connect() for _ in range(30)]
        for number in (1, 2, 3):
            if number > 1:
                await served.reload(version(number))
            assert {await client.get() for client in clients} == {str(number)}
            assert {await served.get() for _ in range(30)} == {str(number)}


async def test_every_interface_is_served(tmp_path: Path) -> None:
    sockets = [*bind("127.0.0.1", 0), *bind("127.0.0.2", 0)]
    async with serving(tmp_path, options=QUIET, sockets=sockets) as served:
        for each in sockets:
            with_it = Client(await trio.open_tcp_stream(*each.getsockname()))
            assert await with_it.get() == "1"
            served.clients.append(with_it)
        await served.reload(version(2))
        assert [await client.get() for client in served.clients[-3:-1]] == ["2", "2"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_unix_socket_is_served(tmp_path: Path, loop: str) -> None:
    listener = bind_unix(tmp_path / "app.sock")
    async with serving(tmp_path, options={**QUIET, "loop": loop}, sockets=[listener]) as served:
        client = await served.connect()
        assert await client.get() == "1"
        await served.reload(version(2))
        assert await client.get() == "2"


FORKS = APP.replace(
    'if path == "/fails":',
    """if path == "/fork":
        child = os.fork()
        if not child:
            import signal
            os.mkdir(scope["query_string"])
            signal.pause()
        text = str(child).encode()
    if path == "/fails":""",
)


async def test_a_process_that_was_forked_does_not_keep_the_port(tmp_path: Path) -> None:
    async with serving(tmp_path, FORKS, options=QUIET) as served:
        begun = tmp_path / "begun"
        child = int((await served.get(f"/fork?{begun}")).split()[1])
        try:
            while not begun.exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.001)
            sockets = [name for name in os.listdir(f"/proc/{child}/fd") if _is_listening(child, name, served.port)]
            assert sockets == []
        finally:
            os.kill(child, signal.SIGKILL)


def _is_listening(pid: int, descriptor: str, port: int) -> bool:
    link = os.readlink(f"/proc/{pid}/fd/{descriptor}")
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [line.split() for line in lines]
    inodes = {fields[9] for fields in listening if fields[3] == "0A" and fields[1].endswith(f":{port:04X}")}
    return any(link == f"socket:[{inode}]" for inode in inodes)


async def test_a_killed_worker_is_told_and_the_port_is_free_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET) as served:
        bridge = served.bridge
        assert bridge is not None
        port = served.port
        os.kill(bridge.pids[0], signal.SIGKILL)
        error = await bridge.lost()
        assert error.blame == "place"
        release(served.sockets)
        served.sockets[:] = bind("127.0.0.1", port)
        assert isinstance(served.sockets[0], socket.socket)
