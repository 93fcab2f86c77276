"""The own and inherited members of a class, as far as its bases are local classes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from lastgood.wrappers.read.project import Located, Missing, Project, Value, settle
from lastgood.wrappers.read.scope import Place, Scope, plain_path

__all__ = ["bases_are_local", "crosses_as", "inherited"]


def inherited(project: Project, place: Place) -> Mapping[str, Located | Missing | Value]:
    """Resolve every name in the class at ``place``, own names first, then inherited ones."""
    known = project.members.get(place.binding.node)
    if known is not None:
        return known
    found: dict[str, Located | Missing | Value] = {}
    for each in _order(project, place, frozenset()):
        node = each.binding.node
        for name in each.outline.names(node):
            if name not in found:
                settled = settle(each.outline, node, name)
                found[name] = Value(each.outline, settled) if isinstance(settled, tuple) else settled
    return project.members.setdefault(place.binding.node, found)


def _order(project: Project, place: Place, around: frozenset[tuple[str, str]]) -> Sequence[Place]:
    """Return the method resolution order of the local bases. Where Python would find none, bases stay in written order."""
    node = place.binding.node
    key = (place.outline.source.name, place.name)
    if not isinstance(node, ast.ClassDef) or key in around:
        return []
    if node in project.lineages:
        return project.lineages[node]
    bases = [found for base in node.bases if isinstance(found := _base(project, place, base), Place)]
    orders = [_order(project, base, around | {key}) for base in bases]
    order = [place, *(orders[0] if len(orders) == 1 else _merge_orders([*orders, bases]))]
    return project.lineages.setdefault(node, order)


def _base(project: Project, place: Place, node: ast.expr) -> str | Place | None:
    """Resolve a base. Of several classes of that name, depending on a condition, the one that is found first has to do."""
    found = Scope(project, place.outline, place.owner).base(node, place.binding)
    if found is None and isinstance(node, ast.Name):
        where = project.locate(place.outline, node.id)
        if isinstance(where, Located) and where.is_class and where.bindings[0] is not place.binding:
            return Place(where.outline, where.bindings[0], where.bindings[0].qualified)
    return found


def _merge_orders(orders: Sequence[Sequence[Place]]) -> list[Place]:
    left = [[each.declared for each in order] for order in orders]
    places = {each.declared: each for order in orders for each in order}
    merged = []
    while any(left):
        heads = [order[0] for order in left if order]
        chosen = next((head for head in heads if not any(head in order[1:] for order in left)), heads[0])
        merged.append(places[chosen])
        left = [[each for each in order if each != chosen] for order in left]
    return merged


def bases_are_local(project: Project, place: Place) -> bool:
    """Return whether every base of the class at ``place``, at any depth, is a local class or ``object``."""
    for each in _order(project, place, frozenset()):
        for base in each.binding.node.bases:
            found = _base(project, each, base)
            if not isinstance(found, Place) and found not in ("builtins.object", "abc.ABC", "typing.Generic"):
                return False
    return True


_CROSSING = {
    **{f"builtins.{name}": name for name in ("bytes", "float", "frozenset", "int", "list", "set", "str", "tuple")},
    **dict.fromkeys(
        ("builtins.dict", *(f"collections.{n}" for n in ("Counter", "OrderedDict", "defaultdict"))), "dict"
    ),
    **{f"datetime.{name}": name for name in ("date", "datetime", "time", "timedelta")},
    "decimal.Decimal": "Decimal",
    "pathlib.Path": "Path",
    "uuid.UUID": "UUID",
}
"""The types as which instances of classes that derive from them cross: see :func:`.rich.base`."""


def crosses_as(project: Project, place: Place) -> str | None:
    """Return the name of the type as which instances of the ordinary class at ``place`` cross; None if they stay."""
    for each in _order(project, place, frozenset()):
        for base in each.binding.node.bases:
            found = _base(project, each, base)
            if isinstance(found, str) and (name := _CROSSING.get(plain_path(found))) is not None:
                return name
    return None
