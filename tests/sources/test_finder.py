"""lastgood.sources.finder: what Python's own path finder finds, on random trees."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.sources.finder import Finder, Found, Interpreter
from lastgood.store.disk import Disk
from lastgood.store.memory_files import MemoryFiles

# Answers each line, [names, path], with what there is of each name: its origin and where its submodules are looked for.
PYTHON = """
import json, sys
from importlib.machinery import PathFinder

def find(name, path):
    for part in name.split("."):
        spec = None if path is None else PathFinder.find_spec(part, path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        path = None if path is None else list(path)
    return [spec.origin, path]

for line in sys.stdin:
    names, path = json.loads(line)
    PathFinder.invalidate_caches()
    print(json.dumps([find(name, path) for name in names]), flush=True)
"""

Ask = Callable[[list[str], list[str]], list[Any]]

ENTRIES = ("one", "two", "three")
STEMS = ("a", "b", "A")
NAMES = [".".join(parts) for depth in (1, 2, 3) for parts in product(STEMS, repeat=depth)]
DIRECTORIES = ("", "a", "b", "A", "a/a", "a/b", "b/a")
FORMS = (".py", ".py", ".py", ".pyc", ".so", EXTENSION_SUFFIXES[0], ".pyi", ".txt", "")

places = st.tuples(st.sampled_from(ENTRIES), st.sampled_from(DIRECTORIES), st.sampled_from((*STEMS, "__init__")))
pieces = st.tuples(
    st.sampled_from(("file", "file", "file", "directory", "link", "link to its directory", "link to nothing")),
    places,
    st.sampled_from(FORMS),
    st.integers(0, 20),
)


@pytest.fixture(scope="module")
def python() -> Iterator[Ask]:
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", PYTHON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None

        def ask(names: list[str], path: list[str]) -> list[Any]:
            print(json.dumps([names, path]), file=child.stdin, flush=True)
            return cast("list[Any]", json.loads(cast("Any", child.stdout).readline()))

        yield ask


def build(top: Path, made: list[Any]) -> None:
    """Make what can be made: where something stands already, it stays. A link leads to what was made before it, or itself."""
    paths: list[Path] = []
    for kind, (entry, directory, stem), form, which in made:
        bare = kind in ("directory", "link to its directory")
        path = top / entry / directory / (stem if bare else f"{stem}{form}")
        paths.append(path)
        target = paths[which % len(paths)]
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            match kind:
                case "file":
                    path.touch(exist_ok=False)
                case "directory":
                    path.mkdir()
                case "link":
                    path.symlink_to(target)
                case "link to its directory":
                    path.symlink_to(target.parent)
                case "link to nothing":
                    path.symlink_to(top / "nothing")


def as_python_tells(found: Found | None) -> Any:
    if found is None:
        return None
    return [found.file, None if found.search is None else list(found.search)]


def as_told_here(spec: Any) -> Any:
    """A finder names the file of a source alone."""
    if spec is None:
        return None
    origin, search = spec
    return [origin if (origin or "").endswith(".py") else None, search]


@settings(max_examples=100)
@given(made=st.lists(pieces, min_size=1, max_size=14), split=st.integers(0, len(ENTRIES)))
def test_it_finds_what_pythons_path_finder_finds(
    tmp_path_factory: pytest.TempPathFactory, python: Ask, made: list[Any], split: int
) -> None:
    top = Path(os.path.realpath(tmp_path_factory.mktemp("tree")))
    build(top, made)
    path = [top / entry for entry in ENTRIES]
    finder = Finder(Disk(), path[:split], Interpreter(path[split:], ()))
    expected = python(NAMES, list(map(str, path)))
    for name, spec in zip(NAMES, expected, strict=True):
        assert as_python_tells(finder.find(name)) == as_told_here(spec), name
        found = finder.find(name)
        if found is not None and found.file is not None:
            assert finder.real_file(found.file) == Path(os.path.realpath(found.file))
        for directory in (found.search or ()) if found is not None else ():
            assert finder.real_directory(directory) == os.path.realpath(directory)


# What editable installs map, which setuptools' own finders are asked about in test_editable_installs.


def find(name: str, *files: str, mapping: dict[str, str], namespaces: dict[str, list[str]] | None = None) -> Any:
    tree = MemoryFiles()
    for file in files:
        tree.put(Path(file), b"")
    interpreter = Interpreter((Path("/py"),), ("sys",), mapping, namespaces or {})
    return as_python_tells(Finder(tree, (Path("/p"),), interpreter).find(name))


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["/e/x/__init__.py"], ["/e/x/__init__.py", ["/e/x"]]),
        (["/e/x.py"], ["/e/x.py", None]),
        (["/e/x.so"], [None, None]),
        (["/e/x.so", "/e/x.py"], ["/e/x.py", None]),
        (["/e/x/__init__.py", "/e/x.py"], ["/e/x/__init__.py", ["/e/x"]]),
        (["/e/x/other.py"], None),
        ([], None),
        (["/e/x.py", "/py/m.py"], ["/py/m.py", None]),
        (["/e/x.py", "/p/m.py"], ["/p/m.py", None]),
        (["/e/x.py", "/p/m/bare.py"], [None, ["/p/m"]]),
    ],
    ids=["package", "module", "extension", "source before extension", "package before module", "no package", "gone",
         "the path goes first", "local first", "a bare directory on the path goes first"],
)  # fmt: skip
def test_a_mapped_module(files: list[str], found: Any) -> None:
    assert find("m", *files, mapping={"m": "/e/x"}) == found


def test_namespaces_of_editable_installs_have_their_directories_and_those_on_the_path() -> None:
    tree = ("/p/ns/own.py", "/e/one/near.py", "/e/far/__init__.py")
    known: Any = {"mapping": {"ns.far": "/e/far"}, "namespaces": {"ns": ["/e/one"], "void": []}}
    assert find("ns", *tree, **known) == [None, ["/p/ns", "/e/one"]]
    assert find("ns.own", *tree, **known) == ["/p/ns/own.py", None]
    assert find("ns.near", *tree, **known) == ["/e/one/near.py", None]
    assert find("ns.far", *tree, **known) == ["/e/far/__init__.py", ["/e/far"]]
    assert find("void", *tree, **known) == [None, []]
    assert find("void.x", *tree, **known) is None
