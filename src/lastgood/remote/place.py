"""Places: how a host is started on the other side, and how bytes get there and back."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Protocol

__all__ = ["BOOTSTRAP", "Place", "host_program"]

BOOTSTRAP = (
    "import sys;v=sys.version_info[:2];v<(3,9)and sys.exit("
    '"lastgood needs Python 3.9 or newer there, and "+sys.executable+" is Python %d.%d"%v);'
    "sys.path=[p for p in sys.path if p];exec(sys.stdin.buffer.raw.readline())"
)
"""The program that a place starts, as ``python -c BOOTSTRAP``, with pipes as its stdin and stdout.

It is one line that every Python and every shell can read, within single quotes. With a Python that is too old it prints why on
stderr and exits with status 1. The first bytes of :meth:`Place.send` are the rest of the program.
"""

_HOST = Path(__file__).with_name("host")
_PACKAGE = "_lastgood_host"
_PARTS = ("messages", "cache", "child", "host")  # each imports those before it


class Place(Protocol):
    """A place for one worker: it starts the host there, and passes on bytes to its stdin and from its stdout.

    All four methods are awaited on the trio event loop of the bridge. A place is used once: :meth:`start` first, then
    :meth:`gone` once, in a task of its own, and :meth:`send` by one task at a time; :meth:`remove` in the end, in any case, also
    if :meth:`start` has failed or was cancelled. Its ``str()`` names it in messages, such as ``ssh gpu1``.
    """

    async def start(self) -> None:
        """Start ``python -c BOOTSTRAP`` with pipes. Raise :class:`~lastgood.BridgeError`, with blame ``"place"``, if that fails.

        It need not wait until the program runs. Cancelled if the bridge is given up meanwhile.
        """
        ...

    async def send(self, data: bytes) -> None:
        """Pass ``data`` to the host, and return when more can be taken. What is sent to a host that is gone is dropped."""
        ...

    async def gone(self, received: Callable[[bytes], Awaitable[None]]) -> str:
        """Await ``received(chunk)`` for each chunk of what the host writes, in order. Return when the host is gone, and say why.

        The reason is a clause for the person at the terminal: ``"ssh ended with status 255: Connection refused"``. While
        ``received`` waits, do not read more, so that a slow app holds the other side up rather than filling memory.
        """
        ...

    async def remove(self) -> None:
        """End the host, whatever its state, and release what the place has. May be called again. It must not hang for long.

        The host ends its worker and all that this has started when its stdin is at the end.
        """
        ...


@cache
def host_program() -> bytes:
    """Return what follows BOOTSTRAP: a line that reads the rest, and the host's modules, compressed."""
    texts = {name: (_HOST / f"{name}.py").read_text(encoding="utf-8") for name in _PARTS}
    loader = (
        f"import sys,types\nP={_PACKAGE!r}\np=sys.modules[P]=types.ModuleType(P);p.__path__=[]\n"
        f"for n,t in {texts!r}.items():\n"
        " m=sys.modules[P+'.'+n]=types.ModuleType(P+'.'+n);m.__package__=P\n"
        " exec(compile(t,'<lastgood host: '+n+'>','exec'),m.__dict__)\n"
        "m.main()\n"
    )
    rest = zlib.compress(loader.encode())
    read = (
        f"import os,sys\ns=b''\nwhile len(s)<{len(rest)}:\n c=os.read(0,{len(rest)}-len(s))\n if not c: sys.exit()\n s+=c\n"
        "import zlib\nexec(compile(zlib.decompress(s),'<lastgood host>','exec'),{'__name__':'lastgood host'})\n"
    )
    return f"exec({read!r})\n".encode() + rest
