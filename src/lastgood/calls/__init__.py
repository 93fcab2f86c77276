"""From a wrapper to the live bridge: the registry and its leases, event loops, the way between threads, result types."""
