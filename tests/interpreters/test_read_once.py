"""A cycle reads each file once, and after an edit those alone that have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.session import session as session_module
from lastgood.session.watch import WatchProgram
from lastgood.store.disk import Disk
from real_project import RealProject, Told

MODULES = 12


class CountingDisk(Disk):
    """The disk, long after its files have changed. Counts how often each file is read."""

    def __init__(self) -> None:
        self.read_paths: Counter[Path] = Counter()
        self.written: Counter[Path] = Counter()

    def now(self) -> float:
        return 1e10

    def read(self, path: Path) -> bytes:
        self.read_paths[path] += 1
        return super().read(path)

    def digest(self, path: Path) -> str:
        self.read_paths[path] += 1
        return super().digest(path)

    def replace(self, source: Path, target: Path) -> None:
        self.written[target] += 1
        super().replace(source, target)

    def below(self, top: Path, *others: Path) -> dict[Path, int]:
        """How often each file below ``top``, or of ``others``, was read."""
        return {path: count for path, count in self.read_paths.items() if path.is_relative_to(top) or path in others}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> CountingDisk:
    disk = CountingDisk()
    monkeypatch.setattr(session_module, "Disk", lambda: disk)
    return disk


@pytest.fixture
def sources(project: RealProject) -> list[Path]:
    """A package, of which one module is named and imports the others, and the config."""
    names = [f"module_{number}" for number in range(MODULES)]
    saved = [project.save(f"shop/{name}.py", f"NAME = {name!r}\n") for name in names]
    imports = "".join(f"from shop.{name} import NAME as {name}\n" for name in names)
    saved += [project.save("shop/__init__.py", ""), project.save("shop/data.pyi", "")]
    project.save("shop/data.csv", "1,2\n")  # no source
    saved.append(project.save("shop/prices.py", f"{imports}\ndef price() -> int: ...\n"))
    project.configure("shop", "shop.prices")
    return [*saved, project.config_file]


async def test_each_source_is_read_once_by_the_first_cycle_and_when_it_has_changed(
    disk: CountingDisk, sources: list[Path], project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start() as session:
        assert disk.below(project.root / "shop", project.config_file) == dict.fromkeys(sources, 1)
        disk.read_paths.clear()
        edited = project.save("shop/module_7.py", "NAME = 'seven'\n")
        await told.success()
        await told.success()
        assert disk.below(project.root / "shop", project.config_file) == {edited: 1}
        disk.read_paths.clear()
        added = project.save("shop/module_new.py", "NAME = 'new'\n")
        await told.success()
        assert disk.below(project.root / "shop", project.config_file) == {added: 1}
        disk.read_paths.clear()
        project.configure("shop")
        await told.success()
        assert disk.below(project.root / "shop", project.config_file) == {project.config_file: 1}
        assert session.generation == 4


async def test_what_a_cycle_keeps_is_written_once_and_not_read_back(
    disk: CountingDisk, sources: list[Path], project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    kept = project.root / ".lastgood" / "generated" / "generations"
    async with start() as session:
        await told.success()
        project.save("shop/module_7.py", "NAME = 'seven'\n")
        await told.success()
        made = {path: count for path, count in disk.written.items() if path.parent.name in ("manifests", "objects")}
        assert {path for path in made if path.parent == kept / "manifests"} == {*(kept / "manifests").iterdir()}
        assert len(made) > len(sources)
        assert set(made.values()) == {1}
        assert not disk.below(kept / "manifests")
        disk.read_paths.clear()
        disk.written.clear()
        assert await session.reload_now()
        assert not disk.below(kept / "manifests")
        assert not [path for path in disk.written if path.parent.name in ("manifests", "objects")]


async def test_wrappers_that_have_not_changed_are_not_read_again_and_the_manifest_is_read_once(
    disk: CountingDisk, sources: list[Path], project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    assert sources
    wrappers = project.root / "generated"
    manifest = project.root / ".lastgood" / "generated" / "manifest.json"
    async with start():
        await told.success()
        disk.read_paths.clear()
        project.save("shop/prices.py", "def price(of: str) -> int: ...\n")
        await told.success()
        assert {*disk.below(wrappers)} == {*wrappers.rglob("*.py")}
        disk.read_paths.clear()
        project.save("shop/prices.py", "def price(of: str, at: str) -> int: ...\n")
        await told.success()
        assert {*disk.below(wrappers)} == {wrappers / "shop" / "prices.py"}
        assert disk.read_paths[manifest] == 1
