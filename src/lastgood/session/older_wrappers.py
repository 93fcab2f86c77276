"""Comparison of wrappers with the live sources, for ``direct()``: nothing keeps them in step there.

A wrapper is older than its source if its declarations are no longer those of the source. Times of files say nothing about that:
an edit inside a function leaves its wrapper as it is, and a checkout or an installation gives files any time. The comparison is
careful rather than complete: it says nothing about functions whose decorators may have changed their parameters, and of types
it compares those that are made of builtin ones alone.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import sys
import typing
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, GenericAlias, ModuleType, NoneType
from typing import TYPE_CHECKING, Any

from lastgood.bridges.worker.calling import Refused

if TYPE_CHECKING:
    from lastgood.bridges.in_process import InProcessBridge
    from lastgood.config import Config

_SIGNATURE_OPTIONS: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    _SIGNATURE_OPTIONS["annotation_format"] = annotationlib.Format.FORWARDREF

__all__ = ["missing_wrappers", "older_wrappers"]

_Parameters = list[tuple[Any, str, bool]]
_Types = dict[str, str]

_PLAIN = ("None", "bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple")

_LEFT_OUT = ("Callable", "ContextManager", "Iterable")
"""Parts of the names of result types with which the generator may leave a function out."""


def missing_wrappers(config: Config) -> Sequence[tuple[str, Path]]:
    """Return each module of the config that has no wrapper, and the path where it would be."""
    if not config.makes_wrappers:
        return ()
    return [(module, _paths(config, module)[0]) for module in config.modules if _wrapper(config, module) is None]


def older_wrappers(config: Config, bridge: InProcessBridge) -> Iterator[str]:
    """Yield a warning for each wrapper that is older than its source, as ``bridge`` has imported it."""
    for module in config.modules if config.makes_wrappers else ():
        path = _wrapper(config, module)
        differences = [] if path is None else list(_differences(module, path, bridge))
        if differences:
            source = getattr(bridge.module(module), "__file__", None) or module
            what = ", ".join(differences[:5]) + (", ..." if differences[5:] else "")
            yield f'{path} is older than {source}: {what}. Run "lastgood generate".'


def _paths(config: Config, module: str) -> tuple[Path, Path]:
    stem = config.output.dir.joinpath(*module.split("."))
    return stem.with_name(f"{stem.name}.py"), stem / "__init__.py"


def _wrapper(config: Config, module: str) -> Path | None:
    return next((path for path in _paths(config, module) if path.is_file()), None)


def _differences(module: str, path: Path, bridge: InProcessBridge) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # whoever imports it learns why
        return
    declared = dict(_declared(tree, module))
    for name, (parameters, types) in declared.items():
        try:
            function = bridge.find(module, name)
        except Refused:
            if not _is_defined_under_a_condition(bridge.module(module), name):
                yield f"{name} is gone"
            continue
        live = _live_parameters(function, name)
        if not (live is None or live == parameters or _is_open(live) or _is_open(parameters)):
            yield f"{name} has other parameters"
        elif live is not None and _live_types(function, types) != types:
            yield f"{name} has other types"
    for name in sorted(_plain_functions(module, bridge)):
        if name not in declared:
            yield f"{name} is new"
    for name, fields in _declared_fields(tree.body):
        live_fields = _live_fields(bridge.module(module), name)
        if live_fields is not None and live_fields != fields:
            yield f"{name} has other fields"


def _declared(tree: ast.AST, module: str) -> Iterator[tuple[str, tuple[_Parameters, _Types]]]:
    """Yield the name, the parameters and the plain types of each function of ``module`` that a wrapper declares."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(args=[ast.Constant(value=str(of)), ast.Constant(value=str(name))]) if of == module:
                    yield name, (_declared_parameters(node.args), _declared_types(node))


def _declared_types(function: ast.FunctionDef | ast.AsyncFunctionDef) -> _Types:
    """Return the plain types of the parameters, by name, and of the result, as ``return``."""
    arguments = function.args
    annotations = {
        each.arg: each.annotation for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    }
    annotations["return"] = function.returns
    return {name: text for name, annotation in annotations.items() if (text := _plain_type(annotation)) is not None}


def _live_types(function: Any, declared: _Types) -> _Types:
    """Return ``declared``, with the types that are plain in the live function as well as they are there."""
    inner = inspect.unwrap(getattr(function, "__func__", function))
    annotations, _ = _own_annotations(inner)
    found = dict(declared)
    for name in declared:
        annotation = annotations.get(name, "")
        if annotation is None or annotation is NoneType:
            annotation = "None"
        elif type(annotation) is GenericAlias:
            annotation = repr(annotation)
        elif isinstance(annotation, type) and annotation.__module__ == "builtins":
            annotation = annotation.__name__
        if isinstance(annotation, str) and (text := _plain_type(_parsed(annotation), inner.__globals__)) is not None:
            found[name] = text
    return found


