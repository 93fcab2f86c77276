"""The public names of the registry of the live bridge, for users and wrappers."""

from lastgood.calls.registry import Handle, clear_runtime_bridge, get_runtime_bridge, set_runtime_bridge

__all__ = ["Handle", "clear_runtime_bridge", "get_runtime_bridge", "set_runtime_bridge"]
