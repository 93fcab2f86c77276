"""The interface of modules as it is in this process: the signatures of functions, and the public names.

No annotation is evaluated, and no attribute of a module is made for this. What cannot be found out, or raises, is unknown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from .calling import Callables, Refused

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any, Union

    Parameters = list[tuple[str, int, bool]]
    Callable = tuple[Union[bool, None], Union[Parameters, None], Union[Parameters, None]]

__all__ = ["CLASS", "FUNCTION", "LAZY", "OBJECT", "interface"]

FUNCTION, CLASS, OBJECT, LAZY = range(4)
"""The kinds of public names. LAZY: the module's ``__getattr__`` makes it."""

_POSITIONAL_ONLY, _POSITIONAL_OR_KEYWORD, _VAR_POSITIONAL, _KEYWORD_ONLY, _VAR_KEYWORD = range(5)  # as in inspect
_HAS_ARGS, _HAS_KWARGS = 0x04, 0x08  # flags of code objects, as in inspect
_YIELDS = 0x20 | 0x200
_IS_COROUTINE = 0x100  # of types.coroutine: it yields, but is no generator to its caller
_TYPE_VARIABLES = ("ParamSpec", "TypeVar", "TypeVarTuple")
_MAX_WRAPPED = 100


def interface(callables: Callables, functions: Iterable[Sequence[str]], modules: Iterable[str]) -> list[Any]:
    """Describe each of ``functions``, pairs of a module and a path in it, and the public names of each of ``modules``.

    For each function, what a call would call: ``[yields, parameters, own]``, or a text if the call would be refused. ``yields``:
    it is a generator function; ``parameters`` are those of :func:`inspect.signature`, ``own`` those that it has itself, beneath
    its ``__wrapped__``; None: unknown. A parameter is its name, its kind as a number as in :mod:`inspect`, and whether it has a
    default. For each module, whether it has an ``__all__``, and its public names besides modules and type variables, each with
    its kind and, for a function or class, the module that defines it.
    """
    described = [_described(callables, module, path) for module, path in functions]
    return [described, [_public(callables.module(name)) for name in modules]]


def _described(callables: Callables, module: str, path: str) -> Callable | str:
    try:
        function = callables.find(f"{module}\0{path}".encode())
    except Refused as refused:
        return str(refused)
    return _yields(function), _parameters(function, follows=True), _parameters(function, follows=False)


def _yields(function: Any) -> bool | None:
    while type(function) is MethodType:
        function = function.__func__
    if type(function) is not FunctionType:
        return None
    flags = function.__code__.co_flags
    return None if flags & _IS_COROUTINE else bool(flags & _YIELDS)


def _parameters(function: Any, *, follows: bool) -> Parameters | None:
    """Return the parameters of a callable. ``follows`` its ``__wrapped__``, as :func:`inspect.signature` does."""
    bound = 0
    own: dict[str, Any] = {}
    for _ in range(_MAX_WRAPPED):
        space = getattr(function, "__dict__", None)
        own = space if type(space) is dict else {}
        if type(function) is MethodType:
            function, bound = function.__func__, bound + 1
        elif follows and "__wrapped__" in own and "__signature__" not in own:
            function = own["__wrapped__"]
        else:
            break
    try:
        if type(function) is FunctionType and "__signature__" not in own:
            found = list(_of_code(function))
        elif type(function).__name__ == "_lru_cache_wrapper":
            return None  # of C code: inspect need not be imported to find out that it has no signature
        else:
            found = list(_inspected(function, follows=follows))
    except Exception:  # it has no signature, or what the user wrote to make one raises
        return None
    for _ in range(bound):  # the self or cls of a method
        if found and found[0][1] in (_POSITIONAL_ONLY, _POSITIONAL_OR_KEYWORD):
            del found[0]
    return found


def _of_code(function: FunctionType) -> Iterator[tuple[str, int, bool]]:
    # Faster than inspect, which a worker need not import for plain functions.
    code = function.__code__
    count, only = code.co_argcount, code.co_posonlyargcount
    names = code.co_varnames
    required = count - len(function.__defaults__ or ())
    for place, name in enumerate(names[:count]):
        yield name, _POSITIONAL_ONLY if place < only else _POSITIONAL_OR_KEYWORD, place >= required
    end = count + code.co_kwonlyargcount
    if code.co_flags & _HAS_ARGS:
        yield names[end], _VAR_POSITIONAL, False
    for name in names[count:end]:
        yield name, _KEYWORD_ONLY, name in (function.__kwdefaults__ or {})
    if code.co_flags & _HAS_KWARGS:
        yield names[end + bool(code.co_flags & _HAS_ARGS)], _VAR_KEYWORD, False


def _inspected(function: Any, *, follows: bool) -> Iterator[tuple[str, int, bool]]:
    import inspect

    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.STRING  # by default, lazy annotations are evaluated
    signature = inspect.signature(function, follow_wrapped=follows, **options)
    for each in signature.parameters.values():
        yield each.name, int(each.kind), each.default is not each.empty


def _public(module: ModuleType) -> tuple[bool, list[tuple[str, int, str]]]:
    try:
        return _names(module)
    except Exception:  # of the module's own __dir__, or of what it has put there
        return False, []


def _names(module: ModuleType) -> tuple[bool, list[tuple[str, int, str]]]:
    space = vars(module)
    listed: Any = space.get("__all__")
    is_listed = type(listed) in (list, tuple) and all(type(name) is str for name in listed)
    names: list[str] = list(listed if is_listed else space)
    is_lazy = "__getattr__" in space
    if not is_listed and is_lazy and "__dir__" in space:
        names += [name for name in space["__dir__"]() if type(name) is str]
    found = []
    for name in dict.fromkeys(names):
        if name.startswith("_"):
            continue
        if name in space:
            kind = _kind(space[name])
            if kind is not None:
                found.append((name, *kind))
        elif is_lazy and not _is_submodule(module, name):
            found.append((name, LAZY, ""))
    return is_listed, found


def _kind(value: Any) -> tuple[int, str] | None:
    """Return the kind of a value, and the module that defines it. None for a module or type variable."""
    made = type(value)  # not isinstance, which asks the value: a proxy would import what it stands for
    if issubclass(made, ModuleType) or made.__name__ in _TYPE_VARIABLES:
        return None
    is_class = issubclass(made, type)
    if not is_class and made not in (FunctionType, BuiltinFunctionType):
        return OBJECT, ""
    home = value.__module__
    return CLASS if is_class else FUNCTION, home if type(home) is str else ""


def _is_submodule(module: ModuleType, name: str) -> bool:
    import os

    for directory in vars(module).get("__path__", ()):
        try:
            if any(entry.partition(".")[0] == name for entry in os.listdir(directory)):
                return True
        except OSError:
            continue
    return False
