"""Listening sockets, which the app owns, and which outlive every worker that accepts from them."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from lastgood.children.descriptors import above_standard
from lastgood.errors import ConfigError

__all__ = ["BACKLOG", "bind", "bind_unix", "from_descriptor", "release"]

BACKLOG = 2048
"""Connections that wait in the kernel until a worker accepts them, as many as uvicorn has. The kernel may limit it further."""

_ATTEMPTS = 20  # to find a free port that is free at all addresses of a name
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
_MAX_UNIX_PATH = 107  # bytes; 103 on macOS
_UNIX: int | None = getattr(socket, "AF_UNIX", None)
_Address = tuple[int, tuple[Any, ...]]  # a family, and what bind() takes: host, port, and two numbers more for IPv6


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on ``port`` at every address of ``host``: "localhost" may have one of IPv4 and one of IPv6.

    The empty host is every interface; with port 0 the system chooses one that is free. Raises :class:`ConfigError` if the host is
    not known, or the port is in use or may not be bound.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"{port} is not a port: ports are between 0 and 65535.")
    addresses = _addresses(host, port)
    for _ in range(_ATTEMPTS if port == 0 and len(addresses) > 1 else 1):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            failed = error
            if error.errno != errno.EADDRINUSE:
                break
    raise ConfigError(_unbound(host, port, failed)) from failed


def _addresses(host: str, port: int) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(
            f"the host {host!r} has no address: {getattr(error, 'strerror', None) or error}. "
            'Use "127.0.0.1" for this machine alone, or "0.0.0.0" for all that can reach it.'
        ) from error
    return list(dict.fromkeys((family, tuple(address)) for family, _, _, _, address in found))


def _bind_all(addresses: Sequence[_Address], port: int) -> list[socket.socket]:
    with ExitStack() as undo:
        bound: list[socket.socket] = []
        missing: OSError | None = None
        for family, (host, _, *zone) in addresses:
            try:
                listener = _new_socket(family)
                undo.callback(listener.close)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if len(addresses) > 1 and family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((host, port, *zone))
                listener.listen(BACKLOG)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error  # a name may have addresses that this machine does not have, such as ::1 without IPv6
            else:
                port = listener.getsockname()[1]  # if the system has chosen it, it is the same at the other addresses
                bound.append(listener)
        if not bound:
            assert missing is not None
            raise missing
        undo.pop_all()
    return bound


def _new_socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    return socket.socket(fileno=above_standard(made.detach()))


def _unbound(host: str, port: int, error: OSError) -> str:
    where = f"port {port} of {host or 'every interface'}"
    match error.errno:
        case errno.EADDRINUSE:
            why = f"another program listens there. Stop that one, or choose another port, such as --port {_next(port)}."
        case errno.EACCES | errno.EPERM:
            why = (
                "this user may not listen there: ports below 1024 are for root alone. "
                f"Choose another port, such as --port {8000 if port < 1024 else _next(port)}."
            )
        case errno.EADDRNOTAVAIL:
            why = 'this machine does not have that address. Use "127.0.0.1", or one that `ip address` shows.'
        case _:
            why = f"{error.strerror or error}."
    return f"{where} cannot be served from: {why}"


def _next(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def bind_unix(path: str | os.PathLike[str]) -> socket.socket:
    """Listen on a unix socket at ``path``. One that is there already is removed if nobody answers on it.

    Who may connect is decided by the umask and the directory. Raises :class:`ConfigError`.
    """
    name = os.fspath(path)
    if _UNIX is None:
        raise ConfigError(f"{name} cannot be served from: this platform has no unix sockets.")
    if len(os.fsencode(name)) > _MAX_UNIX_PATH:
        raise ConfigError(
            f"{name} cannot be served from: the path of a unix socket has at most {_MAX_UNIX_PATH} bytes, and this one has "
            f"{len(os.fsencode(name))}. Choose a shorter one, such as /tmp/app.sock."
        )
    with ExitStack() as undo:
        listener = _new_socket(_UNIX)
        undo.callback(listener.close)
        try:
            _remove_stale(name)
            listener.bind(name)
            listener.listen(BACKLOG)
        except OSError as error:
            raise ConfigError(f"{name} cannot be served from: {_unix_problem(error)}") from error
        undo.pop_all()
    return listener


def _remove_stale(name: str) -> None:
    """Remove the unix socket at this path, if nobody listens on it. Raise ConfigError if somebody does, or it is no socket."""
    try:
        found = os.lstat(name)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(
            f"{name} cannot be served from: there is a file that is not a socket. Move it away, or choose another path."
        )
    assert _UNIX is not None
    with socket.socket(_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(name)
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                os.unlink(name)
            return
        except BlockingIOError:
            pass  # its queue is full, so it has one
    raise ConfigError(
        f"{name} cannot be served from: another program listens there. Stop that one, or choose another path."
    )


def _unix_problem(error: OSError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "its directory does not exist. Create it first."
        case PermissionError():
            return "this user may not create it there. Choose a directory of your own."
        case _ if error.errno == errno.EADDRINUSE:
            return "another program has just bound it. Stop that one, or choose another path."
        case _:
            return f"{error.strerror or error}."


def from_descriptor(descriptor: int) -> socket.socket:
    """Return the listening socket of an inherited descriptor, which belongs to it from then on. Raises :class:`ConfigError`."""
    try:
        listener = socket.socket(fileno=above_standard(descriptor))
    except (OSError, ValueError) as error:
        is_open = isinstance(error, OSError) and error.errno == errno.ENOTSOCK
        problem = "it is not a socket" if is_open else "it is not open"
        raise ConfigError(
            f"descriptor {descriptor} cannot be served from: {problem}. What starts this program has to pass on a listening "
            "socket by that number, such as systemd with 3."
        ) from error
    try:
        if listener.type != socket.SOCK_STREAM:
            raise ConfigError(f"descriptor {descriptor} cannot be served from: it is not a stream socket.")
        listener.set_inheritable(False)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"descriptor {descriptor} cannot be served from: it is a socket that cannot listen: {error.strerror or error}."
        ) from error
    except ConfigError:
        listener.detach()
        raise
    return listener


def release(sockets: Iterable[socket.socket]) -> None:
    """Close listening sockets, and remove the files of unix sockets. Connections that wait in them are refused."""
    for listener in sockets:
        with suppress(OSError):
            name = listener.getsockname()
            if listener.family == _UNIX and name and isinstance(name, str):
                os.unlink(name)
        listener.close()
