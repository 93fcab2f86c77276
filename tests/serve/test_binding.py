"""Listening sockets: every address of a name, unix sockets, inherited descriptors, and what is said when one cannot be had."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.errors import ConfigError
from lastgood.serve.binding import bind, bind_unix, from_descriptor, release


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    release(made)


def answers(listener: socket.socket) -> bool:
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())
        return True


def test_a_free_port_is_listened_on(sockets: list[socket.socket]) -> None:
    sockets += bind("127.0.0.1", 0)
    (listener,) = sockets
    assert listener.getsockname()[0] == "127.0.0.1"
    assert not listener.get_inheritable()
    assert answers(listener)


def test_every_address_of_a_name_has_the_same_port(
    sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    sockets += bind("localhost", 0)
    assert {listener.family for listener in sockets} - {socket.AF_INET6} == {socket.AF_INET}
    assert len({listener.getsockname()[1] for listener in sockets}) == 1
    assert all(map(answers, sockets))


def test_every_interface_is_one_port(sockets: list[socket.socket]) -> None:
    sockets += bind("", 0)
    assert len({listener.getsockname()[1] for listener in sockets}) == 1


def test_a_port_in_use(sockets: list[socket.socket]) -> None:
    sockets += bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    with pytest.raises(ConfigError) as raised:
        bind("127.0.0.1", port)
    assert str(raised.value) == (
        f"port {port} of 127.0.0.1 cannot be served from: another program listens there. Stop that one, or choose another port, "
        f"such as --port {port + 1 if port < 65535 else port - 1}."
    )


def test_a_port_binds_again_while_old_connections_linger(sockets: list[socket.socket]) -> None:
    (first,) = bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = first.accept()
        accepted.close()  # this side waits for a minute
        first.close()
        assert client.recv(1) == b""
    sockets += bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("256.1.1.1", 8000, "the host '256.1.1.1' has no address: .*Use \"127.0.0.1\" for this machine alone"),
        (
            "203.0.113.7",
            8000,
            "port 8000 of 203.0.113.7 cannot be served from: this machine does not have that address",
        ),
        ("127.0.0.1", 70000, "70000 is not a port: ports are between 0 and 65535"),
    ],
)
def test_what_cannot_be_bound(host: str, port: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        bind(host, port)


def test_a_port_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse, raising=False)
    with pytest.raises(
        ConfigError, match=r"ports below 1024 are for root alone. Choose another port, such as --port 8000"
    ):
        bind("127.0.0.1", 80)


def test_a_unix_socket_is_bound_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    listener = bind_unix(path)
    assert answers(listener)
    release([listener])
    assert not path.exists()


def test_a_stale_unix_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    bind_unix(path).close()  # as after kill -9
    listener = bind_unix(path)
    assert answers(listener)
    release([listener])


def test_a_unix_socket_in_use_stays(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    listener = bind_unix(path)
    with pytest.raises(ConfigError, match=r"app\.sock cannot be served from: another program listens there"):
        bind_unix(path)
    assert answers(listener)
    release([listener])


def test_a_file_is_never_removed_for_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="there is a file that is not a socket"):
        bind_unix(path)
    assert path.read_text() == "mine"


def test_places_without_a_unix_socket(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its directory does not exist"):
        bind_unix(tmp_path / "none" / "app.sock")
    with pytest.raises(ConfigError, match="has at most 107 bytes, and this one has"):
        bind_unix(tmp_path / ("x" * 120))


def test_an_inherited_descriptor(sockets: list[socket.socket]) -> None:
    (listener,) = bind("127.0.0.1", 0)
    sockets.append(from_descriptor(listener.detach()))
    assert not sockets[0].get_inheritable()
    assert answers(sockets[0])


def test_a_bound_descriptor_begins_to_listen(sockets: list[socket.socket]) -> None:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    sockets.append(from_descriptor(bound.detach()))
    assert answers(sockets[0])


def test_descriptors_that_are_no_listening_sockets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="descriptor 999 cannot be served from: it is not open"):
        from_descriptor(999)
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    try:
        with pytest.raises(ConfigError, match="it is not a socket"):
            from_descriptor(file)
    finally:
        os.close(file)
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(ConfigError, match="it is not a stream socket"):
            from_descriptor(datagrams.fileno())
        assert datagrams.fileno() >= 0
