"""What depends on what: the strongly connected components of a graph, and digests of modules together with their imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from lastgood.sources.pinning import Pinned
from lastgood.store.file_system import digest_of

__all__ = ["Dependencies", "components"]


class Dependencies:
    """What depends on what among pinned modules. It is found out again only when the import statements are other ones."""

    def __init__(self) -> None:
        self._imports: object = None
        self._components: list[tuple[frozenset[str], frozenset[str]]] = []  # with what lies below, which comes first
        self._last: tuple[Pinned | None, dict[str, str]] = (None, {})

    def digests(self, pinned: Pinned) -> dict[str, str]:
        """Return, for each module, a digest of its bytes and of those of all pinned modules that it imports, at any depth."""
        if pinned.imports is not self._imports:
            graph = {name: _edges(name, pinned) for name in pinned.imports}
            below = (
                (each, frozenset[str]().union(*(graph[name] for name in each)) - each) for each in components(graph)
            )
            self._imports, self._components, self._last = pinned.imports, list(below), (None, {})
        last, known = self._last
        changed = {module.name for module in pinned.changed_since(last)}
        found = dict(known)
        for component, others in self._components if changed or last is None else ():
            if last is not None and component.isdisjoint(changed) and others.isdisjoint(changed):
                continue
            changed |= component
            own = sorted(f"{name} {module.digest}" for name in component if (module := pinned.find(name)) is not None)
            text = "\n".join([*own, "", *sorted({found[other] for other in others if other in found})])
            found.update(dict.fromkeys(component, digest_of(text.encode())))
        self._last = pinned, found
        return found


def _edges(name: str, pinned: Pinned) -> frozenset[str]:
    """Return the names of the modules that module ``name`` imports, with the packages around them and around itself."""
    edges: set[str] = set()
    for other in (name, *pinned.imports[name]):
        while other and other not in edges:
            edges.add(other)
            other = other.rpartition(".")[0]
    return frozenset(edges - {name})


def components(graph: Mapping[str, AbstractSet[str]]) -> Iterator[frozenset[str]]:
    """Yield the strongly connected components of ``graph``, each after those that its edges lead to, by Tarjan's algorithm."""
    places: dict[str, int] = {}  # discovery order of the nodes
    lowest: dict[str, int] = {}  # earliest node on the path that is reachable (lowlink)
    path: list[str] = []
    for start in graph:
        if start in places:
            continue
        work = [(start, iter(graph[start]))]
        places[start] = lowest[start] = len(places)
        path.append(start)
        while work:
            name, others = work[-1]
            for other in others:
                if other not in graph:
                    continue
                if other not in places:
                    places[other] = lowest[other] = len(places)
                    path.append(other)
                    work.append((other, iter(graph[other])))
                    break
                if other in lowest:
                    lowest[name] = min(lowest[name], places[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    lowest[above] = min(lowest[above], lowest[name])
                if lowest[name] == places[name]:
                    cycle = [path.pop()]
                    while cycle[-1] != name:
                        cycle.append(path.pop())
                    for each in cycle:
                        del lowest[each]
                    yield frozenset(cycle)
