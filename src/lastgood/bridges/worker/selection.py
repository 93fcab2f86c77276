"""Selection of the functions of a module that may be called; the wrappers and the worker use the same rule.

The worker imports this file in the user's interpreter, so it uses the standard library only and runs on Python 3.9.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

__all__ = ["allows"]


def allows(
    name: str,
    *,
    functions: Collection[str] | None = None,
    classes: Collection[str] | None = None,
    exclude: Collection[str] = (),
    exclude_patterns: Collection[str] = (),
) -> bool:
    """Return whether a selection allows ``name``: ``"function"`` or ``"Class.method"`` (or ``"Outer.Inner.method"``).

    ``functions``, if given, lists the only module-level functions that are allowed; ``classes`` the only classes, each with
    its whole content (``"Outer.Inner"`` allows only that part of ``Outer``). Neither affects the other. ``exclude`` removes
    names with their whole content. ``exclude_patterns`` are case-sensitive globs that do the same, matched against the name
    and every enclosing class. No part of a name may start with ``_``.

    >>> allows("quote"), allows("_quote"), allows("Desk._quote")
    (True, False, False)
    >>> allows("Desk.quote", functions=["price"]), allows("quote", functions=["price"])
    (True, False)
    >>> allows("Desk.quote", exclude=["Desk"]), allows("Desk.quote", exclude_patterns=["*.q*"])
    (False, False)
    """
    parts = name.split(".")
    if any(not part or part.startswith("_") for part in parts):
        return False
    reaches = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    chosen = functions if len(parts) == 1 else classes
    if chosen is not None and not any(reach in chosen for reach in reaches):
        return False
    return not any(reach in exclude or any(fnmatchcase(reach, glob) for glob in exclude_patterns) for reach in reaches)
