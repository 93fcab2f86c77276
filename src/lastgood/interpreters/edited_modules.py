"""The modules that are other ones than in the live generation: those that a worker compiles although nothing imports them yet."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

from lastgood.bridges.late import EditedModule
from lastgood.bridges.worker.manifest import Damaged, Manifest
from lastgood.interpreters.project import Project
from lastgood.sources.pinning import Pinned, PinnedModule

__all__ = ["edited_modules"]


def edited_modules(project: Project, pinned: Pinned | None) -> tuple[EditedModule, ...]:
    """Return the modules of ``pinned`` that import statements lead to and that differ from the live generation's.

    There are none in a first start, which has nothing to be compared with, nor in a generation that was good before (None).
    """
    live = project.live_manifest
    if pinned is None or live is None:
        return ()
    changed = [each for each in pinned.changed_since(project.live_pinned) if each.path.suffix != ".pyi"]
    try:
        before = _digests(changed, project.live_pinned, live)
    except Damaged:
        return ()
    edited = [(each, was) for each, was in zip(changed, before, strict=True) if was != each.digest]
    reached = _imported(pinned) if edited else ()
    return tuple((each.name, str(each.path), was) for each, was in edited if each.name in reached)


def _digests(modules: list[PinnedModule], live: Pinned | None, manifest: Path) -> list[str]:
    """Return the digest that each module has in the live generation, whose reading may not be at hand; "" if it has none."""
    if live is not None:
        return [live.digests.get(each.file, "") for each in modules]
    kept = {path: digest for _, digest, _, path in Manifest.load(str(manifest)).modules}
    return [kept.get(str(each.path), "") for each in modules]


def _imported(pinned: Pinned) -> AbstractSet[str]:
    """Return the names that import statements lead to, with the packages around them."""
    found: set[str] = set()
    for name in set[str]().union(*pinned.imports.values()):
        while name and name not in found:
            found.add(name)
            name = name.rpartition(".")[0]
    return found
