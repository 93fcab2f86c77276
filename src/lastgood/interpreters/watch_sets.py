"""The watch sets of cycles: the inputs of one that was resolved, and the places at which a change may mend one that was not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lastgood.config import Config
from lastgood.generators.inputs import Inputs
from lastgood.interpreters.project import Project
from lastgood.planner.watch_set import WatchSet
from lastgood.sources.finder import Finder
from lastgood.sources.pinning import Pinned
from lastgood.sources.resolution import Resolved, places_of

__all__ = ["inputs_of_a_cycle", "named_in", "places_of_a_mending"]

_NO_SOURCES = Pinned((), (), {}, (), (), (), {}, {}, {})


def named_in(project: Project, config: Config, output: Path) -> WatchSet:
    """Return what a first cycle depends on for certain: the modules of ``config``. Raises :class:`UnwatchableModule`."""
    finder = project.finder(config)
    modules = project.find_modules(config, finder)
    return inputs_of_a_cycle(project, config, Inputs(), output, modules, _NO_SOURCES, finder)


def inputs_of_a_cycle(
    project: Project,
    config: Config,
    inputs: Inputs,
    output: Path,
    modules: Mapping[str, Resolved],
    pinned: Pinned,
    finder: Finder,
) -> WatchSet:
    """Return what a cycle depends on: the ``modules`` of ``config``, what is ``pinned``, the ``inputs`` of generators."""
    always = project.always_watched
    sources: set[Path] = set()
    for module in modules.values():
        sources.update(module.roots or (() if module.file is None else (module.file,)))
    paths = {*always.paths, *inputs.paths, *sources}
    directories = tuple(f"{path}/" for path in paths)
    helpers = (*pinned.helpers, *inputs.helpers)
    paths.update(path for path in helpers if not str(path).startswith(directories))
    paths.update(project.included_in(config))
    candidates = {path for module in modules.values() for path in module.candidates}
    candidates.update(inputs.candidates, pinned.candidates)
    ways = finder.links_to([*config.python_import_path, *pinned.ways()])
    return WatchSet(
        tuple(sorted(paths)),
        _as_text(candidates - paths),
        output,
        project.rules(config, sources - {*inputs.paths}),
        _as_text({*always.links, *inputs.links, *ways}),
        config.watch.interval,
    )


def places_of_a_mending(project: Project, config: Config, inputs: Inputs, output: Path) -> WatchSet:
    """Return all paths at which a change could fix modules that are missing or unusable."""
    always, entries = project.always_watched, config.python_import_path
    places = {place for name in config.modules for entry in entries for place in places_of(entry, name)}
    known = {*always.paths, *inputs.paths, *inputs.helpers}
    return WatchSet(
        tuple(sorted(known)),
        _as_text({*places, *inputs.candidates} - known),
        output,
        project.rules(config, places - {*inputs.paths}),
        _as_text({*always.links, *inputs.links, *project.links_to([*entries, *places])}),
        config.watch.interval,
    )


def _as_text(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(paths, key=str))
