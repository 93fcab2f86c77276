"""Resolution of names across modules, through imports, ``__all__``, star imports and assignments, without running any."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from lastgood.errors import ModuleFailure
from lastgood.sources.memo import Answer, Memo, Query
from lastgood.sources.parsing import ModuleSource, read, stub_of, stubbed
from lastgood.wrappers.ir import Declared, Expression, Type, Variable
from lastgood.wrappers.read.outline import METHODS, Binding, Outline, outline
from lastgood.wrappers.types.annotations import Undeclarable, dotted_name

if TYPE_CHECKING:
    from lastgood.wrappers.read.scope import Place, Scope

__all__ = ["MAX_NAMES", "Located", "Missing", "Outlines", "Project", "Value", "settle"]


MAX_NAMES = 20
"""How many names, each bound to the next one, are followed."""
_MEMORY_OF_AN_OUTLINE = 60  # bytes, for each byte of source
_OUTLINE: Query[Outline | ModuleFailure] = Query("outline")
_CACHES = frozenset(("cache", "functools.cache", "functools.lru_cache", "lru_cache"))


class Located(Struct, frozen=True):
    """The definition of a public class, or of a function in each of its conditional variants.

    ``overloads`` are its ``@overload`` definitions. ``method`` is ``"staticmethod"`` or ``"classmethod"`` if an assignment such
    as ``name = staticmethod(name)`` makes it one. ``applied`` are the decorators of other such assignments, in their order, each
    with the module that applies it.

    ``of`` is the class of a method that is bound to an instance. ``given`` are arguments that are given already, by a
    ``functools.partial``: their number, and those given by keyword; ``self`` of a bound method counts. ``offered`` is the module
    that offers it, and its path there.
    """

    outline: Outline
    bindings: tuple[Binding, ...]
    overloads: tuple[Binding, ...] = ()
    method: str = ""
    of: Place | None = None
    given: tuple[int, tuple[ast.keyword, ...]] = (0, ())
    offered: tuple[str, str] | None = None
    applied: tuple[tuple[ast.expr, Outline], ...] = ()

    @property
    def is_class(self) -> bool:
        """True if it is a class."""
        return self.bindings[0].is_class

    @property
    def methods(self) -> set[str]:
        """Those of ``"staticmethod"`` and ``"classmethod"`` that it is in one variant; none for a function or instance method."""
        return {self.method, *(each for binding in self.bindings for each in binding.decorators)} & METHODS


class Missing(Struct, frozen=True):
    """A name that should be a function or a class, but cannot be resolved. ``reason`` is a clause that says why.

    ``is_possible``: the running module may have a function of that name.
    """

    reason: str
    is_possible: bool = False


class Value(Struct, frozen=True):
    """A name that is neither a definition nor an import: the bindings, in the module ``outline``, that give it a value.

    What such a value is, :mod:`lastgood.wrappers.read.objects` finds out.
    """

    outline: Outline
    bindings: tuple[Binding, ...]


class Outlines:
    """The sources of all modules, as of one run, and their outlines, read on demand."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._find: Callable[[str], ModuleSource | None] = lambda _: None
        self._sources: dict[str, ModuleSource | None] = {}

    def begin_run(self, find: Callable[[str], ModuleSource | None]) -> None:
        """Begin a new run, in which ``find`` returns the source of a module, or None. It is called once per module."""
        self._find = find
        self._sources.clear()

    def source(self, name: str) -> ModuleSource | None:
        """Return the source of module ``name``; None if it is not available."""
        if name not in self._sources:
            self._sources[name] = self._find(name) if _is_importable(stubbed(name)) else None
        return self._sources[name]

    def state(self, name: str) -> str:
        """Return the state of module ``name`` (see :attr:`.ModuleSource.state`); ``""`` if it has no source."""
        source = self.source(name)
        return "" if source is None else source.state

    def outline(self, name: str) -> Outline | ModuleFailure | None:
        """Return the outline of module ``name``, or its failure if it is broken; None if it has no source."""
        source = self.source(name)
        if source is None:
            return None
        size = _MEMORY_OF_AN_OUTLINE * len(source.data)
        return self._memo.ask(_OUTLINE, (source,), lambda: Answer(_read_outline(source)), size).found


def _read_outline(source: ModuleSource) -> Outline | ModuleFailure:
    tree = read(source)
    # The names in a stub are those of its module.
    return tree if isinstance(tree, ModuleFailure) else outline(replace(source, name=stubbed(source.name)), tree)


