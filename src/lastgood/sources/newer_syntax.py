"""Detection of syntax that is newer than this Python, for a source that this Python cannot parse.

Syntax that this Python does not know is found by its tokens, checked, and rewritten to an older form: type parameters are
removed, a ``type`` statement becomes another statement, an f-string a plain string, and so on. If the result is valid Python,
the source was valid except for the newer syntax. In any other case there is no answer: the source may simply be broken, or,
with ``except A, B:``, be Python 2.
"""

from __future__ import annotations

import ast
import itertools
import keyword
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Newer", "newer_syntax"]


@dataclass(frozen=True, slots=True)
class Newer:
    """``what`` is syntax that came with Python version ``python``; ``line`` is its line number, from 1."""

    what: str
    python: tuple[int, int]
    line: int

    def __str__(self) -> str:
        needed = "{}.{}".format(*self.python)
        here = "{}.{}".format(*sys.version_info)
        return (
            f"{self.what} is syntax of Python {needed}, and lastgood runs on Python {here}. "
            f"Run it on Python {needed} or newer."
        )


_PARAMETERS = "a list of type parameters"
_STATEMENT = "the type statement"
_F_STRING = "an f-string with quotes, backslashes, comments or new lines in its braces"
_DEFAULT = "the default of a type parameter"
_TEMPLATE = "a template string"
_UNPACKING = "unpacking in a comprehension"
_LAZY = "a lazy import"
_SINCE = {
    **dict.fromkeys((_PARAMETERS, _STATEMENT, _F_STRING), (3, 12)),
    _DEFAULT: (3, 13),
    _TEMPLATE: (3, 14),
    **dict.fromkeys((_UNPACKING, _LAZY), (3, 15)),
}
_BLANK = re.compile(r"(\s|#[^\r\n]*)*")
_MAX_LENGTH = 1_000_000  # characters that are scanned, which takes about a second
_MAX_DEPTH = 20  # levels of strings inside replacement fields


