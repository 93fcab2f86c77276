"""The path of a call from a wrapper to the live bridge: registry, leases, event loops, threads and result types."""
