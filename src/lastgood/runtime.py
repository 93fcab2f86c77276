"""The registry of the live bridge, as users and wrappers import it."""

from lastgood.calls.registry import Handle, clear_runtime_bridge, get_runtime_bridge, set_runtime_bridge

__all__ = ["Handle", "clear_runtime_bridge", "get_runtime_bridge", "set_runtime_bridge"]
