"""Generation of wrappers: source text -> intermediate representation (IR) -> wrapper text.

Generation is pure: it reads and writes no file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from msgspec import Struct, field

from lastgood.config import Style
from lastgood.errors import ModuleFailure
from lastgood.sources.parsing import ModuleSource

__all__ = ["Generated", "ModuleSource", "Wrapped", "check_generated", "wrap_modules"]


class Generated(Struct, frozen=True):
    """The result of a generator.

    ``files`` are the paths it wrote, relative to the stage directory; ``warnings`` are texts.
    """

    files: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    failures: tuple[ModuleFailure, ...] = ()


def check_generated(returned: object, by: str = "generate()") -> Generated:
    """Return what ``by`` has returned. Raises :class:`TypeError` if it, or something in it, is of another type."""
    if not isinstance(returned, Generated):
        raise TypeError(
            f"{by} returned {type(returned).__name__}; expected lastgood.Generated(files, warnings, failures)."
        )
    return Generated(
        tuple(os.fspath(path) for path in _entries(returned.files, (str, PurePath), f"{by} returned files", "a path")),
        tuple(_entries(returned.warnings, str, f"{by} returned warnings", "a text")),
        tuple(_entries(returned.failures, ModuleFailure, f"{by} returned failures", "a ModuleFailure")),
    )


def _entries(given: object, kind: type | tuple[type, ...], what: str, expected: str) -> Iterator[Any]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{what} that are {type(given).__name__}; expected a tuple.")
    for entry in given:
        if not isinstance(entry, kind):
            raise TypeError(f"{what} with {type(entry).__name__}; expected each to be {expected}.")
        yield entry


class Wrapped(Struct, frozen=True):
    """The wrappers of some modules.

    ``files`` are whole files by path under the output directory (``/`` as separator, sorted), in UTF-8 with LF line ends.
    ``modules`` are their IRs by module name (see :func:`lastgood.wrappers.ir.packed`). ``failures`` has one entry for each
    broken module; the files of the other modules are still returned, but make no generation.
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
    local: Iterable[str] = (),
    annotated: tuple[str, ...] = (),
) -> Wrapped:
    """Generate the wrapper of each of ``sources``, without importing or executing any of them.

    ``find`` returns the source of a local module that is not among ``sources``, or None if there is none; re-exports and
    types are followed through it to their definitions. ``style`` is ``"async"`` for functions to be awaited, ``"sync"`` for
    plain ones. ``local`` names modules that ``find`` returns: besides the ``sources``, they may have classes that derive from a
    class that a wrapper declares. ``annotated`` are the packages whose metadata in ``Annotated`` types are kept. The result
    depends on these arguments alone, not on the order of the sources.
    """
    # Imported late: it imports this module, whose classes the app uses without it.
    from lastgood.wrappers.generate import Pipeline

    return Pipeline(annotated=annotated).wrap(sources, find, style, local=local)
