"""Errors as text: in full, in one line, and for a terminal, with the lines of the source around them."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lastgood.errors import ConfigError, GenerationError, LastgoodError, RemoteError, UnwatchableModule, WorkerDied
from lastgood.session.code_frames import CARET, code_frame, cut_to_caret, read_source
from lastgood.session.console import harmless

if TYPE_CHECKING:  # a session that logs nothing needs no rich
    from rich.text import Text

__all__ = ["brief", "error_details", "error_text", "files_of", "listed", "nearby"]

_MOST_LISTED = 6
_WIDTH = 120
"""The columns of what is shown of a source where the output has no width."""
_OWN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")

# A frame of a traceback: `  File "pricing.py", line 14, in quote`, and the characters below its line that mark a part of it.
_FRAME = re.compile(r'^ *File "(?P<file>[^"\n]+)", line (?P<line>\d+)', re.MULTILINE)
_FRAME_LINE = re.compile(r'(?P<indent>[ |+-]*)File "(?P<file>[^"]+)", line (?P<line>\d+)(?P<rest>.*)')
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_MARKS = re.compile(r"[ |]*[~^][ ~^]*")
_LIBRARY = re.compile(r"^<|[/\\\\](?:lib[/\\\\]python\d|site-packages[/\\\\]|dist-packages[/\\\\])", re.IGNORECASE)
"""A pattern for paths in the standard library or an installed package, and for names such as ``<string>``."""


def nearby(path: Path | str, base: Path | None) -> str:
    """Return ``path`` as text, relative to ``base`` if it lies below it."""
    text = str(path)
    prefix = "" if base is None else os.path.join(base, "")
    return text.removeprefix(prefix) if text != prefix else text


def listed(names: Sequence[str]) -> str:
    """Join the names with commas; of many names, list the first few and the number of the others."""
    more = len(names) - _MOST_LISTED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_LISTED])} and {more} more"


def error_text(error: BaseException) -> str:
    """Return the full text of an error: its type (unless it is lastgood's own), its message, and its notes."""
    match error:
        case RemoteError(traceback=str(remote)) if remote:
            said = remote.rstrip()
        case ConfigError(file=Path() as file) if str(file) not in str(error):
            said = f"{file}: {error}"
        case LastgoodError():
            said = str(error)
        case _:
            said = _type_and_text(error)
    return "\n".join([said, *getattr(error, "__notes__", ())])


def brief(error: BaseException, base: Path | None = None) -> str:
    """Summarise an error in one line: file and line number, if known, and the problem."""
    match error:
        case GenerationError(failures=(first, *others)):
            place = "" if first.file is None else f"{nearby(first.file, base)}:"
            place += "" if first.line is None or not place else f"{first.line}:"
            more = f" (and {len(others)} more)" if others else ""
            return f"{place} {first.module}: {first.message}{more}".lstrip()
        case RemoteError():
            return _innermost_place(_frames_of(error), base) + _first_line(
                f"{error.type_name}: {error.message}" if error.message else error.type_name
            )
        case WorkerDied(stderr=said) if said.strip():
            return f"{_first_line(str(error))}: {said.strip().splitlines()[-1].strip()}"
        case LastgoodError():
            more = f" (and {len(error.others)} more)" if isinstance(error, UnwatchableModule) and error.others else ""
            said = f"{_first_line(error_text(error))}{more}"
            return said if base is None else said.replace(os.path.join(base, ""), "")
        case _:
            return _innermost_place(_frames_of(error), base) + _first_line(_type_and_text(error))


def files_of(error: BaseException) -> frozenset[Path]:
    """Return the files in which the mistake is, as far as the error says so: of a traceback, the user's innermost one."""
    match error:
        case GenerationError(failures=failures):
            return frozenset(each.file for each in failures if each.file is not None)
        case ConfigError(file=Path() as file):
            return frozenset((file,))
        case _:
            users = [file for file, _ in _frames_of(error) if not _LIBRARY.search(file)]
            return frozenset(map(Path, users[-1:]))


def _frames_of(error: BaseException) -> list[tuple[str, str]]:
    """Return file and line of each frame of what was raised, in the worker or here."""
    if isinstance(error, RemoteError):
        return [(frame["file"], frame["line"]) for frame in _FRAME.finditer(error.traceback)]
    return [(frame.filename, str(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)]


def _innermost_place(frames: Sequence[tuple[str, str]], base: Path | None) -> str:
    """Return file and line of the innermost frame in the user's code, or if there is none, of the innermost frame."""
    if not frames:
        return ""
    file, line = ([frame for frame in frames if not _LIBRARY.search(frame[0])] or frames)[-1]
    return f"{nearby(file, base)}:{line}: "


def _type_and_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(":")


# --- for a terminal


def error_details(error: BaseException, base: Path | None, width: int | None, *, verbose: bool = False) -> list[Text]:
    """Return the lines that a terminal shows of an error: its text, and of the sources what helps to see the mistake.

    Paths below ``base`` are relative to it. Sources are cut to ``width`` columns (None: the output has no width). A traceback
    has the user's frames; those of libraries between them are summed up, unless ``verbose``.
    """
    from rich.text import Text

    room = _WIDTH if width is None else width
    notes = [Text(harmless(line)) for note in getattr(error, "__notes__", ()) for line in str(note).splitlines()]
    match error:
        case GenerationError(failures=failures):
            lines = [Text(str(error).partition("\n")[0])]
            for each in failures:
                lines += [Text(harmless(line)) for line in f"  {_relative(str(each), base)}".splitlines()]
                lines += _frame(each.file, each.line, each.column, room)
            return [*lines, *notes]
        case RemoteError(traceback=str(remote)) if remote:
            return [*_traceback_lines(remote.rstrip().splitlines(), base, room, verbose=verbose), *notes]
        case ConfigError():
            told = error_text(error).splitlines()[: -len(notes) or None]
            lines = [Text(harmless(_relative(line, base))) for line in told]
            return [*lines, *_frame(error.file, error.line, None, room), *notes]
        case LastgoodError():
            return [Text(harmless(_relative(line, base))) for line in error_text(error).splitlines()]
        case _:
            told = "".join(_foreign_frames(error)).splitlines() + _type_and_text(error).splitlines()
            return [*_traceback_lines(told, base, room, verbose=verbose), *notes]


def _relative(text: str, base: Path | None) -> str:
    return text if base is None else text.replace(os.path.join(base, ""), "")


def _frame(file: Path | None, line: int | None, column: int | None, width: int) -> list[Text]:
    from rich.text import Text

    source = None if file is None or line is None else read_source(file)
    if source is None or line is None:
        return []
    return [Text("    ") + each for each in code_frame(source, line, column, width - 4)]


def _foreign_frames(error: BaseException) -> Iterator[str]:
    """Yield the traceback of what a function of the user's raised in this process, without lastgood's own frames."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(_OWN)]
    if frames:
        yield "Traceback (most recent call last):\n"
        yield from traceback.StackSummary.from_list(frames).format()


def _traceback_lines(lines: Sequence[str], base: Path | None, width: int, *, verbose: bool) -> Iterator[Text]:
    """Yield the lines of a traceback; of each run of frames in libraries only the number, and the packages."""
    from rich.text import Text

    skipped: list[str] = []
    for head, block in _blocks(lines if verbose else _without_repetition(lines)):
        if head is not None and not verbose and _LIBRARY.search(head["file"]):
            skipped.append(head["file"])
            continue
        if skipped:
            yield Text(f"  {_skipped_text(skipped)}", style="dim")
            skipped = []
        if head is None:
            yield from (Text(harmless(line)) for line in block)
            continue
        place = f'File "{nearby(head["file"], base)}", line {head["line"]}{head["rest"]}'
        yield Text(harmless(f"{head['indent']}{place}"), style="dim")
        yield from _code_lines(block[1:], width)
    if skipped:
        yield Text(f"  {_skipped_text(skipped)}", style="dim")


def _without_repetition(lines: Sequence[str]) -> Sequence[str]:
    """Return a traceback without exceptions of its chain that come again, with the same lines, further down."""
    parts: list[list[str]] = [[]]  # each begins with the sentence that leads to it
    for line in lines:
        if line in _CHAINED:
            parts.append([])
        parts[-1].append(line)
    texts = [[line for line in part if line.strip() and line not in _CHAINED] for part in parts]
    kept = [part for number, part in enumerate(parts) if texts[number] not in texts[number + 1 :]]
    first, *others = kept
    start = next((number for number, line in enumerate(first) if line.strip() and line not in _CHAINED), 0)
    return [*first[start:], *(line for part in others for line in part)]


def _blocks(lines: Sequence[str]) -> Iterator[tuple[re.Match[str] | None, list[str]]]:
    """Split a traceback into its frames, each with its lines of code, and the lines between them."""
    head: re.Match[str] | None = None
    block: list[str] = []
    for line in lines:
        found = _FRAME_LINE.fullmatch(line)
        deeper = head is not None and line.startswith(head["indent"].replace("+", " ").replace("-", " ") + "  ")
        if found is not None or not deeper:
            if block:
                yield head, block
            head, block = found, [line]
        else:
            block.append(line)
    if block:
        yield head, block


def _code_lines(lines: Sequence[str], width: int) -> Iterator[Text]:
    """Yield lines of code, cut to ``width``, together with the marks below them."""
    from rich.text import Text

    rest = list(lines)
    while rest:
        line = rest.pop(0)
        marks = rest.pop(0) if rest and _MARKS.fullmatch(rest[0]) else ""
        caret = len(marks) - len(marks.lstrip(" ~|")) if "^" in marks else len(marks) - len(marks.lstrip())
        code, *marked = cut_to_caret([line, marks] if marks else [line], caret, width)
        yield Text(code)
        yield from (Text(each.replace("...", "   "), style=CARET) for each in marked)


def _skipped_text(files: Sequence[str]) -> str:
    """Say how many frames were left out, and of which packages."""
    names = []
    for file in files:
        below = re.split(r"(?:site|dist)-packages[/\\]|lib[/\\]python[\d.]+[/\\]", file)[-1]
        name = re.split(r"[/\\]", below)[0].removesuffix(".py")
        names.append("Python" if file.startswith("<") else name)
    count = "1 frame" if len(files) == 1 else f"{len(files)} frames"
    return f"... {count} in {listed(list(dict.fromkeys(names)))}"
