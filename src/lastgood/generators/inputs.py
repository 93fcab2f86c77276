"""The inputs of generators: the paths to watch, and the sources that globs match."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from lastgood.config import Config, GeneratorConfig, ModuleConfig
from lastgood.errors import ConfigError, UnwatchableModule
from lastgood.generators.commands import needs_source
from lastgood.sources.finder import Finder, Interpreter
from lastgood.sources.pinning import Pinner
from lastgood.sources.resolution import places_of, resolve_modules
from lastgood.store.file_system import FileSystem

__all__ = ["Inputs", "expand_sources", "field_of", "inputs_of", "watched_paths"]


class Inputs(Struct, frozen=True):
    """The inputs of the generators of a config. Every path is absolute.

    ``paths`` are the paths that the config names, with links resolved; ``helpers`` the files of the modules that a generator's
    function imports; ``candidates`` further paths whose appearance may change either. ``problem`` is set if the module of a
    function cannot be found. ``links`` are symbolic links on the way to all of these.
    """

    paths: tuple[Path, ...] = ()
    helpers: tuple[Path, ...] = ()
    candidates: tuple[Path, ...] = ()
    problem: ConfigError | None = None
    links: tuple[Path, ...] = ()


def inputs_of(config: Config, files: FileSystem, pinner: Pinner, interpreter: Interpreter) -> Inputs:
    """Return the inputs of the generators of ``config``.

    ``interpreter`` is the current one, which also calls the functions.
    """
    if not config.generators:
        return Inputs()
    named = {path for generator in config.generators for path in watched_paths(config, generator)}
    paths = {files.real_path(path) for path in named}
    candidates, helpers, ways = named - paths, set[Path](), {*named, *config.python_import_path}
    problem: ConfigError | None = None
    finder = Finder(files, config.python_import_path, interpreter)
    for generator in config.generators:
        if generator.use is None:
            continue
        module = generator.use.partition(":")[0]
        candidates.update(place for entry in config.python_import_path for place in places_of(entry, module))
        asked = msgspec.structs.replace(config, modules={module: ModuleConfig()})
        try:
            found = resolve_modules(asked, finder)
        except UnwatchableModule as error:
            problem = ConfigError(f"{error}.", file=config.path, field=field_of(config, generator, "use"))
            for note in getattr(error, "__notes__", ()):
                problem.add_note(note)
            continue
        pinned = pinner.pin(asked, found, finder)
        helpers.update(each.file for each in pinned.modules)
        ways.update(each.path for each in pinned.modules if each.path != each.file)
        candidates.update(found[module].candidates, pinned.candidates)
    candidates -= paths | helpers
    links = tuple(sorted(finder.links_to(ways), key=str))
    return Inputs(tuple(sorted(paths)), tuple(sorted(helpers)), tuple(sorted(candidates)), problem, links)


def watched_paths(config: Config, generator: GeneratorConfig) -> tuple[Path, ...]:
    """Return the paths to watch for ``generator``: its ``watch`` paths and sources, but not the modules of its function.

    For a glob that is the directory that contains all possible matches.
    """
    if generator.sources is None and generator.command is not None and needs_source(generator.command):
        return tuple(sorted({*generator.watch, *config.python_import_path}))
    sources = (config.path.parent / _literal_part(source) for source in generator.sources or ())
    return tuple(sorted({*generator.watch, *(Path(os.path.normpath(path)) for path in sources)}))


def expand_sources(config: Config, generator: GeneratorConfig) -> tuple[Path, ...]:
    """Return the sources of ``generator`` as absolute paths in the config's order, the matches of each glob sorted.

    Globs never match files in the output directory or in ``.lastgood``. Raises :class:`ConfigError` for a source without
    wildcards that does not exist.
    """
    if generator.sources is None:
        return config.python_import_path
    found: dict[Path, None] = {}
    for index, source in enumerate(generator.sources):
        path = Path(os.path.normpath(config.path.parent / source))
        if glob.has_magic(source):
            found.update(dict.fromkeys(_matches(config, source)))
        elif path.exists():
            found[path] = None
        else:
            at = field_of(config, generator, f"sources[{index}]")
            raise ConfigError(f"{path} does not exist; expected a file or a directory.", file=config.path, field=at)
    return tuple(found)


def field_of(config: Config, generator: GeneratorConfig, field: str) -> str:
    """Return the dotted name of a generator's field in the config file."""
    index = next(place for place, each in enumerate(config.generators) if each is generator)
    return f"generator.{field}" if len(config.generators) == 1 else f"generators[{index}].{field}"


def _matches(config: Config, pattern: str) -> Iterator[Path]:
    for name in sorted(glob.glob(pattern, root_dir=config.path.parent, recursive=True)):
        path = Path(os.path.normpath(config.path.parent / name))
        if config.output.dir not in (path, *path.parents) and ".lastgood" not in path.parts:
            yield path


def _literal_part(source: str) -> str:
    """Return the part of a path before its first component with a wildcard."""
    parts = Path(source).parts
    first = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[:first]))
