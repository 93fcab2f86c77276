"""Modules -> files: who lies where in the output directory (contract §7), and every failure, not the first alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lastgood.errors import ModuleFailure
from lastgood.wrappers.extract import extract
from lastgood.wrappers.header import with_header
from lastgood.wrappers.project import Project
from lastgood.wrappers.reading import ModuleSource
from lastgood.wrappers.render import render, render_package

__all__ = ["generate"]


def generate(
    sources: Sequence[ModuleSource], find: Callable[[str], ModuleSource | None]
) -> tuple[Mapping[str, bytes], tuple[str, ...], tuple[ModuleFailure, ...]]:
    """Files by path, warnings, failures. See :func:`lastgood.wrappers.wrap_modules`."""
    project = Project(sources, find)
    names = sorted({source.name for source in sources})
    packages = {""} if names else set()
    for name in names:
        parts = name.split(".")
        packages.update(".".join(parts[:depth]) for depth in range(1, len(parts)))
    files: dict[str, bytes] = {}
    warnings: list[str] = []
    for source in sorted(sources, key=lambda source: source.name):
        name = source.name
        if not all(part.isidentifier() and part != "__init__" for part in name.split(".")):
            project.failures[name] = _failure(source, "this is no dotted module name that could be imported.")
            continue
        at = project.outline(name)
        if at is None:
            continue
        try:
            module, said = extract(project, at)
            files[_path(name, name in packages)] = with_header(name, render(module))
            warnings += said
        except (RecursionError, MemoryError):
            project.failures[name] = _failure(source, "an annotation or a default in it is nested too deeply.")
        except Exception as error:  # a bug of ours; the other modules are still to be told of
            project.failures[name] = _failure(source, f"it could not be wrapped: {type(error).__name__}: {error}")
    for package in packages - set(names):
        files[_path(package, True)] = with_header(package, render_package(package))
    failures = tuple(failure for _, failure in sorted(project.failures.items()))
    return dict(sorted(files.items())), tuple(warnings), failures


def _path(name: str, is_package: bool) -> str:
    parts = name.split(".") if name else []
    return "/".join([*parts, "__init__.py"]) if is_package else f"{'/'.join(parts)}.py"


def _failure(source: ModuleSource, message: str) -> ModuleFailure:
    return ModuleFailure(source.name, source.path, None, message)
