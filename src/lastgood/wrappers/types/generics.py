"""Type variables: what they stand for in the bases of a class, and which of them a wrapper's signature keeps."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from lastgood.wrappers.ir import Declared, Type, Variable, erased, substituted, variables
from lastgood.wrappers.read.outline import Binding
from lastgood.wrappers.read.project import Project
from lastgood.wrappers.read.scope import Place, class_parameters, class_scope
from lastgood.wrappers.types.annotations import read_annotation

__all__ = ["bases_of", "itself", "itself_anew", "quotes_bases", "settled", "variables_in_method"]


def itself(declared: Declared, place: Place, project: Project) -> Type:
    """Return the type of the class ``declared`` inside of itself: ``Page[T]``."""
    return Type(declared, tuple(map(Type, class_parameters(place, project))))


def bases_of(place: Place, project: Project) -> Iterator[tuple[Place, tuple[Type, ...]]]:
    """Yield the local bases of the class at ``place``, each with what its type parameters stand for."""
    node = place.binding.node
    scope = replace(class_scope(place, project), before=place.binding)
    own = class_parameters(place, project)
    for base in node.bases if isinstance(node, ast.ClassDef) else ():
        found = scope.base(base, place.binding)
        if isinstance(found, Place):
            # Read as an annotation would be. A base that is no type there, since it is an ordinary class, has no arguments.
            type_ = erased(read_annotation(base, scope)[0], own)
            is_base = type_.head == found.declared
            yield found, type_.args if is_base else ()


def quotes_bases(place: Place) -> bool:
    """Return whether the arguments of the bases of the class at ``place`` are quoted in part."""
    node = place.binding.node
    bases = node.bases if isinstance(node, ast.ClassDef) else ()
    return any(isinstance(each, ast.Constant) for base in bases for each in ast.walk(base))


def _arguments_above(place: Place, project: Project) -> Mapping[Declared, Mapping[Variable, Type]]:
    """Return what the type variables of each base of the class at ``place``, at any depth, stand for in that class."""
    known = project.arguments_above.get(place.declared)
    if known is not None:
        return known
    found: dict[Declared, Mapping[Variable, Type]] = {}
    project.arguments_above[place.declared] = found  # what is below itself has nothing above it
    for base, arguments in bases_of(place, project):
        if base.declared not in found:
            given = found[base.declared] = dict(zip(class_parameters(base, project), arguments, strict=False))
            for above, each in _arguments_above(base, project).items():
                if above not in found:
                    found[above] = {variable: substituted(type_, given) for variable, type_ in each.items()}
    return found


def itself_anew(declared: Declared, place: Place, project: Project) -> Type:
    """Return the type of the class ``declared`` in a static method, where each call binds its type variables anew."""
    return Type(declared, tuple(Type(replace(each, is_rebound=True)) for each in class_parameters(place, project)))


def variables_in_method(of: Place, module: str, method: Binding, project: Project) -> Mapping[Variable, Type]:
    """Return what the type variables of classes stand for in a static method of the class ``of``, defined in ``module``.

    Those of a base stand for what ``of`` gives for them, and its own ones for variables that each call binds anew.
    """
    around = Declared(module, method.qualified.rpartition(".")[0])
    anew = {each: Type(replace(each, is_rebound=True)) for each in class_parameters(of, project)}
    if around == of.declared:
        return anew
    above = _arguments_above(of, project).get(around, {})
    return {each: substituted(type_, anew) for each, type_ in above.items()}


def settled(types: Sequence[Type], returns: Type) -> tuple[list[Type], Type]:
    """Return the types of a function's parameters and of its result with only those type variables that callers bind.

    A variable that occurs once says nothing that its bound does not say, except inside of another type: type checkers reject
    ``list[Derived]`` for ``list[Base]``, but not for ``list[T]`` with a bound or constraints.
    """
    taken = Counter(variable for type_ in types for variable in variables(type_))
    given = Counter(variables(returns))
    kept = {each for each in taken if taken[each] + given[each] > 1 or _is_needed(each, types)}
    return [erased(type_, kept) for type_ in types], erased(returns, kept)


def _is_needed(variable: Variable, types: Sequence[Type]) -> bool:
    """Return whether a variable that occurs once does so inside of another type, and limits what is accepted there."""
    options = [option for type_ in types for option in (type_.args if type_.head == "|" else (type_,))]
    return bool(variable.bound or variable.constraints) and Type(variable) not in options
