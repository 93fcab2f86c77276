"""The outline of a module: every binding of a name in each scope (functions, classes, imports, assignments), in source order.

A name may be bound several times, in the branches of an ``if`` or as overloads, so every binding is recorded.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from lastgood.sources.parsing import BLOCKS, ModuleSource
from lastgood.wrappers.read.conditions import holds
from lastgood.wrappers.read.well_known import STARRED
from lastgood.wrappers.types.annotations import dotted_name

__all__ = ["METHODS", "Binding", "Outline", "Position", "outline"]

METHODS = frozenset(("staticmethod", "classmethod"))
_PROPERTIES = frozenset(("property", "functools.cached_property", "cached_property.cached_property"))
_OVERLOADS = frozenset(("typing.overload", "typing_extensions.overload"))
_VALIDATORS = frozenset(("field_validator", "model_validator", "root_validator", "validator"))
_CONTEXT_MANAGERS = frozenset(("contextlib.contextmanager", "contextlib.asynccontextmanager"))


class Position(Struct, frozen=True):
    """The position of a statement. ``around`` are the class statements around it, from the outside in.

    ``conditional``: it is inside an ``if``, a ``try`` or the like, and may not run. ``type_only``: it is inside
    ``if TYPE_CHECKING``, and does not run. ``is_dead``: it does not run, and type checkers do not read it.
    """

    around: tuple[ast.ClassDef, ...] = ()
    conditional: bool = False
    type_only: bool = False
    is_dead: bool = False

    @property
    def owner(self) -> ast.ClassDef | None:
        """The class in whose scope it is; None: in that of the module."""
        return self.around[-1] if self.around else None

    def inside(self, test: ast.expr, runs_if: bool) -> Position:
        """Return the position in that branch of an ``if`` here which runs if ``test`` is ``runs_if``."""
        held = holds(test, type_checking=False)
        if held is runs_if:
            return self
        if held is None:
            return replace(self, conditional=True)
        is_read = holds(test, type_checking=True) is not held
        return replace(self, conditional=True, type_only=True, is_dead=self.is_dead or not is_read)


class Binding(Struct, frozen=True):
    """A statement that binds a name.

    ``target`` is the full path of what an import binds, ``""`` for any other statement. ``decorators`` are the full paths of
    the decorators of a function or class.
    """

    name: str
    node: Any
    at: Position
    target: str = ""
    decorators: frozenset[str] = frozenset()

    @property
    def is_class(self) -> bool:
        return isinstance(self.node, ast.ClassDef)

    @property
    def is_function(self) -> bool:
        return isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef) and not self.is_property

    @property
    def is_property(self) -> bool:
        return not self.is_class and not self.decorators.isdisjoint(_PROPERTIES)

    @property
    def is_variable(self) -> bool:
        return isinstance(self.node, ast.Assign | ast.AnnAssign)

    @property
    def is_overload(self) -> bool:
        return self.is_function and not self.decorators.isdisjoint(_OVERLOADS)

    @property
    def is_context_manager(self) -> bool:
        """True for a function that returns a context manager."""
        return not self.decorators.isdisjoint(_CONTEXT_MANAGERS)

    @property
    def is_validator(self) -> bool:
        """True for a method that pydantic calls as it makes an instance."""
        paths = (each.split(".") for each in self.decorators)
        return any(path[0] == "pydantic" and path[-1] in _VALIDATORS for path in paths)

    @property
    def qualified(self) -> str:
        """Its name, with those of the classes around it."""
        return ".".join([*(each.name for each in self.at.around), self.name])

    @property
    def type_parameters(self) -> Mapping[str, ast.AST]:
        """The type parameters (:pep:`695`) of the statement and of the classes around it, by name."""
        nodes = (*self.at.around, self.node)
        return {parameter.name: parameter for node in nodes for parameter in getattr(node, "type_params", ())}

    @property
    def doc(self) -> str | None:
        """The docstring of a function or class; None if it has none, or an empty one."""
        return _docstring(self.node)


class Outline(Struct, frozen=True):
    """The outline of one module.

    ``stars`` are the modules from which it imports ``*``, ``variables`` the names that it assigns to anywhere. ``exports`` is
    its ``__all__`` (None: it has none), in which ``"a.b.__all__"`` stands for the exports of ``a.b``. ``exports_are_known`` is
    False if the ``__all__`` is not fully known without running the module.
    """

    source: ModuleSource
    doc: str | None
    exports: tuple[str, ...] | None
    exports_are_known: bool
    stars: tuple[str, ...]
    variables: frozenset[str]
    scopes: Mapping[ast.AST | None, Mapping[str, list[Binding]]]
    deleted: frozenset[tuple[ast.AST | None, str]] = frozenset()
    """Names that a ``del`` has removed by the end of their scope, with that scope."""
    dynamic: tuple[tuple[str, int], ...] = ()
    """What makes names that only running the module knows (``exec``, ``__getattr__``, ...), each with its line."""
    gives_namespace: bool = False
    """It calls something with its ``globals()``, which may then make names in it."""
    exports_everything: bool = False
    """Its ``__all__`` is made from ``dir()`` or the like, so that it lists what the module imports, too."""

    @property
    def is_stub(self) -> bool:
        """True for the outline of a ``.pyi``."""
        return self.source.path is not None and self.source.path.suffix == ".pyi"

    @property
    def is_lazy(self) -> bool:
        """True if names may be made when they are first used: by a ``__getattr__``, or by what is given ``globals()``."""
        return "__getattr__" in self.names() or self.gives_namespace

    def names(self, owner: ast.AST | None = None) -> Mapping[str, list[Binding]]:
        """Return the bindings in the class statement ``owner`` (None: in the module), by name, in source order."""
        return self.scopes.get(owner, {})


def outline(source: ModuleSource, tree: ast.Module) -> Outline:
    """Outline ``source``, given its ``tree``."""
    visitor = _Visitor(source)
    for node, position in _statements(tree):
        visitor.visit(node, position)
    return Outline(
        source=source,
        doc=_docstring(tree),
        exports=tuple(visitor.exports) if visitor.times_exported else None,
        # If __all__ is assigned twice, for example in the branches of an if, its value is not known.
        exports_are_known=visitor.exports_are_known and visitor.times_exported <= 1,
        stars=tuple(visitor.stars),
        variables=frozenset(visitor.variables),
        scopes=visitor.scopes,
        deleted=frozenset(visitor.deleted),
        dynamic=tuple(visitor.dynamic),
        gives_namespace=visitor.gives_namespace,
        exports_everything=visitor.exports_everything,
    )


def _docstring(node: Any) -> str | None:
    text = ast.get_docstring(node, clean=False)
    return inspect.cleandoc(text.rstrip()) or None if text else None


def _statements(tree: ast.Module) -> Iterator[tuple[ast.AST, Position]]:
    """Yield every statement outside of functions, in source order."""
    # A loop, not a recursion: each "elif" is nested in the "if" before it, and there may be hundreds.
    todo: list[tuple[ast.AST, Position]] = [(node, Position()) for node in reversed(tree.body)]
    while todo:
        node, position = todo.pop()
        yield node, position
        blocks: list[tuple[Sequence[ast.AST], Position]] = []
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case ast.ClassDef():
                blocks = [(node.body, Position((*position.around, node)))]
            case ast.If():
                blocks = [
                    (node.body, position.inside(node.test, True)),
                    (node.orelse, position.inside(node.test, False)),
                ]
            case _ if names := BLOCKS.get(type(node).__name__):
                inner = replace(position, conditional=True)
                blocks = [(getattr(node, name), inner) for name in names]
        for block, inner in reversed(blocks):
            todo += [(child, inner) for child in reversed(block)]


class _Visitor:
    """A visitor of the statements of one module that records what they bind."""

    def __init__(self, source: ModuleSource) -> None:
        self.source = source
        self.scopes: dict[ast.AST | None, dict[str, list[Binding]]] = {}
        self.stars: list[str] = []
        self.variables: set[str] = set()
        self.deleted: set[tuple[ast.AST | None, str]] = set()
        self.exports: list[str] = []
        self.exports_are_known = True
        self.exports_everything = False
        self.times_exported = 0
        self.dynamic: list[tuple[str, int]] = []
        self.gives_namespace = False
        self.has_walrus = b":=" in source.data
        self.has_globals = b"global " in source.data
        self.is_dynamic = any(text in source.data for text in _DYNAMIC)

    def visit(self, node: ast.AST, at: Position) -> None:
        if not at.around:
            self.bind_targets(node, at)
            self.note_dynamic(node)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.bind(node.name, node, at, decorators=frozenset(self.decorators(node.decorator_list, at)))
            case ast.Import():
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    self.bind(alias.asname or top, node, at, alias.name if alias.asname else top)
            case ast.ImportFrom():
                self.import_from(node, at)
            case ast.Assign():
                self.assign(node, node.targets, at)
                if not at.around:
                    self.attach(node.value, at)
            case ast.AnnAssign():
                self.assign(node, [node.target], at)
            case ast.AugAssign(target=target) | ast.For(target=target):
                if not at.around:
                    self.variables.update(_names_in(target))
                if _is_all(target) and isinstance(node, ast.AugAssign) and not at.around:
                    self.export(node.value)
            case ast.Delete() if not at.conditional:
                self.deleted.update((at.owner, target.id) for target in node.targets if isinstance(target, ast.Name))
            case ast.Expr(value=ast.Call(func=ast.Attribute(ast.Name("__all__"), method), args=arguments)):
                adds = method in ("append", "extend")
                self.exports_are_known &= adds
                for argument in arguments if adds else ():
                    self.export(argument)
            case _ if type(node).__name__ == "TypeAlias":  # ast.TypeAlias is new in 3.12
                self.bind(node.name.id, node, at)  # type: ignore[attr-defined] # so mypy does not know it

    def import_from(self, node: ast.ImportFrom, at: Position) -> None:
        module = node.module or ""
        if node.level:
            package = self.source.name if self.source.is_package else self.source.name.rpartition(".")[0]
            relative = "." * node.level + module
            try:
                module = importlib.util.resolve_name(relative, package)
            except ImportError:
                module = relative  # beyond the top-level package: it is reported when it is looked up
        for alias in node.names:
            name, target = alias.asname or alias.name, f"{module}.{alias.name}"
            if name == "*":
                self.stars.append(module)
            elif at.around or target != f"{self.source.name}.{name}":  # else it is a submodule, under its own name
                self.bind(name, node, at, target)

    def assign(self, node: ast.Assign | ast.AnnAssign, targets: Sequence[ast.expr], at: Position) -> None:
        for target in targets:
            if not at.around:
                self.variables.update(_names_in(target))
            if isinstance(target, ast.Name):
                self.bind(target.id, node, at)
                if _is_all(target) and node.value is not None and not at.around:
                    self.times_exported += 1
                    self.exports = []
                    self.export(node.value)

    def bind_targets(self, node: ast.AST, at: Position) -> None:
        """Bind the names that a statement of the module binds otherwise than by an import, a definition or an assignment."""
        perhaps = replace(at, conditional=True)
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self.unpack(target, value, at)
            case ast.AugAssign(target=target):
                self.bind_stored(target, at)
            case ast.For(target=target) | ast.AsyncFor(target=target):
                self.bind_stored(target, perhaps)
            case ast.With(items=items) | ast.AsyncWith(items=items):
                for item in items:
                    self.bind_stored(item.optional_vars, at)
            case ast.match_case(pattern=pattern):
                for part in ast.walk(pattern):
                    name = getattr(part, "rest" if isinstance(part, ast.MatchMapping) else "name", None)
                    if name is not None:
                        self.bind(name, part, perhaps)
            case ast.FunctionDef() | ast.AsyncFunctionDef() if self.has_globals:
                for part in ast.walk(node):
                    for name in part.names if isinstance(part, ast.Global) else ():
                        self.bind(name, part, perhaps)
        if self.has_walrus:
            for part in _own_expressions(node):
                if isinstance(part, ast.NamedExpr):
                    self.bind(part.target.id, part, perhaps)

    def unpack(self, target: ast.expr, value: ast.expr, at: Position) -> None:
        """Bind the names in a tuple of targets, each to its own part of the value where that is a tuple, too."""
        if not isinstance(target, ast.Tuple | ast.List):
            return
        match value:
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                pass
            case (
                ast.ListComp(elt=part)
                | ast.GeneratorExp(elt=part)
                | ast.Call(ast.Name("list" | "tuple"), [ast.GeneratorExp(elt=part) | ast.ListComp(elt=part)])
            ):
                parts = [part] * len(target.elts)
            case _:
                parts = []
        if len(parts) != len(target.elts) or any(isinstance(each, ast.Starred) for each in (*parts, *target.elts)):
            self.bind_stored(target, at)
            return
        for name, part in zip(target.elts, parts, strict=True):
            if isinstance(name, ast.Name):
                self.bind(name.id, ast.copy_location(ast.Assign([name], part), target), at)
            else:
                self.unpack(name, part, at)

    def bind_stored(self, target: ast.expr | None, at: Position) -> None:
        """Bind the names in ``target`` to what only running the module tells: their node is the name itself."""
        for node in ast.walk(target) if target is not None else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id != "__all__":
                self.bind(node.id, node, at)

    def note_dynamic(self, node: ast.AST) -> None:
        """Note what makes names at run time, also in a function, which the module may call."""
        if not self.is_dynamic or isinstance(node, ast.ClassDef):
            return
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts, in_function = [node, *_own_expressions(node)], False
            self.gives_namespace |= any(
                isinstance(part, ast.Call) and any(_namespace(each, in_function=True) for each in part.args)
                for part in parts
            )
        elif node.name == "__getattr__":
            self.dynamic.append(("__getattr__", node.lineno))
            return
        else:
            parts, in_function = list(ast.walk(node)), True
        found = ((_makes_names(part, in_function=in_function), part) for part in parts)
        self.dynamic += ((what, getattr(part, "lineno", 1)) for what, part in found if what)

    def attach(self, value: ast.expr, at: Position) -> None:
        """Bind what ``lazy_loader.attach(__name__, submod_attrs={"core": ["f"]})`` offers, as imports of these names."""
        if not isinstance(value, ast.Call) or self.full_path(dotted_name(value.func), at) != "lazy_loader.attach":
            return
        words = {word.arg: word.value for word in value.keywords}
        listed = words.get("submod_attrs", value.args[2] if len(value.args) > 2 else None)
        try:
            found: Mapping[str, Sequence[str]] = ast.literal_eval(listed) if listed is not None else {}
        except ValueError:
            self.dynamic.append(("lazy_loader.attach", value.lineno))
            return
        self.dynamic = [each for each in self.dynamic if each[0] != "__getattr__"]
        for module, names in found.items():
            aliases = [ast.alias(name, name) for name in names]
            statement = ast.ImportFrom(module, aliases, 1)
            self.import_from(ast.copy_location(statement, value), at)

    def export(self, value: ast.expr) -> None:
        """Add to ``__all__`` the names in ``value``; what is only known by running the module is left out."""
        todo = [value]
        while todo:
            match todo.pop():
                case ast.Constant(value=str(name)):
                    self.exports.append(name)
                case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                    todo += reversed(parts)
                case ast.BinOp(left=left, op=ast.Add(), right=right):
                    todo += (right, left)
                case ast.Starred(value=inner):
                    todo.append(inner)
                case ast.Call(func=ast.Name("list" | "set" | "sorted" | "tuple"), args=[inner]):
                    todo.append(inner)
                case other:
                    self.exports_everything |= _lists_namespace(other)
                    dotted = dotted_name(other)
                    # A module that no statement binds is a submodule, which the import of something in it has bound here.
                    path = self.full_path(dotted, Position()) or f"{self.source.name}.{dotted}"
                    if path.endswith(".__all__"):
                        self.exports.append(path)
                    else:
                        self.exports_are_known = False

    def bind(
        self, name: str, node: ast.AST, at: Position, target: str = "", decorators: frozenset[str] = frozenset()
    ) -> None:
        if at.is_dead:
            return
        bindings = self.scopes.setdefault(at.owner, {}).setdefault(name, [])
        if (at.owner, name) in self.deleted:
            self.deleted.remove((at.owner, name))
            bindings.clear()
        bindings.append(Binding(name, node, at, target, decorators))

    def decorators(self, nodes: Sequence[ast.expr], at: Position) -> Iterator[str]:
        for node in nodes:
            dotted = dotted_name(node.func if isinstance(node, ast.Call) else node)
            yield self.full_path(dotted, at) or dotted

    def full_path(self, dotted: str, at: Position) -> str | None:
        """Return the full path that a dotted name stands for at this point; None if no statement so far binds it."""
        head, dot, rest = dotted.partition(".")
        for scope in (at.owner, None):
            if bindings := self.scopes.get(scope, {}).get(head):
                return (bindings[-1].target or f"{self.source.name}.{head}") + dot + rest
        return next((f"{star}.{dotted}" for star in reversed(self.stars) if f"{star}.{head}" in STARRED), None)


_DYNAMIC = (b"__getattr__", b"globals()", b"vars()", b"locals()", b"exec(", b"modules[__name__]")
_READERS = ("dict", "eval", "len", "list", "print", "set", "sorted", "tuple")
_NAMESPACES = ("globals", "locals", "vars")


def _makes_names(node: ast.AST, *, in_function: bool) -> str:
    """Return what makes names of the module at run time in this statement or expression; ``""`` for any other."""
    match node:
        case ast.Subscript(value=value, ctx=ast.Store()):
            if _is_own_module(node):
                return "sys.modules[__name__]"
            return _namespace(value, in_function=in_function)
        case ast.Attribute(value=value, ctx=ast.Store()) if _is_own_module(value):
            return "sys.modules[__name__]"
        case ast.Call(func=ast.Attribute(value=value, attr="update" | "setdefault")):
            return _namespace(value, in_function=in_function)
        case ast.Call(func=ast.Name("exec"), args=[_, *spaces]):
            return "exec" if not in_function or any(_namespace(each, in_function=True) for each in spaces) else ""
        case ast.Call(func=ast.Name("setattr"), args=[module, *_]) if _is_own_module(module):
            return "setattr"
        case ast.Name(id="__getattr__", ctx=ast.Store()):
            return "__getattr__"
        case ast.Call(func=func, args=arguments) if not in_function and dotted_name(func) not in _READERS:
            return next(
                (f"{dotted_name(func)}(globals())" for each in arguments if _namespace(each, in_function=True)), ""
            )
    return ""


def _namespace(node: ast.expr, *, in_function: bool) -> str:
    match node:
        case ast.Call(func=ast.Name(name), args=[], keywords=[]) if name in _NAMESPACES[: 1 if in_function else 3]:
            return f"{name}()"
        case ast.Attribute(value=value, attr="__dict__") if _is_own_module(value):
            return "sys.modules[__name__]"
    return ""


def _is_own_module(node: ast.expr) -> bool:
    """Return whether ``node`` is ``sys.modules[__name__]``."""
    return (
        isinstance(node, ast.Subscript)
        and dotted_name(node.value) in ("sys.modules", "modules")
        and isinstance(node.slice, ast.Name)
        and node.slice.id == "__name__"
    )


def _lists_namespace(node: ast.expr) -> bool:
    """Return whether the names of the module itself are asked for in ``node``."""
    return any(
        isinstance(part, ast.Call) and not part.args and dotted_name(part.func) in ("dir", *_NAMESPACES)
        for part in ast.walk(node)
    )


def _own_expressions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what the expressions of a statement consist of, without those of statements and functions in it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    todo: list[ast.AST] = [node]
    while todo:
        part = todo.pop()
        if part is not node:
            yield part
        if not isinstance(part, ast.Lambda):
            children = ast.iter_child_nodes(part)
            todo += [child for child in children if isinstance(child, ast.expr | ast.keyword | ast.withitem)]


def _is_all(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "__all__"


def _names_in(target: ast.expr) -> Iterator[str]:
    """Yield the names in a target, also in tuples."""
    return (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
