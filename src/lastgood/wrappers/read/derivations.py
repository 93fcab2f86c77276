"""The classes of a module that derive from local classes, directly, and the index of these by their bases."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Container, Iterable, Iterator
from collections.abc import Set as AbstractSet

import msgspec

from lastgood.sources.memo import Answer
from lastgood.sources.parsing import ModuleSource
from lastgood.wrappers.ir import Declared
from lastgood.wrappers.read.outline import Binding, Outline
from lastgood.wrappers.read.project import Project
from lastgood.wrappers.read.scope import Place, Scope
from lastgood.wrappers.types.annotations import dotted_name

__all__ = ["Derivations", "Derived", "derived_classes"]

_STATEMENT = re.compile(rb"class[\s\\]+[^\s\\(\[:#]+[\s\\]*[(\[]")  # class Cat(Base), class Cat[T](Base)
_CALLS = (b"make_dataclass", b"new_class", b"defstruct", b"create_model", b"make_class")
_TYPE_CALL = re.compile(rb"type[\s\\]*\([\s\\]*[\"']")  # type("Cat", (Base,), {})
_MAKERS = frozenset(
    (
        *("builtins.type", "types.new_class", "dataclasses.make_dataclass", "msgspec.defstruct"),
        *("pydantic.create_model", "pydantic.main.create_model", "attr.make_class", "attrs.make_class"),
    )
)


class Derived(msgspec.Struct, frozen=True):
    """The classes of one module that have local bases, with these."""

    classes: tuple[tuple[Declared, tuple[Declared, ...]], ...] = ()


def derived_classes(project: Project, at: Outline) -> Derived:
    """Find the classes of the module ``at`` that derive from local classes. Those in functions do not count."""
    found: dict[Declared, dict[Declared, None]] = {}
    for owner in at.scopes:
        scope = Scope(project, at, owner if isinstance(owner, ast.ClassDef) else None)
        for bindings in at.names(owner).values():
            for binding in bindings:
                if binding.at.type_only:
                    continue
                bases = [
                    base.declared
                    for node in _bases(binding, scope)
                    if isinstance(base := scope.base(node, binding), Place)
                ]
                if bases:
                    found.setdefault(Declared(at.source.name, binding.qualified), {}).update(dict.fromkeys(bases))
    return Derived(tuple((name, tuple(bases)) for name, bases in found.items()))


def _bases(binding: Binding, scope: Scope) -> Iterator[ast.expr]:
    """Yield the bases of a class, also of one that a call makes at run time."""
    match binding.node:
        case ast.ClassDef(bases=bases):
            yield from bases
        case ast.Assign(value=ast.Call(func=func, args=args, keywords=keywords)):
            if scope.lookup(dotted_name(func)) in _MAKERS:
                for value in (*args, *(word.value for word in keywords)):
                    yield from value.elts if isinstance(value, ast.Tuple) else (value,)


def _may_derive(data: bytes) -> bool:
    """Return whether a source may have such classes. This is much faster than parsing it."""
    if b"class" in data and _STATEMENT.search(data):
        return True
    return any(call in data for call in _CALLS) or _TYPE_CALL.search(data) is not None


class Derivations:
    """An index of all modules: the classes that derive from a class, directly. :meth:`update` it in each run."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}  # of each module, when it was looked at
        self._answers: dict[str, Answer[Derived]] = {}  # of the modules that may have such classes
        self._users: dict[str, set[str]] = {}  # the modules whose answers have consulted a module, by its name
        self._by_base: dict[Declared, dict[Declared, None]] = {}

    def of(self, base: Declared) -> Iterable[Declared]:
        """Return the classes that derive from ``base``, directly."""
        return self._by_base.get(base, ())

    def nearest_base(self, derived: Declared, among: Container[Declared]) -> Declared | None:
        """Return the nearest base of ``derived`` that is ``among`` those, if there is one."""
        left = [derived]
        for each in left:
            if each in among:
                return each
            answer = self._answers.get(each.module)
            bases = dict(() if answer is None else answer.found.classes).get(each, ())
            left += [base for base in bases if base not in left]
        return None

    def update(
        self,
        names: AbstractSet[str],
        source: Callable[[str], ModuleSource | None],
        ask: Callable[[ModuleSource], Answer[Derived]],
        stale: Iterable[str],
        changed: AbstractSet[str] | None,
    ) -> None:
        """Make the index one of the modules ``names``. ``ask`` returns the answer for a module.

        Answers that have consulted a ``stale`` module are asked for again. ``changed`` names the modules that may differ from the
        last run; None: any may.
        """
        for name in self._states.keys() - names:
            del self._states[name]
            self._forget(name)
        for name in set[str]().union(*(self._users.pop(each, ()) for each in stale)):
            if name in self._answers:
                del self._states[name]
                self._forget(name)
        fresh = names - self._states.keys()
        for name in sorted(names if changed is None else fresh | (names & changed)):
            at = source(name)
            state = "" if at is None else at.state
            if self._states.get(name) != state:
                self._states[name] = state
                self._forget(name)
                is_program = name.rpartition(".")[2] == "__main__"  # it is run, not imported
                if at is not None and not is_program and _may_derive(at.data):
                    self._learn(name, ask(at))

    def _learn(self, name: str, answer: Answer[Derived]) -> None:
        self._answers[name] = answer
        for each in answer.consulted:
            self._users.setdefault(each, set()).add(name)
        for class_, bases in answer.found.classes:
            for base in bases:
                self._by_base.setdefault(base, {})[class_] = None

    def _forget(self, name: str) -> None:
        answer = self._answers.pop(name, None)
        for class_, bases in () if answer is None else answer.found.classes:
            for base in bases:
                del self._by_base[base][class_]
                if not self._by_base[base]:
                    del self._by_base[base]
