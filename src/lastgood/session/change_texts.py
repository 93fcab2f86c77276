"""A change of a wrapper's API as a line of text, in which only what has changed is marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from lastgood.session.console import harmless
from lastgood.watch_events import ApiChange

if TYPE_CHECKING:  # a session that logs nothing needs no rich
    from rich.text import Text

__all__ = ["change_text", "marked_change"]

_BETWEEN = {"function": "", "type": ": ", "constant": " = "}
_GONE, _COME = "red underline", "green underline"
"""Underlined, too, so that nobody needs to tell the two colours from each other."""

# What a text is split at: text in quotes is whole, and so is what is in brackets below the parameters.
_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|->|[\[({]|[\])}]|[,;]|[^'\"\[({\])},;-]+|.", re.DOTALL)
_NAME = re.compile(r"\s*\**\w+")


def change_text(change: ApiChange) -> str:
    """Describe an API change in one line, without its kind ("added", "removed" or "altered")."""
    now = "" if change.old is None or change.new is None else f", now {change.new}"
    now = ", now another object" if change.old == change.new else now
    return f"{_head(change)}{change.old or change.new}{now}{_tail(change)}"


def _head(change: ApiChange) -> str:
    return f"{change.what} {change.module}.{change.name}{_BETWEEN[change.what]}"


def _tail(change: ApiChange) -> str:
    return "; breaking" if change.breaking else ""


def marked_change(change: ApiChange, width: int | None = None) -> Text:
    """Return :func:`change_text` with marks at what differs, on two lines if it is wider than ``width``."""
    from rich.text import Text

    whole = change_text(change)
    if change.old is None or change.new is None or change.old == change.new:
        return _breaking_marked(Text(harmless(whole)), change)
    old, new = _parts(change.old), _parts(change.new)
    gone, come = _differing(old, new)
    is_long = width is not None and len(whole) > width
    text = Text(harmless(_head(change)))
    text.append_text(_marked(old, gone, _GONE))
    text.append(",\nnow " if is_long else ", now ")
    text.append_text(_marked(new, come, _COME))
    text.append(_tail(change))
    return _breaking_marked(text, change)


def _breaking_marked(text: Text, change: ApiChange) -> Text:
    if change.breaking:
        text.stylize("bold red", len(text.plain) - len("breaking"))
    return text


def _marked(parts: Sequence[str], differing: frozenset[int], style: str) -> Text:
    from rich.text import Text

    text = Text()
    for place, part in enumerate(parts):
        shown = harmless(part)
        blank = len(shown) - len(shown.lstrip(" :=,"))
        text.append(shown[:blank])
        text.append(shown[blank:], style=style if place in differing else None)
    return text


def _differing(old: Sequence[str], new: Sequence[str]) -> tuple[frozenset[int], frozenset[int]]:
    """Return the places of the parts that are not in the other text."""
    same = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept_old = {place for block in same for place in range(block.a, block.a + block.size)}
    kept_new = {place for block in same for place in range(block.b, block.b + block.size)}
    return frozenset(range(len(old))) - kept_old, frozenset(range(len(new))) - kept_new


def _parts(text: str) -> list[str]:
    """Split a signature, or the fields of a type, into brackets, names, annotations, defaults, and what is between them.

    Of ``(sku: list[int], n: int = 1) -> float`` that is ``(``, ``sku``, ``: list[int]``, ``,``, `` n``, ``: int``, `` = 1``, ``)``,
    ``->``, and `` float``.
    """
    parts: list[str] = []
    collected, depth = "", 0
    for token in _TOKEN.findall(text):
        depth += (token in "[({") - (token in "])}")
        is_edge = (token in "([{" and depth == 1) or (token in ")]}" and depth == 0)
        if is_edge or (depth <= 1 and token in (",", ";", "->")):
            parts += [*_of_parameter(collected), token]
            collected = ""
        else:
            collected += token
    return [*parts, *_of_parameter(collected)]


def _of_parameter(text: str) -> Iterator[str]:
    """Split ``n: int = 1`` into ``n``, ``: int`` and `` = 1``; anything else stays whole."""
    name = _NAME.match(text)
    if name is None or text[name.end() : name.end() + 1] not in (":", " ", "="):
        if text:
            yield text
        return
    yield name[0]
    rest = text[name.end() :]
    default = rest.find(" = ") if rest.startswith(":") else 0
    for part in (rest[:default], rest[default:]) if default >= 0 else (rest,):
        if part:
            yield part
