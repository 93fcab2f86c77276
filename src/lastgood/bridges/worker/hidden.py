"""Local modules that hide one of the standard library, since they have its name: ``types.py`` beside ``main.py``.

All that imports that name from then on gets the local module, as in a program of the user's: so do installed packages, modules of
the standard library itself, and the worker, unless it has imported what it needs before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from .manifest import Manifest

__all__ = ["hidden_by", "import_own", "note_hidden"]

_NAMES: Collection[str]
if sys.version_info >= (3, 10):
    _NAMES = sys.stdlib_module_names
else:
    _NAMES = frozenset(name.partition(".")[0] for name in os.listdir(os.path.dirname(os.__file__)))
_SAYS_SO = "consider renaming"  # Python 3.13 and newer, of some of these errors


def hidden_by(pinned: Manifest) -> dict[str, str]:
    """Return the paths of the modules that hide one of the standard library, by its name."""
    return {name: path for _, _, name, path in pinned.modules if name in _NAMES}


def import_own() -> None:
    """Import what the worker would import later, while the standard library is as it should be."""
    import asyncio  # noqa: F401 - of asyncs
    import ctypes  # noqa: F401 - of interrupts
    import difflib  # noqa: F401 - of calling
    import importlib.util  # noqa: F401 - of pinned
    import inspect  # noqa: F401 - of performing
    import tokenize  # noqa: F401 - of merges

    from . import asyncs, failures, interface, log_handler, selection, streams  # noqa: F401 - for later
    from .values import instances, rich, standard  # noqa: F401 - for later


def note_hidden(error: BaseException, hidden: Mapping[str, str]) -> str | None:
    """Return what to say of a program that could not be started, if a hidden module may be why; None if not."""
    texts = [str(each) for each in _chain(error)] if hidden else []
    if any(_SAYS_SO in text for text in texts):
        return None
    for name, path in hidden.items():
        if name in sys.modules and any(f"'{name}'" in text or f"'{name}." in text for text in texts):
            return f"{path} hides the standard library's module {name} from all that imports it. Rename it."
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: BaseException | None = error
    while left is not None and id(left) not in seen:
        seen.add(id(left))
        yield left
        left = left.__cause__ or left.__context__
