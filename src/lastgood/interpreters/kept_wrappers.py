"""The wrappers that are stored with a generation, and their use by a start at which nothing is new.

Such a start takes them over without having a source read: what they were made from is compared with what there is now.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from lastgood.interpreters.kept_interfaces import Interfaces
from lastgood.sources.memo import version_digest
from lastgood.sources.pinning import Pinned
from lastgood.store.file_system import digest_of
from lastgood.store.generations import DamagedGeneration, GenerationStore

__all__ = ["CONFIG", "INPUTS", "WRAPPERS", "KeptWrappers", "packed_inputs"]

# Names of the files that are stored with a generation in addition to its sources.
CONFIG = "config"
WRAPPERS = "wrappers/"
INPUTS = "inputs"
"""What the wrappers were made from, besides the sources and the config; absent if something else has made some of them."""


class _Inputs(msgspec.Struct, frozen=True):
    version: str
    python: tuple[int, int]
    stubs: tuple[tuple[str, str], ...]  # name and digest
    warnings: tuple[str, ...]


_DECODER = msgspec.json.Decoder(_Inputs)


def packed_inputs(pinned: Pinned, python: tuple[int, int], warnings: tuple[str, ...]) -> bytes:
    """Return the bytes of :data:`INPUTS`. ``python`` is the version of the worker's; ``warnings`` are those about the wrappers."""
    stubs = tuple((each.name, each.digest) for each in pinned.stubs)
    return msgspec.json.encode(_Inputs(version_digest(), python, stubs, warnings))


class KeptWrappers(Struct, frozen=True):
    """The wrappers of a stored generation: texts by path, warnings about them, and their interfaces."""

    texts: Mapping[str, bytes]
    warnings: tuple[str, ...]
    interfaces: Interfaces | None

    @classmethod
    def of_last(
        cls, store: GenerationStore, pinned: Pinned, python: tuple[int, int], config: bytes
    ) -> KeptWrappers | None:
        """Return those of the last good generation if the same would be made from ``pinned`` and the bytes of the config file.

        ``python`` is as in :func:`packed_inputs`.
        """
        last = store.before(None)
        if last is None or pinned.unreadable:
            return None
        manifest = store.path(last)
        try:
            files = store.files(manifest)
            if INPUTS not in files or files.get(CONFIG) != digest_of(config):
                return None
            data = store.read(files[INPUTS])
            warnings = _DECODER.decode(data).warnings
            if data != packed_inputs(pinned, python, warnings) or not store.has_sources(manifest, pinned):
                return None
            texts = {name: store.read(digest) for name, digest in files.items() if name.startswith(WRAPPERS)}
            interfaces = Interfaces.kept(store, manifest)
        except (DamagedGeneration, msgspec.MsgspecError):
            return None
        return cls({name.removeprefix(WRAPPERS): text for name, text in texts.items()}, warnings, interfaces)
