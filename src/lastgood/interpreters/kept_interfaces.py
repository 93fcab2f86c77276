"""What the wrappers of a generation offer, kept with it as IRs, so that a later one can be compared with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lastgood.store.file_system import digest_of
from lastgood.store.generations import DamagedGeneration, GenerationStore
from lastgood.watch_events import ApiChange

__all__ = ["Interfaces", "changes_between"]

# A file of the generation for each module, and one that says which form they have.
_FORMAT = "ir"
_MODULES = "ir/"


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The IRs of one generation: ``digests`` by the modules' names, and ``read(name)`` for the bytes of one."""

    digests: Mapping[str, str]
    read: Callable[[str], bytes]

    @classmethod
    def of(cls, modules: Mapping[str, bytes]) -> Interfaces:
        """Those that were just made."""
        return cls({name: digest_of(data) for name, data in modules.items()}, modules.__getitem__)

    @classmethod
    def kept(cls, store: GenerationStore, manifest: Path) -> Interfaces | None:
        """Those that were kept with a generation; None if none were, in a form that is known here.

        Raises :class:`DamagedGeneration`.
        """
        files = store.files(manifest)
        if _FORMAT not in files or store.read(files[_FORMAT]) != _format():
            return None
        digests = {name.removeprefix(_MODULES): digest for name, digest in files.items() if name.startswith(_MODULES)}
        return cls(digests, lambda name: store.read(digests[name]))

    @staticmethod
    def to_keep(modules: Mapping[str, bytes]) -> dict[str, bytes]:
        """The files by which :meth:`kept` finds them again."""
        return {_FORMAT: _format(), **{_MODULES + name: data for name, data in modules.items()}}


def changes_between(before: Interfaces | None, after: Interfaces | None) -> tuple[ApiChange, ...]:
    """What callers see differently; nothing where one of the two is not known. What is damaged is not known.

    See :func:`lastgood.wrappers.changes.compare`.
    """
    from lastgood.wrappers.changes import compare
    from lastgood.wrappers.ir import unpacked

    if before is None or after is None:
        return ()
    names = {*before.digests, *after.digests}
    names = {name for name in names if before.digests.get(name) != after.digests.get(name)}
    try:
        old, new = (
            {name: unpacked(each.read(name)) for name in names if name in each.digests} for each in (before, after)
        )
    except (DamagedGeneration, msgspec.MsgspecError):
        return ()
    return compare(old, new)


def _format() -> bytes:
    from lastgood.wrappers.ir import FORMAT

    return str(FORMAT).encode()
