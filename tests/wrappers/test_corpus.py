"""Wrappers of well-known modules: they are made, import, keep docstrings and type-check, and calls through them are the calls
themselves.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import shutil
import subprocess
import sys
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generating import importable
from lastgood import RemoteError, watch
from lastgood.wrappers import ModuleSource, wrap_modules
from wrappers.arguments import as_declared, plain, values
from wrappers.corpus import CALLS, PACKAGES, STDLIB, TYPE_CHECKING, directory_of, import_name, sources, standard

PACKAGE = "corpus_wrappers"
IMPORT_ALL = """
import importlib, json, pathlib, sys
for path in sorted(pathlib.Path("generated").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
print(json.dumps(sorted(name for name, module in sys.modules.items() if name in sys.argv[1:])))
"""

whole = pytest.mark.parametrize(
    "largest", [pytest.param(20_000, id="small-ones"), pytest.param(sys.maxsize, id="all", marks=pytest.mark.peers)]
)


def run(*command: str, cwd: Path) -> str:
    """What a module of Python's, run as a command, says; it has to succeed."""
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write(directory: Path, largest: int) -> dict[str, ModuleSource]:
    """Write the wrappers of all sources of up to so many bytes into ``directory``; gives these by the names of their modules."""
    chosen = {source.name: source for source in sources() if len(source.data) <= largest}
    wrapped = wrap_modules(list(chosen.values()), find=chosen.get)
    assert wrapped.failures == ()
    for name, data in wrapped.files.items():
        path = directory / "generated" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return chosen


def wrapper_of(directory: Path, source: ModuleSource) -> ast.Module:
    path = directory.joinpath("generated", *source.name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_bytes())


def definitions(body: Sequence[ast.stmt], around: str = "") -> Iterator[tuple[str, str | None]]:
    """The functions that are defined once, and their docstrings."""
    found: dict[str, list[str | None]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.setdefault(f"{around}{node.name}", []).append(ast.get_docstring(node))
        elif isinstance(node, ast.ClassDef):
            yield from definitions(node.body, f"{around}{node.name}.")
    yield from ((name, docs[0]) for name, docs in found.items() if len(docs) == 1)


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(STDLIB) >= 40
    assert len(PACKAGES) >= 5
    assert {module.partition(".")[0] for module in CALLS} == {"std", *PACKAGES}


@whole
def test_wrappers_are_made_formatted_and_import_with_nothing_else(tmp_path: Path, largest: int) -> None:
    chosen = write(tmp_path, largest)
    assert len(chosen) >= 150
    run("-m", "ruff", "format", "--isolated", "--check", "generated", cwd=tmp_path)
    run("-m", "ruff", "check", "--isolated", "--select", "I", "generated", cwd=tmp_path)
    others = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"lastgood"}
    loaded = set(json.loads(run("-c", IMPORT_ALL, *PACKAGES, *others, cwd=tmp_path)))
    assert loaded & {"rich", "click", *PACKAGES} == set()
    kept = 0
    for source in chosen.values():
        tree = wrapper_of(tmp_path, source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module is not None
                assert node.module.partition(".")[0] in sys.stdlib_module_names | {"lastgood"}, source.name
        own = dict(definitions(ast.parse(source.data).body))
        for name, doc in definitions(tree.body):
            if name in own:
                kept += doc is not None
                assert _lines(doc) == _lines(own[name]), f"{source.name}.{name}"
    assert kept > 200


def _lines(doc: str | None) -> list[str]:
    """A docstring, blanks at the ends of its lines apart."""
    return [line.rstrip() for line in (doc or "").rstrip().split("\n")]


@pytest.mark.peers
def test_wrappers_pass_mypy_strict(tmp_path: Path) -> None:
    write(tmp_path, sys.maxsize)
    run("-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", "generated", cwd=tmp_path)


@pytest.mark.peers
def test_wrappers_pass_pyright_strict(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is in the extra 'peers'")
    write(tmp_path, sys.maxsize)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "include": ["generated"]}))
    told = run("-m", "pyright", "--pythonpath", sys.executable, cwd=tmp_path)
    assert told.strip() == "0 errors, 0 warnings, 0 informations"


