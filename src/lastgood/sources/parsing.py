"""Parsing a source into a syntax tree, or the reason why it fails. The source is compiled as a check, never executed."""

from __future__ import annotations

import ast
import bisect
import io
import sys
import tokenize
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from msgspec import Struct

from lastgood.bridges.worker.merges import MERGE_MARKERS, line_of_merge_markers
from lastgood.config import ModuleConfig
from lastgood.errors import ConfigError, ModuleFailure
from lastgood.store.file_system import digest_of

__all__ = [
    "BLOCKS",
    "LARGEST",
    "ModuleSource",
    "deepest_line",
    "is_newer",
    "is_stub",
    "read",
    "stub_of",
    "stubbed",
    "with_worker",
]

LARGEST = 4_000_000
"""The maximum size of a source in bytes, and of a wrapper: for each megabyte, Python takes about a second and 100 MB of memory."""

BLOCKS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("FunctionDef", "AsyncFunctionDef", "ClassDef", "With", "AsyncWith"), ("body",)),
    **dict.fromkeys(("If", "For", "AsyncFor", "While"), ("body", "orelse")),
    **dict.fromkeys(("Try", "TryStar"), ("body", "handlers", "orelse", "finalbody")),
    **dict.fromkeys(("ExceptHandler", "match_case"), ("body",)),
    "Match": ("cases",),
}
"""The fields of each kind of statement that contain statements, in source order. Expressions contain none."""

_STUB = "-stub"  # no module that can be imported has such a name
_READ_BY = "(read by Python {}.{}".format(*sys.version_info)

_VALID = "where it is valid)."


class ModuleSource(Struct, frozen=True):
    """A module to wrap; ``path`` and ``data`` of its file (None and ``b""`` for a namespace package).

    ``digest`` is that of ``data``, if it is known already.
    """

    name: str
    path: Path | None
    data: bytes
    is_package: bool
    selection: ModuleConfig = ModuleConfig()
    digest: str = ""

    @property
    def state(self) -> str:
        """A text that is equal for two readings of the module if and only if their contents are equal."""
        digest = self.digest or digest_of(self.data)
        return f"{digest}/" if self.is_package else digest


def stub_of(module: str) -> str:
    """Return the name under which the stub of ``module``, its ``.pyi``, is known beside it."""
    return f"{module}{_STUB}"


def is_stub(name: str) -> bool:
    """Return whether ``name`` is that of a stub; see :func:`stub_of`."""
    return name.endswith(_STUB)


def stubbed(name: str) -> str:
    """Return the module whose stub has this name; any other name unchanged."""
    return name.removesuffix(_STUB)


def read(source: ModuleSource) -> ast.Module | ModuleFailure:
    """Return the tree of ``source``, or the reason why Python cannot import it."""
    if len(source.data) > LARGEST:
        size, most = len(source.data) / 1e6, LARGEST / 1e6
        problem = f"it is too large to be wrapped: {size:.1f} MB, of at most {most:g} MB."
        return _failure(source, None, f"{problem} Move what is data in it to a file that it reads.")
    text = _decode(source)
    if isinstance(text, ModuleFailure):
        return text
    try:
        # Ignore warnings about the source, which under -W error would be raised as SyntaxError here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, str(source.path))
            # Some errors (return outside of a function, a duplicate parameter) are only found by compiling.
            compile(tree, str(source.path), "exec", dont_inherit=True)
    except SyntaxError as error:
        if (line := line_of_merge_markers(text)) is not None:
            return _failure(source, line, f"{MERGE_MARKERS}.", 1)
        return _failure(source, error.lineno, f"{error.msg} {_READ_BY})", error.offset)
    except (RecursionError, MemoryError):
        line = _line_that_is_too_deep(text)
        return _failure(source, line, "it is nested too deeply for Python to parse. Split the expression up.")
    except ValueError as error:
        return _failure(source, None, f"Python cannot compile it: {error}")
    return tree


def with_worker(
    failure: ModuleFailure, python: tuple[int, int], refused: Callable[[], tuple[int | None, str] | None]
) -> ModuleFailure:
    """Add what the worker's Python says to a syntax error, if it is another version: it may read what this Python cannot.

    ``refused()`` has it compile the source, and returns line and message of its own syntax error; None: the source is valid
    there. If it raises, only the version is added.
    """
    if python == sys.version_info[:2] or not failure.message.endswith(f"{_READ_BY})"):
        return failure
    worker = "{}.{}".format(*python)
    versions = f"{failure.message[:-1]}; the worker runs {worker}"
    try:
        problem = refused()
    except (ConfigError, OSError, ValueError):
        return replace(failure, message=f"{versions})")
    if problem is not None:
        line, message = problem
        column = failure.column if line == failure.line else None
        return replace(failure, line=line, column=column, message=f"{message} (read by the worker's Python {worker})")
    here = "{}.{}".format(*sys.version_info)
    remedy = f"Run the app with Python {worker}, or write it so that {here} can read it."
    return replace(failure, message=f"{versions}, {_VALID} {remedy}")


def is_newer(failure: ModuleFailure) -> bool:
    """Return whether :func:`with_worker` has found that the worker's Python can read a source that this Python cannot."""
    return "; the worker runs " in failure.message and f", {_VALID} " in failure.message


def deepest_line(source: ModuleSource) -> int | None:
    """Return the line of the expression in ``source`` that is nested most deeply; None if it has none, or is broken."""
    tree = read(source)
    deepest, line = 0, None
    todo: list[tuple[ast.AST, int]] = [] if isinstance(tree, ModuleFailure) else [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        if isinstance(node, ast.expr) and depth > deepest:
            deepest, line = depth, node.lineno
        deeper = depth + 1 if isinstance(node, ast.expr) else 0
        todo += [(child, deeper) for child in ast.iter_child_nodes(node)]
    return line


def _line_that_is_too_deep(text: str) -> int:
    """Return the line up to which a text is too deeply nested for Python to parse."""
    lines = text.split("\n")
    return bisect.bisect_left(range(len(lines)), True, key=lambda count: _is_too_deep("\n".join(lines[:count])))


def _is_too_deep(text: str) -> bool:
    try:
        compile(text, "", "exec", dont_inherit=True)
    except (RecursionError, MemoryError):
        return True
    except (SyntaxError, ValueError):
        return False
    return False


def _decode(source: ModuleSource) -> str | ModuleFailure:
    data = source.data
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} is not {error.encoding}"
        return _failure(source, line, f"{byte}. Save the file as UTF-8, or declare its encoding in the first line.")
    except SyntaxError as error:  # a bad coding cookie, or bad UTF-8 in the first two lines
        bad = _first_undecodable_line(data)
        return _failure(
            source, bad or 1, f"{error.msg}. Save the file as UTF-8, or declare its encoding in the first line."
        )
    except (LookupError, UnicodeError, ValueError) as error:
        return _failure(source, 1, f"it cannot be decoded as its first lines declare: {error}")
    if "\0" in text:
        return _failure(
            source, text.count("\n", 0, text.index("\0")) + 1, "it contains NUL bytes, so it is no Python source."
        )
    return text


def _first_undecodable_line(data: bytes) -> int | None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return None


def _failure(source: ModuleSource, line: int | None, message: str, column: int | None = None) -> ModuleFailure:
    return ModuleFailure(source.name, source.path, line, message, column)
