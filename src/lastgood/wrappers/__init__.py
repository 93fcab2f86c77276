"""Generated wrappers: source text -> an intermediate representation -> wrapper text. Pure: no file is read or written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lastgood.config import Style
from lastgood.errors import ModuleFailure
from lastgood.sources.parsing import ModuleSource

__all__ = ["Generated", "ModuleSource", "Wrapped", "wrap_modules"]


@dataclass(frozen=True, slots=True)
class Generated:
    """What a generator did (contract §2).

    ``files`` are the paths it wrote, relative to the stage directory; ``warnings`` are texts.
    """

    files: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    failures: tuple[ModuleFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The wrappers of some modules.

    ``files`` are whole files by their path under the output directory (with ``/``, sorted), in UTF-8 with LF, and
    ``modules`` what they were made of, by the names of the modules (see :func:`lastgood.wrappers.ir.packed`). With
    ``failures``, one for each broken module, the files of the others are there still, but make no generation.
    """

    files: Mapping[str, bytes]
    warnings: tuple[str, ...] = ()
    failures: tuple[ModuleFailure, ...] = ()
    modules: Mapping[str, bytes] = field(default_factory=dict)


def wrap_modules(
    sources: Sequence[ModuleSource],
    *,
    find: Callable[[str], ModuleSource | None] = lambda _: None,
    style: Style = "async",
) -> Wrapped:
    """Generate the wrapper of each of ``sources``; nothing of theirs is imported or executed (contract §§5, 7).

    ``find`` gives the source of a local module that is not among them, for re-exports to be followed to their
    signatures, and types to where they are defined; None: there is no such local module. ``style`` is ``"async"`` for
    functions to be awaited, ``"sync"`` for plain ones. The result depends on these alone, not on the order of the sources.
    """
    # griffe takes ten times as long to import as all the rest, and the types above are wanted without it.
    from lastgood.wrappers.generate import Pipeline

    return Pipeline().wrap(sources, find, style)
