"""Comparison of wrappers with the live sources, for ``direct()``: nothing keeps them in step there.

A wrapper is older than its source if its declarations are no longer those of the source. Times of files say nothing about that:
an edit inside a function leaves its wrapper as it is, and a checkout or an installation gives files any time. The comparison is
careful rather than complete: it says nothing about functions whose decorators may have changed their parameters, of types it
compares those that are made of builtin types and of declared classes, and of defaults and members those that are literals.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import enum
import inspect
import re
import sys
import typing
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeAlias

from lastgood.bridges.worker.calling import Refused

if TYPE_CHECKING:
    from lastgood.bridges.in_process import InProcessBridge
    from lastgood.config import Config

_SIGNATURE_OPTIONS: dict[str, Any] = {}
_ANNOTATION_OPTIONS: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    _SIGNATURE_OPTIONS["annotation_format"] = annotationlib.Format.FORWARDREF
    _ANNOTATION_OPTIONS["format"] = annotationlib.Format.FORWARDREF

__all__ = ["missing_wrappers", "older_wrappers"]

_Parameters: TypeAlias = list[tuple[Any, str, bool]]
_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_UNKNOWN, _NOTHING = object(), object()

_PLAIN = ("None", "bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple")

_LEFT_OUT = ("Callable", "ContextManager", "Iterable")
"""Parts of the names of result types with which the generator may leave a function out."""

_DECORATORS: Sequence[Any] = (contextlib.contextmanager, contextlib.asynccontextmanager)
_CONTEXT_MANAGERS = frozenset(decorate(lambda: None).__code__ for decorate in _DECORATORS)
"""The code of the functions that these decorators return."""


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
    stem = config.place.joinpath(*module.split("."))
    return stem.with_name(f"{stem.name}.py"), stem / "__init__.py"


def _wrapper(config: Config, module: str) -> Path | None:
    return next((path for path in _paths(config, module) if path.is_file()), None)


def _differences(module: str, path: Path, bridge: InProcessBridge) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # whoever imports it learns why
        return
    declared = dict(_declared(tree, module))
    types = _Types(tree)
    live_module = bridge.module(module)
    for name, function in declared.items():
        try:
            live_function = bridge.find(module, name)
        except Refused:
            if not _is_defined_under_a_condition(live_module, name):
                yield f"{name} is gone"
            continue
        parameters, live = _declared_parameters(function.args), _live_parameters(live_function, name)
        if not (live is None or live == parameters or _is_open(live) or _is_open(parameters)):
            yield f"{name} has other parameters"
        elif live is not None and types.differ(function, live_function):
            yield f"{name} has other types"
    classes = dict(_declared_classes(tree.body))
    for name in sorted({*_plain_functions(module, bridge, classes)} - declared.keys()):
        yield f"{name} is new"
    for name, node in classes.items():
        if (live_class := _live_class(live_module, name)) is not None:
            yield from (f"{name} has other {what}" for what in _differences_of_class(node, live_class))


def _declared(tree: ast.AST, module: str) -> Iterator[tuple[str, _Function]]:
    """Yield the name and the declaration of each function of ``module`` that a wrapper declares."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(args=[ast.Constant(value=str(of)), ast.Constant(value=str(name))]) if of == module:
                    yield name, node


# --- types


class _Types:
    """Types as text, in as far as they are made of builtin types and of classes that a wrapper declares; None: not known."""

    def __init__(self, tree: ast.Module) -> None:
        self._names = {name: name for name in _PLAIN}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self._names[node.name] = node.name
            elif isinstance(node, ast.ImportFrom) and node.level:
                self._names.update((each.asname or each.name, each.name) for each in node.names)

    def differ(self, declared: _Function, live: Any) -> bool:
        """Return whether a parameter or the result has another type in the live function, which has the same parameters."""
        try:
            hints = typing.get_type_hints(inspect.unwrap(getattr(live, "__func__", live)))
        except Exception:  # it names what only a type checker imports, for example
            return False
        arguments = declared.args
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        annotations = {each.arg: each.annotation for each in every} | {"return": declared.returns}
        for name, annotation in annotations.items():
            texts = (self._declared(annotation), self._live(hints[name]) if name in hints else None)
            if None not in texts and texts[0] != texts[1]:
                return True
        return False

    def _declared(self, node: ast.expr | None) -> str | None:
        match node:
            case ast.Constant(value=None):
                return "None"
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return self._names.get(name)
            case ast.BinOp(left, ast.BitOr(), right):
                return _union([self._declared(left), self._declared(right)])
            case ast.Subscript(value, ast.Tuple(items)):
                return _generic(self._declared(value), map(self._declared_item, items))
            case ast.Subscript(value, item):
                return _generic(self._declared(value), [self._declared_item(item)])
        return None

    def _declared_item(self, node: ast.expr) -> str | None:
        return "..." if isinstance(node, ast.Constant) and node.value is ... else self._declared(node)

    def _live(self, hint: Any) -> str | None:
        if hint is ...:
            return "..."
        if hint is NoneType:
            return "None"
        origin, items = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, UnionType):
            return _union(map(self._live, items))
        if isinstance(origin, type):
            return _generic(self._live(origin), map(self._live, items))
        if not isinstance(hint, type):
            return None
        if hint.__module__ == "builtins":
            return hint.__name__ if hint.__name__ in _PLAIN else None
        return hint.__name__ if _is_declarable(hint) else None


