"""Modules -> files: who lies where in the output directory (contract §7), and every failure, not the first alone."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager

from lastgood.config import Style
from lastgood.errors import ModuleFailure
from lastgood.wrappers.assemble import assemble, types_of
from lastgood.wrappers.declaring import Declaring
from lastgood.wrappers.extract import Extract, extract
from lastgood.wrappers.header import with_header
from lastgood.wrappers.import_graph import Circle, Imports, imports_between
from lastgood.wrappers.ir import Declared, Module, packed
from lastgood.wrappers.models import Models
from lastgood.wrappers.project import Project
from lastgood.wrappers.reading import ModuleSource
from lastgood.wrappers.render import render, render_package

__all__ = ["generate"]


def generate(
    sources: Sequence[ModuleSource], find: Callable[[str], ModuleSource | None], style: Style = "async"
) -> tuple[Mapping[str, bytes], tuple[str, ...], tuple[ModuleFailure, ...], Mapping[str, bytes]]:
    """Files by path, warnings, failures, IRs by module. See :func:`lastgood.wrappers.wrap_modules`."""
    models = Models()
    project = Project(sources, find, models.judge)
    extracts: list[Extract] = []
    for source in sorted(sources, key=lambda source: source.name):
        name = source.name
        if not all(part.isidentifier() and part != "__init__" for part in name.split(".")):
            project.failures[name] = _failure(source, "this is no dotted module name that could be imported.")
            continue
        at = project.outline(name)
        if at is None:
            continue
        with _failures_of(project, source):
            extracts.append(extract(project, at))
    declaring = Declaring(project, models)
    modules: dict[str, Module] = {each.module.name: each.module for each in extracts}
    imports: dict[str, Imports] = {}
    try:
        types = types_of(extracts, declaring)
        modules = assemble(extracts, types, models)
        imports = imports_between(modules)
    except Circle as circle:
        for name in circle.modules:
            others = ", ".join(each for each in circle.modules if each != name)
            problem = (
                f"its types derive from those of {others}, and those from its own, so that neither can come first."
            )
            project.failures[name] = ModuleFailure(name, None, None, problem)
        types = {}
    except (RecursionError, MemoryError):
        types = {}
        for source in sources:
            project.failures.setdefault(source.name, _failure(source, "the types that it uses are nested too deeply."))
    files = _files(project, sources, modules, imports, style)
    irs = {name: packed(module) for name, module in modules.items() if name not in project.failures}
    warnings = [warning for each in extracts for warning in _warnings(each, types)]
    warnings += [warning for declared in types for warning in declaring.warnings[declared]]
    failures = tuple(failure for _, failure in sorted(project.failures.items()))
    return dict(sorted(files.items())), tuple(warnings), failures, irs


def _files(
    project: Project,
    sources: Sequence[ModuleSource],
    modules: Mapping[str, Module],
    imports: Mapping[str, Imports],
    style: Style,
) -> dict[str, bytes]:
    names = {source.name for source in sources} | modules.keys()
    packages = {""} if names else set()
    for name in names:
        parts = name.split(".")
        packages.update(".".join(parts[:depth]) for depth in range(1, len(parts)))
    files: dict[str, bytes] = {}
    named = {source.name: source for source in sources}
    for name, module in modules.items():
        with _failures_of(project, named.get(name, ModuleSource(name, None, b"", is_package=False))):
            text = render(module, imports.get(name), is_package=name in packages, style=style)
            files[_path(name, name in packages)] = with_header(name, text)
    for package in packages - names:
        files[_path(package, True)] = with_header(package, render_package(package))
    return files


def _warnings(extract: Extract, types: Container[Declared]) -> tuple[str, ...]:
    return extract.warnings + tuple(text for declared, text in extract.unless_declared if declared not in types)


@contextmanager
def _failures_of(project: Project, source: ModuleSource) -> Iterator[None]:
    """Note down what goes wrong with one module; the others are still to be told of."""
    try:
        yield
    except (RecursionError, MemoryError):
        project.failures[source.name] = _failure(source, "an annotation or a default in it is nested too deeply.")
    except Exception as error:  # a bug of ours
        problem = f"it could not be wrapped: {type(error).__name__}: {error}"
        project.failures[source.name] = _failure(source, problem)


def _path(name: str, is_package: bool) -> str:
    parts = name.split(".") if name else []
    return "/".join([*parts, "__init__.py"]) if is_package else f"{'/'.join(parts)}.py"


def _failure(source: ModuleSource, message: str) -> ModuleFailure:
    return ModuleFailure(source.name, source.path, None, message)
