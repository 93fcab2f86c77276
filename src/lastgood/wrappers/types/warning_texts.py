"""The texts of warnings about annotations, and summaries of warnings by cause.

Every warning begins with the full name that it is about, and a colon.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct, field

from lastgood.wrappers.ir import ANY, Type
from lastgood.wrappers.read.shape import Function
from lastgood.wrappers.types.staying import LeftOut, NotKept

__all__ = ["MAKES_NAMES", "about_annotation", "about_decorators", "summed_up"]

MAKES_NAMES = "it makes names when it runs"
"""The beginning of the warning about a module whose names are not all known without running it."""


def about_annotation(what: str, annotation: Any, type_: Type, parts: tuple[str, ...]) -> Iterator[str]:
    """Yield the warnings, if any, about an annotation that became ``type_``.

    ``parts`` has a clause for each part that became Any: ``"Desk is a plain class"``.
    """
    left_out = [part for part in parts if isinstance(part, LeftOut)]
    not_kept = [part for part in parts if isinstance(part, NotKept)]
    parts = tuple(part for part in parts if not isinstance(part, LeftOut | NotKept))
    if not_kept:
        names = ", ".join(_short(part, 200) for part in not_kept)
        yield (
            f"the annotation of {what} is without its metadata {names}. Kept are literals, and names of the packages in "
            "[output] annotated, called with such."
        )
    if left_out:
        names = ", ".join(_short(part, 200) for part in left_out)
        yield f"the annotation of {what} is without what cannot cross to or from the worker: {names}."
    if parts:
        quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
        whole = annotation.value if quoted else ast.unparse(annotation)
        of_all = [f"It{part.removeprefix(whole)}" for part in parts if part.startswith(f"{whole} is ")]
        of_parts = [part for part in parts if not part.startswith(f"{whole} is ")]
        about = "; ".join(_short(clause, 200) for clause in (*of_all, *of_parts))
        yield f"the annotation of {what}, {_short(whole, 80)}, became Any{'' if type_ == ANY else ' in part'}. {about}."


def about_decorators(unclear: Sequence[str], before: Function, after: Function) -> Iterator[str]:
    """Yield the warning, if any, about types that became ``Any`` since these decorators do not say what they do."""
    types = {each.name: each.type for each in after.parameters}
    lost = []
    if any(each.type != ANY and types.get(each.name) == ANY for each in before.parameters):
        lost.append("its parameters")
    if before.outcome.type != ANY and after.outcome.type == ANY:
        lost.append("its result")
    if lost and unclear:
        makers = ", @".join(_short(each, 80) for each in unclear)
        yield f"{' and '.join(lost)} became Any, since nothing in the source says what @{makers} makes of them."


def _short(text: str, most: int) -> str:
    return textwrap.shorten(text, most, placeholder="...") if len(text) > most else text


_MOST_EXAMPLES = 3
_WARNING = re.compile(r"(?P<name>[^\W\d]\w*(?:\.\w+)*): (?P<text>.+)", re.DOTALL)
_ANNOTATION = re.compile(
    r"the annotation of (?:the (?P<what>result|field)|(?P<parameter>parameter) .*?), (?P<whole>.*), "
    r"became Any(?P<partly> in part)?\. (?P<clauses>.+)\.",
    re.DOTALL,
)
_WITHOUT = re.compile(
    r"the annotation of (?:the (?P<what>result|field)|(?P<parameter>parameter) .*?) "
    r"is without what cannot cross to or from the worker: (?P<options>.*)\.",
    re.DOTALL,
)
_CLAUSE = re.compile(r"(?P<part>.*?) is an? (?P<kind>.*?)(?:, since .*)?", re.DOTALL)
_PLACE = re.compile(r" \([^()\s]+\.pyi?(?::\d+)?\)$")
# What differs between warnings of the same cause: quoted names, dotted names, numbers, lists in parentheses.
_PARTICULAR = re.compile(r"'[^']*'|\b[^\W\d]\w*(?:\.\w+)+|\b\d+(?:, \d+)*\b| \([\w, .]*\)")


class _Cause(Struct):
    what: str
    why: str
    first: str
    count: int = 0
    partly: int = 0
    examples: dict[str, None] = field(default_factory=dict)

    def line(self) -> str:
        """Return the line for this cause. A single warning is its own summary."""
        if self.count == 1:
            return self.first
        partly = f" ({self.partly} in part)" if self.partly else ""
        shown = [_short(each, 40) for each in list(self.examples)[:_MOST_EXAMPLES]]
        more = ", ..." if len(self.examples) > len(shown) else ""
        return f"{self.count} {self.what}{partly}: {self.why} (e.g. {', '.join(shown)}{more})"


def summed_up(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return a line for each cause of ``warnings``: how many there are, and examples; the most frequent first.

    A cause with one warning stays as it is, and so does a text that is no warning about a name. An annotation with parts of
    several kinds counts for each. The result does not depend on the order of ``warnings``.
    """
    causes: dict[tuple[str, str], _Cause] = {}
    for warning in sorted(dict.fromkeys(warnings)):
        for what, why, example, partly in _causes_of(warning):
            cause = causes.setdefault((what, why), _Cause(what, why, warning))
            cause.count += 1
            cause.partly += partly
            cause.examples[example] = None
    lines = {cause.line(): -cause.count for cause in causes.values()}
    return tuple(sorted(lines, key=lambda line: (lines[line], line)))


def _causes_of(warning: str) -> Iterator[tuple[str, str, str, bool]]:
    """Yield each cause of a warning: what happened, and why; an example, and whether it became Any only in part."""
    found = _WARNING.fullmatch(warning)
    if found is None:
        yield "times", warning, "", False
        return
    without = _WITHOUT.fullmatch(found["text"])
    if without is not None:
        what = without["what"] or without["parameter"]
        yield f"{what}s without some options", "what cannot cross to or from the worker", without["options"], False
        return
    about = _ANNOTATION.fullmatch(found["text"])
    clauses = [] if about is None else [_CLAUSE.fullmatch(each) for each in about["clauses"].split("; ")]
    if about is None or None in clauses:
        text = _PARTICULAR.sub(lambda match: "" if match[0].startswith(" (") else "…", _PLACE.sub("", found["text"]))
        what, _, why = text.removesuffix(".").rpartition("left out: ")
        yield "left out" if what == "" and why != text.removesuffix(".") else "times", why, _last(found["name"]), False
        return
    for kind, part in {clause["kind"]: clause["part"] for clause in reversed(clauses) if clause is not None}.items():
        example = about["whole"] if part == "It" else part
        yield f"{about['what'] or about['parameter']}s typed Any", kind, example, about["partly"] is not None


def _last(name: str) -> str:
    return name.rpartition(".")[2]
