"""The worker and the app as two sides of one process, with the codec between them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec

from lastgood.bridges.remote import PACK, unpacker
from lastgood.bridges.worker.values import packing
from lastgood.bridges.worker.values.arena import Arena
from lastgood.bridges.worker.values.arrays import Carrier
from lastgood.bridges.worker.values.known import SOURCES
from lastgood.calls.classes import Declared

__all__ = ["Sides"]


class Sides:
    """The app and the worker, and the way between them."""

    def __init__(self, source: ModuleType, wrapper: ModuleType) -> None:
        self.source, self.wrapper = source, wrapper
        app = Carrier(
            PACK, unpacker, msgspec.msgpack.Ext, towards="to the worker", outgoing=Arena(-1), incoming=Arena(-1)
        )
        worker = Carrier(
            *(packing.pack, packing.unpacker, packing.Ext),
            towards="from the worker",
            outgoing=Arena(-1),
            incoming=Arena(-1),
        )
        self.app, self.worker = app, worker
        self.known = Declared(vars(wrapper))

    def to_app(self, value: Any) -> Any:
        return self.app.loads(self.worker.dumps(value, SOURCES), self.known)

    def to_worker(self, value: Any) -> Any:
        return self.worker.loads(self.app.dumps(value, self.known), SOURCES)

    def there_and_back(self, text: str) -> tuple[Any, Any, Any]:
        """What the source has made of this text, what the app gets, and what the worker gets when that is given back."""
        made = eval(text, vars(self.source))
        came = self.to_app(made)
        return made, came, self.to_worker(came)
