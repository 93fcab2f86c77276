"""A bridge to workers elsewhere: everything that does not depend on what has placed them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from lastgood.config import Config
from lastgood.remote.place import Place

__all__ = ["RemoteBridge"]


class RemoteBridge:
    """Calls functions in workers on the other side of a :class:`Place`, as a :class:`~lastgood.ProcessBridge` does in one here.

    ``make_place()`` returns a new place; it is called on the trio event loop of the bridge, once for each of the ``workers``
    (None: the ``pool`` of ``[runtime.process]``), and once more for each host that is started ahead. A call goes to the least
    busy worker. ``files`` are those of :meth:`Shipment.of`.

    Host and app tell each other every ``heartbeat`` seconds that they live. A place whose host is gone, or silent for
    ``lost_after`` seconds, is lost: the calls there raise :class:`~lastgood.WorkerDied`, with an unknown status and blame
    ``"place"``, :meth:`avoid` is called, and a session starts the bridge again. A host that hears nothing for 30 s, or whose
    connection is gone, ends its worker and all that this has started, and itself.

    ``ahead`` names what the places depend on, such as host and interpreter: with ``spare = true``, hosts are started ahead for
    the next bridge of the same ``ahead``. None: no host is started ahead.
    """

    def __init__(
        self,
        config: Config,
        make_place: Callable[[], Place],
        *,
        workers: int | None = None,
        heartbeat: float = 1.0,
        lost_after: float = 5.0,
        files: Sequence[str] = (),
        ahead: Hashable | None = None,
    ) -> None:
        raise NotImplementedError

    def avoid(self, place: Place) -> None:
        """Note that ``place`` was lost or is frozen: place the next worker elsewhere, if another place fits. Does nothing here."""
