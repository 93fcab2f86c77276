"""The texts in src, with a mark where a value is filled in: for pages that quote them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import lastgood

__all__ = ["is_in_the_sources"]

_VALUE = "\0"


@cache
def _texts() -> str:
    paths = sorted(Path(lastgood.__file__).parent.rglob("*.py"))
    return "\n\n".join(text for path in paths for text in _texts_of(ast.parse(path.read_bytes())))


def _texts_of(tree: ast.AST) -> Iterator[str]:
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(str(text)) if id(node) not in docstrings:
                yield text
            case ast.JoinedStr(parts):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else _VALUE for part in parts)


def is_in_the_sources(quoted: str) -> bool:
    """Return whether a text in src reads so, whatever stands there for each ``…``."""
    parts = [re.escape(part.strip()) for part in quoted.split("…")]
    return re.search(r"[^\n]*?".join(part for part in parts if part), _texts()) is not None