def _is_importable(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


class Project:
    """The modules of a project during one query, which extracts one module or declares one type.

    ``judge`` says whether a class is declared by its fields, or why it cannot be (None: it is an ordinary class).
    ``consulted`` records the modules that the answer depends on, including missing ones, and ``failures`` the broken ones
    among them. ``ordinary`` records the ordinary classes that annotations name. ``aliases`` and ``circles`` are notes of those
    who read annotations (see :class:`.annotations.Namespace`), ``arguments_above`` what :mod:`.types.generics` has found out.
    ``lineages`` and ``members`` are those of classes (see :mod:`.read.lineage`), ``crossing`` the base as which instances of a
    class cross (see :meth:`.Scope.resolve`).
    """

    def __init__(
        self,
        outlines: Outlines,
        judge: Callable[[Project, Place], Declared | Undeclarable | None],
        metadata: Callable[[Scope, ast.expr], Expression | None] | None = None,
    ) -> None:
        self._judge = judge
        self._metadata = metadata
        self.failures: dict[str, ModuleFailure] = {}
        self.consulted: set[str] = set()
        self.ordinary: dict[Declared, None] = {}
        self.aliases: dict[tuple[str, ast.AST], tuple[Type, tuple[str, ...], int]] = {}
        self.circles = 0
        self.lineages: dict[ast.AST, Sequence[Place]] = {}
        self.members: dict[ast.AST, Mapping[str, Located | Missing | Value]] = {}
        self.crossing: dict[Declared, tuple[Scope, ast.AST] | None] = {}
        self.arguments_above: dict[Declared, Mapping[Declared, Mapping[Variable, Type]]] = {}
        self._outlines = outlines
        self._exported: dict[str, dict[str, None]] = {}

    def judge(self, place: Place) -> Declared | Undeclarable | None:
        """Return how the class at ``place`` is declared as a type, or why it cannot be; None for an ordinary class."""
        return self._judge(self, place)

    @property
    def keeps_metadata(self) -> bool:
        """Whether wrappers keep metadata of ``Annotated`` types."""
        return self._metadata is not None

    def metadata(self, scope: Scope, node: ast.expr) -> Expression | None:
        """Return metadata of an ``Annotated`` type as wrappers keep it; None if they do not."""
        return None if self._metadata is None else self._metadata(scope, node)

    def has(self, name: str) -> bool:
        """Return whether the source of module ``name`` is available, broken or not."""
        self.consulted.add(name)
        return self._outlines.source(name) is not None

    def outline(self, name: str) -> Outline | None:
        """Return the outline of module ``name``; None if its source is not available or broken."""
        self.consulted.add(name)
        found = self._outlines.outline(name)
        if isinstance(found, ModuleFailure):
            self.failures[name] = found
            return None
        return found

    def stub(self, name: str) -> Outline | None:
        """Return the outline of the stub of module ``name``; None if it has none, or a broken one."""
        return self.outline(stub_of(name))

    def locate(
        self, at: Outline, name: str, seen: frozenset[tuple[str, str]] = frozenset(), *, inside: bool = False
    ) -> Located | Missing | Value | None:
        """Resolve ``name`` in the module ``at`` to a function, a class or a value; None if it is something else, such as a module.

        ``inside``: the name stands in a statement of the module, where it may be one that the module deletes later.
        """
        key = (at.source.name, name)
        if key in seen:
            return Missing("its imports are circular")
        if len(seen) >= MAX_NAMES:
            return Missing(f"it is another name of another name, more than {MAX_NAMES} times over")
        seen |= {key}
        settled = settle(at, None, name, even_deleted=inside)
        if isinstance(settled, Located | Missing):
            return settled
        if not settled:
            return self._locate_unbound(at, name, seen)
        found = [self._follow(at, binding, seen) for binding in settled if not binding.is_class]
        found += [
            Located(at, (binding,)) for binding in settled if binding.is_class
        ]  # it may be replaced by the others
        for kind in (Located, Value):
            if (first := next((each for each in found if isinstance(each, kind)), None)) is not None:
                values = [each for each in found if isinstance(each, Value) and each.outline is first.outline]
                is_value = isinstance(first, Value)
                return Value(first.outline, tuple(b for each in values for b in each.bindings)) if is_value else first
        return found[-1]

    def _locate_unbound(
        self, at: Outline, name: str, seen: frozenset[tuple[str, str]]
    ) -> Located | Missing | Value | None:
        unknown = []
        for star in reversed(at.stars):
            origin = self.outline(star)
            if origin is None:
                unknown.append(star)
            elif name in self.exported(origin) or (origin.exports is None and name in origin.names()):
                return self.locate(origin, name, seen)
        if name in at.variables or self.has(f"{at.source.name}.{name}"):
            return None  # a variable, or a submodule
        if unknown:
            return Missing(f"it may come from {unknown[0]!r}, whose source is not a local file", True)
        if at.dynamic:
            what, line = at.dynamic[0]
            return Missing(f"only running the module makes it ({what} at line {line})", True)
        return Missing("the module does not define it")

    def _follow(
        self, at: Outline, binding: Binding, seen: frozenset[tuple[str, str]]
    ) -> Located | Missing | Value | None:
        node = binding.node
        if isinstance(node, ast.ImportFrom):
            module, _, name = binding.target.rpartition(".")
            origin = self.outline(module)
            if origin is not None:
                return self.locate(origin, name, seen)
            if self.has(module) or self.has(binding.target):
                return None  # a broken module, which is reported as such, or a module, which is no function
            return Missing(f"it is imported from {module!r}, whose source is not a local file", True)
        if binding.target or type(node).__name__ == "TypeAlias":  # ast.TypeAlias is new in 3.12
            return None
        found: Located | Missing | Value | None = None
        match node.value if binding.is_variable else None:
            case ast.Name(id=other):
                found = self.locate(at, other, seen, inside=True)
            case ast.Call(func=func, args=[ast.Name(id=other)], keywords=[]) if ast.unparse(func) in _CACHES:
                found = self.locate(at, other, seen, inside=True)
            case ast.Attribute() as value:
                found = self._attribute(at, dotted_name(value), seen)
        is_found = isinstance(found, Located) or (isinstance(found, Value) and isinstance(node.value, ast.Name))
        return found if is_found else Value(at, (binding,))

    def _attribute(self, at: Outline, dotted: str, seen: frozenset[tuple[str, str]]) -> Located | None:
        """Resolve ``dotted`` to a function or class of another module, or to a static or class method."""
        head, _, rest = dotted.partition(".")
        binding = next(reversed(at.names().get(head, [])), None)
        if binding is not None and binding.is_class:
            return self._inside(self.locate(at, head, seen), rest)
        if binding is not None and binding.target:
            parts = f"{binding.target}.{rest}".split(".")
            for cut in range(len(parts) - 1, 0, -1):
                origin = self.outline(".".join(parts[:cut]))
                if origin is not None:
                    return self._inside(self.locate(origin, parts[cut], seen), ".".join(parts[cut + 1 :]))
        return None

    def _inside(self, found: Located | Missing | Value | None, path: str) -> Located | None:
        """Resolve ``path`` inside the class ``found``. An empty path means ``found`` itself."""
        if not isinstance(found, Located) or not path:
            return found if isinstance(found, Located) else None
        if not found.is_class:
            return None
        name, _, rest = path.partition(".")
        inner = settle(found.outline, found.bindings[0].node, name)
        if not isinstance(inner, Located):
            return None
        return self._inside(inner, rest) if inner.is_class or inner.methods else None

    def exported(self, at: Outline, _seen: frozenset[str] = frozenset()) -> dict[str, None]:
        """Return the public names of a module, in order.

        With an ``__all__``, these are the names in it. Otherwise they are the names that it defines, imports ``as`` the same
        name or by ``*``, and in a package's ``__init__`` imports from local modules (as type checkers do, :pep:`484`).
        """
        if not _seen and at.source.name in self._exported:
            return self._exported[at.source.name]
        names = self._collect(at, _seen | {at.source.name})
        return names if _seen else self._exported.setdefault(at.source.name, names)

    def _collect(self, at: Outline, seen: frozenset[str]) -> dict[str, None]:
        listed, is_whole = self._listed(at, seen)
        if is_whole and not (listed and all(self._is_submodule(at, name) for name in listed)):
            order = {name: place for place, name in enumerate(at.names())}
            return dict.fromkeys(sorted(listed, key=lambda name: order.get(name, len(order))))
        names: dict[str, None] = {}
        for name, bindings in at.names().items():
            if (None, name) in at.deleted:
                continue
            # A type-only name also counts if something assigns to it, which may be a tuple or a loop in an else branch.
            runs = [binding for binding in bindings if not binding.at.type_only or name in at.variables]
            if any(self._is_public(at, binding) for binding in runs):
                names[name] = None
        for star in at.stars:
            origin = None if star in seen else self.outline(star)
            if origin is not None:
                names |= self.exported(origin, seen)
        return {name: None for name in (*names, *listed) if not name.startswith("_")}

    def _is_submodule(self, at: Outline, name: str) -> bool:
        bound = [binding.target for binding in at.names().get(name, ())]
        return all(map(self.has, bound)) if bound else self.has(f"{at.source.name}.{name}")

    def _listed(self, at: Outline, seen: frozenset[str]) -> tuple[list[str], bool]:
        """Return the public names in ``__all__``, including those of referenced modules, and whether the list is complete."""
        names: list[str] = []
        is_whole = at.exports is not None and at.exports_are_known
        for entry in at.exports or ():
            module = entry.removesuffix(".__all__")
            if module == entry:
                names.append(entry)
                continue
            origin = None if module in seen else self.outline(module)
            is_whole &= origin is not None
            names += [] if origin is None else self.exported(origin, seen)
        return [name for name in dict.fromkeys(names) if not name.startswith("_")], is_whole

    def _is_public(self, at: Outline, binding: Binding) -> bool:
        if _is_explicit(binding):
            return True
        if not (at.source.is_package or at.exports_everything) or not isinstance(binding.node, ast.ImportFrom):
            return False
        return binding.node.level > 0 or self.has(binding.target.rpartition(".")[0])  # it may be an extension module


def _is_explicit(binding: Binding) -> bool:
    """Return whether ``binding`` is a definition, or an explicit re-export, ``from x import y as y``."""
    if not binding.target:
        return True
    node, name = binding.node, binding.name
    return isinstance(node, ast.ImportFrom) and any(alias.asname == alias.name == name for alias in node.names)


def settle(
    at: Outline, owner: ast.ClassDef | None, name: str, *, even_deleted: bool = False
) -> Located | Missing | tuple[Binding, ...]:
    """Return what ``name`` is bound to after the scope has run: the last binding, and conditional ones that may replace it.

    If that is neither a function nor a class, the bindings themselves are returned; none if the name is not bound when the
    module runs.
    """
    if (owner, name) in at.deleted and not even_deleted:
        return Missing("the module deletes it again")
    everything = at.names(owner).get(name, [])
    overloads = tuple(binding for binding in everything if binding.is_overload)
    bindings = [binding for binding in everything if not binding.is_overload and not binding.at.type_only]
    if not bindings and owner is None and (at.is_lazy or at.dynamic):
        # A module with lazy imports in __getattr__, or by a helper, imports the same names under TYPE_CHECKING.
        bindings = [binding for binding in everything if binding.target]
    if overloads and not bindings:
        return Missing("it has overloads, but no implementation")
    method = ""
    applied: list[tuple[ast.expr, Outline]] = []
    while len(bindings) > 1 and (decorator := _decorates(bindings[-1], name)) is not None:
        if (text := ast.unparse(decorator)) in METHODS:
            method = method or text
        else:
            applied.insert(0, (decorator, at))
        bindings.pop()
    last = max((place for place, binding in enumerate(bindings) if not binding.at.conditional), default=0)
    alive = bindings[last:]
    functions = [binding for binding in alive if binding.is_function]
    is_assigned = bool(alive) and not alive[-1].is_class
    if not functions and (is_assigned or (not alive and name in at.variables)):
        # if TYPE_CHECKING: def f(...): ... else: f = <a value that is only known at run time>
        functions = [b for b in everything if b.at.type_only and b.is_function and not b.is_overload]
    if functions:
        return Located(at, tuple(functions), overloads, method, applied=tuple(applied))
    if alive and alive[-1].is_class:
        return Located(at, (alive[-1],))
    made = _method(at, owner, alive[-1]) if owner is not None and alive else None
    return made or tuple(alive)


def _method(at: Outline, owner: ast.ClassDef, binding: Binding) -> Located | None:
    """Return the function in ``name = staticmethod(function)`` or ``name = function`` in a class; None if there is none."""
    match binding.node:
        case ast.Assign(value=ast.Call(func=ast.Name(id=method), args=[ast.Name(id=other)], keywords=[])) if (
            method in METHODS
        ):
            scope = owner if other in at.names(owner) else None
        case ast.Assign(value=ast.Name(id=other)):
            method, scope = "", owner
        case _:
            return None
    bindings = at.names(scope).get(other, [])
    found = settle(at, scope, other) if bindings and bindings[-1].is_function else None
    return replace(found, method=method or found.method) if isinstance(found, Located) else None


def _decorates(binding: Binding, name: str) -> ast.expr | None:
    """Return the decorator in ``name = decorator(name)``, the form without ``@``; None for any other statement."""
    match binding.node:
        case ast.Assign(value=ast.Call(func=func, args=[ast.Name(id=other)], keywords=[])) if (
            other == name and not binding.at.conditional
        ):
            return func
    return None
