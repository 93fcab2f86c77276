"""The worker's files: the standard library only, msgpack and trio where it finds them, and nothing too new for Python 3.9."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import lastgood.bridges.worker

DIRECTORY = Path(lastgood.bridges.worker.__file__).parent
FILES = sorted(DIRECTORY.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_reads_on_python_3_9(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 9))
    imported: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imported.update(alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                imported.add(module.partition(".")[0])
    of_some_version = {"_sha256", "_sha2", "annotationlib"}
    where_installed = {"packing": {"msgspec", "msgpack"}, "asyncs": {"trio"}, "streams": {"trio"}}.get(file.stem, set())
    assert imported <= sys.stdlib_module_names | of_some_version | where_installed | {"_lastgood_worker"}
