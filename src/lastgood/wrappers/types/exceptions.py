"""Recognition of exception classes: their bases, and the attributes that they state.

An exception is declared by its bases, so that it can be caught by its name and by theirs. An attribute is one that the class
body annotates or assigns a literal, or that ``__init__`` assigns.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["ATTRIBUTES", "attributes", "base_of"]

# Those that derive from Exception in each Python that lastgood supports: what is generated must not depend on the Python.
_BUILTIN = frozenset(
    (
        *("ArithmeticError", "AssertionError", "AttributeError", "BlockingIOError", "BrokenPipeError", "BufferError"),
        *("BytesWarning", "ChildProcessError", "ConnectionAbortedError", "ConnectionError", "ConnectionRefusedError"),
        *("ConnectionResetError", "DeprecationWarning", "EOFError", "EncodingWarning", "Exception", "ExceptionGroup"),
        *(
            "FileExistsError",
            "FileNotFoundError",
            "FloatingPointError",
            "FutureWarning",
            "ImportError",
            "ImportWarning",
        ),
        *("IndentationError", "IndexError", "InterruptedError", "IsADirectoryError", "KeyError", "LookupError"),
        *("MemoryError", "ModuleNotFoundError", "NameError", "NotADirectoryError", "NotImplementedError", "OSError"),
        *("OverflowError", "PendingDeprecationWarning", "PermissionError", "ProcessLookupError", "RecursionError"),
        *("ReferenceError", "ResourceWarning", "RuntimeError", "RuntimeWarning", "SyntaxError", "SyntaxWarning"),
        *("SystemError", "TabError", "TimeoutError", "TypeError", "UnboundLocalError", "UnicodeDecodeError"),
        *("UnicodeEncodeError", "UnicodeError", "UnicodeTranslateError", "UnicodeWarning", "UserWarning", "ValueError"),
        *("Warning", "ZeroDivisionError"),
    )
)
_OTHER_NAMES = {
    "EnvironmentError": "OSError",
    "IOError": "OSError",
    "PythonFinalizationError": "RuntimeError",  # new in 3.13, as is the next
    "_IncompleteInputError": "SyntaxError",
    "ImportCycleError": "ImportError",  # new in 3.15
}
ATTRIBUTES = frozenset(
    (
        *(
            "args",
            "characters_written",
            "encoding",
            "end",
            "end_lineno",
            "end_offset",
            "errno",
            "exceptions",
            "filename",
        ),
        *("filename2", "lineno", "message", "msg", "name", "name_from", "obj", "object", "offset", "path", "reason"),
        *("start", "strerror", "text"),
    )
)
"""The attributes of builtin exceptions."""


def base_of(path: str) -> str | None:
    """Return the builtin class for the full ``path`` of a base; None if that is no exception.

    A class of an installed package, whose source is not read, is told by its name. In the app an instance is also one of the
    nearest builtin base that the class has in the worker.
    """
    module, _, name = path.rpartition(".")
    if module == "builtins":
        name = _OTHER_NAMES.get(name, name)
        return name if name in _BUILTIN else None
    return "Exception" if module and name.endswith(("Error", "Exception", "Warning")) else None


def attributes(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """Yield the name of each public attribute that the class states, with its annotation and its default."""
    found: dict[str, tuple[ast.expr | None, ast.expr | None]] = {}
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    for statement in node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement.annotation, statement.value
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()):
                found[name] = None, statement.value
            case ast.FunctionDef(name="__init__"):
                for name, annotation in _assigned_in(statement):
                    found.setdefault(name, (annotation, None))
    for name, (annotation, value) in found.items():
        if not name.startswith("_") and name not in methods and name != "args":
            yield name, annotation, value


def _assigned_in(init: ast.FunctionDef) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the attributes that the statements of ``__init__`` assign, with their annotations."""
    arguments = init.args
    all_arguments = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    if not all_arguments:
        return
    instance, *parameters = all_arguments
    annotations = {each.arg: each.annotation for each in parameters}
    annotation: ast.expr | None
    for statement in init.body:
        match statement:
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id=of), attr=name)):
                annotation = statement.annotation
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=of), attr=name)], value=ast.Name(id=other)):
                annotation = annotations.get(other)
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=of), attr=name)]):
                annotation = None
            case _:
                continue
        if of == instance.arg:
            yield name, annotation
