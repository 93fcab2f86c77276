"""The manifests that bridges which are not disposed yet import from, by the cycles that made the bridges.

The stored part of a generation grows while it lives: a module that only a dynamic import reaches is pinned when a worker first
imports it. The generation then gets a new manifest, with which its next worker is started. Running workers and their child
processes keep using the old one.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, field

__all__ = ["ManifestsInUse"]


class _BridgeManifests(Struct):
    """``latest`` is the generation's newest manifest; ``given`` are those with which workers were started."""

    latest: Path
    given: list[Path] = field(default_factory=list)


class ManifestsInUse:
    """The manifests in use, see the module. Only :meth:`paths` is thread-safe."""

    def __init__(self) -> None:
        self._bridges: dict[int, _BridgeManifests] = {}

    def begin(self, cycle: int, manifest: Path) -> None:
        """Record that the bridge of ``cycle``, started with ``manifest``, is live."""
        self._bridges[cycle] = _BridgeManifests(manifest, [manifest])

    def end(self, cycle: int) -> None:
        """Record that the bridge of ``cycle`` is gone."""
        self._bridges.pop(cycle, None)

    def latest(self, cycle: int) -> Path | None:
        """Return the newest manifest; None if the cycle's bridge is gone or runs no pinned generation."""
        bridge = self._bridges.get(cycle)
        return None if bridge is None else bridge.latest

    def give(self, cycle: int) -> Path | None:
        """Return the newest manifest, as :meth:`latest` does, and record that a worker is started with it."""
        bridge = self._bridges.get(cycle)
        if bridge is None:
            return None
        if bridge.latest not in bridge.given:
            bridge.given.append(bridge.latest)
        return bridge.latest

    def grow(self, cycle: int, manifest: Path) -> None:
        """Record ``manifest`` as the newest of the generation. Do nothing if its bridge is gone."""
        if cycle in self._bridges:
            self._bridges[cycle].latest = manifest

    def is_live(self, cycle: int) -> bool:
        """Return whether no later bridge has become live."""
        return cycle == max(self._bridges, default=None)

    def is_given(self, manifest: Path) -> bool:
        """Return whether a worker of any bridge was started with it."""
        return any(manifest in bridge.given for bridge in tuple(self._bridges.values()))

    def paths(self) -> set[Path]:
        """Return all manifests that may still be read."""
        bridges = tuple(self._bridges.values())
        return {path for bridge in bridges for path in (bridge.latest, *bridge.given)}

    def is_last_of(self, cycle: int) -> bool:
        """Return whether no later bridge runs the same generation, as happens if two cycles have equal sources."""
        own = self.latest(cycle)
        return all(bridge.latest != own for other, bridge in self._bridges.items() if other > cycle)
