"""A server that a worker runs on its main thread, instead of calls. Its code lies in a directory that the app names.

That is serve/worker/, which needs more than the standard library, and imports nothing of lastgood.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from .forks import FORKS
from .hidden import note_hidden
from .manifest import Damaged
from .notes import add_note
from .performing import VALUES, pack_raised, pack_refused

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Server", "missing_backend", "pack_unstarted"]

_PACKAGE = "_lastgood_server"
_NO_TRIO = (
    'async_backend under [runtime.process] is "trio", and {} has no trio. '
    "Install it there, or leave the field out for asyncio."
)


def missing_backend(backend: str) -> str | None:
    """Return what to say if this interpreter does not have the event loop for calls; else None."""
    if backend == "trio" and "trio" not in sys.modules:
        from importlib.util import find_spec

        if find_spec("trio") is None:
            return _NO_TRIO.format(sys.executable)
    return None


class Server:
    """What "server" in the body of a SETUP frame asks for. It is created before local modules can be imported."""

    def __init__(self, settings: dict[str, Any]) -> None:
        package = type(sys)(_PACKAGE)
        package.__path__ = [settings["code"]]
        sys.modules[_PACKAGE] = package
        __import__(f"{_PACKAGE}.engine")
        self._engine: Any = sys.modules[f"{_PACKAGE}.engine"].Engine(settings, FORKS.call_in_children)

    def configure(self) -> None:
        """Do what comes before the program is imported, which may read files."""
        self._engine.configure()

    def begin(self) -> BaseException | None:
        """Get ready to serve, once the program was imported; return what was raised."""
        try:
            self._engine.start()
        except BaseException as error:
            FORKS.end_child(error)
            own = error.__traceback__  # the frame of this function
            error.__traceback__ = own and self._engine.frames_of_program(own.tb_next)
            return error
        return None

    def run(self) -> None:
        """Serve until :meth:`end`."""
        self._engine.run()

    # On the thread that reads.

    def command(self, body: bytes, answer: Callable[[], object]) -> None:
        """Do what the body of a SERVE frame says. ``answer`` is called when it is done."""
        name, argument = VALUES.loads(body)
        self._engine.command(name, argument, answer)

    def end(self) -> None:
        """Have :meth:`run` return, after the server has ended what it serves."""
        self._engine.end()


def pack_unstarted(error: BaseException, hidden: Mapping[str, str]) -> tuple[int, bytes]:
    """Return the answer to SETUP for what keeps the worker from being ready: its text alone, if the program has no part in it.

    ``hidden``: the local modules that hide one of the standard library, which may be why.
    """
    if isinstance(error, Damaged):
        return pack_refused(f"The pinned generation cannot be run. {error}")
    note = note_hidden(error, hidden)
    if type(error).__module__ == f"{_PACKAGE}.errors":
        return pack_refused(str(error) if note is None else f"{error}. {note}")
    if note is not None:
        add_note(error, note)
    return pack_raised(error)
