"""The import statements of a source, at any place in it. Nothing is executed."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

import msgspec

from lastgood.sources.memo import Answer, Query
from lastgood.sources.parsing import BLOCKS, LARGEST

__all__ = ["IMPORTS", "Imports", "guessed_imports", "imports_of"]


class Imports(msgspec.Struct, frozen=True):
    """A module's import statements, at any place in it.

    ``statements`` are (level, module, names) as in :class:`ast.ImportFrom`; without names: ``import module``. ``exports`` are
    the literal strings in ``__all__``.
    """

    statements: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    exports: tuple[str, ...] = ()


IMPORTS = Query("imports", Answer[Imports])
"""The query for the imports of a source, by its digest."""

_NOTHING = Imports()


def imports_of(data: bytes) -> Imports:
    """Return the import statements of a source, and its ``__all__``.

    A source that this Python cannot parse may be valid for the worker's: its import statements are guessed from the text.

    >>> imports_of(b"import os.path\\nfrom . import a, b\\n").statements
    ((0, 'os.path', ()), (1, '', ('a', 'b')))
    """
    if b"import" not in data and b"__all__" not in data:
        return _NOTHING
    if len(data) > LARGEST:  # parsing would take seconds and gigabytes
        return guessed_imports(data)
    try:
        # Ignore warnings about the source, which under -W error would be raised as SyntaxError here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return guessed_imports(data)
    statements: list[tuple[int, str, tuple[str, ...]]] = []
    exports: list[str] = []
    todo: list[Sequence[ast.AST]] = [tree.body]
    while todo:
        for node in todo.pop():
            if isinstance(node, ast.Import):
                statements.extend((0, alias.name, ()) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                statements.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                exports += _exports(node)
            else:
                todo.extend(getattr(node, block) for block in BLOCKS.get(type(node).__name__, ()))
    return Imports(tuple(dict.fromkeys(statements)), tuple(exports))


def _exports(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else (node.target,)
    if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
        for item in getattr(node.value, "elts", ()):
            if isinstance(item, ast.Constant) and isinstance(item.value, str):
                yield item.value


_IMPORT = re.compile(r"^[ \t]*(?:lazy[ \t]+)?import[ \t]+([\w., \t]+)", re.MULTILINE)
_FROM = re.compile(
    r"^[ \t]*(?:lazy[ \t]+)?from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+import[ \t]*(\([^()]*\)|[^\n#;]*)", re.MULTILINE
)


def guessed_imports(data: bytes) -> Imports:
    """Find text that looks like import statements, without parsing the source."""
    text = data.decode("utf-8", "replace")
    statements: list[tuple[int, str, tuple[str, ...]]] = []
    for found in _IMPORT.finditer(text):
        statements.extend((0, words[0], ()) for part in found[1].split(",") if (words := part.split()))
    for found in _FROM.finditer(text):
        listed = re.sub(r"#[^\n]*", "", found[3]).strip("()").replace("\\", " ").split(",")
        names = tuple(words[0] for part in listed if (words := part.split()))
        statements.append((len(found[1]), found[2], names))
    return Imports(tuple(statements))
