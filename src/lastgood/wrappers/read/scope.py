"""Resolution of names in annotations, bases and decorators, from the scope in which they stand, without running anything."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from lastgood.wrappers.ir import Declared, Expression, Type, Variable
from lastgood.wrappers.read.outline import Binding, Outline
from lastgood.wrappers.read.project import Project
from lastgood.wrappers.read.well_known import STARRED
from lastgood.wrappers.types.annotations import ANY_STR, Undeclarable, dotted_name, read_variable, unquoted
from lastgood.wrappers.types.known import is_known, kind_of_foreign, known

__all__ = [
    "ENUMS",
    "NAMEDTUPLE",
    "NAMED_TUPLES",
    "TYPED_DICTS",
    "Place",
    "Scope",
    "class_parameters",
    "class_scope",
    "plain_path",
]

ENUMS = {f"enum.{name}": name for name in ("Enum", "Flag", "IntEnum", "IntFlag", "ReprEnum", "StrEnum")}
NAMED_TUPLES = frozenset(("typing.NamedTuple", "typing_extensions.NamedTuple"))
NAMEDTUPLE = "collections.namedtuple"
TYPED_DICTS = frozenset(("typing.TypedDict", "typing_extensions.TypedDict"))
_MAKERS = {*ENUMS, *NAMED_TUPLES, NAMEDTUPLE, *TYPED_DICTS}
_NEW_TYPES = frozenset(("typing.NewType", "typing_extensions.NewType"))


_MAX_NAMES = 50
"""The longest chain of names, each of which stands for something with the next one in it, that is followed."""


class Place(Struct, frozen=True, eq=False):
    """The place where a class is created: a class statement, or an assigned call (``namedtuple("Point", "x y")``).

    ``name`` is the qualified name of the class in its module.
    """

    outline: Outline
    binding: Binding
    name: str

    @property
    def owner(self) -> ast.ClassDef | None:
        return self.binding.at.owner

    @property
    def declared(self) -> Declared:
        return Declared(self.outline.source.name, self.name)


class Scope(Struct, frozen=True, eq=False):
    """The scope of a name: a module, or the class ``owner`` in it.

    ``type_parameters`` are the type parameters (:pep:`695`) in scope. ``in_fields``: the name is in the annotation or default
    of a field, where it does not refer to other fields (``date: date | None = None``). ``in_types``: it is in an annotation, which
    may name what only type checkers import. ``before``: it is in the head of this class statement, which has bound no name yet.
    """

    project: Project
    at: Outline
    owner: ast.ClassDef | None = None
    type_parameters: Mapping[str, ast.AST] = field(default_factory=dict)
    in_fields: bool = False
    in_types: bool = False
    seen: frozenset[tuple[str, str]] = field(default=frozenset())
    before: Binding | None = None

    @property
    def module(self) -> str:
        """The name of the module."""
        return self.at.source.name

    @property
    def aliases(self) -> dict[tuple[str, ast.AST], tuple[Type, tuple[str, ...], int]]:
        """The meaning of each alias that was read; see :class:`.Namespace`."""
        return self.project.aliases

    def circles(self) -> int:
        """Return how many names have been left unresolved so far since they lie inside of what they stand for."""
        return self.project.circles

    def resolve(self, dotted: str) -> str | Declared | Undeclarable | tuple[Scope, ast.AST] | None:
        """Resolve ``dotted`` as a type.

        Return the full path of a known type; a type to be declared, or why it cannot be; the scope and value of a type alias
        or type variable; or None.
        """
        found = replace(self, in_types=True).lookup(dotted)
        if isinstance(found, Place):
            judged = self.project.judge(found)
            if judged is None:
                self.project.ordinary[found.declared] = None
                return _base_that_crosses(found, self.project)
            return judged
        return None if isinstance(found, str) and not is_known(found) else found

    def parameters(self, declared: Declared) -> tuple[Variable, ...]:
        """Return the type parameters of the class ``declared``; none if one of them is no ``TypeVar``."""
        key = (declared.module, f"{declared.name}[]")
        at = None if key in self.seen else self.project.outline(declared.module)
        place = None if at is None else Scope(self.project, at, seen=self.seen | {key}).lookup(declared.name)
        return class_parameters(place, self.project, self.seen | {key}) if isinstance(place, Place) else ()

    def kind(self, dotted: str) -> str:
        """Return what ``dotted`` is if it does not resolve to a type; see :meth:`.Namespace.kind`."""
        found = replace(self, in_types=True).lookup(dotted)
        if isinstance(found, tuple):
            scope, value = found
            named = value.value if isinstance(value, ast.Subscript) else value
            head = dotted_name(named) if isinstance(named, ast.expr) else ""
            return scope.kind(head) if head else "a name that stands for no known type"
        if isinstance(found, Place):
            return "a plain class"
        return kind_of_foreign(found) if isinstance(found, str) else "a name that stands for no known type"

    def metadata(self, node: ast.expr) -> Expression | None:
        """Return metadata of an ``Annotated`` type as wrappers keep it; None if they do not."""
        return self.project.metadata(replace(self, in_types=True), node)

    @property
    def keeps_metadata(self) -> bool:
        """True if wrappers keep any metadata."""
        return self.project.keeps_metadata

    def lookup(self, dotted: str) -> str | Place | tuple[Scope, ast.AST] | None:
        """Resolve ``dotted``: to a full path outside the local modules, a class, or the scope and value of an assignment.

        A type parameter, or a ``type`` statement, stands for its value. A class that a stub names is that of the source.
        """
        found = self._lookup(dotted)
        if not isinstance(found, Place) or not found.outline.is_stub:
            return found
        at = self.project.outline(found.declared.module)
        there = None if at is None else Scope(self.project, at, in_types=self.in_types).lookup(found.name)
        return there if isinstance(there, Place) else None

    def _lookup(self, dotted: str) -> str | Place | tuple[Scope, ast.AST] | None:
        head, _, rest = dotted.partition(".")
        key = (self.at.source.name, dotted)
        if not head or key in self.seen or len(self.seen) >= _MAX_NAMES:
            self.project.circles += bool(head)
            return None
        inner = replace(self, seen=self.seen | {key}, before=None)
        if head in self.type_parameters:
            return None if rest else (inner, self.type_parameters[head])
        if self.owner is not None and (bindings := self._bindings(self.owner, head)):
            first = _class_or_none(bindings)[0]
            if first.target or first.is_class or isinstance(inner._made(first), Place):
                return inner._bound(bindings, rest)
            if not self.in_fields or not (first.is_variable or first.is_property):
                return None
        if bindings := self._bindings(None, head):
            return inner._bound(bindings, rest)
        for star in reversed(self.at.stars):
            if is_known(f"{star}.{dotted}"):
                return f"{star}.{dotted}"
            origin = self.project.outline(star)
            if origin is not None and (head in origin.names() or origin.stars):
                found = inner._elsewhere(origin).lookup(dotted)
                if head in origin.names() or found not in (None, f"builtins.{dotted}"):
                    return found  # else another "*" may bring it
            if origin is None and f"{star}.{dotted}" in STARRED:
                return f"{star}.{dotted}"
        if rest and self.at.source.is_package and self.project.has(f"{self.module}.{head}"):
            return inner._imported([f"{self.module}.{dotted}"])  # a submodule, which some import has bound here
        return f"builtins.{dotted}"

    def base(self, node: ast.expr, of: Binding | None = None) -> str | Place | None:
        """Resolve a base of the class ``of``, through aliases: to a full path outside the local modules, or to a class."""
        found: str | Place | tuple[Scope, ast.AST] | None = (replace(self, before=of), node)
        while isinstance(found, tuple):
            scope, value = found
            named = value.value if isinstance(value, ast.Subscript) else value
            found = scope.lookup(dotted_name(named)) if isinstance(named, ast.expr) else None
        return found

    def _bindings(self, owner: ast.ClassDef | None, name: str) -> Sequence[Binding]:
        bindings = self.at.names(owner).get(name, ())
        if self.before is None or self.before not in bindings:
            return bindings
        return bindings[: bindings.index(self.before)]

    def _bound(self, bindings: Sequence[Binding], rest: str) -> str | Place | tuple[Scope, ast.AST] | None:
        bindings = self._last_alone(self._relevant(bindings))
        paths = [f"{each.target}.{rest}" if rest else each.target for each in bindings if each.target]
        if len(paths) == len(bindings):
            known = [path for path in paths if is_known(path)]
            return known[0] if known else self._imported(paths)
        # try: from enum import StrEnum, except ImportError: class StrEnum(str, Enum): ...
        standard = [path for path in paths if path in _MAKERS]
        if standard:
            return standard[0]
        bindings = _class_or_none(bindings)
        if len(bindings) > 1:
            return None
        if bindings[0].is_class:
            return self._class(bindings[0], rest)
        return None if rest else self._assigned(bindings[0])

    def _last_alone(self, bindings: Sequence[Binding]) -> Sequence[Binding]:
        """Return the last alone if it is a class that takes the name of its base: ``class User(User)``, below an import.

        All of ``bindings`` are returned if something between the two may mean the first.
        """
        first, last = bindings[0], bindings[-1]
        if len(bindings) != 2 or not last.is_class or last.at.conditional or not (first.target or first.is_class):
            return bindings
        if last.name not in map(dotted_name, getattr(last.node, "bases", ())):
            return bindings
        nodes = (each.node for found in self.at.names(last.at.owner).values() for each in found if not each.target)
        between = (each for each in nodes if first.node.lineno < each.lineno < last.node.lineno)
        return bindings if any(_mentions(each, last.name) for each in between) else [last]

    def _relevant(self, bindings: Sequence[Binding]) -> Sequence[Binding]:
        """Return those of ``bindings`` that count, if only some of them are under ``if TYPE_CHECKING``.

        In an annotation, an import there counts too: the class exists, in its own module. A variable in the ``else`` branch
        (``Cat = Any``) only stands for it.
        """
        runs = [each for each in bindings if not each.at.type_only]
        if not runs or len(runs) == len(bindings):
            return bindings
        imports = [each for each in bindings if each.at.type_only and each.target] if self.in_types else []
        if imports and all(each.is_variable for each in runs):
            return imports
        return [*runs, *imports] if all(each.target for each in runs) else runs

    def _class(self, binding: Binding, rest: str) -> Place | None:
        while rest:
            head, _, rest = rest.partition(".")
            bindings = _class_or_none(self.at.names(binding.node).get(head, []))
            if len(bindings) != 1 or not bindings[0].is_class:
                return self._made(bindings[0]) if len(bindings) == 1 and not rest else None
            binding = bindings[0]
        return Place(self.at, binding, binding.qualified)

    def _made(self, binding: Binding) -> Place | None:
        """Return the class that an assignment makes: ``Point = namedtuple("Point", "x y")``."""
        match binding.node:
            case ast.Assign(targets=[ast.Name()], value=ast.Call(func=func)):
                maker = self._elsewhere(self.at).lookup(dotted_name(func))
                return Place(self.at, binding, binding.qualified) if maker in _MAKERS else None
        return None

    def _assigned(self, binding: Binding) -> Place | tuple[Scope, ast.AST] | None:
        if (made := self._made(binding)) is not None:
            return made
        here = self._elsewhere(self.at)
        match binding.node:
            case ast.Assign(targets=[ast.Name()], value=ast.Call(func=func, args=[_, base])) if (
                here.lookup(dotted_name(func)) in _NEW_TYPES
            ):
                return here, base
            case ast.Assign(targets=[ast.Name()], value=value):
                return here, value
            case ast.AnnAssign(annotation=annotation, value=ast.expr() as value):
                is_alias = self.resolve(ast.unparse(annotation)) in ("typing.TypeAlias", "typing_extensions.TypeAlias")
                return (here, unquoted(value) if self.in_types else value) if is_alias else None
            case node if type(node).__name__ == "TypeAlias":  # ast.TypeAlias is new in 3.12
                return replace(here, type_parameters=binding.type_parameters), node
        return None

    def _imported(self, paths: Iterable[str]) -> str | Place | tuple[Scope, ast.AST] | None:
        outside = None
        for path in paths:
            parts = path.split(".")
            for cut in range(len(parts) - 1, 0, -1):
                module = ".".join(parts[:cut])
                origin = self.project.outline(module)
                if origin is not None:
                    if any(at == module and seen.partition(".")[0] == parts[cut] for at, seen in self.seen):
                        break  # "from .core import f as core", where the submodule "core" has no source
                    found = self._in_module(origin, parts[cut:])
                    if found is None and self.in_types and (stub := self.project.stub(module)) is not None:
                        found = self._in_module(stub, parts[cut:])
                    if found is not None:
                        return found
                    break
                if self.project.has(module):
                    break
            else:
                outside = outside or path
        return outside

    def _in_module(self, at: Outline, parts: Sequence[str]) -> str | Place | tuple[Scope, ast.AST] | None:
        """Resolve what is imported from the module ``at``. A name that it does not bind is no builtin there."""
        dotted = ".".join(parts)
        found = self._elsewhere(at).lookup(dotted)
        return None if found == f"builtins.{dotted}" else found

    def _elsewhere(self, at: Outline) -> Scope:
        return Scope(self.project, at, in_types=self.in_types, seen=self.seen)


def _mentions(node: ast.AST, name: str) -> bool:
    parts = (getattr(each, "id", getattr(each, "value", None)) for each in ast.walk(node))
    return any(isinstance(each, str) and name in each for each in parts)


def _class_or_none(bindings: Sequence[Binding]) -> Sequence[Binding]:
    """Return the class alone where a name is bound to a class and, in other branches, to None, which is no type of its own."""
    others = [each for each in bindings if not (each.is_variable and _is_none(each.node.value))]
    if len(others) != 1 or len(others) == len(bindings):
        return bindings
    match others[0].node:
        case ast.ClassDef() | ast.Assign(targets=[ast.Name()], value=ast.Call()):
            after = bindings[bindings.index(others[0]) + 1 :]
            return others if all(each.at.conditional for each in after) else bindings
    return bindings


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


_CROSSING = frozenset(
    f"builtins.{name}" for name in ("bytes", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple")
)


def _base_that_crosses(place: Place, project: Project) -> tuple[Scope, ast.AST] | None:
    """Return the base as which instances of an ordinary class cross: that of ``class Name(str)``; None if there is none."""
    known = project.crossing
    # Bases first, so that each class is asked about once, however long a chain they make. A class below itself has no base.
    todo = [(place, False)]
    while todo:
        each, is_next = todo.pop()
        if is_next:
            known[each.declared] = _own_base_that_crosses(each, project)
        elif each.declared not in known:
            known[each.declared] = None
            inside = class_scope(each, project)
            bases = [inside.base(base, each.binding) for base in getattr(each.binding.node, "bases", ())]
            todo += [(each, True), *((base, False) for base in bases if isinstance(base, Place))]
    return known[place.declared]


def _own_base_that_crosses(place: Place, project: Project) -> tuple[Scope, ast.AST] | None:
    node = place.binding.node
    inside = replace(class_scope(place, project), in_types=True)
    for base in node.bases if isinstance(node, ast.ClassDef) else ():
        found = inside.base(base, place.binding)
        crosses = inside.resolve(dotted_name(base.value if isinstance(base, ast.Subscript) else base))
        if (isinstance(found, str) and plain_path(found) in _CROSSING) or (
            isinstance(found, Place) and isinstance(crosses, tuple)
        ):
            return inside, base
    return None


def plain_path(path: str) -> str:
    """Return the path of the builtin type that an alias of :mod:`typing` stands for; any other path unchanged."""
    ref = known(path) if is_known(path) else None
    return path if ref is None else f"{ref.module}.{ref.name}"


def class_scope(place: Place, project: Project, seen: frozenset[tuple[str, str]] = frozenset()) -> Scope:
    """Return the scope of the bases of the class at ``place``."""
    return Scope(project, place.outline, place.owner, place.binding.type_parameters, seen=seen)


_GENERIC = frozenset(
    f"{module}.{name}" for module in ("typing", "typing_extensions") for name in ("Generic", "Protocol")
)


_ANY_STRS: Mapping[str | Place | None, Variable] = {
    f"{module}.AnyStr": ANY_STR for module in ("typing", "typing_extensions")
}


def class_parameters(
    place: Place, project: Project, seen: frozenset[tuple[str, str]] = frozenset()
) -> tuple[Variable, ...]:
    """Return the type parameters of the class at ``place``, in order; none if one of them is no ``TypeVar``.

    Without a list of them (:pep:`695`, ``Generic[...]``, ``Protocol[...]``), they are the type variables in its bases.
    """
    node = place.binding.node
    if not isinstance(node, ast.ClassDef):
        return ()
    scope = class_scope(place, project, seen)
    listed = getattr(node, "type_params", ())
    if listed:
        made = [read_variable(each, scope) for each in listed]
        return tuple(each for each in made if each is not None) if None not in made else ()
    bases = [base for base in node.bases if isinstance(base, ast.Subscript)]
    explicit = [base.slice for base in bases if scope.lookup(dotted_name(base.value)) in _GENERIC]
    found: dict[Variable, None] = {}
    for name in (dotted_name(each) for part in explicit or (base.slice for base in bases) for each in _names(part)):
        value = scope.lookup(name)
        variable = read_variable(value[1], value[0]) if isinstance(value, tuple) else _ANY_STRS.get(value)
        if variable is not None:
            found[variable] = None
        elif explicit:
            return ()
    return tuple(found)


def _names(node: ast.expr) -> Iterator[ast.expr]:
    """Yield every dotted name in a type, in order."""
    node = unquoted(node)
    if isinstance(node, ast.Name | ast.Attribute):
        yield node
        return
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.expr):
            yield from _names(part)
