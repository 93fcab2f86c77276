"""docs/explanation/architecture.md names files, functions and layers that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "lastgood"
TEXT = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted(set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)[`:]", TEXT)))
PLACES = sorted(set(re.findall(r"`([a-z_/]+\.py)::([\w.]+)`", TEXT)))


@cache
def names_in(path: Path) -> frozenset[str]:
    """The functions and classes of a file, with the classes around them."""

    def inside(node: ast.AST, around: str) -> list[str]:
        found = []
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found += [f"{around}{child.name}", *inside(child, f"{around}{child.name}.")]
        return found

    return frozenset(inside(ast.parse(path.read_bytes()), ""))


@pytest.mark.parametrize("file", FILES)
def test_every_file_that_is_named_exists(file: str) -> None:
    assert (SOURCES / file).is_file()


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_every_function_that_is_named_exists(file: str, name: str) -> None:
    assert name in names_in(SOURCES / file)


def test_the_rooms_are_all_there_and_in_the_order_of_the_layers() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = [re.findall(r"lastgood\.(\w+)", layer) for layer in layers]
    order = "\n".join(", ".join(room) for room in rooms if room != ["__main__"])
    assert f"```\n{order}\n```" in TEXT
    tree = re.findall(r"^  (\w+)(?:/|\.py) ", TEXT, re.MULTILINE)
    assert tree == [name for room in rooms for name in room if name != "__main__"]
    there = {path.stem for path in SOURCES.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {*tree} == {room for room in there if not room.startswith("_")}
