"""The registry of the live bridge, for users, and the decorator that makes a wrapper's declarations call it."""

from lastgood.bridges.worker.values.known import SOURCE_DEFAULT
from lastgood.calls.declarations import remote
from lastgood.calls.registry import Handle, clear_runtime_bridge, get_runtime_bridge, set_runtime_bridge

__all__ = [
    "SOURCE_DEFAULT",
    "Handle",
    "clear_runtime_bridge",
    "get_runtime_bridge",
    "remote",
    "set_runtime_bridge",
]
