"""What ``packages.py`` has done in the environment of the packages, by importing them: the names that they really offer, and calls.

    python packages_child.py names|calls < REQUEST > REPLY      (JSON)

``names``: the public names of modules, what each is, and whether its result is annotated, in the source or in a stub beside it.
``calls``: results of calls with literal arguments, those of the doctests and those that are given, as comparable data.
It needs the standard library only.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import doctest
import enum
import importlib
import importlib.util
import inspect
import json
import os
import sys
import tempfile
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["comparable"]

_MOST_ITEMS = 100
_ALIASES = (
    types.GenericAlias,
    types.UnionType,
    typing.NewType,
    type(typing.Any),
    *type(typing.Literal[1]).__mro__[:-1],
)
_NOT_COUNTED = (types.ModuleType, typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple, *_ALIASES)
_SCALARS = ("bool", "bytearray", "bytes", "complex", "float", "int", "NoneType", "range", "str")
_VALUES = (
    *("date", "datetime", "Decimal", "Fraction", "PosixPath", "PurePosixPath", "time", "timedelta", "timezone"),
    *("UUID", "IPv4Address", "IPv6Address"),
)


def comparable(value: Any) -> Any:
    """Return data that are equal for two values of the same class and content. What cannot cross to an app is ``opaque``."""
    kind = type(value)
    name = kind.__name__
    if isinstance(value, enum.Enum):
        return [kind.__qualname__, value.name]
    if dataclasses.is_dataclass(value):
        return [
            kind.__qualname__,
            [[each.name, comparable(getattr(value, each.name))] for each in dataclasses.fields(value)],
        ]
    if hasattr(value, "_fields") and isinstance(value, tuple):
        return [kind.__qualname__, [comparable(each) for each in value]]
    for base in (dict, list, tuple, set, frozenset):
        if isinstance(value, base):
            name = name if name in ("Counter", "OrderedDict", "defaultdict") else base.__name__
            if isinstance(value, dict):
                return [name, [[comparable(key), comparable(each)] for key, each in value.items()]]
            parts = [comparable(each) for each in value]
            return [name, parts if isinstance(value, list | tuple) else sorted(parts, key=repr)]
    if name == "deque":
        return [name, [comparable(each) for each in value]]
    for base in (str, bytes, bool, int, float):
        if isinstance(value, base):
            return [base.__name__, repr(base(value))]
    if name in _SCALARS or name in _VALUES:
        return [name, repr(value)]
    return ["opaque", kind.__qualname__]


def _names(request: dict[str, Any]) -> dict[str, Any]:
    return {module: _offered(module) for module in request["modules"]}


def _offered(name: str) -> dict[str, Any]:
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # whatever a package does when it is imported
        return {"error": f"{type(error).__name__}: {error}", "names": []}
    found = []
    for public in _public(module):
        value = getattr(module, public, None)
        if isinstance(value, _NOT_COUNTED):
            continue
        if public not in vars(module) and not hasattr(module, public):
            continue
        found += _described(value, public, name.partition(".")[0])
    return {"error": None, "names": found}


def _public(module: types.ModuleType) -> list[str]:
    """Return ``__all__``; else what the module defines, and in a package what it imports from the same package."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [each for each in dict.fromkeys(listed) if not each.startswith("_")]
    top, _, _ = module.__name__.partition(".")
    tree = ast.parse(Path(str(module.__file__)).read_bytes())
    is_package = hasattr(module, "__path__")
    imported: set[str] = set()
    local: set[str] = set()
    starred: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(each.asname or each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.__name__ if is_package else module.__name__.rpartition(".")[0]
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            inside = origin.partition(".")[0] == top
            if inside and node.names[0].name == "*":
                starred.update(_public(importlib.import_module(origin)))
            for each in node.names:
                imported.add(each.asname or each.name)
                if (is_package and inside) or each.asname == each.name:
                    local.add(each.asname or each.name)
    own = set(_bound(tree))
    names = []
    for each, value in vars(module).items():
        foreign = (getattr(value, "__module__", None) or top).partition(".")[0] != top
        if each.startswith("_") or (each in imported and each not in own | local):
            continue
        if each not in own | imported | starred and (foreign or "*" in imported):
            continue  # by a "*": from outside, or of what the other module only imports
        names.append(each)
    return names


def _bound(tree: ast.Module) -> Iterator[str]:
    """Yield the names that statements outside of functions and classes bind, but for imports."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, ast.Lambda):
            todo += ast.iter_child_nodes(node)


def _described(value: Any, path: str, top: str) -> Iterator[dict[str, Any]]:
    if not inspect.isclass(value):
        kind = "function" if callable(value) else "value"
        yield {
            "path": path,
            "kind": kind,
            "type": type(value).__qualname__,
            "annotated": callable(value) and _annotated(value),
        }
        return
    if "." not in path:
        yield {"path": path, "kind": "class", "type": "type", "annotated": False}
    seen: set[str] = set()
    for each in value.__mro__:
        if each.__module__.partition(".")[0] != top:
            continue
        for name, member in vars(each).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            if isinstance(member, staticmethod | classmethod):
                inner = f"{path}.{name}"
                yield {
                    "path": inner,
                    "kind": "method",
                    "type": type(member).__name__,
                    "annotated": _annotated(member.__func__),
                }
            elif inspect.isclass(member) and member.__qualname__.startswith(f"{each.__qualname__}."):
                yield from _described(member, f"{path}.{name}", top)


def _annotated(function: Any) -> bool:
    with contextlib.suppress(Exception):
        if "return" in getattr(inspect.unwrap(function), "__annotations__", {}):
            return True
        return _in_stub(inspect.unwrap(function))
    return False


def _in_stub(function: Any) -> bool:
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    stub = None if file is None else Path(file).with_suffix(".pyi")
    if stub is None or not stub.is_file():
        return False
    nodes: list[Any] = [ast.parse(stub.read_bytes())]
    for name in function.__qualname__.split("."):
        nodes = [each for node in nodes for each in getattr(node, "body", ()) if getattr(each, "name", None) == name]
    return any(getattr(node, "returns", None) is not None for node in nodes)


def _calls(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Call functions directly. Left out is what gives something else the second time."""
    done = []
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        for module, paths in request["functions"].items():
            found = importlib.import_module(module)
            for path in paths:
                function: Any = found
                for name in path.split("."):
                    function = getattr(function, name)
                given = [ast.literal_eval(text) for text in request["given"].get(f"{module}.{path}", ())]
                calls = [(args, {}) for args in given] + list(_in_doctests(function, path))
                for args, kwargs in calls[: request["most"]]:
                    text = repr((args, kwargs))
                    first, second = (_called(function, *ast.literal_eval(text)) for _ in range(2))
                    if first == second:
                        done.append({"module": module, "path": path, "given": text, "result": first})
    return done


def _in_doctests(function: Any, path: str) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    seen = set()
    with contextlib.suppress(ValueError):
        for example in doctest.DocTestParser().get_examples(getattr(function, "__doc__", None) or ""):
            with contextlib.suppress(SyntaxError):
                for node in ast.walk(ast.parse(example.source)):
                    if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith(path):
                        continue
                    with contextlib.suppress(ValueError, TypeError):
                        args = tuple(ast.literal_eval(each) for each in node.args)
                        kwargs = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
                        key = repr((args, kwargs))
                        if key not in seen:
                            seen.add(key)
                            yield args, kwargs


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = function(*args, **kwargs)
            if isinstance(value, types.CoroutineType):
                value.close()
                return ["opaque", "coroutine"]
            if hasattr(value, "__next__"):
                return ["stream", [comparable(each) for _, each in zip(range(_MOST_ITEMS), value, strict=False)]]
            return comparable(value)
    except Exception as error:
        return ["raised", type(error).__name__, str(error)]


if __name__ == "__main__":
    sys.path[:1] = json.loads(os.environ["PACKAGES_PATH"])
    asked = json.load(sys.stdin)
    answer = {"names": _names, "calls": _calls}[sys.argv[1]]
    with contextlib.redirect_stdout(sys.stderr):
        reply = answer(asked)
    json.dump(reply, sys.stdout)