def newer_syntax(text: str) -> Newer | None:
    """Return the newest syntax ``text`` uses beyond this Python; None unless it is valid apart from newer syntax."""
    if len(text) > _MAX_LENGTH:
        return None
    try:
        scanner = _Scanner(text)
        tokens = scanner.tokens()
        rewrites = [*_of_statements(text, tokens), *_of_comprehensions(text, tokens), *scanner.rewrites]
        ast.parse(_rewritten(text, 0, len(text), rewrites))
    except (_Unclear, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    newer = [each for each in rewrites if _SINCE[each.what] > sys.version_info[:2]]
    if not newer:
        return None
    found = max(newer, key=lambda each: (_SINCE[each.what], -each.start))
    return Newer(found.what, _SINCE[found.what], text.count("\n", 0, found.start) + 1)


class _Unclear(Exception):
    """The reading of the text by a newer Python is uncertain."""


@dataclass(frozen=True, slots=True)
class _Token:
    """``text`` is ``"\\n"`` at the end of a line, and ``'""'`` for any string. Comments are not tokens."""

    text: str
    start: int
    end: int

    @property
    def depth_change(self) -> int:
        """The change in the number of open brackets."""
        return (self.text in ("(", "[", "{")) - (self.text in (")", "]", "}"))


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """``text`` is the older form of the source from ``start`` to ``end``. ``what`` is a key of ``_SINCE``."""

    start: int
    end: int
    text: str
    what: str


def _rewritten(text: str, start: int, end: int, rewrites: Sequence[_Rewrite]) -> str:
    """Return the text from ``start`` to ``end`` with the rewrites in that range applied, outer ones before inner ones."""
    parts = []
    for each in sorted(rewrites, key=lambda each: (each.start, -each.end)):
        if start <= each.start and each.end <= end:
            parts += [text[start : each.start], each.text]
            start = each.end
    return "".join([*parts, text[start:end]])


# Statements.


def _of_statements(text: str, tokens: Sequence[_Token]) -> Iterator[_Rewrite]:
    depth = 0
    for place, token in enumerate(tokens):
        begins = depth == 0 and (place == 0 or tokens[place - 1].text in ("\n", ";", ":"))
        depth += token.depth_change
        if not begins:
            continue
        match [each.text for each in tokens[place : place + 4]]:
            case ["async", "def", _, "["]:
                yield _without_type_parameters(text, tokens, place + 3)[0]
            case ["def" | "class", _, "[", _]:
                yield _without_type_parameters(text, tokens, place + 2)[0]
            case ["type", name, "=" | "[" as sign, _] if name.isidentifier() and not keyword.iskeyword(name):
                equals = place + 2
                if sign == "[":
                    parameters, equals = _without_type_parameters(text, tokens, equals)
                    yield parameters
                yield _as_older_statement(tokens, place, equals)
            case ["lazy", "import" | "from", *_] if token.start == 0 or text[token.start - 1] in "\r\n":
                rest = itertools.takewhile(lambda each: each.text not in ("\n", ";"), tokens[place:])
                if all(each.text != "*" for each in rest):
                    yield _Rewrite(token.start, tokens[place + 1].start, "", _LAZY)


def _as_older_statement(tokens: Sequence[_Token], place: int, equals: int) -> _Rewrite:
    """Rewrite the type statement at ``place`` as a statement with an expression. ``equals`` is the index of its ``=``."""
    match [each.text for each in tokens[equals : equals + 2]]:
        case ["=", following] if following != "\n":
            return _Rewrite(tokens[place].start, tokens[equals].end, "raise ", _STATEMENT)
    raise _Unclear


def _without_type_parameters(text: str, tokens: Sequence[_Token], place: int) -> tuple[_Rewrite, int]:
    """Remove type parameters, whose opening bracket is at ``place``; also return the index of the token after them."""
    depth = 0
    start = tokens[place].end
    has_default: list[bool] = []
    for behind, token in enumerate(itertools.islice(tokens, place, None), place + 1):
        depth += token.depth_change
        if depth > 1 or (depth == 1 and token.text != ","):
            continue
        parameter = text[start : token.start].strip()
        start = token.end
        if depth or not has_default or not _BLANK.fullmatch(parameter):  # a trailing comma is allowed
            has_default.append(_has_default(parameter))
        if depth == 0 and token.text == "]":
            what = _DEFAULT if any(has_default) else _PARAMETERS
            return _Rewrite(tokens[place].start, token.end, " ", what), behind
        if depth == 0:
            break
    raise _Unclear


def _has_default(parameter: str) -> bool:
    """Return whether a type parameter has a default. Raise :class:`_Unclear` if it is not a type parameter."""
    name = re.sub(r"^\*{1,2}\s*", "", parameter)
    match ast.parse(name).body:
        case [ast.Expr(value=ast.Name())]:
            return False
        case [ast.AnnAssign(target=ast.Name(), value=value, simple=1)] if name == parameter:
            return value is not None
        case [ast.Assign(targets=[ast.Name()])]:
            return True
    raise _Unclear


# Comprehensions.


def _of_comprehensions(text: str, tokens: Sequence[_Token]) -> Iterator[_Rewrite]:
    unfinished: list[
        tuple[str, _Token] | None
    ] = []  # each open bracket and the star after it; None if there is no star
    for token, following in itertools.pairwise([each for each in tokens if each.text != "\n"]):
        if token.depth_change == 1:
            unfinished.append((token.text, following) if following.text == "*" else None)
        elif token.depth_change == -1:
            del unfinished[-1:]
        elif unfinished and unfinished[-1] is not None and token.text in (",", "for", "async"):
            bracket, star = unfinished[-1]
            unfinished[-1] = None
            unpacked = text[star.start : token.start]
            takes = _is_expression(unpacked) or (bracket == "{" and _is_expression(f"{{{unpacked}}}"))
            if token.text != "," and takes:
                yield _Rewrite(star.start, star.start + len(unpacked) - len(unpacked.lstrip("*")), "", _UNPACKING)


# Strings.

_TOKEN = re.compile(
    r"""(?P<blank>(?:[ \t\f]|\\\r?\n|\#[^\r\n]*)+)
    |(?P<newline>\r?\n|\r)
    |(?P<prefix>(?i:br|rb|fr|rf|tr|rt|[bfrtu])?)(?P<quote>'{3}|"{3}|'|")
    |\w+
    |[=!<>:]=|.""",
    re.VERBOSE,
)


class _Scanner:
    """Reads ``text`` as the newest Python would. ``rewrites`` are the rewrites of its strings."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.rewrites: list[_Rewrite] = []
        self._depth = 0

    def tokens(self) -> list[_Token]:
        tokens = []
        while (token := self.next()) is not None:
            tokens.append(token)
        return tokens

    def next(self) -> _Token | None:
        """Return the next token and move past it; None at the end."""
        while (found := _TOKEN.match(self.text, self.place)) is not None:
            start, self.place = found.span()
            if found["quote"]:
                self.string(start, found["prefix"].lower(), found["quote"])
                return _Token('""', start, self.place)
            if found[0] == "\\":
                raise _Unclear  # a backslash that does not join lines
            if not found["blank"]:
                return _Token("\n" if found["newline"] else found[0], start, self.place)
        return None

    def string(self, start: int, prefix: str, quote: str) -> None:
        """Move past a string whose prefix and opening quote have been read."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _Unclear
        inside = len(self.rewrites)
        is_template = "t" in prefix
        has_fields = is_template or "f" in prefix
        shell = self.literal(quote, is_raw="r" in prefix, has_fields=has_fields)
        self.place += len(quote)
        if has_fields and not _is_expression(self.text[start : self.place]):
            if not _is_expression(f"{prefix.replace('t', 'f')}{quote}{shell}{quote}"):
                raise _Unclear  # for example, an invalid escape
            inner = [each.what for each in self.rewrites[inside:]]
            what = max((_TEMPLATE if is_template else _F_STRING, *inner), key=_SINCE.__getitem__)
            # A template string cannot be concatenated with a string, and neither can a number.
            self.rewrites[inside:] = [_Rewrite(start, self.place, "0" if is_template else '""', what)]
        self._depth -= 1

    def literal(self, quote: str, *, is_raw: bool, has_fields: bool, is_format: bool = False) -> str:
        """Move to the end of a string's content, or with ``is_format`` of a format specification after a colon in braces.

        Return the content with ``0`` in place of each expression in braces.
        """
        shell: list[str] = []
        while True:
            rest = self.text[self.place : self.place + 3]
            if rest.startswith("}" if is_format else quote):
                return "".join(shell)
            if not rest or rest.startswith(quote) or (rest[0] in "\r\n" and len(quote) == 1):
                raise _Unclear
            length = 1
            if has_fields and rest[0] == "{" and (is_format or rest[1:2] != "{"):
                self.place += 1
                shell.append(self.replacement_field(quote, is_raw=is_raw))
                continue
            if has_fields and not is_raw and rest == "\\N{":
                length = self.text.find("}", self.place) + 1 - self.place
            elif (rest[0] == "\\" and not (has_fields and rest[1:2] in ("{", "}"))) or rest[:2] in ("{{", "}}"):
                length = 2
            if length < 1:
                raise _Unclear
            shell.append(self.text[self.place : self.place + length])
            self.place += length

    def replacement_field(self, quote: str, *, is_raw: bool) -> str:
        """Move from after an opening brace to after its closing one. Return the field with ``0`` as its expression."""
        start, inside, depth = self.place, len(self.rewrites), 0
        last = None
        while (token := self.next()) is not None and (depth or token.text not in ("}", "!", ":", ":=")):
            depth += token.depth_change
            last = last if token.text == "\n" else token
        if token is None:
            raise _Unclear
        end = last.start if last is not None and last.text == "=" else token.start
        if not _is_expression(_rewritten(self.text, start, end, self.rewrites[inside:])):
            raise _Unclear
        if token.text == "!":
            conversion = self.text[token.end : token.end + 1]
            self.place += 1
            token = self.next()
            if conversion not in ("a", "r", "s") or token is None:
                raise _Unclear
        form = ""
        if token.text.startswith(":"):
            self.place = token.start + 1
            form = ":" + self.literal(quote, is_raw=is_raw, has_fields=True, is_format=True)
            self.place += 1
        elif token.text != "}":
            raise _Unclear
        return f"{{0{form}}}"


def _is_expression(text: str) -> bool:
    """Return whether this Python parses ``text``, in brackets, as one or more expressions."""
    try:
        found = ast.parse(f"[{text}\n]", mode="eval").body
    except (SyntaxError, ValueError):
        return False
    return isinstance(found, ast.List) and bool(found.elts)
