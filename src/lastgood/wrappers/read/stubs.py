"""Stubs: what the ``.pyi`` of a module says of what its source does not annotate.

A source rules: it decides which parameters there are, of which kinds, and what it annotates itself. A stub gives types, by the
names of parameters and fields.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from msgspec import Struct

from lastgood.wrappers.read.outline import Binding, Outline
from lastgood.wrappers.read.project import Located, Project
from lastgood.wrappers.read.scope import Place, Scope

__all__ = ["Stub", "field_in_stub", "overloads_in_stub", "stub_of_function"]


class Stub(Struct, frozen=True):
    """The definition of a function in a stub, and the scope of its annotations."""

    binding: Binding
    scope: Scope

    def annotation(self, parameter: str) -> ast.expr | None:
        """Return the annotation of a parameter; None if it has none there."""
        return self._parameters().get(parameter)

    @property
    def returns(self) -> ast.expr | None:
        """The annotation of the result."""
        found: ast.expr | None = self.binding.node.returns
        return found

    def differences(self, source: ast.arguments, *, has_cls: bool) -> Iterator[str]:
        """Yield a warning if its parameters differ from those of the source.

        What ``*args`` or ``**kwargs`` may stand for on either side is no difference, nor is with ``has_cls`` the name of the
        first one.
        """
        stub: ast.arguments = self.binding.node.args
        there, here = [*_names(stub)][has_cls:], [*_names(source)][has_cls:]
        more = [] if _takes_anything(source) else [name for name in there if name not in here]
        fewer = [] if _takes_anything(stub) else [name for name in here if name not in there]
        kinds = [name for name in here if name in there and _by_keyword(source, name) != _by_keyword(stub, name)]
        parts = ((more, "has no {} in the source"), (fewer, "lacks {}"), (kinds, "takes {} in another way"))
        found = "; ".join(text.format(", ".join(names)) for names, text in parts if names)
        if found:
            yield f"line {self.binding.node.lineno} of its stub {found}. The parameters of the source count."

    def _parameters(self) -> dict[str, ast.expr | None]:
        arguments: ast.arguments = self.binding.node.args
        return {_plain(each.arg): each.annotation for each in _all(arguments)}


def stub_of_function(project: Project, located: Located, binding: Binding) -> Stub | None:
    """Return the definition in a stub of the function that ``binding`` defines; None if there is none, or several.

    The stub is that of its module, else that of the module that offers it.
    """
    found = _in_stub(project, located, binding)
    return found[0] if len(found) == 1 and not found[0].binding.is_overload else None


def overloads_in_stub(project: Project, located: Located, binding: Binding) -> tuple[Outline, tuple[Binding, ...]]:
    """Return the overloads in a stub of the function that ``binding`` defines, and the stub."""
    found = [each for each in _in_stub(project, located, binding) if each.binding.is_overload]
    return (found[0].scope.at if found else located.outline), tuple(each.binding for each in found)


def field_in_stub(project: Project, place: Place, name: str) -> tuple[ast.expr, Scope] | None:
    """Return the annotation in a stub of an attribute of the class at ``place``, with its scope; None if there is none."""
    stub = project.stub(place.outline.source.name)
    owner = None if stub is None else _class(stub, place.name.split("."))
    if stub is None or owner is None:
        return None
    for each in stub.names(owner).get(name, ()):
        if isinstance(each.node, ast.AnnAssign):
            return each.node.annotation, Scope(project, stub, owner, in_fields=True)
    return None


def _in_stub(project: Project, located: Located, binding: Binding) -> Sequence[Stub]:
    if located.outline.is_stub:
        return ()
    found = _at(project, located.outline.source.name, binding.qualified)
    return found or (() if located.offered is None else _at(project, *located.offered))


def _at(project: Project, module: str, path: str) -> Sequence[Stub]:
    stub = project.stub(module)
    if stub is None:
        return ()
    *around, name = path.split(".")
    owner = _class(stub, around)
    bindings = () if around and owner is None else stub.names(owner).get(name, ())
    return [
        Stub(each, Scope(project, stub, each.at.owner, each.type_parameters)) for each in bindings if each.is_function
    ]


def _class(stub: Outline, path: Sequence[str]) -> ast.ClassDef | None:
    owner: ast.ClassDef | None = None
    for name in path:
        found = next(reversed(stub.names(owner).get(name, [])), None)
        if found is None or not found.is_class:
            return None
        owner = found.node
    return owner


def _all(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (each for each in (arguments.vararg, arguments.kwarg) if each is not None)


def _names(arguments: ast.arguments) -> Iterator[str]:
    yield from (_plain(each.arg) for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))


def _plain(name: str) -> str:
    """Return a parameter's name without the underscores that made it positional before :pep:`570`."""
    return name.removeprefix("__") if not name.endswith("__") else name


def _by_keyword(arguments: ast.arguments, name: str) -> bool:
    """Return whether a parameter is given by keyword only."""
    return any(each.arg == name for each in arguments.kwonlyargs)


def _takes_anything(arguments: ast.arguments) -> bool:
    return arguments.vararg is not None or arguments.kwarg is not None
