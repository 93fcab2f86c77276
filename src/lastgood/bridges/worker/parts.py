"""A module's source in two parts: the header, with its imports, and the rest.

A worker that runs ahead (ahead.py) waits between the two parts of the module that is edited. The header ends with the last
top-level statement that contains an import statement, of those before the first definition of a function or class; there is
none if nothing is imported there. Every pinned module is run in these two parts, in every worker, so that a worker that has
run ahead does not differ from another.

The parts are made from the tree that ``compile()`` itself gives, without :mod:`ast`: a local module may have that name, and a
worker imports nothing that the user's program does not.
"""

from __future__ import annotations

import sys
from types import CodeType

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

__all__ = ["Parts", "make_parts", "same_beginning"]

_ONLY_TREE = 0x400  # ast.PyCF_ONLY_AST
_FUTURES = (
    0x1FE0000  # the flags of ``from __future__ import ...`` in a code object, which are compile()'s flags as well
)
_DEFINITIONS = ("FunctionDef", "AsyncFunctionDef", "ClassDef")
_IMPORTS = ("Import", "ImportFrom")
# From Python 3.14 on, the annotations of a module are in one function, which each part would define anew.
_ENDS = ("AnnAssign",) if sys.version_info >= (3, 14) else ()


class Parts:
    """The code of both parts. ``header`` has the first ``count`` statements, and is None if that is none."""

    __slots__ = ("count", "header", "rest")

    def __init__(self, count: int, header: CodeType | None, rest: CodeType) -> None:
        self.count = count
        self.header = header
        self.rest = rest


def make_parts(source: bytes, path: str, count: int | None = None) -> Parts:
    """Compile a source in two parts, the first of which has ``count`` statements (None: as many as belong to the header).

    Raises what ``compile()`` raises.
    """
    try:
        tree = _parse(source, path)
        body = tree.body
        length = _header_length(body) if count is None else count
        if not length:
            return Parts(0, None, compile(tree, path, "exec", dont_inherit=True))
        header = compile(_module(tree, body[:length]), path, "exec", dont_inherit=True)
        rest = body[length:]
        while rest and _is_text(rest[0]):
            del rest[0]  # a text without effect; at the beginning it would become __doc__
        flags = header.co_flags & _FUTURES
        return Parts(length, header, compile(_module(tree, rest), path, "exec", flags, dont_inherit=True))
    except RecursionError:  # the tree of an expression that compile() can handle may be too deep
        if count:
            raise
        return Parts(0, None, compile(source, path, "exec", dont_inherit=True))


def same_beginning(old: bytes, new: bytes, path: str, count: int) -> bool:
    """Return whether the first ``count`` statements of both sources are the same, on the same lines.

    Raises what ``compile()`` raises for ``new``.
    """
    if not count:
        return True
    was, body = _parse(old, path).body, _parse(new, path).body
    if len(body) < count or _end(was[count - 1]) != _end(body[count - 1]):
        return False
    if len(body) > count and getattr(body[count], "module", None) == "__future__":
        return False
    lines, others = _lines(old), _lines(new)
    last = body[count - 1].end_lineno
    return lines[:last] == others[:last] and _declarations(lines) == _declarations(others)


def _parse(source: bytes, path: str) -> Any:
    return compile(source, path, "exec", _ONLY_TREE, dont_inherit=True)


def _module(tree: Any, body: list[Any]) -> Any:
    return type(tree)(body=body, type_ignores=[])


def _header_length(body: Sequence[Any]) -> int:
    length = 0
    for index, statement in enumerate(body, 1):
        if type(statement).__name__ in _DEFINITIONS or _contains(statement, _ENDS):
            break
        if _contains(statement, _IMPORTS):
            length = index
    return length


def _contains(statement: Any, kinds: Collection[str]) -> bool:
    """Return whether a statement is one of ``kinds``, or has one in its blocks."""
    if type(statement).__name__ in kinds:
        return True
    blocks = (getattr(statement, name, ()) for name in ("body", "orelse", "handlers", "finalbody", "cases"))
    return any(_contains(inner, kinds) for block in blocks if isinstance(block, list) for inner in block)


def _is_text(statement: Any) -> bool:
    return type(statement).__name__ == "Expr" and isinstance(getattr(statement.value, "value", None), str)


def _end(statement: Any) -> tuple[int, int]:
    return statement.end_lineno, statement.end_col_offset


def _lines(source: bytes) -> list[bytes]:
    return source.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def _declarations(lines: Sequence[bytes]) -> list[bytes]:
    """Return those of the first two lines that may declare the encoding: the second may come after a header of one line."""
    return [line for line in lines[:2] if b"coding" in line]
