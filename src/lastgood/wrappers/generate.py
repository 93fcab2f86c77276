"""The pipeline from modules to files of the output directory. It reports every failure, not only the first.

Each step remembers its results, so that another run costs only what has changed:

1. ``extract``: what a module offers;
2. ``declaring``: how each type in its signatures is declared;
3. ``assemble``: what each file contains;
4. ``render``: the text of each file.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import groupby
from typing import TypeVar

import msgspec
from msgspec import Struct

from lastgood.config import Style
from lastgood.errors import ModuleFailure
from lastgood.sources.memo import Answer, Memo, Problem, Query
from lastgood.sources.parsing import LARGEST, ModuleSource, deepest_line, is_stub, stubbed
from lastgood.store.file_system import digest_of
from lastgood.store.header import with_header
from lastgood.wrappers import Wrapped
from lastgood.wrappers.ir import Class, Declared, Expression, Form, Function, Module, packed
from lastgood.wrappers.process.import_check import ImportCheck
from lastgood.wrappers.read.derivations import Derivations, Derived, derived_classes
from lastgood.wrappers.read.extract import Extract, extract
from lastgood.wrappers.read.project import Outlines, Project
from lastgood.wrappers.read.scope import Scope
from lastgood.wrappers.types.declaring import Declaration, Refusal, declare, used
from lastgood.wrappers.types.metadata import kept_metadata
from lastgood.wrappers.types.models import Models
from lastgood.wrappers.write.assemble import assemble, in_signatures, is_moved, relevant_types
from lastgood.wrappers.write.import_graph import Edges, ImportCycle, WrapperImports, imports_between
from lastgood.wrappers.write.render import render, render_package

__all__ = ["Pipeline"]

Find = Callable[[str], ModuleSource | None]
Failures = dict[str, ModuleFailure]
T = TypeVar("T")

# "found" is None if a module is broken.
_EXTRACT = Query("extract", Answer[Extract | None])
_DECLARE = Query("declare", Answer[Declaration | Refusal | None])
_DERIVED = Query("derived", Answer[Derived])
_RENDER = Query("render", Answer[str])


class _ModuleApi(Struct, frozen=True, eq=False):
    """The API of one module to wrap, under its selection. For ``relevant_types`` see :func:`.assemble.relevant_types`."""

    source: ModuleSource
    answer: Answer[Extract | None]
    module: Module | None = None
    mentioned: frozenset[Declared] = frozenset()
    relevant_types: frozenset[Declared] = frozenset()
    classes: tuple[Class, ...] = ()
    is_plain: bool = (
        False  # no failures, warnings or classes: the usual case, which costs the least where there are many modules
    )

    @classmethod
    def of(cls, source: ModuleSource, answer: Answer[Extract | None]) -> _ModuleApi:
        found = answer.found
        if found is None:
            return cls(source, answer)
        module = found.module
        classes = tuple(each for each in module.members if isinstance(each, Class) and each.declared is not None)
        return cls(
            source,
            answer,
            module,
            frozenset((*found.offered, *in_signatures(module.members), *found.ordinary)),
            relevant_types(module),
            classes,
            not (answer.failures or found.warnings or found.unless_declared or classes),
        )


class _Type(Struct, frozen=True, eq=False):
    """The declaration of one type, or why it has none, and the other types that it uses."""

    answer: Answer[Declaration | Refusal | None]
    used: frozenset[Declared] = frozenset()
    says_class: bool = True
    """Its values say their class: those of a typed dict do not."""

    @classmethod
    def of(cls, answer: Answer[Declaration | Refusal | None]) -> _Type:
        found = answer.found
        if not isinstance(found, Declaration):
            return cls(answer)
        data = found.class_.data
        is_dict = data is not None and data.form is Form.TYPED_DICT
        return cls(answer, frozenset((*used(found.class_), *found.ordinary)), not is_dict)


class _Types(Struct, frozen=True, eq=False):
    """Every declared type, sorted by name, and by module. Both are derived from ``each``."""

    each: Mapping[Declared, _Type]
    by_name: Mapping[Declared, Declaration]
    by_module: Mapping[str, tuple[tuple[Declared, Declaration], ...]]

    @classmethod
    def of(cls, types: Mapping[Declared, _Type]) -> _Types:
        found = {
            declared: each.answer.found
            for declared, each in types.items()
            if isinstance(each.answer.found, Declaration)
        }
        by_name = dict(sorted(found.items(), key=lambda item: (item[0].module, item[0].name)))
        by_module = groupby(by_name.items(), key=lambda item: item[0].module)
        return cls(types, by_name, {module: tuple(items) for module, items in by_module})


class _Parts(Struct, frozen=True):
    """The inputs from which the content of a file is assembled. ``declared`` are the relevant types that are declared."""

    offered: Module | None
    here: tuple[tuple[Declared, Declaration], ...]
    moved: tuple[tuple[Declared, Class], ...]
    declared: frozenset[Declared]

    def are_same_as(self, others: _Parts) -> bool:
        """Compare by identity. Inputs that are equal but not identical are only assembled again."""
        if self.offered is not others.offered or self.declared != others.declared:
            return False
        pairs = ((self.here, others.here), (self.moved, others.moved))
        return all(len(a) == len(b) and all(x[1] is y[1] for x, y in zip(a, b, strict=True)) for a, b in pairs)


class _OutputFile(Struct, eq=False):
    """The content of a file, and its text as last rendered, with ``render_inputs``."""

    parts: _Parts
    module: Module
    packed: bytes
    edges: Edges
    render_inputs: tuple[WrapperImports | None, bool, Style, tuple[str, ...]] | None = None
    path: str = ""
    text: bytes = b""
    is_checked: bool = False
    problem: str | None = None  # why it cannot be imported, if the import was checked


class Pipeline:
    """An incremental pipeline for :func:`lastgood.wrappers.wrap_modules`. Not thread-safe.

    With an ``import_check``, wrappers are also imported, into the current process. ``memo`` may keep answers beyond the lifetime
    of this object. ``annotated`` are the packages whose metadata in ``Annotated`` types are kept. ``at(name)`` is called before
    a module is analysed, and ``makes(name)`` before its wrapper is assembled,
    rendered or imported.
    """

    def __init__(
        self,
        import_check: ImportCheck | None = None,
        at: Callable[[str], object] = lambda _: None,
        makes: Callable[[str], object] = lambda _: None,
        memo: Memo | None = None,
        annotated: tuple[str, ...] = (),
    ) -> None:
        self.annotated = annotated
        self._memo = Memo() if memo is None else memo
        self._import_check = import_check
        self._at = at
        self._makes = makes
        self._outlines = Outlines(self._memo)
        # The results of the last run, as objects: what is the same is told by identity, in no time for many modules.
        self._apis: dict[str, _ModuleApi] = {}
        self._special: dict[str, _ModuleApi] = {}  # those that are not plain
        self._mentioned: Counter[Declared] = Counter()  # by how many APIs
        self._users: dict[str, set[str]] = {}  # the APIs that have consulted a module, by its name
        self._each_type: dict[Declared, _Type] = {}
        self._types = _Types({}, {}, {})
        self._derivations = Derivations()
        self._assembled_from: _Types | None = None  # types that all files are assembled from, if no class is moved
        self._rendered_from: tuple[Mapping[str, WrapperImports], AbstractSet[str], Style] | None = None
        self._made: dict[str, _OutputFile] = {}
        self._edges: dict[str, Edges] = {}
        self._imports: Mapping[str, WrapperImports] = {}
        self._names: AbstractSet[str] = frozenset()
        self._packages: Mapping[str, str] = {}

    def wrap(
        self,
        sources: Sequence[ModuleSource],
        find: Find,
        style: Style = "async",
        changed: AbstractSet[str] | None = None,
        local: Iterable[str] = (),
    ) -> Wrapped:
        """Wrap ``sources`` as :func:`lastgood.wrappers.wrap_modules` does.

        ``changed`` names the modules that may differ from the last run, among the sources and those that ``find`` returns;
        None means that any may differ.
        """
        named = {source.name: source for source in sources}
        self._outlines.begin_run(lambda name: named.get(name) or find(name))
        stale = self._memo.begin_run(self._outlines.state, changed)
        changes = self._update_apis(named, named.keys() if changed is None else named.keys() & changed, stale)
        special = [api for _, api in sorted(self._special.items())]
        broken = [api.answer.failures for api in special if api.answer.failures]
        modules = named.keys() | {name for name in local if not is_stub(name)}
        self._derivations.update(modules, self._outlines.source, self._derived_in, stale, changed)
        types = self._declare(stale)
        broken += [each.answer.failures for each in self._each_type.values() if each.answer.failures]
        failures = {name: self._failure(name, *where) for each in broken for name, where in each.items()}
        self._assemble(types, changes, special, failures)
        files = self._files(named.keys(), style, failures)
        self._check_imports(failures)
        extracts = [api.answer.found for api in special if api.answer.found is not None]
        warnings = [text for found in extracts for text in _warnings(found, types.by_name)]
        warnings += [text for each in types.by_name.values() for text in each.warnings]
        warnings += self._refusals(types)
        warnings += (
            _about_empty(name, modules) for name in sorted(named) if self._is_empty(name) and name not in failures
        )
        reported = tuple(failure for _, failure in sorted(failures.items()))
        irs = {name: made.packed for name, made in self._made.items() if name not in failures}
        return Wrapped(files, tuple(warnings), reported, irs)

    # Answers.

    def _update_apis(
        self, named: Mapping[str, ModuleSource], changed: AbstractSet[str], stale: AbstractSet[str]
    ) -> AbstractSet[str]:
        """Make the APIs those of ``named``, and return the names of those that are new or gone.

        Answers that depend on ``stale`` are not valid any more; the selections of ``changed`` may differ from the last run.
        """
        apis = self._apis
        gone = apis.keys() - named.keys()
        outdated = {name for name in apis.keys() & changed if apis[name].source.selection != named[name].selection}
        outdated = outdated.union(*(self._users.pop(each, ()) for each in stale))
        for name in gone | (outdated & apis.keys()):
            self._mentioned.subtract(apis.pop(name).mentioned)
            self._special.pop(name, None)
        fresh = named.keys() - apis.keys()
        for name in sorted(fresh):
            api = apis[name] = self._api_of(named[name])
            self._mentioned.update(api.mentioned)
            if not api.is_plain:
                self._special[name] = api
            for each in api.answer.consulted:
                self._users.setdefault(each, set()).add(name)
        return fresh | gone

    def _api_of(self, source: ModuleSource) -> _ModuleApi:
        name = source.name
        if not all(part.isidentifier() and part != "__init__" for part in name.split(".")):
            problem = "this is not a module name that can be imported."
            return _ModuleApi.of(source, Answer(None, {}, {name: Problem(None, problem)}))
        key = name, source.state, repr(source.selection), *self.annotated
        answer = self._memo.ask(
            _EXTRACT, key, lambda: self._compute(name, lambda project, models: _extract(project, models, source), None)
        )
        return _ModuleApi.of(source, answer)

    def _derived_in(self, source: ModuleSource) -> Answer[Derived]:
        """Return the classes of a module that derive from local classes; none if it is broken."""

        def compute() -> Answer[Derived]:
            answer = self._compute(source.name, lambda project, _: _derived(project, source), Derived())
            return Answer(answer.found, answer.consulted)

        return self._memo.ask(_DERIVED, (source.name, source.state), compute)

    def _compute(self, name: str, query: Callable[[Project, Models], T], otherwise: T) -> Answer[T]:
        """Return the answer to a query about module ``name``, with the modules that it consults; ``otherwise`` if it fails."""
        self._at(name)
        models = Models()
        packages = self.annotated

        def metadata(scope: Scope, node: ast.expr) -> Expression | None:
            return kept_metadata(node, scope, models, packages)

        project = Project(self._outlines, models.judge, metadata if packages else None)
        found = otherwise
        with self._failures_of(name, project.failures):
            found = query(project, models)
        consulted = {each: self._outlines.state(each) for each in sorted(project.consulted)}
        failures = {each.module: Problem(each.line, each.message, each.column) for each in project.failures.values()}
        return Answer(found, consulted, failures)

    def _failure(self, name: str, line: int | None, message: str, column: int | None = None) -> ModuleFailure:
        source = self._outlines.source(name)
        return ModuleFailure(stubbed(name), None if source is None else source.path, line, message, column)

    # Files.

    def _declare(self, stale: AbstractSet[str]) -> _Types:
        """Declare every type that signatures mention, directly or through others, and the classes that derive from one.

        A class that they mention need not be declared itself: values of an abstract class are of classes that derive from it.

        What depends on ``stale`` is declared again.
        """
        self._mentioned = +self._mentioned
        left, seen = list(self._mentioned), set(self._mentioned)
        known = {
            declared: each for declared, each in self._each_type.items() if stale.isdisjoint(each.answer.consulted)
        }
        self._each_type = {}
        while left:
            declared = left.pop()
            type_ = known.get(declared)
            if type_ is None:
                type_ = _Type.of(self._declaration_of(declared))
            self._each_type[declared] = type_
            more = type_.used.union(self._derivations.of(declared) if type_.says_class else ()) - seen
            left += more
            seen |= more
        if self._each_type != self._types.each:
            self._types = _Types.of(self._each_type)
        return self._types

    def _declaration_of(self, declared: Declared) -> Answer[Declaration | Refusal | None]:
        module = declared.module

        def query(project: Project, models: Models) -> Declaration | Refusal | None:
            return declare(project, models, declared)

        key = module, declared.name, self._outlines.state(module), *self.annotated
        return self._memo.ask(_DECLARE, key, lambda: self._compute(module, query, None))

    def _refusals(self, types: _Types) -> Iterator[str]:
        """Yield a warning for each class that derives from a declared one, but cannot be declared."""
        for declared, each in sorted(self._each_type.items(), key=lambda item: (item[0].module, item[0].name)):
            if isinstance(each.answer.found, Refusal):
                base = self._derivations.nearest_base(declared, types.by_name)
                if base is not None:
                    yield (
                        f"{declared.module}.{declared.name}: it is not declared, although it derives from "
                        f"{base.module}.{base.name}, as which its instances arrive: {each.answer.found.reason}."
                    )

    def _is_empty(self, name: str) -> bool:
        """Return whether the wrapper of a module offers nothing at all."""
        made = self._made.get(name)
        module = None if made is None else made.module
        return module is not None and not module.exports and all(each.name in module.hidden for each in module.members)

    def _assemble(
        self, types: _Types, changes: AbstractSet[str], special: Iterable[_ModuleApi], failures: Failures
    ) -> None:
        """Assemble the content of each file that may differ: all, or if the types are as before, those of changed APIs."""
        moved: dict[str, dict[Declared, Class]] = {}
        for each in special:
            for class_ in each.classes:
                if class_.declared is not None and is_moved(class_, each.source.name, types.by_name):
                    moved.setdefault(class_.declared.module, {}).setdefault(class_.declared, class_)
        names = (self._apis.keys() | types.by_module.keys()) - {
            api.source.name for api in special if api.module is None
        }
        before, are_same = self._made, self._assembled_from is types and not moved
        may_differ = names & (changes | (names - before.keys())) if are_same else names
        kept = names - may_differ
        self._made = {name: made for name, made in before.items() if name in kept}
        self._assembled_from = None if moved else types
        for name in sorted(may_differ):
            known = before.get(name)
            api = self._apis.get(name)
            parts = _Parts(
                None if api is None else api.module,
                types.by_module.get(name, ()),
                tuple(moved[name].items()) if name in moved else (),
                api.relevant_types & types.by_name.keys() if api is not None and api.relevant_types else _NO_TYPES,
            )
            if known is not None and known.parts.are_same_as(parts):
                self._made[name] = known
                continue
            self._makes(name)
            with self._failures_of(name, failures):
                whole = assemble(name, parts.offered, parts.here, dict(parts.moved), types.by_name)
                self._made[name] = _OutputFile(parts, whole, packed(whole), Edges.of(whole))
        self._made = {name: self._made[name] for name in sorted(self._made)}

    def _files(self, named: AbstractSet[str], style: Style, failures: Failures) -> dict[str, bytes]:
        imports = self._imports_between(failures)
        names = named | self._made.keys()
        if names != self._names:
            self._names, self._packages = names, _packages_around(names)
        shared = imports, self._names, style
        are_same, self._rendered_from = self._rendered_from == shared, None
        for name, made in self._made.items():
            if are_same and made.render_inputs is not None:
                continue
            inputs = imports.get(name), name in self._packages, style, self._functions_like_modules(made.module)
            if made.render_inputs == inputs:
                continue
            made.render_inputs = None
            with self._failures_of(name, failures):
                made.text, made.path = with_header(name, self._render(made, *inputs)), _wrapper_path(name, inputs[1])
                if len(made.text) > LARGEST:
                    failures[name] = self._failure(name, None, _too_large(len(made.text)))
                    continue
                made.is_checked, made.render_inputs = False, inputs
        self._rendered_from = shared
        files = {made.path: made.text for made in self._made.values() if made.render_inputs is not None}
        for package, path in self._packages.items():
            if package not in names:
                files[path] = with_header(package, render_package(package))
        return {path: files[path] for path in sorted(files)}

    def _functions_like_modules(self, module: Module) -> tuple[str, ...]:
        """Return the names of functions in the wrapper of a package that are also those of a wrapper in it."""
        if module.name not in self._packages:
            return ()
        functions = (each.name for each in module.members if isinstance(each, Function))
        paths = ((name, f"{module.name}.{name}") for name in functions)
        return tuple(name for name, path in paths if path in self._names or path in self._packages)

    def _render(
        self,
        made: _OutputFile,
        imports: WrapperImports | None,
        is_package: bool,
        style: Style,
        beside: tuple[str, ...],
    ) -> str:
        render_inputs = (
            None if imports is None else (sorted(imports.late), imports.exports),
            is_package,
            style,
            beside,
        )
        key = digest_of(made.packed), _JSON.encode(render_inputs).decode()

        def compute() -> Answer[str]:
            self._makes(made.module.name)
            return Answer(render(made.module, imports, is_package=is_package, style=style, beside=beside))

        return self._memo.ask(_RENDER, key, compute).found

    def _check_imports(self, failures: Failures) -> None:
        """Import new wrappers, and those that need them at import, unless one has failed already."""
        unchecked = [name for name, made in self._made.items() if not made.is_checked]
        if self._import_check is None or not failures.keys().isdisjoint((*self._apis, *self._made)):
            return
        if unchecked:
            needs = {name: made.edges.needed for name, made in self._made.items() if made.edges.needed}
            unchecked = list(_with_dependents(unchecked, needs))
            for name, problem in self._import_check.problems(
                self._made, needs, unchecked, self._memo, self._makes
            ).items():
                self._made[name].is_checked, self._made[name].problem = True, problem
        for name, made in [(name, made) for name, made in self._made.items() if made.problem is not None]:
            failures[name] = self._failure(name, None, made.problem or "")

    def _imports_between(self, failures: Failures) -> Mapping[str, WrapperImports]:
        edges = {name: made.edges for name, made in self._made.items() if made.edges.wanted}
        if edges == self._edges:
            return self._imports
        self._edges, self._imports = {}, {}
        try:
            self._imports = imports_between(edges)
            self._edges = edges
        except ImportCycle as cycle:
            for name in cycle.modules:
                others = ", ".join(each for each in cycle.modules if each != name)
                problem = (
                    f"its class statements need types of {others}, and vice versa, so that none can be imported first."
                )
                failures[name] = self._failure(name, None, problem)
        return self._imports

    @contextmanager
    def _failures_of(self, name: str, failures: Failures) -> Iterator[None]:
        """Record an exception as the failure of module ``name``, so that the other modules are still processed."""
        try:
            yield
        except (RecursionError, MemoryError):
            source = self._outlines.source(name)
            line = None if source is None else deepest_line(source)
            failures[name] = self._failure(name, line, "an expression in it is nested too deeply. Split it up.")
        except Exception as error:  # a defect of lastgood
            problem = f"it could not be wrapped: {type(error).__name__}: {error}"
            failures[name] = self._failure(name, None, problem)


_MAX_LISTED = 3
_NO_TYPES: frozenset[Declared] = frozenset()
_JSON = msgspec.json.Encoder(order="deterministic")


def _extract(project: Project, models: Models, source: ModuleSource) -> Extract | None:
    at = project.outline(source.name)
    return None if at is None else extract(project, models, at)


def _derived(project: Project, source: ModuleSource) -> Derived:
    at = project.outline(source.name)
    return Derived() if at is None else derived_classes(project, at)


def _warnings(found: Extract, types: Container[Declared]) -> tuple[str, ...]:
    return found.warnings + tuple(text for declared, text in found.unless_declared if declared not in types)


def _about_empty(name: str, modules: AbstractSet[str]) -> str:
    """Return the warning about an empty wrapper, with the submodules that may be meant."""
    inner = sorted(
        each for each in modules if each.rpartition(".")[0] == name and not each.rpartition(".")[2].startswith("_")
    )
    text = f"{name}: its wrapper is empty: the module offers nothing that an app can call or import."
    if not inner:
        return text
    listed = ", ".join(f'"{each}"' for each in inner[:_MAX_LISTED])
    more = f" (and {len(inner) - _MAX_LISTED} more)" if len(inner) > _MAX_LISTED else ""
    return f"{text} A package's wrapper has what its __init__ offers. Name its modules under [modules]: {listed}{more}."


def _too_large(size: int) -> str:
    return (
        f"its wrapper would be of {size / 1e6:.1f} MB, of at most {LARGEST / 1e6:g} MB. Move what is data in it to a file that it "
        "reads, or exclude what the app does not call."
    )


def _with_dependents(names: Sequence[str], graph: Mapping[str, AbstractSet[str]]) -> AbstractSet[str]:
    """Return ``names`` and all nodes of ``graph`` from which one of them can be reached."""
    found = set(names)
    while more := {name for name, others in graph.items() if name not in found and not found.isdisjoint(others)}:
        found |= more
    return found


def _packages_around(names: Iterable[str]) -> Mapping[str, str]:
    """Return the packages that the import of ``names`` requires, with their paths."""
    packages = {""} if names else set()
    for name in names:
        parts = name.split(".")
        packages.update(".".join(parts[:depth]) for depth in range(1, len(parts)))
    return {package: _wrapper_path(package, True) for package in sorted(packages)}


def _wrapper_path(name: str, is_package: bool) -> str:
    parts = name.split(".") if name else []
    return "/".join([*parts, "__init__.py"]) if is_package else f"{'/'.join(parts)}.py"
