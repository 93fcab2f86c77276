"""A hint for imports of wrappers that fail because the directory around them is not on ``sys.path``.

``python sub/app.py`` puts ``sub`` there, and not the working directory. A finder at the end of ``sys.meta_path`` is asked for what
no other one has found. It finds nothing either, so that imports and ``importlib.util.find_spec()`` end as they would without it,
but it logs what to do.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["expect_imports", "is_on_path", "top_of"]


class _Hints(MetaPathFinder):
    """The finder of this process. ``outputs``: the output directories, by who has them."""

    def __init__(self) -> None:
        self.outputs: dict[object, tuple[str, ...]] = {}
        self._given: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Find nothing, and log a hint, once, if ``fullname`` is the package of an output directory."""
        if path is None:
            for output in [each for outputs in tuple(self.outputs.values()) for each in outputs]:
                entry, name = top_of(output)
                if name == fullname and entry not in self._given and not is_on_path(entry):
                    self._given.add(entry)
                    logging.getLogger("lastgood.session").warning("%s", _text(name, output, entry))
        return None


def is_on_path(directory: str) -> bool:
    """Return whether modules in ``directory``, a real path, can be imported by their names alone."""
    for entry in sys.path:
        with suppress(FileNotFoundError):  # the working directory was removed, and the entry is relative to it
            if isinstance(entry, str) and os.path.realpath(entry) == directory:
                return True
    return False


def top_of(output: str) -> tuple[str, str]:
    """Return the directory that has to be on ``sys.path``, and the name of the package in it: of those around, the topmost."""
    entry, name = os.path.split(output)
    while os.path.isfile(os.path.join(entry, "__init__.py")):
        entry, name = os.path.split(entry)
    return entry, name


def _text(name: str, output: str, entry: str) -> str:
    first = sys.path[0] if sys.path else ""
    script = os.path.realpath(getattr(sys.modules.get("__main__"), "__file__", None) or os.devnull)
    inside = os.path.relpath(script, entry)
    advice = f"Set PYTHONPATH={entry}"
    if script.startswith(os.path.join(entry, "")) and inside.endswith(".py"):
        module = inside.removesuffix(".py").replace(os.sep, ".")
        advice = f"Run `python -m {module}` in {entry}, or set PYTHONPATH={entry}"
    return (
        f"{name!r} cannot be imported: the wrappers are in {output}, but {entry} is not on sys.path, "
        f"which begins with {first!r}. {advice}."
    )


_hints = _Hints()


def expect_imports(owner: object, outputs: Iterable[str]) -> None:
    """Give hints for these output directories from now on, as those of ``owner``; for none, once it has none."""
    chosen = tuple(outputs)
    if chosen:
        _hints.outputs[owner] = chosen
    else:
        _hints.outputs.pop(owner, None)
    others = [finder for finder in sys.meta_path if finder is not _hints]
    if bool(_hints.outputs) is (len(others) == len(sys.meta_path)):
        # A new list: an import in another thread may be iterating over the old one.
        sys.meta_path = [*others, _hints] if _hints.outputs else others
