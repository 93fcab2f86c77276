"""Every test that ``tests/README.md`` names exists, and each of its rows names one or says that there is none yet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
README = (HERE / "README.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def names_in(file: str) -> frozenset[str]:
    path = HERE / file
    if not path.is_file():
        return frozenset()
    body = ast.parse(path.read_bytes(), str(path)).body
    functions = (node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))


def rows() -> Iterator[str]:
    """The rows of the tables, without their heads."""
    lines = (line for line in README.splitlines() if line.startswith("|"))
    return (line for line in lines if line != "| sentence | tests |" and not line.startswith("|---"))


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(README)
    assert [f"{file}::{name}" for file, name in named if name not in names_in(file)] == []
    assert README.count("::") == len(named), "a test is named in another form"


def test_every_row_names_a_test_or_says_that_there_is_none() -> None:
    assert [row for row in rows() if not NAMED.search(row) and "not yet" not in row] == []


def test_every_section_has_its_rows() -> None:
    sections = re.findall(r"^### (.+)$", README, re.MULTILINE)
    assert len(sections) == 15
    assert re.findall(r"^### (.+)\n\n\| sentence \| tests \|\n\|---\|---\|\n\| ", README, re.MULTILINE) == sections
