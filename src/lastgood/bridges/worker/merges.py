"""Merge markers in a source: what a merge with conflicts leaves of it, which Python refuses with a bare "invalid syntax"."""

from __future__ import annotations

__all__ = ["MERGE_MARKERS", "explain", "explain_file", "line_of_merge_markers"]

MERGE_MARKERS = (
    "it has merge markers, so a merge with conflicts is not finished. Edit it, or take one side of it by "
    "`git checkout --ours` or `--theirs`, until no line begins with <<<<<<<, ======= or >>>>>>>"
)


def line_of_merge_markers(text: str) -> int | None:
    """Return the line of the first ``<<<<<<<`` that is followed by its ``=======`` and ``>>>>>>>``; None if there is none.

    >>> line_of_merge_markers("a = 1\\n<<<<<<< HEAD\\nb = 1\\n=======\\nb = 2\\n>>>>>>> main\\n")
    2
    """
    began, is_halved = None, False
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("<<<<<<<"):
            began, is_halved = number, False
        elif began is not None and line.startswith("======="):
            is_halved = True
        elif is_halved and line.startswith(">>>>>>>"):
            return began
    return None


def explain(error: SyntaxError, path: str, text: str) -> None:
    """Have ``error`` name the merge markers in ``text``, which is that of ``path``; else show its line as it is there."""
    if error.filename != path:
        return
    if (line := line_of_merge_markers(text)) is not None:
        error.msg, error.lineno, error.offset, error.end_lineno, error.end_offset = MERGE_MARKERS, line, 1, line, 8
    lines = text.split("\n")
    if error.lineno and error.lineno <= len(lines):
        error.text = lines[error.lineno - 1]


def explain_file(error: BaseException) -> None:
    """Do what :func:`explain` does with the file that a SyntaxError is about, if Python has read that itself."""
    if isinstance(error, SyntaxError) and error.filename and error.msg != MERGE_MARKERS:
        import tokenize

        try:
            with tokenize.open(error.filename) as file:
                text = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError):
            return
        if line_of_merge_markers(text) is not None:
            explain(error, error.filename, text)
