"""Exceptions as the app gets them, over the bytes of the wire and without a worker."""

from __future__ import annotations

from functools import partial

from lastgood import RemoteError
from lastgood.bridges.raised import made
from lastgood.bridges.worker.failures import describe
from lastgood.bridges.worker.performing import VALUES
from lastgood.bridges.worker.values.known import SOURCES, Known

__all__ = ["DUMPS", "remote"]

DUMPS = partial(VALUES.dumps, known=SOURCES)


def remote(error: BaseException, known: Known | None = None) -> RemoteError:
    """What the app gets for ``error``, over the bytes of the wire."""
    try:
        raise error
    except BaseException as caught:
        return made(VALUES.loads(VALUES.dumps(describe(caught, DUMPS))), known)
