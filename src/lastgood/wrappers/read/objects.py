"""The values of names that are bound otherwise than by ``def``, ``class`` and imports: whether they can be called, and how.

``parse = Parser().parse``, ``area = functools.partial(price, 1)``, ``dumps = fast if FAST else slow``, ``check = _make("check")``:
the expression is followed, through local modules, to the function that a call runs. Where only running the module tells, the
reason is given.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from lastgood.wrappers.read.lineage import bases_are_local, inherited
from lastgood.wrappers.read.outline import METHODS, Binding, Outline, Position
from lastgood.wrappers.read.project import Located, Missing, Project, Value
from lastgood.wrappers.read.scope import Place, Scope
from lastgood.wrappers.types.annotations import dotted_name, unquoted
from lastgood.wrappers.types.known import is_known

__all__ = ["Kept", "Opaque", "callable_of", "stands_for_type", "static_method_of"]

_MAX_NAMES = 20
_MAX_STEPS = 200
"""How many expressions are read to find out what one name is: each may stand for two others, and so on."""
_TYPING = ("collections.abc", "typing", "typing_extensions")
_CALLABLES = frozenset(f"{module}.Callable" for module in _TYPING)
_CLASS_OBJECTS = frozenset(("builtins.type", "typing.Type", "typing_extensions.Type"))
_SAME = frozenset(("functools.cache", "functools.lru_cache", "builtins.staticmethod"))
_CASTS = frozenset(("typing.cast", "typing_extensions.cast"))
_MAKE_CALLABLES = frozenset(
    (
        "functools.partial",
        "functools.update_wrapper",
        "operator.attrgetter",
        "operator.itemgetter",
        "operator.methodcaller",
        "types.FunctionType",
        "types.MethodType",
    )
)


class Opaque(Struct, frozen=True):
    """Something that can be called. What it takes and gives is only known at run time."""


class Kept(Struct, frozen=True):
    """A value that stays in the worker, and why. ``is_certain`` is False if it may be a function all the same."""

    reason: str
    is_certain: bool = True


class _Instance(Struct, frozen=True):
    """An instance of the local class at ``place``."""

    place: Place


_Found = Located | Opaque | Kept | _Instance

_OBJECT = Kept("it is an object, and stays in the worker. Offer a function that uses it.")
_CLASS = Kept("which class it is, only running the module tells. Offer the classes themselves.")
_METHOD = Kept("it is a method of instances, and these stay in the worker. Offer a function that calls it.")
_UNKNOWN = Kept(
    "only running the module tells whether it can be called. Define it with def, or name it in 'functions'.", False
)


def _outside(module: str) -> Kept:
    return Kept(
        f"it comes from {module!r}, whose source is not a local file. Define a function that calls it, or name it in "
        "'functions'.",
        False,
    )


def callable_of(project: Project, value: Value) -> Located | Opaque | Kept:
    """Return the function that a call of ``value`` runs, or why there is none."""
    return _Reader(project).called(value)


def stands_for_type(project: Project, value: Value) -> bool:
    """Return whether ``value`` is another name of a type, also of one that cannot cross, such as ``Callable[[int], str]``."""
    scope = Scope(project, value.outline)
    nodes = [getattr(each.node, "value", None) for each in value.bindings]
    return any(isinstance(node, ast.expr) and _is_type(node, scope) for node in nodes)


def _is_type(node: ast.expr, scope: Scope) -> bool:
    match node:
        case ast.Subscript(value=value):
            head = scope.lookup(dotted_name(value))
            return isinstance(head, Place) or (
                isinstance(head, str) and (is_known(head) or head.rpartition(".")[0] in _TYPING)
            )
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_type(left, scope) or _is_type(right, scope)
        case ast.Name() | ast.Attribute():
            found = scope.lookup(dotted_name(node))
            return isinstance(found, str) and is_known(found)
        case ast.Call(func=ast.Name("type"), args=[_], keywords=[]):
            return True
    return False


def static_method_of(project: Project, value: Value, _depth: int = 0) -> Located | Opaque | None:
    """Return the function in ``name = staticmethod(...)``, or ``classmethod``, in a class; None if ``value`` is something else."""
    binding = value.bindings[-1]
    own = value.outline.names(binding.at.owner)
    match binding.node:
        case ast.Assign(value=ast.Name(other)) if other in own and _depth < _MAX_NAMES:
            return static_method_of(project, Value(value.outline, tuple(own[other])), _depth + 1)
        case ast.Assign(value=ast.Call(func=ast.Name("staticmethod" | "classmethod" as method), args=[made])):
            names = {each.id for each in ast.walk(made) if isinstance(each, ast.Name)}
            statement = ast.copy_location(ast.Assign([], made), made)
            found = callable_of(project, Value(value.outline, (replace(binding, node=statement),)))
            is_bound = method == "staticmethod" or isinstance(
                made, ast.Name | ast.Lambda
            )  # its first parameter is the class
            is_known = is_bound and isinstance(found, Located) and names.isdisjoint(own)
            return replace(found, method=method) if isinstance(found, Located) and is_known else Opaque()
    return None


class _Reader:
    def __init__(self, project: Project) -> None:
        self.project = project
        self._steps = self._depth = 0

    def called(self, value: Value) -> Located | Opaque | Kept:
        """Return what a call of ``value`` runs; an instance is called by its ``__call__``."""
        found = self.value(value)
        if isinstance(found, _Instance):
            found = self.call_of(found)
        if isinstance(found, Located) and found.is_class:
            return _CLASS
        return found

    def value(self, value: Value) -> _Found:
        return _combined([self.bound(value.outline, binding) for binding in value.bindings])

    def bound(self, at: Outline, binding: Binding) -> _Found:
        node = binding.node
        if isinstance(node, ast.NamedExpr) or (binding.is_variable and node.value is not None):
            found = self.read(at, node.value)
            if isinstance(found, Kept) and not found.is_certain and isinstance(node, ast.AnnAssign):
                return self.annotated(Scope(self.project, at), node.annotation) or found
            return found
        return _UNKNOWN

    def read(self, at: Outline, node: ast.expr) -> _Found:
        """Return what the expression ``node`` in the module ``at`` gives."""
        if self._steps >= _MAX_STEPS or self._depth >= _MAX_NAMES:
            return _UNKNOWN
        self._steps += 1
        self._depth += 1
        found = self.expression(at, node)
        self._depth -= 1
        return found

    def expression(self, at: Outline, node: ast.expr) -> _Found:
        match node:
            case ast.Lambda():
                return _function_of(at, node, node.args, [ast.copy_location(ast.Return(node.body), node)])
            case ast.Name():
                return self.name(at, node.id)
            case ast.Attribute(value=ast.Constant(value=value), attr=attribute):
                return Opaque() if callable(getattr(value, attribute, None)) else _OBJECT  # "".join
            case ast.Attribute(value=inner, attr=attribute):
                dotted = dotted_name(node)
                return self.name(at, dotted) if dotted else self.attribute(self.read(at, inner), attribute)
            case ast.IfExp(body=body, orelse=orelse):
                return _combined([self.read(at, body), self.read(at, orelse)])
            case ast.BoolOp(values=values):
                return _combined([self.read(at, each) for each in values])
            case ast.NamedExpr(value=inner):
                return self.read(at, inner)
            case ast.Call():
                return self.call(at, node)
            case ast.Subscript() | ast.Await() | ast.BinOp():
                return _UNKNOWN
        return _OBJECT

    def name(self, at: Outline, dotted: str) -> _Found:
        head, *rest = dotted.split(".")
        where = self.project.locate(at, head, inside=True)
        if where is None:
            return self.in_module(at, head, rest)
        if isinstance(where, Missing):
            is_builtin = head not in at.names() and hasattr(builtins, head)
            found = _builtin(head) if is_builtin else Kept(f"{where.reason}.", False)
        else:
            found = self.value(where) if isinstance(where, Value) else where
        for attribute in rest:
            found = self.attribute(found, attribute)
        return found

    def in_module(self, at: Outline, head: str, rest: Sequence[str]) -> _Found:
        """Follow ``head.rest`` into the module that ``head`` names."""
        binding = next(reversed(at.names().get(head, [])), None)
        target = binding.target if binding is not None and binding.target else f"{at.source.name}.{head}"
        parts = [*target.split("."), *rest]
        for cut in range(len(parts), 0, -1):
            origin = self.project.outline(".".join(parts[:cut]))
            if origin is not None:
                if cut == len(parts):
                    return _OBJECT
                is_same = origin is at and parts[cut] == head  # the submodule has no source
                return _UNKNOWN if is_same else self.name(origin, ".".join(parts[cut:]))
        if not rest:
            return _OBJECT
        return _UNKNOWN if self.project.has(target) else _outside(target)

    def attribute(self, of: _Found, name: str) -> _Found:
        if isinstance(of, Located) and of.is_class:
            member = inherited(self.project, _place(of)).get(name)
            if isinstance(member, Located):
                if member.is_class or member.methods:
                    return member
                return _METHOD if member.bindings[-1].decorators <= _SAME and not member.applied else _UNKNOWN
            return _UNKNOWN
        if isinstance(of, _Instance):
            member = inherited(self.project, of.place).get(name)
            if isinstance(member, Located) and not member.is_class and not self.makes_descriptor(member):
                return replace(member, of=of.place, given=(0 if member.methods else 1, ()))
            return _UNKNOWN
        return of if isinstance(of, Kept) and not of.is_certain else _UNKNOWN

    def makes_descriptor(self, member: Located) -> bool:
        """Return whether a decorator of a method is a local class of descriptors, which give what they like."""
        binding = member.bindings[-1]
        scope = Scope(self.project, member.outline, binding.at.owner)
        for node in (*binding.node.decorator_list, *(node for node, _ in member.applied)):
            found = scope.lookup(dotted_name(node.func if isinstance(node, ast.Call) else node))
            if isinstance(found, Place) and "__get__" in inherited(self.project, found):
                return True
        return False

    def call_of(self, instance: _Instance) -> Located | Opaque | Kept:
        found = self.attribute(instance, "__call__")
        if isinstance(found, Located):
            return found
        return _OBJECT if bases_are_local(self.project, instance.place) else _UNKNOWN

    def call(self, at: Outline, node: ast.Call) -> _Found:
        dotted = dotted_name(node.func)
        function = self.name(at, dotted) if dotted else self.read(at, node.func)
        if isinstance(function, Located):
            return self.instance(function) if function.is_class else self.returned(at, function, node)
        if isinstance(function, _Instance):
            called = self.call_of(function)
            return self.returned(at, called, node) if isinstance(called, Located) else _UNKNOWN
        path = self.path(at, node.func)
        if isinstance(node.func, ast.Call) and self.path(at, node.func.func) in _SAME:  # lru_cache(maxsize=8)(f)
            path = "functools.lru_cache"
        if path in _SAME and node.args:
            return self.read(at, node.args[0])
        if path in _CASTS and len(node.args) == 2:
            return self.read(at, node.args[1])
        if path == "functools.singledispatch" and node.args:
            return self.decorated(at, node)
        if path == "functools.partial" and node.args:
            return self.partial(at, node)
        if path in _MAKE_CALLABLES:
            return Opaque()
        if isinstance(getattr(builtins, path.removeprefix("builtins."), None), type):
            return _OBJECT
        module = path.rpartition(".")[0]
        if module not in _TYPING and is_known(path):
            return _OBJECT  # timedelta(days=1)
        if not isinstance(function, Kept) or function.is_certain:
            return _UNKNOWN
        return (
            _outside(module) if module and isinstance(node.func, ast.Name) else function
        )  # what it gives is not imported

    def path(self, at: Outline, node: ast.expr) -> str:
        found = Scope(self.project, at).lookup(dotted_name(node))
        return found if isinstance(found, str) else ""

    def decorated(self, at: Outline, node: ast.Call) -> _Found:
        """Return the function of ``decorator(function)``, where what the decorator makes of it is known."""
        found = self.read(at, node.args[0])
        if not isinstance(found, Located) or found.is_class:
            return Opaque()
        return replace(found, applied=(*found.applied, (node.func, at)), overloads=())

    def partial(self, at: Outline, node: ast.Call) -> _Found:
        found = self.read(at, node.args[0])
        is_plain = not any(isinstance(each, ast.Starred) for each in node.args) and all(w.arg for w in node.keywords)
        if not isinstance(found, Located) or found.is_class or not is_plain:
            return Opaque()
        count, words = found.given
        return replace(found, given=(count + len(node.args) - 1, (*words, *node.keywords)), overloads=())

    def instance(self, class_: Located) -> _Found:
        place = _place(class_)
        is_special = "__new__" in inherited(self.project, place) or place.binding.node.keywords
        return _UNKNOWN if is_special else _Instance(place)

    def annotated(self, scope: Scope, annotation: ast.expr) -> _Found | None:
        """Return what an annotation says of a value; None if it leaves open whether that can be called."""
        node = unquoted(annotation)
        found = scope.lookup(dotted_name(node.value if isinstance(node, ast.Subscript) else node))
        if isinstance(found, Place) and isinstance(found.binding.node, ast.ClassDef):
            return _Instance(found)
        if found in _CALLABLES:
            return Opaque()
        if found in _CLASS_OBJECTS:
            return _CLASS
        is_object = isinstance(found, str) and is_known(found) and found.rpartition(".")[2] not in _OPEN
        return _OBJECT if is_object else None

    def returned(self, at: Outline, function: Located, call: ast.Call) -> _Found:
        """Return what ``call``, in the module ``at``, of the local ``function`` gives."""
        binding = function.bindings[-1]
        node = binding.node
        scope = Scope(self.project, function.outline, binding.at.owner, binding.type_parameters)
        if binding.decorators - METHODS or isinstance(node, ast.AsyncFunctionDef) or len(function.bindings) > 1:
            return _UNKNOWN
        if node.returns is not None and (said := self.annotated(scope, node.returns)) is not None:
            return said
        positional = [each.arg for each in (*node.args.posonlyargs, *node.args.args)][function.given[0] :]
        if "classmethod" in binding.decorators:
            del positional[:1]
        given = dict(zip(positional, call.args, strict=False)) | {w.arg: w.value for w in call.keywords if w.arg}
        inside = _Inside(node)
        found = [self.result(at, function.outline, value, inside, given) for value in _returns(node)]
        return _combined(found) if found else _OBJECT

    def result(
        self, at: Outline, there: Outline, value: ast.expr, inside: _Inside, given: Mapping[str, ast.expr]
    ) -> _Found:
        """Return what ``return value`` gives in a function of the module ``there``, whose arguments are ``given`` in ``at``."""
        if isinstance(value, ast.Call) and self.path(there, value.func) in _CASTS and len(value.args) == 2:
            value = value.args[1]
        if isinstance(value, ast.Name):
            if value.id in inside.class_names:
                return _CLASS
            value = inside.assigned.get(value.id, value)
        match value:
            case ast.Name(name) if name in inside.functions:
                made = inside.functions[name]
                if made is None or made.decorator_list:
                    return Opaque()
                return _function_of(there, made, made.args, made.body)
            case ast.Name(name) if name in given and name not in inside.stored:
                return self.read(at, given[name])
            case ast.Lambda():
                return _function_of(there, value, value.args, [ast.copy_location(ast.Return(value.body), value)])
            case ast.Call(func=ast.Name(name)) if name in inside.classes:
                called = inside.classes[name]
                return (
                    _UNKNOWN
                    if called is None
                    else replace(_function_of(there, called, called.args, called.body), given=(1, ()))
                )
            case ast.Call(func=func) if self.path(there, func) == "functools.partial":
                return Opaque()
            case ast.Call(func=func) if dotted_name(func).partition(".")[0] not in inside.names:
                instance = self.read(there, value)
                return instance if isinstance(instance, _Instance | Opaque) else _UNKNOWN
            case ast.Call():
                return _UNKNOWN
        heads = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
        return self.read(there, value) if heads.isdisjoint(inside.names) else _UNKNOWN


class _Inside:
    """What a function has inside: its names, and what those are that are bound once."""

    def __init__(self, node: ast.FunctionDef) -> None:
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef | None] = {}
        """The functions in it, not those inside of these; None for a name that has several."""
        self.classes: dict[str, ast.FunctionDef | None] = {}
        """The ``__call__`` of the classes in it; None for a class that has none."""
        self.assigned: dict[str, ast.expr] = {}
        parameters = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        stores = Counter(
            each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        )
        self.stored = {*stores}
        todo: list[ast.AST] = list(node.body)
        while todo:
            part = todo.pop()
            match part:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self.functions[name] = None if name in self.functions else part
                case ast.ClassDef(name=name, body=body):
                    own = [each for each in body if isinstance(each, ast.FunctionDef) and each.name == "__call__"]
                    self.classes[name] = own[-1] if own and name not in self.classes else None
                case ast.Assign(targets=[ast.Name(name)], value=value) if stores[name] == 1 and name not in parameters:
                    self.assigned[name] = value
                case ast.expr():
                    pass
                case _:
                    todo += ast.iter_child_nodes(part)
        self.class_names = frozenset(self.classes)  # also of those that are decorated by an assignment
        for name in self.stored:
            self.functions.pop(name, None)
            self.classes.pop(name, None)
        self.names = self.stored | parameters | self.functions.keys() | self.classes.keys()


_OPEN = ("Any", "AnyStr", "Hashable", "Never", "NoReturn", "Optional", "Self", "TypeVar", "Union", "object")


def _place(class_: Located) -> Place:
    binding = class_.bindings[0]
    return Place(class_.outline, binding, binding.qualified)


def _builtin(name: str) -> _Found:
    return Opaque() if isinstance(getattr(builtins, name), type(len)) else _UNKNOWN


def _function_of(at: Outline, node: ast.expr | ast.stmt, arguments: ast.arguments, body: list[ast.stmt]) -> Located:
    """Return the function that a lambda, or a ``def`` inside of a function, makes.

    It has no annotations: what the names in them mean depends on the function around it.
    """
    bare = copy.deepcopy(arguments)
    for each in ast.walk(bare):
        if isinstance(each, ast.arg):
            each.annotation = None
    made = ast.FunctionDef(name="", args=bare, body=body, decorator_list=[])
    return Located(at, (Binding("", ast.copy_location(made, node), Position()),))


def _returns(node: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yield every value that a function returns, without those of the functions in it."""
    todo: list[ast.AST] = list(node.body)
    while todo:
        part = todo.pop()
        if isinstance(part, ast.Return):
            yield part.value or ast.Constant(None)
        elif not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            todo += ast.iter_child_nodes(part)


def _combined(found: Sequence[_Found]) -> _Found:
    """Return one for all: what a name is that is one of these, depending on a condition."""
    first = found[0]
    callables = [
        each for each in found if isinstance(each, Opaque) or (isinstance(each, Located) and not each.is_class)
    ]
    if len(found) == 1 or all(each == first for each in found):
        return first
    if callables:
        functions = [each for each in callables if isinstance(each, Located)]
        alike = {(id(each.outline), each.method, each.of, each.given, each.applied) for each in functions}
        is_open = any(isinstance(each, Kept) and not each.is_certain for each in found)
        if len(functions) < len(callables) or len(alike) > 1 or is_open:
            return Opaque()
        bindings = dict.fromkeys(binding for each in functions for binding in each.bindings)
        return replace(functions[0], bindings=tuple(bindings), overloads=())
    certain = _CLASS if any(isinstance(each, Located) for each in found) else _OBJECT
    return next((each for each in found if isinstance(each, Kept) and not each.is_certain), certain)
