"""The comparison of the wrappers of a generation with the modules as its worker has imported them.

What it has found is remembered by content: the wrapper, and the bytes of the module and of all local modules that it imports. So
the worker is asked about a module again only after an edit of one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from lastgood.bridges.worker.selection import allows
from lastgood.interpreters.cycle_files import CycleFiles
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
        self.functions: list[tuple[str, str]] = []
        self.modules: list[str] = []
        self._memo.begin_run(lambda _: "")
        if work.interfaces is not None and work.pinned is not None and work.config is not None:
            self._prepare(work.interfaces.digests)

    def _prepare(self, wrappers: Mapping[str, str]) -> None:
        work = self._work
        assert work.pinned is not None and work.config is not None and work.interfaces is not None  # noqa: PT018 - for mypy
        sources = work.project.dependencies.digests(work.pinned)
        about = self._warnings_by_module()
        worker = repr(work.config.runtime.process)
        for name, digest in wrappers.items():
            if name in work.config.modules:
                warned = ",".join(about.get(name, ()))
                warned += f",{name}" if name in self._making else ""
                selection = repr(work.config.modules[name])
                self._keys[name] = (name, digest, sources.get(name, ""), selection, worker, warned)
        for name in self._keys:
            if self._recall(name) is None:
                from lastgood.wrappers.differences import functions_in
                from lastgood.wrappers.ir import unpacked

                self._unknown[name] = module = unpacked(work.interfaces.read(wrappers[name]))
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
            self._memo.keep(_KEPT_FOR_EACH * len(self._keys))
        return tuple(text for name in self._keys for text in self._recall(name) or ())

    def _learn(self, found: object) -> None:
        from lastgood.wrappers.differences import description

        described = None if found is None else description(found, self.functions, self.modules)
        for name, module in self._unknown.items():
            answer = Answer(() if described is None else self._differences(module, described))
            self._memo.ask(_DIFFERENCES, self._keys[name], partial(_given, answer))
        self._unknown = {}

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
