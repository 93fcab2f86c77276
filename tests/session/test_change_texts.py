"""In a changed signature only what has changed is marked."""

from __future__ import annotations

import pytest

from lastgood.session.change_texts import change_text, marked_change
from lastgood.watch_events import ApiChange


def altered(old: str, new: str, *, breaking: bool = False) -> ApiChange:
    return ApiChange("altered", "function", "m", "f", old, new, breaking)


def marks(change: ApiChange) -> tuple[list[str], list[str]]:
    """What is marked as gone, and as come."""
    text = marked_change(change)
    assert text.plain == change_text(change)
    spans = [(str(span.style), text.plain[span.start : span.end]) for span in text.spans]
    found = [[part.strip() for style, part in spans if style.startswith(kind)] for kind in ("red", "green")]
    gone, come = ([part for part in parts if part] for parts in found)
    return gone, come


@pytest.mark.parametrize(
    ("old", "new", "gone", "come"),
    [
        ("(sku: str) -> float", "(code: str) -> float", ["sku"], ["code"]),
        ("(n: int = 1) -> float", "(n: int = 2) -> float", ["1"], ["2"]),
        ("(n: list[int]) -> float", "(n: list[str]) -> float", ["list[int]"], ["list[str]"]),
        ("(a, b: dict[str, int])", "(a, b: dict[str, int], *, c: str = ', ')", [], ["*", "c", "str", "', '"]),
        ("(a) -> int", "(a) -> int | None", [], ["| None"]),
        ("(*args: int, **kw: Any)", "(*args: int)", ["**kw", "Any"], []),
        ("(a) -> int; (b) -> str", "(a) -> int; (c) -> str", ["b"], ["c"]),
        ("enum (A = 1)", "enum (A = 1, B = 2)", [], ["B", "2"]),
        ("3", "4", ["3"], ["4"]),
        ("(a: 'it''s') -> int", "(a: 'it''s') -> str", ["int"], ["str"]),
    ],
)
def test_only_what_differs_is_marked(old: str, new: str, gone: list[str], come: list[str]) -> None:
    assert marks(altered(old, new)) == (gone, come)


@pytest.mark.parametrize("text", ["", "(((", "'", "a -> b, c)", "(a: 'x\\'y', b"])
def test_any_text_is_shown_as_it_is(text: str) -> None:
    assert marked_change(altered(text, "(a)")).plain == f"function m.f{text}, now (a)"


def test_one_that_is_too_wide_has_its_new_form_on_a_line_of_its_own() -> None:
    change = altered("(sku: str) -> float", "(code: str) -> float", breaking=True)
    assert marked_change(change, 40).plain == "function m.f(sku: str) -> float,\nnow (code: str) -> float; breaking"
    assert marked_change(change, 200).plain == change_text(change)


def test_what_was_added_is_one_line() -> None:
    added = ApiChange("added", "function", "m", "f", None, "(a) -> int", breaking=False)
    assert marked_change(added, 10).plain == "function m.f(a) -> int"
