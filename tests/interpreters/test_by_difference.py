"""What is found, read and watched by difference from the last time is what a new session would find, read and watch."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood.config import load_config
from lastgood.errors import LastgoodError
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Project
from lastgood.interpreters.watching import places
from lastgood.planner.watch_set import WatchSet
from lastgood.sources.contents import Contents
from lastgood.sources.finder import Interpreter
from lastgood.sources.listings import Listings
from lastgood.sources.snapshots import Reader
from lastgood.store.disk import Disk
from lastgood.wrappers.process.extractor import WrapInputs

NAMES = ("a", "b", "pkg", "sub", "json")
CONFIGS = (
    'python_import_path = ["src"]\n[modules.a]\n[modules.pkg]\n',
    'python_import_path = ["src"]\n[modules.pkg]\n',
    'python_import_path = ["src", "more"]\n[modules.a]\n[modules."pkg.sub"]\n',
    'python_import_path = ["src"]\n[modules.b]\n[watch]\nignore = ["sub/b.py"]\n',
)
OUTPUT = '[output]\ndir = "generated"\n'


class Later(Disk):
    """The disk, long after its files have changed: only their signatures decide."""

    def now(self) -> float:
        return 1e10


class Kept:
    """What a session keeps from one cycle to the next."""

    def __init__(self, config: Path, disk: Disk) -> None:
        self.project = Project(disk, config, (), load_config, lambda _: Interpreter(), 1)
        self.reader = Reader(self.project.contents)
        self.armed = WatchSet(())
        self.listings = Listings(disk)
        self.placed: Any = None

    def look(self) -> dict[str, Any]:
        """Take a cycle's steps to the sources it is made of: arm, read, resolve, until all that was found was read."""
        work = CycleFiles(self.project, 1)
        self.reader.read(self.armed)
        while True:
            if self.placed is None or self.placed[0] is not self.armed or not self.listings.hold():
                self.listings = Listings(self.project.files)
                self.placed = self.armed, places(self.armed, listings=self.listings)
            problem: str | None = None
            try:
                work.resolve()
            except LastgoodError as error:
                problem = str(error)
            if self.armed.includes(work.watch):
                break
            self.armed = work.watch.union(self.armed)
            self.reader.extend(self.armed, self.reader.last)
        self.armed = work.watch  # as at the end of a cycle
        pinned = None if problem is not None else work.pinned
        inputs = None
        if pinned is not None:
            assert work.config is not None
            inputs = self.project.inputs = WrapInputs.of(pinned, work.config, work.modules, self.project.inputs)
        return {
            "problem": problem,
            "read": self.reader.read(work.watch),
            "pinned": pinned,
            "inputs": inputs and (inputs.sources, inputs.found, inputs.failures),
            "dependencies": pinned and self.project.dependencies.digests(pinned),
            "watch": work.watch,
            "placed": places(work.watch),
        }


def edits(top: Path, pick: random.Random) -> None:
    """Change one thing below ``top``."""
    directories = [top / "src", top / "more", *sorted((top / "src").rglob("*/"))]
    place = pick.choice([each for each in directories if "__pycache__" not in each.parts]) / pick.choice(NAMES)
    file = pick.choice((place.with_suffix(".py"), place / "__init__.py", place.with_suffix(".pyi")))
    text = "".join(f"{line}\n" for line in pick.sample(STATEMENTS, pick.randrange(4))) + "#" * pick.randrange(30)
    if place.is_symlink() and pick.random() < 0.5:
        place.unlink()
    if any(each.is_symlink() and not each.exists() for each in (place, file)) or not file.parent.parent.is_dir():
        return
    match pick.randrange(7):
        case 0 if file.exists() or file.is_symlink():
            file.unlink()
        case 1 if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        case 2 if not place.exists():
            place.symlink_to(pick.choice(("../more", "a", "b", "nowhere", "../src/pkg")))
        case 3 if file.is_file():  # in place, often of the same size
            file.write_text(text[: file.stat().st_size].ljust(file.stat().st_size, "#"))
        case 4:
            (top / "lastgood.toml").write_text(pick.choice(CONFIGS) + OUTPUT)
        case _:
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_name(".fresh.swp")
            fresh.write_text(text)
            fresh.replace(file)


STATEMENTS = (
    "import a",
    "import b",
    "import json",
    "import pkg.sub",
    "from pkg import sub, b",
    "from . import a",
    "from .sub import *",
    "from pkg import *",
    "__all__ = ['a', 'b']",
    "sub = 1",
    "a = b = 2",
)


@pytest.mark.parametrize("disk", [Disk, Later], ids=["fresh", "by signatures"])
@pytest.mark.parametrize("seed", range(6))
def test_after_any_edits_the_same_as_from_nothing(seed: int, disk: Callable[[], Disk], tmp_path: Path) -> None:
    pick, top = random.Random(seed), Path(os.path.realpath(tmp_path))
    for name in ("src/pkg", "more"):
        (top / name).mkdir(parents=True)
    (top / "src/a.py").write_text("from pkg import sub, b\n")
    (top / "src/pkg/sub.py").write_text("import json\n")
    config = top / "lastgood.toml"
    config.write_text(CONFIGS[0] + OUTPUT)
    kept, good = Kept(config, disk()), 0
    for _ in range(30):
        for _ in range(pick.randrange(1, 4)):
            edits(top, pick)
        now, anew = kept.look(), Kept(config, Disk()).look()
        good += anew["pinned"] is not None
        for what in anew:
            assert now[what] == anew[what], what
    assert good > 5


