"""The local modules of a worker: installing their import, reporting those that are not pinned, pinning what others report."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence

from . import frames
from .interrupts import SHIELD
from .performing import VALUES

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .ahead import Ahead
    from .pinned import Sources

__all__ = ["LocalModules"]


class LocalModules:
    """``send(kind, number, body)`` sends a frame to the app."""

    def __init__(self, send: Callable[[int, int, bytes], object]) -> None:
        self._send = send
        self._pid = os.getpid()
        self._held: list[bytes] | None = None  # reports that wait while the worker runs ahead
        self._lock = threading.Lock()  # guards what follows
        self._sources: Sources | None = None
        self._early_pins: list[tuple[str, bytes]] = []  # received before there were sources

    def install(self, settings: dict[str, Any], bare: Collection[str], ahead: Ahead | None) -> None:
        """Import local modules as the body of a SETUP frame says. See :func:`.importing.install`."""
        from .importing import install

        sources = install(settings["import_path"], settings["pinned"], self._report, bare, settings["codes"], ahead)
        with self._lock:
            self._sources = sources
            early, self._early_pins = self._early_pins, []
        if sources is not None:
            for path, source in early:
                sources.pin(path, source)

    def hidden(self) -> dict[str, str]:
        """Return the paths of those that hide a module of the standard library, by its name."""
        return {} if self._sources is None else self._sources.hidden

    def broken_edit(self, edited: Sequence[tuple[str, str, str]]) -> BaseException | None:
        """Return the error of the first of the ``edited`` modules that does not compile, and did before; None if all do.

        Each is a name, a path, and the digest that the module had ("": it is new). One that is loaded has compiled. What the
        program has tried to import, with an error that it has caught, is its own affair.
        """
        sources = self._sources
        if sources is None:
            return None
        broken = (sources.why_broken(name, path, was) for name, path, was in edited if name not in sys.modules)
        return next((error for error in broken if error is not None), None)

    def hold(self) -> None:
        """Have reports wait, until :meth:`release`."""
        self._held = []

    def release(self) -> None:
        """Send the reports that wait, and those that come."""
        held, self._held = self._held, None
        for report in held or ():
            self._send(frames.LOADED, 0, report)

    def _report(self, name: str, path: str, source: bytes) -> None:
        if os.getpid() != self._pid:  # a forked child has no connection to the app
            return
        body = VALUES.dumps([name, path, source])
        if self._held is not None:
            self._held.append(body)
            return
        with SHIELD:
            self._send(frames.LOADED, 0, body)

    def pin(self, body: bytes) -> None:
        """Use the bytes in a PIN frame. Raises :class:`.frames.FrameError`."""
        try:
            path, source = VALUES.loads(body)
        except (ValueError, TypeError) as error:
            raise frames.FrameError(str(error)) from None
        if not (isinstance(path, str) and isinstance(source, bytes)):
            raise frames.FrameError("a PIN frame without a path and a source")
        with self._lock:
            sources = self._sources
            if sources is None:
                self._early_pins.append((path, source))
        if sources is not None:
            sources.pin(path, source)
