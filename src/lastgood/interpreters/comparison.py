"""The comparison of the wrappers of a generation with the modules as its worker has imported them.

What it has found is remembered by content: the wrapper, and the bytes of the module and of all local modules that it imports. So
the worker is asked about a module again only after an edit of one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lastgood.bridges.worker.selection import allows
from lastgood.config import Config
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Compared
from lastgood.sources.memo import Answer, Query
from lastgood.wrappers.types.warning_texts import MAKES_NAMES

if TYPE_CHECKING:
    from lastgood.wrappers.differences import Description
    from lastgood.wrappers.ir import Module

__all__ = ["Comparison"]

_DIFFERENCES: Query[tuple[str, ...]] = Query("differences")
_KEPT_FOR_EACH = 4
"""The comparisons that are remembered for each module, so that an edit that is taken back needs no other."""


class _NotCompared(Exception):
    """A module is not compared yet."""


def _given(answer: Answer[tuple[str, ...]] | None) -> Answer[tuple[str, ...]]:
    if answer is None:
        raise _NotCompared
    return answer


class Comparison:
    """One comparison. ``known`` are the warnings of the cycle so far.

    ``functions`` are those to describe, as pairs of a module and a path in it, ``modules`` the modules to describe. There are none
    if no module has changed since an earlier comparison.
    """

    def __init__(self, work: CycleFiles, known: tuple[str, ...]) -> None:
        self._work = work
        self._memo = work.project.differences
        self._known = frozenset(text.partition(": ")[0] for text in known)
        self._making = frozenset(
            name for name, _, text in (each.partition(": ") for each in known) if text.startswith(MAKES_NAMES)
        )
        self._keys: dict[str, tuple[str, ...]] = {}
        self._unknown: dict[str, Module] = {}
        self._found: dict[str, tuple[str, ...]] = {}
        self._last: Compared | None = None
        self.functions: list[tuple[str, str]] = []
        self.modules: list[str] = []
        self._memo.begin_run(lambda _: "")
        if work.interfaces is not None and work.pinned is not None and work.config is not None:
            self._prepare(work.interfaces.digests, work.project.dependencies.digests(work.pinned), work.config)

    def _prepare(self, wrappers: Mapping[str, str], sources: Mapping[str, str], config: Config) -> None:
        project, about, worker = self._work.project, self._warnings_by_module(), repr(config.runtime.process)
        last = self._last = Compared(wrappers, sources, (config.modules, worker, self._known, self._making))
        fresh: AbstractSet[str] = wrappers.keys()
        if project.compared is not None and project.compared.among == last.among:
            self._found, fresh = dict(project.compared.found), project.compared.differing(last)
        for name in fresh:
            self._found.pop(name, None)
        for name in sorted(fresh & wrappers.keys() & config.modules.keys()):
            warned = ",".join(about.get(name, ()))
            warned += f",{name}" if name in self._making else ""
            selection = repr(config.modules[name])
            self._keys[name] = (name, wrappers[name], sources.get(name, ""), selection, worker, warned)
            if (found := self._recall(name)) is not None:
                self._found[name] = found
                continue
            from lastgood.wrappers.differences import functions_in
            from lastgood.wrappers.ir import unpacked

            assert self._work.interfaces is not None
            self._unknown[name] = module = unpacked(self._work.interfaces.read(wrappers[name]))
            self.functions += functions_in(module)
        self.modules = list(self._unknown)

    def _warnings_by_module(self) -> dict[str, list[str]]:
        """Return what the warnings so far are about, by each module or package that it may be in."""
        found: dict[str, list[str]] = {}
        for each in sorted(self._known):
            for place, letter in enumerate(each):
                if letter == ".":
                    found.setdefault(each[:place], []).append(each)
        return found

    def _recall(self, name: str) -> tuple[str, ...] | None:
        try:
            return self._memo.ask(_DIFFERENCES, self._keys[name], partial(_given, None)).found
        except _NotCompared:
            return None

    def warnings(self, found: object = None) -> tuple[str, ...]:
        """Return all differences, given the description ``found`` by the bridge; None: it could not say.

        Raises :class:`msgspec.ValidationError` for a description that is none.
        """
        if self._unknown:
            self._learn(found)
            self._memo.keep(_KEPT_FOR_EACH * len(self._found))
            self._unknown = {}
        if self._last is not None:
            self._work.project.compared = replace(self._last, found=self._found)
        return tuple(text for _, texts in sorted(self._found.items()) for text in texts)

    def _learn(self, found: object) -> None:
        from lastgood.wrappers.differences import description

        described = None if found is None else description(found, self.functions, self.modules)
        for name, module in self._unknown.items():
            answer = Answer(() if described is None else self._differences(module, described))
            self._found[name] = self._memo.ask(_DIFFERENCES, self._keys[name], partial(_given, answer)).found

    def _differences(self, module: Module, described: Description) -> tuple[str, ...]:
        from lastgood.wrappers.differences import differences

        is_expected = partial(self._is_expected, module.name)
        return tuple(differences(module, described, self._source(module.name), is_expected))

    def _source(self, name: str) -> bytes:
        pinned = self._work.pinned
        module = None if pinned is None else pinned.find(name)
        return b"" if pinned is None or module is None else pinned.read(module.file)

    def _is_expected(self, module: str, name: str) -> bool:
        """Return whether a wrapper may lack ``name``: the config leaves it out, or a warning says why."""
        assert self._work.config is not None
        chosen = self._work.config.modules[module]
        for functions in (chosen.functions, chosen.classes):
            if allows(name, functions=functions, exclude=chosen.exclude, exclude_patterns=chosen.exclude_patterns):
                return module in self._making or f"{module}.{name}" in self._known
        return True