def test_after_an_edit_that_alters_no_import_the_same_as_from_nothing(tmp_path: Path) -> None:
    top = Path(os.path.realpath(tmp_path))
    (top / "src").mkdir()
    for name, text in (("a.py", "import b\n"), ("b.py", "import json\n"), ("b.pyi", "x: int\n"), ("c.py", "")):
        (top / "src" / name).write_text(text)
    config = top / "lastgood.toml"
    config.write_text(f'python_import_path = ["src"]\n[modules.a]\n[modules.c]\n{OUTPUT}')
    kept = Kept(config, Later())
    before = kept.look()
    for name, text in (("b.py", "import json\nx = 2\n"), ("b.pyi", "x: str\n"), ("c.py", "y = 3\n")):
        (top / "src" / name).write_text(text)
        now, anew = kept.look(), Kept(config, Disk()).look()
        assert now["pinned"].has_same_files(before["pinned"])
        for what in anew:
            assert now[what] == anew[what], what


def entries(top: Path) -> dict[str, object]:
    """What the system names a change of: an entry that comes, goes, or is another one, and what is in a file."""
    status = {str(path): path.lstat() for path in top.rglob("*")}
    return {
        path: (found.st_ino, found.st_mode, None if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_ctime_ns))
        for path, found in status.items()
    }


@pytest.mark.parametrize("seed", range(6))
def test_a_glance_at_what_the_system_names_finds_what_a_reading_of_everything_finds(seed: int, tmp_path: Path) -> None:
    pick, top, glances = random.Random(seed), Path(os.path.realpath(tmp_path)), 0
    for name in ("src/pkg", "more"):
        (top / name).mkdir(parents=True)
    (top / "src/a.py").write_text("from pkg import sub, b\n")
    (top / "src/pkg/sub.py").write_text("import json\n")
    (top / "lastgood.toml").write_text(CONFIGS[0] + OUTPUT)
    kept = Kept(top / "lastgood.toml", Later())
    for _ in range(150):
        kept.look()
        before, read = entries(top), kept.reader.read(kept.armed)
        edits(top, pick)
        named = {path for path, _ in before.items() ^ entries(top).items()}
        glance = kept.reader.glance(kept.armed, named)
        if named and glance is not None:
            glances += bool(glance)
            assert {**read, **glance} == Reader(Contents(Disk())).read(kept.armed)
        assert kept.reader.read(kept.armed) == Reader(Contents(Disk())).read(kept.armed)
    assert glances > 5


def test_what_a_link_without_a_target_comes_to_lead_to_is_not_for_a_glance(tmp_path: Path) -> None:
    top = Path(os.path.realpath(tmp_path))
    for name in ("src", "more"):
        (top / name).mkdir()
    (top / "src/lib").symlink_to("../more/lib")
    (top / "lastgood.toml").write_text(f'python_import_path = ["src"]\n[modules.lib]\n{OUTPUT}')
    kept = Kept(top / "lastgood.toml", Later())
    kept.look()
    known, read = entries(top), kept.reader.read(kept.armed)
    (top / "more/lib").mkdir()
    (top / "more/lib/__init__.py").touch()
    named = {path for path, _ in known.items() ^ entries(top).items()}
    assert kept.reader.glance(kept.armed, named) is None
    assert kept.reader.read(kept.armed) != read


STEPS: dict[str, list[dict[str, str]]] = {
    "a package begins to mention a name, and ceases to": [
        {"src/a.py": "from lib import thing\n", "src/lib/__init__.py": "# empty\n"},
        {"src/lib/__init__.py": "thing = 1  # of its own\n"},
        {"src/lib/__init__.py": "# empty again, of all\n"},
    ],
    "what counts is another thing": [
        {"src/a.py": "", "src/pkg/sub.py": "1\n", "src/pkg/data.csv": "1\n"},
        {"lastgood.toml": CONFIGS[0] + OUTPUT + '[watch]\nignore = ["sub.py"]\n'},
        {"lastgood.toml": CONFIGS[0] + OUTPUT + '[watch]\ninclude = ["*.csv"]\n'},
        {"lastgood.toml": CONFIGS[0] + '[output]\ndir = "src/pkg/out"\n', "src/pkg/out/x.py": ""},
    ],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_after_these_edits_the_same_as_from_nothing(steps: list[dict[str, str]], tmp_path: Path) -> None:
    top = Path(os.path.realpath(tmp_path))
    (top / "src/pkg").mkdir(parents=True)
    config = top / "lastgood.toml"
    config.write_text(CONFIGS[0] + OUTPUT)
    kept = Kept(config, Later())
    for texts in steps:
        for path, text in texts.items():
            (top / path).parent.mkdir(exist_ok=True)
            (top / path).write_text(text)
        now, anew = kept.look(), Kept(config, Disk()).look()
        assert anew["pinned"] is not None
        assert now == anew
