"""The interfaces of a generation's wrappers, stored with it as IRs, so that later generations can be compared with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from lastgood.store.file_system import digest_of
from lastgood.store.generations import DamagedGeneration, GenerationStore
from lastgood.watch_events import ApiChange

if TYPE_CHECKING:
    from lastgood.wrappers.ir import Module

__all__ = ["Interfaces", "changes_between"]

# The generation has a file for each module, and one for the version of their format.
_FORMAT = "ir"
_MODULES = "ir/"


class Interfaces(Struct, frozen=True):
    """The IRs of one generation: ``digests`` by module name; ``read(digest)`` returns the bytes of one."""

    digests: Mapping[str, str]
    read: Callable[[str], bytes]

    @classmethod
    def of(cls, modules: Mapping[str, bytes], digests: Mapping[str, str]) -> Interfaces:
        """Make the interfaces of IRs that were just generated."""
        return cls(digests, {digest: modules[name] for name, digest in digests.items()}.__getitem__)

    @classmethod
    def kept(cls, store: GenerationStore, manifest: Path) -> Interfaces | None:
        """Return the interfaces stored with a generation; None if there are none, or in an unknown format.

        Raises :class:`DamagedGeneration`.
        """
        files = store.files(manifest)
        if _FORMAT not in files or store.read(files[_FORMAT]) != _format():
            return None
        digests = {name.removeprefix(_MODULES): digest for name, digest in files.items() if name.startswith(_MODULES)}
        return cls(digests, functools.cache(store.read))

    def to_keep(self) -> dict[str, tuple[str, bytes]]:
        """Return the digests and bytes of the files to store, from which :meth:`kept` reads the interfaces."""
        modules = {_MODULES + name: (digest, self.read(digest)) for name, digest in self.digests.items()}
        return {_FORMAT: (digest_of(_format()), _format()), **modules}


def changes_between(before: Interfaces | None, after: Interfaces | None) -> tuple[ApiChange, ...]:
    """Return the API changes between two generations; none if one of them is unknown or damaged.

    See :func:`lastgood.wrappers.changes.compare`.
    """
    if before is None or after is None or before.digests == after.digests:
        return ()

    from lastgood.wrappers.changes import compare
    from lastgood.wrappers.ir import unpacked
    from lastgood.wrappers.layouts import replaced

    def modules(of: Interfaces, names: Collection[str]) -> dict[str, Module]:
        return {name: unpacked(of.read(of.digests[name])) for name in names if name in of.digests}

    names = {*before.digests, *after.digests}
    altered = {name for name in names if before.digests.get(name) != after.digests.get(name)}
    try:
        old, new = modules(before, altered), modules(after, altered)
        if replaced(old, new):  # classes of unaltered modules may derive from these
            old, new = modules(before, names), modules(after, names)
    except (DamagedGeneration, msgspec.MsgspecError):
        return ()
    return compare(old, new)


def _format() -> bytes:
    from lastgood.wrappers.ir import FORMAT

    return str(FORMAT).encode()
