"""Workers elsewhere: a generation is a set of bytes, so it can run where the sources are not.

- :class:`SshBridge` runs it on a machine that ``ssh`` reaches.
- :class:`RemoteBridge` runs it wherever a :class:`Place` starts the host: a bridge for another engine is a place of its own.
- :class:`Shipment` is what crosses.

A *host* is a program of one file (``host.py``, the standard library alone, Python 3.9 or newer), which a place starts on the
other side by ``python -c BOOTSTRAP``. It keeps what was shipped, starts the unchanged worker as its child, and passes bytes
on between that worker and the app.
"""

from __future__ import annotations

from lastgood.remote.bridge import RemoteBridge
from lastgood.remote.place import BOOTSTRAP, Place
from lastgood.remote.shipment import Shipment

__all__ = ["BOOTSTRAP", "Place", "RemoteBridge", "Shipment"]
