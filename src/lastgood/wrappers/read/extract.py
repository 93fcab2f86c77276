"""Extraction of a module's API: outline -> IR, with the signature of each function, and warnings about names left out."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from lastgood.bridges.worker.selection import allows
from lastgood.config import ModuleConfig
from lastgood.wrappers.ir import (
    Class,
    Constant,
    Declared,
    Default,
    Function,
    Kind,
    Module,
    Parameter,
    Signature,
    Type,
    substituted,
)
from lastgood.wrappers.read.decorators import decorated, object_of
from lastgood.wrappers.read.lineage import crosses_as, inherited
from lastgood.wrappers.read.objects import Kept, Opaque, callable_of, stands_for_type, static_method_of
from lastgood.wrappers.read.outline import METHODS, Binding, Outline
from lastgood.wrappers.read.parameters import entries_of, fits, mangled, parameter, still_to_give
from lastgood.wrappers.read.project import MAX_NAMES, Located, Missing, Project, Value, settle
from lastgood.wrappers.read.results import item_of, result_of
from lastgood.wrappers.read.scope import Place, Scope
from lastgood.wrappers.read.shape import Function as Undecorated
from lastgood.wrappers.read.shape import Outcome
from lastgood.wrappers.read.stubs import overloads_in_stub, stub_of_function
from lastgood.wrappers.types.annotations import (
    dotted_name,
    literal,
    literal_text,
    read_annotation,
    read_returns,
)
from lastgood.wrappers.types.constants import constant
from lastgood.wrappers.types.generics import bases_of, itself_anew, settled, variables_in_method
from lastgood.wrappers.types.models import Family, Models, head_of
from lastgood.wrappers.types.warning_texts import MAKES_NAMES, about_annotation, about_decorators

__all__ = ["Extract", "extract"]

_VARIADIC = (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD)
_ABSTRACT = ("collections.abc", "contextlib", "typing", "typing_extensions")
_FUNCTION = "it returns a function, which cannot leave the worker. Offer one that calls it."
_CONTEXT = "it returns a context manager, which cannot leave the worker. Offer a function that does the whole work."
# A result annotated with one of these types can never cross to the app.
_STAYS = {
    **dict.fromkeys(("ContextManager", "AsyncContextManager"), _CONTEXT),
    **dict.fromkeys(("AbstractContextManager", "AbstractAsyncContextManager"), _CONTEXT),
    "Callable": _FUNCTION,
}
_INSTANCES = (
    "it offers no static or class method, and instances (so its constructor, methods and properties) "
    "cannot cross to the worker."
)
_METHODS = "its static and class methods are left out, and instances cannot cross to the worker."
_AS_BASE = "it offers no static or class method. Its instances cross as {}."
_METHODS_AS_BASE = "its static and class methods are left out. Its instances cross as {}."
_BOUND_AGAIN = "other statements bind its name, too, and may replace the class: bind it once."
_PRIVATE = "its name begins with an underscore, as that of what is private. Offer it under another name."
_ALIAS = "it is another name of a type, which wrappers use itself."
_TYPE_VARIABLES = ("ParamSpec", "TypeVar", "TypeVarTuple")
_ANYTHING = Signature((Parameter("args", Kind.VAR_POSITIONAL), Parameter("kwargs", Kind.VAR_KEYWORD)))


class Extract(msgspec.Struct, frozen=True, tag=0):
    """The API of a module under its selection.

    Each ``unless_declared`` warning applies only if its class is not declared. ``offered`` are the types that the module exports,
    and the exceptions that it imports: its functions may raise them, whatever their signatures say. ``ordinary`` are the classes
    in its signatures that are not declared by fields. Classes that derive from them may be.
    """

    module: Module
    warnings: tuple[str, ...]
    unless_declared: tuple[tuple[Declared, str], ...]
    offered: tuple[Declared, ...] = ()
    ordinary: tuple[Declared, ...] = ()


def extract(project: Project, models: Models, at: Outline) -> Extract:
    """Extract the API of the module ``at`` under its selection, with warnings about names left out."""
    extractor = _Extractor(project, models, at.source.name, at.source.selection)
    scope = Scope(project, at)
    exported = project.exported(at)
    exports = {name: found for name in exported if (found := _exported_type(scope, name)) is not None}
    members = tuple(extractor.members(at, exports))
    ordinary = tuple(project.ordinary)
    offered = [found for name, found in exports.items() if extractor.allowed(name, is_class=True)]
    imported = (name for name in at.names() if name not in exported and extractor.may_be_exception(at, name))
    inner = (path for name in exported for path in extractor.inner_classes(at, name))
    for name, type_ in (*exports.items(), *((name, scope.resolve(name)) for name in (*imported, *inner))):
        if isinstance(type_, Declared) and models[type_].family is Family.EXCEPTION and extractor.may_raise(name):
            offered.append(type_)
    offered = list(dict.fromkeys(offered))
    around = frozenset(
        name for name in exported if [*extractor.inner_classes(at, name)] and extractor.allowed(name, is_class=True)
    )
    module = Module(at.source.name, members, at.doc, exports, around=around)
    return Extract(module, tuple(extractor.warnings), tuple(extractor.unless_declared), tuple(offered), ordinary)


class _Extractor:
    def __init__(self, project: Project, models: Models, module: str, selection: ModuleConfig) -> None:
        self.project = project
        self.models = models
        self.module = module
        self.selection = selection
        self.warnings: list[str] = []
        self.unless_declared: list[tuple[Declared, str]] = []

    def warn(self, name: str, text: str, declared: Declared | None = None) -> None:
        warning = f"{self.module}.{name}: {text}"
        if declared is None:
            self.warnings.append(warning)
        else:
            self.unless_declared.append((declared, warning))

    def leave_out(
        self, path: str, reason: str, at: Outline, line: int | None, declared: Declared | None = None
    ) -> None:
        """Warn that ``path`` is left out; ``line`` of the module ``at`` is where it is bound."""
        self.warn(path, f"left out: {reason} ({_file_of(at)}{'' if line is None else f':{line}'})", declared)

    def allowed(self, name: str, *, is_class: bool = False) -> bool:
        selection = self.selection
        return allows(
            name,
            functions=selection.classes if is_class else selection.functions,
            classes=selection.classes,
            exclude=selection.exclude,
            exclude_patterns=selection.exclude_patterns,
        )

    def may_raise(self, name: str) -> bool:
        """Return whether an exception is offered: whatever was chosen may raise it, unless it is excluded."""
        return allows(name, exclude=self.selection.exclude, exclude_patterns=self.selection.exclude_patterns)

    def inner_classes(self, at: Outline, name: str) -> Iterator[str]:
        """Yield the public classes in the class ``name`` that the module defines."""
        binding = next(reversed(at.names().get(name, [])), None)
        for inner, bindings in at.names(binding.node).items() if binding is not None and binding.is_class else ():
            if bindings[-1].is_class and not inner.startswith("_"):
                yield f"{name}.{inner}"

    def may_be_exception(self, at: Outline, name: str) -> bool:
        """Return whether ``name`` is imported from another local module, and may be a class by its spelling."""
        binding = next(reversed(at.names().get(name, [])), None)
        if binding is None or not name[0].isupper() or name.isupper() or not isinstance(binding.node, ast.ImportFrom):
            return False
        return self.project.has(binding.target.rpartition(".")[0])

    def members(self, at: Outline, exports: Mapping[str, Declared]) -> Iterator[Function | Class | Constant]:
        """Yield what the module offers. ``exports`` are the types that it exports."""
        exported = self.project.exported(at)
        chosen = dict.fromkeys(name.partition(".")[0] for name in self.chosen())
        functions: list[str] = []
        classes: dict[str, Located] = {}
        for name in exported | chosen:
            where = None if name.startswith("_") else self.project.locate(at, name)
            member: Function | Class | Constant | None = None
            if isinstance(where, Located) and where.is_class:
                classes[name] = where
                member = self.class_(where, name, exports)
            elif isinstance(where, Located):
                functions.append(name)
                member = self.top_function(where, name)
            elif (constant := self.constant(at, name)) is not None:
                member = constant
            elif self.allowed(name) and name not in exports:
                member = self.value_member(at, name, where)
                functions += [] if member is None else [name]
            if member is not None:
                yield member
        self.check_selection(at, functions, classes)
        for name in dict.fromkeys(at.exports or ()) if self.selection.functions is None else ():
            if name.startswith("_") and "." not in name and name not in self.selection.exclude:
                binding = next(reversed(at.names().get(name, [])), None)
                self.leave_out(name, _PRIVATE, at, None if binding is None else binding.node.lineno)
        if at.dynamic and not (at.exports is not None and at.exports_are_known) and self.selection.functions is None:
            made = ", ".join(f"{what} at line {line}" for what, line in at.dynamic[:3])
            self.warnings.append(
                f"{self.module}: {MAKES_NAMES} ({made}), which have no wrapper. Name those that can be called "
                "in 'functions'."
            )

    def value_member(self, at: Outline, name: str, where: Missing | Value | None) -> Function | None:
        """Return the wrapper of a value that can be called; else warn that it is left out, unless it is a module or the like."""
        is_chosen = name in (self.selection.functions or ())
        if isinstance(where, Missing):
            if is_chosen and where.is_possible:
                return self.made_function(Opaque(), name)
            binding = next(reversed(at.names().get(name, [])), None)
            if name in self.project.exported(at) and not is_chosen:
                self.leave_out(name, f"{where.reason}.", at, None if binding is None else binding.node.lineno)
            return None
        if where is None or not self.is_there(at, name, where):
            return None
        scope = Scope(self.project, at)
        if not read_annotation(ast.Name(name), scope)[1] or stands_for_type(self.project, where):
            self.leave_out(name, _ALIAS, where.outline, where.bindings[-1].node.lineno)
            return None
        declared = self.made_class(at, name)
        found = Kept(_INSTANCES) if declared is not None else callable_of(self.project, where)
        if isinstance(found, Kept) and found.is_certain and declared is None:
            found = Kept(_about_value(name, where) or found.reason)
        if isinstance(found, Kept) and is_chosen and not found.is_certain:
            found = Opaque()
        if not isinstance(found, Kept):
            return self.made_function(found, name)
        if not is_chosen:
            self.leave_out(name, found.reason, where.outline, where.bindings[-1].node.lineno, declared)
        return None

    def made_function(self, found: Located | Opaque, path: str) -> Function | None:
        """Extract the function at ``path`` that is bound by an assignment."""
        if isinstance(found, Opaque):
            return Function(path.rpartition(".")[2], _ANYTHING, self.module, path)
        return self.function(found, path, found.of)

    def is_there(self, at: Outline, name: str, where: Value) -> bool:
        """Return whether ``name`` has a value when the module runs that is no module and no type variable."""
        scope = Scope(self.project, at)
        nodes = [each.node for each in where.bindings]
        if all(isinstance(node, ast.AnnAssign) and node.value is None for node in nodes):
            return False
        variable = scope.lookup(name)
        value = variable[1] if isinstance(variable, tuple) else None
        made = scope.lookup(dotted_name(value.func)) if isinstance(value, ast.Call) else None
        return not (isinstance(made, str) and made.rpartition(".")[2] in _TYPE_VARIABLES)

    def made_class(self, at: Outline, name: str) -> Declared | None:
        """Return the class that ``name`` is if a call makes it: ``Point = namedtuple("Point", "x y")``."""
        place = Scope(self.project, at).base(ast.Name(name))
        return place.declared if isinstance(place, Place) and not isinstance(place.binding.node, ast.ClassDef) else None

    def chosen(self) -> Iterator[str]:
        yield from self.selection.functions or ()
        yield from self.selection.classes or ()

    def check_selection(self, at: Outline, functions: list[str], found: Mapping[str, Located]) -> None:
        """Warn about names in the selection that do not exist. ``found`` are the classes."""
        classes = [path for name, where in found.items() for path in _class_paths(where, name)]
        for name in self.selection.functions or ():
            if name not in functions:
                self.warn(name, f"named in 'functions', but {self.why_not(at, name, functions, classes, 'classes')}")
        for name in self.selection.classes or ():
            if name not in classes:
                self.warn(name, f"named in 'classes', but {self.why_not(at, name, classes, functions, 'functions')}")

    def why_not(self, at: Outline, name: str, there: list[str], others: list[str], their_field: str) -> str:
        if name in others:
            return f"it belongs in {their_field!r}."
        if any(part.startswith("_") for part in name.split(".")):
            return "names that start with an underscore are private and never callable."
        where = self.project.locate(at, name)
        if name in at.names():
            reason = where.reason if isinstance(where, Missing) else "it is neither a function nor a class"
            return f"{reason}."
        near = difflib.get_close_matches(name, sorted({*there, *others}), n=1)
        return "the module has no such name." + (f" Did you mean {near[0]!r}?" if near else "")

    def top_function(self, located: Located, name: str) -> Function | None:
        return self.function(located, name) if self.allowed(name) else None

    def constant(self, at: Outline, name: str) -> Constant | None:
        """Return the constant ``name``, defined in this module or imported from another; None if it is no constant."""
        value = self.value(at, name, frozenset()) if self.allowed(name) else None
        return None if value is None else Constant(name, value)

    def value(self, at: Outline, name: str, seen: frozenset[tuple[str, str]]) -> str | None:
        """Return the value of a constant as text; None if there is none.

        A constant is in capitals or annotated as ``Final``, and bound exactly once, to an immutable literal.
        """
        key = (at.source.name, name)
        if key in seen or len(seen) >= MAX_NAMES:
            return None
        seen |= {key}
        bindings = at.names().get(name, [])
        if not bindings:
            origins = (self.project.outline(star) for star in reversed(at.stars))
            origin = next((each for each in origins if each is not None and name in self.project.exported(each)), None)
            return None if origin is None else self.value(origin, name, seen)
        if len(bindings) != 1 or bindings[0].at.conditional:
            return None
        if bindings[0].target:
            module, _, other = bindings[0].target.rpartition(".")
            origin = self.project.outline(module)
            return None if origin is None else self.value(origin, other, seen)
        match bindings[0].node:
            case ast.Assign(value=node) if name.isupper():
                pass
            case ast.AnnAssign(value=ast.expr() as node, annotation=annotation):
                if not name.isupper() and head_of(annotation, Scope(self.project, at)) != "typing.Final":
                    return None
            case _:
                return None
        if isinstance(node, ast.Name):
            return self.value(at, node.id, seen)
        found = constant(node, Scope(self.project, at))
        return None if found is None else literal_text(found[0])

    def class_(
        self, located: Located, path: str, exports: Mapping[str, Declared] | None = None, *, inherits: bool = False
    ) -> Class | None:
        """Extract the class at ``path`` with its static and class methods; None if it has none.

        ``exports`` are the types that the module exports, for a class of the module; None for one inside of a class, which that
        ``inherits``, perhaps.
        """
        binding = located.bindings[0]
        place = Place(located.outline, binding, binding.qualified)
        judged = self.project.judge(place)
        declared = judged if isinstance(judged, Declared) else None
        members: list[Function | Class] = []
        needs_instance = has_methods = is_left_out = False
        own = located.outline.names(binding.node)
        for name, found in inherited(self.project, place).items():
            inner = f"{path}.{name}"
            if name.startswith("_"):
                needs_instance |= name in own and name in ("__init__", "__new__")
            elif not isinstance(found, Located):
                is_property = isinstance(found, Value) and any(binding.is_property for binding in found.bindings)
                needs_instance |= name in own and is_property and self.allowed(inner)
                made = static_method_of(self.project, found) if isinstance(found, Value) and found.bindings else None
                if made is not None and self.allowed(inner):
                    has_methods = True
                    function = self.made_function(made, inner)
                    members += [] if function is None else [function]
            elif found.is_class:
                # A class that is declared in a declared base is inherited in the wrapper, too.
                is_inherited = declared is not None and name not in own and self.is_declared(found)
                member = None if is_inherited else self.class_(found, inner, inherits=name not in own)
                members += [] if member is None else [member]
            elif not self.allowed(inner):
                has_methods |= bool(found.methods)
            elif found.methods and not found.bindings[-1].is_validator:
                has_methods = True
                function = self.function(found, inner, place)
                is_left_out |= function is None
                if function is not None:
                    overrides = declared is not None and self.overrides(place, name, function)
                    members.append(msgspec.structs.replace(function, overrides=overrides))
            else:
                needs_instance |= name in own
        is_unclear = exports is not None and declared is not None and self.is_bound_again(located)
        if members:
            if is_unclear:
                self.warn(path, f"only its static and class methods are in the wrapper: {_BOUND_AGAIN}")
            return Class(path.rpartition(".")[2], tuple(members), binding.doc, declared)
        is_told = (exports is not None or (needs_instance and not inherits)) and not (has_methods and not is_left_out)
        if (is_told or path in (self.selection.classes or ())) and self.allowed(path, is_class=True):
            base = crosses_as(self.project, place) if self.project.judge(place) is None else None
            is_alias = exports is not None and declared is not None and path not in exports
            reason = (
                _BOUND_AGAIN
                if is_unclear
                else f"it is another name of the class {binding.qualified}. Use that one."
                if is_alias
                else (_METHODS if is_left_out else _INSTANCES)
                if base is None
                else (_METHODS_AS_BASE if is_left_out else _AS_BASE).format(base)
            )
            self.leave_out(path, reason, located.outline, binding.node.lineno, None if is_alias else declared)
        return None

    def function(self, located: Located, path: str, of: Place | None = None) -> Function | None:
        """Extract the function at ``path``, or a static or class method of the class ``of``.

        Return None if its results cannot cross to the app.
        """
        located = replace(located, offered=(self.module, path))
        bindings = located.bindings
        last = bindings[-1]
        if (reason := self.cannot_cross(located)) is not None:
            self.leave_out(path, reason, located.outline, last.node.lineno)
            return None
        doc = next(filter(None, (each.doc for each in reversed(bindings))), None)
        name = path.rpartition(".")[2]
        unknown: list[str] = []
        signature, streams = self.signature(located, last, unknown, of)
        if any(self.signature(located, binding, [], of) != (signature, streams) for binding in bindings[:-1]):
            lines = ", ".join(str(binding.node.lineno) for binding in bindings)
            self.warn(path, f"it is defined with different signatures at lines {lines}, so it takes (*args, **kwargs).")
            return Function(name, _ANYTHING, self.module, path, doc, streams=streams)
        stub = stub_of_function(self.project, located, last)
        if stub is not None and not any(located.given):  # what is given already is not in the stub
            unknown += stub.differences(last.node.args, has_cls=_takes_class(located, last))
        for text in unknown:
            self.warn(path, text)
        unclear: list[str] = []
        overloads = tuple(self.signature(located, overload, unclear, of)[0] for overload in located.overloads)
        if not overloads:
            outline, found = overloads_in_stub(self.project, located, last)
            there = replace(located, outline=outline)
            overloads = tuple(self.signature(there, overload, unclear, of)[0] for overload in found)
        if len(overloads) < 2 or unclear or not all(fits(overload, signature) for overload in overloads):
            overloads = ()  # the implementation alone is less precise, but accepted by type checkers
        return Function(name, signature, self.module, path, doc, overloads, streams=streams)

    def cannot_cross(self, located: Located) -> str | None:
        """Return why the result of the function can never cross to the app; None if it may."""
        for binding in located.bindings:
            if binding.is_context_manager:
                return _CONTEXT
            if (reason := object_of(self.decorators(located, binding))) is not None:
                return reason
            annotation, scope = self.returned(located, binding)
            module, _, name = (head_of(annotation, scope) if annotation is not None else "").rpartition(".")
            if module in _ABSTRACT and name in _STAYS:
                return _STAYS[name]
        return None

    def decorators(self, located: Located, binding: Binding) -> list[tuple[ast.expr, Scope]]:
        """Return the decorators that change what a function takes or gives, the innermost first."""
        if binding.is_overload or located.outline.is_stub:
            return []
        scope = self.scope(located, binding)
        made = [(node, scope) for node in reversed(binding.node.decorator_list)]
        made += [(node, scope if at is located.outline else Scope(self.project, at)) for node, at in located.applied]
        return [(node, scope) for node, scope in made if dotted_name(node) not in METHODS]

    def returned(self, located: Located, binding: Binding) -> tuple[ast.expr | None, Scope]:
        """Return the annotation of a function's result, and its scope: that of the source, else that of its stub."""
        stub = stub_of_function(self.project, located, binding)
        if stub is not None and binding.node.returns is None:
            return stub.returns, stub.scope
        return binding.node.returns, self.scope(located, binding)

    def scope(self, located: Located, binding: Binding) -> Scope:
        """Return the scope of a function's annotations."""
        return Scope(self.project, located.outline, binding.at.owner, binding.type_parameters)

    def signature(
        self, located: Located, binding: Binding, unknown: list[str], of: Place | None = None
    ) -> tuple[Signature, bool]:
        """Read the signature of a function, or of a static or class method of the class ``of``; return whether it streams."""
        stub = stub_of_function(self.project, located, binding)
        this = None if of is None else _declared_type(self.project, of)
        entries = list(entries_of(binding.node.args))
        has_cls = _takes_class(located, binding)
        parameters = [Parameter("cls", Kind.POSITIONAL_ONLY)] if has_cls else []
        texts: dict[str, list[str]] = {}
        defaults: dict[str, ast.expr] = {}
        for argument, kind, default in still_to_give(entries[has_cls:], *located.given):
            annotation, scope = argument.annotation, self.scope(located, binding)
            if annotation is None and stub is not None:
                annotation, scope = stub.annotation(argument.arg), stub.scope
            type_, parts = read_annotation(annotation, scope, this)
            name = mangled(argument.arg, binding.at.owner)
            texts[name] = [*about_annotation(f"parameter {argument.arg!r}", annotation, type_, parts)]
            defaults |= {} if default is None else {name: default}
            parameters.append(Parameter(name, kind, type_, Default.REQUIRED if default is None else Default.LEFT))
        before = Undecorated(tuple(parameters), self.outcome(located, binding, this))
        after, unclear = decorated(before, self.decorators(located, binding))
        types = {each.name: each.type for each in after.parameters}
        for each in parameters:
            unknown += texts.get(each.name, ()) if types.get(each.name) == each.type else ()
        unknown += [*after.outcome.texts, *about_decorators(unclear, before, after)]
        kept = after.parameters[1:] if has_cls else after.parameters
        signature = self.settled(kept, after.outcome.type, located, binding, of)
        at = self.scope(located, binding)
        made = (
            parameter(each.name, each.kind, each.type, defaults[each.name], at, self.models, self.module)
            if each.default is Default.LEFT and each.name in defaults
            else each
            for each in signature.parameters
        )
        return Signature(tuple(made), signature.returns), after.outcome.streams

    def outcome(self, located: Located, binding: Binding, this: Type | None) -> Outcome:
        """Return what calls of a function give before its decorators are applied."""
        result = result_of(binding, *self.returned(located, binding))
        if result.streams:
            type_, parts = item_of(result, this)
        else:
            read = read_annotation if binding.is_overload else read_returns
            type_, parts = read(result.annotation, result.scope, this)
        texts = tuple(about_annotation("the result", result.annotation, type_, parts))
        is_async = isinstance(binding.node, ast.AsyncFunctionDef) and not result.streams
        return Outcome(type_, result.streams, is_async, texts)

    def settled(
        self, parameters: Sequence[Parameter], returns: Type, located: Located, binding: Binding, of: Place | None
    ) -> Signature:
        """Return the signature, with those type variables that callers bind."""
        types = [each.type for each in parameters]
        if of is not None:
            given = variables_in_method(of, located.outline.source.name, binding, self.project)
            types, returns = [substituted(type_, given) for type_ in types], substituted(returns, given)
        types, returns = settled(types, returns)
        pairs = zip(parameters, types, strict=True)
        return Signature(tuple(msgspec.structs.replace(each, type=type_) for each, type_ in pairs), returns)

    def is_bound_again(self, located: Located) -> bool:
        """Return whether other statements of its module bind the name of a class, too."""
        binding = located.bindings[0]
        found = Scope(self.project, located.outline).lookup(binding.qualified)
        return not isinstance(found, Place) or found.binding is not binding

    def is_declared(self, located: Located) -> bool:
        """Return whether a class is declared by its fields."""
        binding = located.bindings[0]
        return isinstance(self.project.judge(Place(located.outline, binding, binding.qualified)), Declared)

    def overrides(self, of: Place, name: str, own: Function) -> bool:
        """Return whether a base of the class ``of`` that wrappers declare has a method of this name with another signature."""
        for base, _ in bases_of(of, self.project):
            found = inherited(self.project, base).get(name) if _declared_type(self.project, base) else None
            if isinstance(found, Located) and found.methods and not found.is_class:
                signature, _ = self.signature(found, found.bindings[-1], [], base)
                return bool(own.overloads) or signature != own.signature
        return False


