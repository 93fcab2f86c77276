from __future__ import annotations

import ast
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from lastgood.wrappers.write.characters import escaped, quoted

NEW = "\U0001f6dc"  # came with Unicode 15, which Python has since 3.12
UNASSIGNED = "\u0378"


def test_what_shows_is_written_as_itself_by_whatever_python() -> None:
    text = f"é 日本 😀 {NEW} {UNASSIGNED} ~"
    assert escaped(text) == text
    assert quoted(text) == f"'{text}'"


def test_what_does_not_show_is_escaped() -> None:
    assert escaped("\x00 \x1b \x7f \x85 \xad \u200b \u2028 \ufeff \ud800 \ue000 \uffff") == (
        r"\x00 \x1b \x7f \x85 \xad \u200b \u2028 \ufeff \ud800 \ue000 \uffff"
    )
    assert escaped("\\ ' \xa0") == "\\ ' \xa0"
    assert quoted("\\x41 \xa0 \u3000 \n\t\r") == r"'\\x41 \xa0 \u3000 \n\t\r'"


def test_what_python_does_not_print_is_escaped_too() -> None:
    old = unicodedata.ucd_3_2_0
    for code in range(0x110000):
        char = chr(code)
        if old.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            assert escaped(char) != char, hex(code)
        elif old.category(char) not in ("Cn", "Zs") and char.isprintable():
            assert escaped(char) == char, hex(code)


@given(st.text())
def test_a_text_comes_back(text: str) -> None:
    assert ast.literal_eval(quoted(text)) == text
