"""Shipments: the bytes of a generation that cross to the other side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lastgood.config import Config

__all__ = ["Shipment"]


class Shipment:
    """What the other side needs to run a generation.

    - the manifest of the generation, with the paths that its modules have there;
    - ``objects``: the bytes of the modules, of the files that ``files=`` declares, and of lastgood's own worker package, by
      digest. Only those cross that the other side lacks.
    """

    objects: Mapping[str, Path]
    """By digest, the file here that has these bytes."""

    @classmethod
    def of(cls, config: Config, files: Sequence[str] = ()) -> Shipment:
        """Make the shipment of ``config``'s pinned generation. It reads the disk, and blocks.

        ``files`` are globs relative to the directory of the config file, such as ``"data/**"``. Raises
        :class:`~lastgood.ConfigError` if one of them matches nothing or leads out of that directory, and
        :class:`~lastgood.BridgeError` if the generation is not pinned.
        """
        raise NotImplementedError