# Calls.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The modules of the corpus that are called, with the packages around them, and a config that names them."""
    for module in CALLS:
        parts = module.split(".")
        root = directory_of(parts[0]) if parts[0] in PACKAGES else standard(parts[1])
        target = tmp_path.joinpath("src", *parts[: 1 if parts[0] in PACKAGES else 2])
        if root.is_dir():
            shutil.copytree(root, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root, target.with_suffix(".py"))
    tables = "".join(f'[modules."{module}"]\n' for module in CALLS)
    output = f'[output]\ndir = "{PACKAGE}"\nstyle = "sync"\n'
    (tmp_path / "lastgood.toml").write_text(f'python_import_path = ["src"]\n{tables}{output}')
    return tmp_path


def reached(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def arguments_of(function: Callable[..., Any], hints: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some arguments by name; those with a default are left out at times."""
    needed: dict[str, st.SearchStrategy[Any]] = {}
    others: dict[str, st.SearchStrategy[Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in hints:
            place = others if parameter.default is not parameter.empty else needed
            place[parameter.name] = values(hints[parameter.name])
    assert {*needed, *others} == {*hints}
    return st.fixed_dictionaries(needed, optional=others)


def bound(function: Callable[..., Any], given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as they are passed: by position as long as none is left out, and from there by name."""
    args, kwargs, in_order = [], {}, True
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += given.get(parameter.name, ())
        elif parameter.name not in given:
            in_order = False
        elif in_order and parameter.kind is not parameter.KEYWORD_ONLY:
            args.append(given[parameter.name])
        else:
            kwargs[parameter.name] = given[parameter.name]
    return args, kwargs


@dataclass(frozen=True)
class Raised:
    type_name: str
    message: str


def result_of(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], *, typed: bool) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # raised here, they are told on stderr there
            return plain(function(*args, **kwargs), typed=typed)
    except RemoteError as error:
        return Raised(error.type_name.removeprefix("std."), error.message)
    except Exception as error:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return Raised(name, str(error))


def same_results(own: Callable[..., Any], wrapper: Callable[..., Any], hints: dict[str, Any]) -> tuple[int, int]:
    """Calls both with the same arguments, as hypothesis makes them; gives how often, and how often they raised."""
    typed = typing.get_type_hints(wrapper)["return"] is not Any
    results = []

    @settings(max_examples=10, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(arguments_of(own, hints))
    def compare(given: dict[str, Any]) -> None:
        args, kwargs = bound(own, given)
        direct = result_of(own, args, kwargs, typed=typed)
        args = [as_declared(each, PACKAGE) for each in args]
        kwargs = {name: as_declared(each, PACKAGE) for name, each in kwargs.items()}
        assert result_of(wrapper, args, kwargs, typed=typed) == direct
        results.append(direct)

    compare()
    return len(results), sum(isinstance(each, Raised) for each in results)


def test_hundreds_of_calls_equal_direct_ones(project: Path) -> None:
    calls = raised = 0
    with importable(project, PACKAGE), watch(project / "lastgood.toml").in_thread():
        for module, functions in CALLS.items():
            wrappers = importlib.import_module(f"{PACKAGE}.{module}")
            source = importlib.import_module(import_name(module))
            for path, hints in functions.items():
                own, wrapper = reached(source, path), reached(wrappers, path)
                if hints is None:
                    hints = typing.get_type_hints(own, localns=TYPE_CHECKING, include_extras=True)
                    hints.pop("return", None)
                more_calls, more_raised = same_results(own, wrapper, hints)
                calls += more_calls
                raised += more_raised
    assert calls > 900
    assert 50 < raised < calls / 2
