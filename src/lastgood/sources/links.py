"""Symbolic links on the way to a path. If one of them comes to lead elsewhere, so does the path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct

__all__ = ["Links", "Way", "digest_of_link", "links_to"]

_NONE: Mapping[str, str] = {}


class Way(Struct, frozen=True):
    """The way to a path. ``links`` are the links that are followed: the text of each, by its path, which has no link before it.

    ``real`` is where the way leads to, as far as that exists.
    """

    real: str
    links: Mapping[str, str]


class Links:
    """Follows links, and remembers where each directory on the way is. ``read_link`` is as in ``FileSystem``."""

    def __init__(self, read_link: Callable[[str], str]) -> None:
        self._read_link = read_link
        self._ways: dict[str, Way] = {}

    def way(self, path: str) -> Way:
        """Follow the absolute ``path``."""
        known = self._ways.get(path)
        if known is None:
            self._ways[path] = Way(path, _NONE)  # where links form a circle
            known = self._ways[path] = self._follow(path)
        return known

    def _follow(self, path: str) -> Way:
        above, name = os.path.split(path)
        if above == path:
            return Way(path, _NONE)
        before = self.way(above)
        if name in ("", "."):
            return before
        if name == "..":
            return Way(os.path.dirname(before.real), before.links)
        place = os.path.join(before.real, name)
        text = self._read_link(place)
        if not text:
            return Way(place, before.links)
        after = self.way(os.path.join(before.real, text))
        return Way(after.real, {**before.links, place: text, **after.links})


def links_to(paths: Iterable[str | Path], links: Links) -> dict[Path, str]:
    """Return the links on the way to each of the absolute ``paths``, with their texts."""
    return {Path(link): text for path in paths for link, text in links.way(str(path)).links.items()}


def digest_of_link(text: str) -> str:
    """Return what stands for a link in a snapshot, in place of the digest of a file's bytes."""
    return f"link to {text}"
