"""Lines of a source around an error, with a caret at its column, as far as they fit a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lastgood.session.console import harmless

if TYPE_CHECKING:  # a session that logs nothing needs no rich
    from rich.text import Text

__all__ = ["code_frame", "cut_to_caret", "read_source"]

CARET = "bold red"
_BEFORE, _AFTER = 2, 1
"""The lines of context on either side of the line of an error."""
_TAB = 4
_CUT = "..."
_SHORTEST = 16
_LARGEST = 4_000_000
"""The most bytes of a file that are read for a frame; larger sources are not wrapped either."""
_LINE_END = re.compile(r"\r\n|\r|\n")  # no others end a line of Python


def read_source(file: Path) -> str | None:
    """Return the text of a source, or None if it cannot be had: then its error is shown without a frame."""
    import tokenize

    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return None
        with tokenize.open(file) as opened:
            return opened.read()
    except (OSError, SyntaxError, UnicodeError):
        return None


def code_frame(source: str, line: int, column: int | None, width: int) -> list[Text]:
    """Return the line of ``source`` with this number, marked, and those around it, each at most ``width`` columns wide.

    ``column`` counts characters from 1, as in :class:`SyntaxError`; with None there is no caret. Where the line is too long, it is
    cut around the caret, and the others likewise. The frame is empty if there is no such line.
    """
    from rich.text import Text

    lines = _LINE_END.split(source)
    if not 1 <= line <= len(lines):
        return []
    first, last = max(1, line - _BEFORE), min(len(lines), line + _AFTER)
    while not lines[first - 1].strip() and first < line:
        first += 1
    while not lines[last - 1].strip() and last > line:
        last -= 1
    digits = len(str(last))
    room = max(_SHORTEST, width - digits - len("> 1 | ") + 1)
    marked = list(_pieces(lines[line - 1]))
    caret = None if column is None or column < 1 else _cells("".join(marked[: column - 1]))
    start = _start(_cells("".join(marked)), caret or 0, room)
    frame = []
    for number in range(first, last + 1):
        is_it = number == line
        code = _cut(list(_pieces(lines[number - 1])), start, room)
        frame.append(Text(f"{'>' if is_it else ' '} {number:>{digits}} | {code}", style="bold" if is_it else "dim"))
        frame[-1].rstrip()
        if is_it and caret is not None:
            frame.append(Text.assemble((f"  {'':>{digits}} | ", "dim"), " " * (caret - start), ("^", CARET)))
    return frame


def cut_to_caret(lines: Sequence[str], caret: int, width: int) -> list[str]:
    """Return lines that stand below each other, cut alike, so that the column ``caret`` (from 0) of each is within ``width``."""
    longest = max(_cells(harmless(line)) for line in lines)
    start = _start(longest, caret, max(_SHORTEST, width))
    return [_cut(list(_pieces(line)), start, max(_SHORTEST, width)).rstrip() for line in lines]


def _start(cells: int, caret: int, room: int) -> int:
    """Return the first column to show of a line of ``cells`` columns, so that ``caret`` is within ``room``."""
    if cells <= room or caret < room - len(_CUT) - 1:
        return 0
    return max(0, min(caret - room // 2, cells - room))


def _cut(pieces: Sequence[str], start: int, room: int) -> str:
    """Return ``room`` columns from the column ``start`` on, with dots where something is left out."""
    total, at, shown = _cells("".join(pieces)), 0, []
    begin = start + len(_CUT) if start else 0
    end = start + room - (len(_CUT) if total > start + room else 0)
    for piece in pieces:
        size = _cells(piece)
        if at >= begin and at + size <= end:
            shown.append(piece)
        elif begin < at + size and at < end:  # half of a wide character, or of an escape
            shown.append(" " * (min(at + size, end) - max(at, begin)))
        at += size
    left = _CUT if start and "".join(pieces).strip() else ""
    return f"{left}{''.join(shown)}{_CUT if end < start + room else ''}"


def _pieces(line: str) -> Iterator[str]:
    """Yield what is shown of each character of a line."""
    at = 0
    for character in line:
        piece = " " * (_TAB - at % _TAB) if character == "\t" else harmless(character)
        at += _cells(piece)
        yield piece


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
