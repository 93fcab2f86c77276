"""Workers elsewhere: a generation is a set of bytes, so it can run where the sources are not.

- :class:`SshBridge` runs it on a machine that ``ssh`` reaches.
- :class:`RayBridge` has Ray place it on a node of a cluster.
- :class:`RemoteBridge` runs it wherever a :class:`Place` starts the host: a bridge for another engine is a place of its own.
  :class:`CommandPlace` is one that a command leads to, such as ``docker exec`` or ``kubectl exec``.
- :class:`Shipment` is what crosses.

A *host* is a small program (:mod:`lastgood.remote.host`: the standard library alone, Python 3.9 or newer), which a place starts on
the other side by ``python -c BOOTSTRAP``. It keeps what was shipped, starts the unchanged worker as its child, and passes bytes
on between that worker and the app.
"""

from __future__ import annotations

from lastgood.remote.bridge import RemoteBridge
from lastgood.remote.command import CommandPlace
from lastgood.remote.place import BOOTSTRAP, Place
from lastgood.remote.ray import RayBridge
from lastgood.remote.shipment import Shipment
from lastgood.remote.ssh import SshBridge

__all__ = ["BOOTSTRAP", "CommandPlace", "Place", "RayBridge", "RemoteBridge", "Shipment", "SshBridge"]
