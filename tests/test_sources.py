"""What CONTRIBUTING.md says of the sources and the tests, as far as it can be counted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lastgood

SOURCES = Path(lastgood.__file__).parent
TESTS = Path(__file__).parent


def test_functions_stay_within_seventy_lines() -> None:
    functions = [
        (node.end_lineno - node.lineno + 1, f"{path.relative_to(SOURCES)}:{node.lineno} {node.name}")
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    ]
    assert len(functions) > 1000
    assert [each for each in functions if each[0] > 70] == []


def test_modules_and_the_files_of_tests_stay_within_six_hundred_lines() -> None:
    lengths = {
        str(path.relative_to(directory.parent)): len(path.read_bytes().splitlines())
        for directory in (SOURCES, TESTS)
        for path in directory.rglob("*.py")
    }
    assert len(lengths) > 250
    assert {file: length for file, length in lengths.items() if length > 600} == {}


SCRIPTS = [*sorted(TESTS.parent.glob("benchmarks/*.py")), *sorted(TESTS.parent.glob("examples/*/*.py"))]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(TESTS.parent).as_posix())
def test_what_benchmarks_and_examples_import_of_lastgood_is_there(script: Path) -> None:
    tree = ast.parse(script.read_bytes())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imports:
        if "lastgood" in ast.unparse(node):
            exec(compile(ast.Module([node], []), str(script), "exec"))