def _union(options: Iterable[str | None]) -> str | None:
    texts = {text for option in options for text in (option or "?").split(" | ")}
    return None if any("?" in text for text in texts) else " | ".join(sorted(texts))


def _generic(head: str | None, items: Iterable[str | None]) -> str | None:
    texts = [head, *items]
    return None if None in texts else f"{head}[{', '.join(map(str, texts[1:]))}]"


def _is_declarable(kind: type) -> bool:
    return (
        issubclass(kind, enum.Enum)
        or dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


# --- parameters


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
        outer = getattr(function, "__func__", function)
        inner = inspect.unwrap(outer)
        if inner is not outer and type(outer) is FunctionType:
            return None  # it claims to be what it wraps, but the wrapper goes by what its text passes on
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


def _plain_functions(module: str, bridge: InProcessBridge, classes: Container[str]) -> Iterator[str]:
    """Yield the callable functions of a module, and of those ``classes``, that the generator wraps without any doubt."""
    names = vars(bridge.module(module))
    exported = names.get("__all__", names)
    without_instance: frozenset[str] | None = None
    for name, value in _functions_of(names, module, classes):
        inner = inspect.unwrap(value) if callable(value) else value
        if type(inner) is not FunctionType or inner.__module__ != module or inner.__qualname__ != name:
            continue
        if name.partition(".")[0] not in exported or _is_left_out(inner) or _makes_context_manager(value):
            continue
        if value is not inner and (inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)):
            continue  # a context manager, perhaps, which has no wrapper
        if inner.__code__.co_filename != names.get("__file__"):  # made by exec(), which the generator cannot see
            continue
        try:
            bridge.find(module, name)
        except Refused:
            continue
        if "." in name:
            if without_instance is None:
                without_instance = frozenset(_methods_without_instance(_text_of(bridge.module(module))))
            if name not in without_instance:  # a decorator has made it a class method, as pydantic's validators do
                continue
        yield name


