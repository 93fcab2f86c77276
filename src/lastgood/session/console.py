"""Printing on a terminal: colours where they are wanted, and lines within its width, with hanging indents.

What is not a terminal gets each line as it is. Only the eight basic colours, bold and dim are used, which every theme of a
terminal shows on its own background; nothing is said by a colour alone.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:  # a session that logs nothing needs no rich
    from rich.console import Console
    from rich.text import Text

__all__ = ["hanging", "harmless", "make_console", "width_of"]

_NARROWEST = 24
"""Columns of text below which a hanging indent would make a line harder to read."""

_TAB = 8

# Control characters act on a terminal, and marks of direction show a text in another order than that in which it is read.
_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def make_console(file: IO[str] | None = None, *, stderr: bool = False, colors: bool = True) -> Console:
    """Make a console for plain text, without wrapping, highlighting or markup.

    It has colours on a terminal, unless ``colors`` is false, ``NO_COLOR`` is set, or ``TERM`` is ``dumb``; ``FORCE_COLOR`` has
    them elsewhere, too.
    """
    from rich.console import Console

    is_colored = colors and _is_colored(file or (sys.stderr if stderr else sys.stdout), os.environ)
    return Console(
        file=file,
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        force_terminal=is_colored,
        color_system="standard" if is_colored else None,
        no_color=False,
    )


def _is_colored(file: IO[str] | None, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return _is_terminal(file) and environ.get("TERM") not in ("dumb", "unknown")


def _is_terminal(file: IO[str] | None) -> bool:
    try:
        return file is not None and file.isatty()
    except ValueError:  # it is closed
        return False


def width_of(console: Console) -> int | None:
    """Return the columns of the terminal that ``console`` prints on; None if it is none, and lines are not to be broken.

    ``COLUMNS`` counts, as in a shell; else what the terminal says at this moment.
    """
    if not _is_terminal(console.file):
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(console.file.fileno()).columns or None
    except (OSError, ValueError):
        return None


def hanging(head: Text, body: Text, width: int | None) -> list[Text]:
    """Return ``head`` and ``body`` as lines of at most ``width`` columns, of which all but the first begin below the body.

    Line ends in the body are kept. Without a width, or where too little would be left of it, no line is broken.
    """
    from rich.text import Text

    indent = head.cell_len
    if width is not None and "\t" in body.plain:
        body = body.copy()
        body.expand_tabs(_TAB)
    lines = list(body.split("\n", allow_blank=True)) or [Text()]
    if width is not None and width - indent >= _NARROWEST:
        lines = [part for line in lines for part in _wrapped(line, width - indent)]
    first, *others = lines
    return [_joined(head, first), *(_joined(Text(" " * indent), each) for each in others)]


def _joined(head: Text, body: Text) -> Text:
    line = head + body
    line.rstrip()
    return line


def _wrapped(line: Text, width: int) -> list[Text]:
    """Break a line between words, and a word that is longer than a line wherever the line ends. Its own indentation stays."""
    from rich.console import Console
    from rich.text import Text

    if line.cell_len <= width:
        return [line]
    own = len(line.plain) - len(line.plain.lstrip(" "))
    if own > width - _NARROWEST:
        own = 0
    parts = line[own:].wrap(Console(file=io.StringIO(), width=width), width - own, overflow="fold")
    return [Text(" " * own) + part for part in parts]


def harmless(text: str) -> str:
    """Return a text of the user's with escapes for what would act on a terminal; line ends and tabs stay."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))
