"""What an edit of one module costs, in files and directories, does not depend on the number of modules."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.config import decode_config
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Project
from lastgood.interpreters.staging import Arm, StageResult, advance, stage
from lastgood.planner.watch_set import WatchSet
from lastgood.sources.finder import Interpreter
from lastgood.sources.snapshots import Reader
from lastgood.store.file_system import Stat
from lastgood.store.memory_files import MemoryFiles

OUTPUT = '[output]\ndir = "generated"\n'


class CountingFiles(MemoryFiles):
    """Files in memory. Counts what is read, listed and changed."""

    def __init__(self, costs: Counter[str]) -> None:
        self.time = 1_000_000.0
        super().__init__(lambda: self.time)
        self.costs = costs
        self.before = lambda operation, _path: self.costs.update((operation,))

    def read(self, path: Path) -> bytes:
        self.costs["read"] += 1
        return super().read(path)

    def stat(self, path: Path, *, follow: bool = False) -> Stat | None:
        self.costs["examine"] += 1
        return super().stat(path, follow=follow)

    def scan(self, directory: str) -> dict[str, str]:
        self.costs["list"] += 1
        return super().scan(directory)

    def children(self, path: Path) -> list[str]:
        self.costs["list"] += 1
        return super().children(path)


def flat(number: int) -> tuple[str, dict[str, str]]:
    names = [f"m{each}" for each in range(number)]
    return "".join(f"[modules.{name}]\n" for name in names), {f"{name}.py": text(0) for name in names}


def tree(number: int) -> tuple[str, dict[str, str]]:
    imports = "".join(f"from pkg import m{each}\n" for each in range(number))
    inside = {f"pkg/m{each}.py": text(0) for each in range(number)}
    return "[modules.pkg]\n", {"pkg/__init__.py": imports, **inside}


def helpers(number: int) -> tuple[str, dict[str, str]]:
    imports = "".join(f"import m{each}\n" for each in range(number))
    return "[modules.svc]\n", {"svc.py": imports, **{f"m{each}.py": text(0) for each in range(number)}}


def text(version: int) -> str:
    return f"import json\n\ndef quote(sku: str) -> int:\n    return {version}\n"


def counted(costs: Counter[str], what: str, do: Callable[..., object]) -> Callable[..., object]:
    def counting(*args: object, **kwargs: object) -> object:
        costs[what] += 1
        return do(*args, **kwargs)

    return counting


def costs_of_an_edit(
    shape: Callable[[int], tuple[str, dict[str, str]]], number: int, monkeypatch: pytest.MonkeyPatch
) -> Counter[str]:
    costs: Counter[str] = Counter()
    files = CountingFiles(costs)
    config, sources = shape(number)
    files.put(Path("/p/lastgood.toml"), f"{config}{OUTPUT}".encode())
    for name, source in sources.items():
        files.put(Path("/p", name), source.encode())
    monkeypatch.setattr(hashlib, "sha256", counted(costs, "hash", hashlib.sha256))
    monkeypatch.setattr(ast, "parse", counted(costs, "parse", ast.parse))
    project = Project(
        files,
        Path("/p/lastgood.toml"),
        (),
        lambda path, read: decode_config(read(path), path),
        lambda _: Interpreter(),
        1,
    )
    reader, armed = Reader(project.contents), WatchSet(())
    edited = next(path for path in sources if path.endswith("m7.py"))
    for cycle in range(1, 10):  # until the history is full
        files.time += 60
        costs.clear()
        files.put(Path("/p", edited), text(cycle).encode())
        reader.read(armed)
        work = CycleFiles(project, cycle)
        recipe, answer = stage(work, armed or None), None
        while isinstance(step := advance(recipe, answer), Arm):
            answer = reader.read(step.watch)
        assert isinstance(step, StageResult)
        work.promote()
        work.commit()
        work.settle(files.time)
        armed = work.watch
        reader.read(armed)
    return costs


@pytest.mark.parametrize("shape", [flat, tree, helpers], ids=lambda shape: shape.__name__)
def test_it_is_the_same_for_ten_and_for_a_hundred(
    shape: Callable[[int], tuple[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        few = costs_of_an_edit(shape, 10, patch)
    with monkeypatch.context() as patch:
        many = costs_of_an_edit(shape, 100, patch)
    # Whether a file has changed is only to be seen in its status: two looks, and the check of the wrappers.
    assert many.pop("examine") - few.pop("examine") <= 3 * 90
    assert few == many
    assert few["read"] < 20
    assert few["list"] < 40
    assert few["parse"] < 10