def _declared_type(project: Project, place: Place) -> Type | None:
    declared = project.judge(place)
    return itself_anew(declared, place, project) if isinstance(declared, Declared) else None


def _takes_class(located: Located, binding: Binding) -> bool:
    """Return whether a function is a class method with a first parameter of its own for the class."""
    first = next(entries_of(binding.node.args), None)
    is_class_method = "classmethod" in (*binding.decorators, located.method)
    return is_class_method and first is not None and first[1] not in _VARIADIC


def _file_of(at: Outline) -> str:
    """Return the path of a module's file, from where the module is imported on."""
    return at.source.name.replace(".", "/") + ("/__init__.py" if at.source.is_package else ".py")


def _about_value(name: str, where: Value) -> str:
    """Return why a literal is left out; ``""`` for any other value."""
    value = getattr(where.bindings[-1].node, "value", None)
    if not isinstance(value, ast.expr) or literal(value) is None:
        return ""
    if name.isupper() or len(where.bindings) > 1:
        return "its value may change when the module runs. Assign it once, or offer a function that returns it."
    return "it is a variable, whose value may change. Write its name in capitals or annotate it as Final to offer its value."


def _exported_type(scope: Scope, name: str) -> Declared | None:
    """Return the type to be declared that a module exports as ``name``; None if that is something else."""
    bindings = scope.at.names().get(name, ())
    if _is_special(name) or (bindings and all(each.is_variable and each.at.type_only for each in bindings)):
        return None
    place = scope.base(ast.Name(name))
    found = scope.project.judge(place) if isinstance(place, Place) else None
    if not isinstance(found, Declared):
        return None
    is_alias = found.module == scope.at.source.name and found.name != name
    return None if is_alias else found


def _is_special(name: str) -> bool:
    """Return whether ``name`` is one like ``__all__``, which a wrapper may bind for itself."""
    return name.startswith("__") and name.endswith("__")


def _class_paths(where: Located, path: str) -> Iterator[str]:
    """Yield the path of a class and of everything public in it, at any depth."""
    yield path
    binding = where.bindings[0]
    for name in where.outline.names(binding.node) if where.is_class else ():
        inner = None if name.startswith("_") else settle(where.outline, binding.node, name)
        if isinstance(inner, Located):
            yield from _class_paths(inner, f"{path}.{name}")