def _methods_without_instance(text: str) -> Iterator[str]:
    """Yield the qualified names of the functions that the text of a module declares as static or class methods."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for around, node in _declared_classes(tree.body):
        for each in node.body:
            if not isinstance(each, _Function):
                continue
            decorators = [ast.unparse(decorator) for decorator in each.decorator_list]
            is_validator = any("validator" in text for text in decorators)  # of pydantic, which has no wrapper
            if not {"classmethod", "staticmethod"}.isdisjoint(decorators) and not is_validator:
                yield f"{around}.{each.name}"


def _functions_of(
    names: Mapping[str, Any], module: str, classes: Container[str], around: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in names.items():
        if isinstance(value, staticmethod | classmethod):
            yield f"{around}{name}", value.__func__
        elif not around and not isinstance(value, type):
            yield name, value
        elif (
            isinstance(value, type)
            and value.__module__ == module
            and value.__qualname__ == f"{around}{name}" in classes
        ):
            yield from _functions_of(vars(value), module, classes, f"{around}{name}.")


def _is_left_out(function: FunctionType) -> bool:
    try:
        returns = typing.get_type_hints(function).get("return")
    except Exception:  # it names what only a type checker imports, for example
        return True
    return any(part in str(returns) for part in _LEFT_OUT)


def _makes_context_manager(function: Any) -> bool:
    """Return whether ``@contextmanager`` or ``@asynccontextmanager`` decorates a function, below others or not."""
    found: list[Any] = []

    def is_one(each: Any) -> bool:
        found.append(getattr(each, "__code__", None))
        return False

    inspect.unwrap(function, stop=is_one)
    return not _CONTEXT_MANAGERS.isdisjoint(found)


def _is_defined_under_a_condition(module: ModuleType, name: str) -> bool:
    """Return whether the source has such a function, or its class, that is defined on another platform, say, but not here."""
    around, _, method = name.partition(".")
    if method and not isinstance(getattr(module, around, None), type):
        pattern = rf"^\s*(?:class {around}\b|{around}\s*[:=])"
    else:
        pattern = rf"^\s+(?:async )?def {name.rpartition('.')[2]}\b"
    return re.search(pattern, _text_of(module), re.MULTILINE) is not None


def _text_of(module: ModuleType) -> str:
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        return ""


# --- classes


def _declared_classes(body: Sequence[ast.stmt], around: str = "") -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield each class that a wrapper declares, by its qualified name."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield f"{around}{node.name}", node
            yield from _declared_classes(node.body, f"{around}{node.name}.")


def _live_class(module: ModuleType, path: str) -> Any:
    """Return the class of this qualified name that the module defines; None if it has none."""
    found: Any = module
    for name in path.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    is_own = isinstance(found, type) and found.__module__ == module.__name__ and found.__qualname__ == path
    return found if is_own else None


def _differences_of_class(node: ast.ClassDef, live: Any) -> Iterator[str]:
    if not node.bases and not node.decorator_list:  # a mere place for static and class methods
        return
    values = {_mangled(name, node.name): value for name, value in _declared_values(node)}
    fields = _live_fields(live)
    if fields is None:
        return
    if typing.is_typeddict(live) and [ast.unparse(base) for base in node.bases] != ["TypedDict"]:
        fields = {name: value for name, value in fields.items() if name in values}  # the others may be inherited
    if fields.keys() != values.keys():
        yield "fields"
    elif any(_is_other_value(values[name], fields[name], getattr(live, "_member_type_", object)) for name in values):
        yield "values" if issubclass(live, enum.Enum) else "defaults"


def _declared_values(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the fields or members of a class, with their defaults or values."""
    for each in node.body:
        match each:
            case ast.AnnAssign(ast.Name(name), annotation, value) if "ClassVar" not in ast.unparse(annotation):
                yield name, value
            case ast.Assign(targets, value):
                yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))


def _mangled(name: str, owner: str) -> str:
    """Return a name as Python has it in a class: ``_Owner__name`` for ``__name``."""
    is_private = name.startswith("__") and not name.endswith("__") and owner.strip("_")
    return f"_{owner.lstrip('_')}{name}" if is_private else name


def _live_fields(live: Any) -> Mapping[str, Any] | None:
    """Return the fields that a live class adds to its bases', or its members, with their values, or :data:`_UNKNOWN`.

    None if it is another kind of class. A field without a default has :data:`_NOTHING`.
    """
    if issubclass(live, enum.Enum):
        made: Any = getattr(live, "_new_member_", None)  # a __new__ of the source's own may make any values
        is_plain = not isinstance(made, FunctionType) or made.__module__ == "enum"
        return {name: each.value if is_plain else _UNKNOWN for name, each in live.__members__.items()}
    if issubclass(live, tuple):
        if "_fields" not in vars(live):
            return None
        fields: Any = live
        return {**dict.fromkeys(fields._fields, _NOTHING), **fields._field_defaults}
    annotations = inspect.get_annotations(live, **_ANNOTATION_OPTIONS)
    if typing.is_typeddict(live):
        return dict.fromkeys(annotations, _UNKNOWN)
    if dataclasses.is_dataclass(live):
        defaults = {each.name: _default(each) for each in dataclasses.fields(live)}
        # The arguments of its constructor that are no fields (InitVar) are fields of the wrapper's class.
        made = live
        arguments = made.__dataclass_fields__.keys() & inspect.signature(made).parameters.keys()
        names = {*arguments, *defaults} & annotations.keys()
        return {name: defaults.get(name, _UNKNOWN) for name in names}
    return None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING or not field.init:
        return _UNKNOWN
    return _NOTHING if field.default is dataclasses.MISSING else field.default


def _is_other_value(declared: ast.expr | None, live: Any, kind: Any) -> bool:
    """Return whether a wrapper declares a literal that is not the live value. It may lack one that the generator cannot tell.

    Of a member of an enum, ``kind`` is the type that makes its value of what is declared; else ``object``.
    """
    if declared is None or live is _UNKNOWN:
        return False
    try:
        value = ast.literal_eval(declared)
    except ValueError:  # an expression
        return live is _NOTHING and not (isinstance(declared, ast.Call) and ast.unparse(declared.func) == "field")
    if kind is not object:
        try:
            value = kind(*(value if isinstance(value, tuple) else (value,)))
        except (TypeError, ValueError, ArithmeticError):
            return True
    return (type(value), value) != (type(live), live)