def _parsed(annotation: str) -> ast.expr | None:
    try:
        return ast.parse(annotation, mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _plain_type(annotation: ast.expr | None, hidden: Container[str] = ()) -> str | None:
    """Return the text of an annotation that consists of builtin types, none of whose names is ``hidden``; else None."""
    if annotation is None:
        return None
    for node in ast.walk(annotation):
        match node:
            case ast.Name(id=name) if name in _PLAIN and name not in hidden:
                pass
            case ast.Constant(value=value) if value is None or value is ...:
                pass
            case ast.Subscript() | ast.Tuple() | ast.Load():
                pass
            case _:
                return None
    return ast.unparse(annotation)


def _declared_parameters(arguments: ast.arguments) -> _Parameters:
    kinds = inspect.Parameter
    found: _Parameters = [(kinds.POSITIONAL_ONLY, each.arg, False) for each in arguments.posonlyargs]
    found += [(kinds.POSITIONAL_OR_KEYWORD, each.arg, False) for each in arguments.args]
    required = len(found) - len(arguments.defaults)
    found = [(kind, name, place >= required) for place, (kind, name, _) in enumerate(found)]
    if arguments.vararg is not None:
        found.append((kinds.VAR_POSITIONAL, arguments.vararg.arg, False))
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append((kinds.KEYWORD_ONLY, each.arg, default is not None))
    if arguments.kwarg is not None:
        found.append((kinds.VAR_KEYWORD, arguments.kwarg.arg, False))
    return found


def _live_parameters(function: Any, name: str) -> _Parameters | None:
    """Return the parameters of a live function; None if a decorator may have changed them."""
    try:
        inner = inspect.unwrap(getattr(function, "__func__", function))
        if type(inner) is not FunctionType or inner.__name__ != name.rpartition(".")[2]:
            return None
        if hasattr(inner, "__signature__"):  # set by hand: the generator goes by the source text
            return None
        signature = inspect.signature(function, **_SIGNATURE_OPTIONS)
    except Exception:  # annotations may be evaluated here, and raise
        return None
    empty = inspect.Parameter.empty
    return [(each.kind, each.name, each.default is not empty) for each in signature.parameters.values()]


def _is_open(parameters: _Parameters) -> bool:
    """Return whether these are ``*args, **kwargs``, which may stand for any others."""
    kinds = [kind for kind, _, _ in parameters]
    return kinds == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]


def _plain_functions(module: str, bridge: InProcessBridge) -> Iterator[str]:
    """Yield the callable functions of a module that the generator wraps without any doubt."""
    names = vars(bridge.module(module))
    for name, value in names.items():
        if type(value) is not FunctionType or value.__module__ != module or value.__qualname__ != name:
            continue
        if hasattr(value, "__wrapped__") or name not in names.get("__all__", (name,)) or _is_left_out(value):
            continue
        if value.__code__.co_filename != names.get("__file__"):  # made by exec(), which the generator cannot see
            continue
        try:
            bridge.find(module, name)
        except Refused:
            continue
        yield name


def _is_left_out(function: FunctionType) -> bool:
    try:
        returns = typing.get_type_hints(function).get("return")
    except Exception:  # it names what only a type checker imports, for example
        return True
    return any(part in str(returns) for part in _LEFT_OUT)


def _is_defined_under_a_condition(module: ModuleType, name: str) -> bool:
    """Return whether the source has such a function that is defined on another platform, say, but not here."""
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return False
    return re.search(rf"^\s+(?:async )?def {name.rpartition('.')[2]}\b", source, re.MULTILINE) is not None


def _declared_fields(body: Sequence[ast.stmt], around: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yield the qualified name of each class that a wrapper declares, with the names of its fields or members."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            if node.bases or node.decorator_list:  # else it is a mere place for static and class methods
                targets = [target for each in node.body for target in _targets(each)]
                yield f"{around}{node.name}", {target.id for target in targets if isinstance(target, ast.Name)}
            yield from _declared_fields(node.body, f"{around}{node.name}.")


def _targets(node: ast.stmt) -> list[ast.expr]:
    match node:
        case ast.AnnAssign(target, annotation) if "ClassVar" not in ast.unparse(annotation):
            return [target]
        case ast.Assign(targets):
            return targets
    return []


def _live_fields(module: ModuleType, path: str) -> set[str] | None:
    """Return the names of the fields that a live class adds to its bases', or of its members; None if it is another kind."""
    found: Any = module
    for name in path.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    if not isinstance(found, type) or found.__module__ != module.__name__ or found.__qualname__ != path:
        return None
    if issubclass(found, enum.Enum):
        return set(found.__members__)
    if issubclass(found, tuple):
        return set(found._fields) if hasattr(found, "_fields") and "_fields" in vars(found) else None
    annotations, _ = _own_annotations(found)
    if typing.is_typeddict(found):
        return set(annotations)
    if dataclasses.is_dataclass(found):
        # The arguments of its constructor that are no fields (InitVar) are fields of the wrapper's class.
        arguments = found.__dataclass_fields__.keys() & inspect.signature(found.__init__).parameters.keys()
        return {*arguments, *(field.name for field in dataclasses.fields(found))} & annotations.keys()
    return None


if sys.version_info >= (3, 14):

    def _own_annotations(thing: Any) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Return the annotations as values and as text: unquoted ones may use names imported for type checkers only."""
        forms = annotationlib.Format
        try:
            values = annotationlib.get_annotations(thing, format=forms.FORWARDREF)
            return values, annotationlib.get_annotations(thing, format=forms.STRING)
        except Exception:  # annotations are evaluated lazily and may raise
            return {}, {}

else:

    def _own_annotations(thing: Any) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Return the annotations as values; quoted annotations are strings."""
        if isinstance(thing, type):
            get: Any = getattr(inspect, "get_annotations", None)  # Python 3.10 and newer
            return vars(thing).get("__annotations__", {}) if get is None else get(thing), {}
        return getattr(thing, "__annotations__", {}), {}
