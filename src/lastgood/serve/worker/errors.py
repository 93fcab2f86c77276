"""What keeps an application from being served, apart from what it raises itself."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ServeError", "frames_of_program"]


class ServeError(Exception):
    """The text says it all: it is shown without a traceback."""


def frames_of_program(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without what comes before the program: this package, uvicorn and the event loop."""
    servers = [
        os.path.dirname(str(sys.modules[name].__file__)) for name in ("asyncio", "uvicorn") if name in sys.modules
    ]
    # What is compiled by Cython, as uvloop is, has the paths of its sources.
    places = ("uvloop/", *(os.path.join(place, "") for place in (*servers, os.path.dirname(__file__))))
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename.startswith(places):
        first = first.tb_next
    return first or trace
