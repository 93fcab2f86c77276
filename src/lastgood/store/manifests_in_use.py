"""From which manifests the bridges that are not disposed yet import, by the cycles that warmed them (contract §9).

What is kept of a generation grows while it lives: a module that only a dynamic import reaches is pinned when a worker first
imports it. The generation then has another manifest, from which its next worker is started; the workers that run, and what
they start, go on with theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ManifestsInUse"]


@dataclass(slots=True)
class _OfBridge:
    """``latest`` says all that is kept of the generation, ``given`` are those that workers were started from."""

    latest: Path
    given: list[Path] = field(default_factory=list)


class ManifestsInUse:
    """See the module. Not thread-safe, but for :meth:`paths`."""

    def __init__(self) -> None:
        self._bridges: dict[int, _OfBridge] = {}

    def begin(self, cycle: int, manifest: Path) -> None:
        """The bridge of ``cycle``, started from ``manifest``, is live."""
        self._bridges[cycle] = _OfBridge(manifest, [manifest])

    def end(self, cycle: int) -> None:
        """That bridge is gone."""
        self._bridges.pop(cycle, None)

    def latest(self, cycle: int) -> Path | None:
        """What is kept of the generation; None if its bridge is gone, or runs no pinned generation."""
        bridge = self._bridges.get(cycle)
        return None if bridge is None else bridge.latest

    def give(self, cycle: int) -> Path | None:
        """As :meth:`latest`, for a worker to be started from."""
        bridge = self._bridges.get(cycle)
        if bridge is None:
            return None
        if bridge.latest not in bridge.given:
            bridge.given.append(bridge.latest)
        return bridge.latest

    def grow(self, cycle: int, manifest: Path) -> None:
        """More is kept of the generation: ``manifest`` says what. Nothing if its bridge is gone."""
        if cycle in self._bridges:
            self._bridges[cycle].latest = manifest

    def is_live(self, cycle: int) -> bool:
        """Whether no later bridge has become live."""
        return cycle == max(self._bridges, default=None)

    def is_given(self, manifest: Path) -> bool:
        """Whether a worker of any bridge was started from it."""
        return any(manifest in bridge.given for bridge in tuple(self._bridges.values()))

    def paths(self) -> set[Path]:
        """All that somebody may still read."""
        bridges = tuple(self._bridges.values())
        return {path for bridge in bridges for path in (bridge.latest, *bridge.given)}

    def is_last_of(self, cycle: int) -> bool:
        """Whether no later bridge runs the same generation: two cycles from equal sources make equal ones."""
        own = self.latest(cycle)
        return all(bridge.latest != own for other, bridge in self._bridges.items() if other > cycle)
