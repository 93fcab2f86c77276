"""The worker's side of a bridge: standard library only, so that it runs in any interpreter."""
