"""Names of generated files that are not the same file everywhere: what Linux takes may be no name, or one name, elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["unportable"]

_OF_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?", re.IGNORECASE)


def unportable(files: Iterable[str]) -> tuple[str, ...]:
    """Return a warning for each of these paths in the output that cannot be on Windows, or on macOS, beside the others.

    The result is the same on every platform, whatever the order of ``files``.
    """
    return _unportable(frozenset(files))


@lru_cache(8)  # most edits change no name
def _unportable(files: frozenset[str]) -> tuple[str, ...]:
    found = []
    seen: dict[str, str] = {}
    paths = {*files}
    above = {file.rpartition("/")[0] for file in files} - {""}  # there may be thousands of files
    while above:
        paths |= above
        above = {path.rpartition("/")[0] for path in above} - {""}
    for path in sorted(paths):
        if _OF_DEVICES.fullmatch(path.rpartition("/")[2]):
            found.append(f"{path}: Windows has a device of that name, and takes no file for it; rename the module")
        other = seen.setdefault(path.casefold(), path)
        if other != path and other.rpartition("/")[0] == path.rpartition("/")[0]:
            found.append(f"{path}: it is the same file as {other} on macOS and Windows; rename one of the modules")
    return tuple(found)
