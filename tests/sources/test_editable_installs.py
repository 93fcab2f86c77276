"""Editable installs whose modules are found by a finder of setuptools', on no ``sys.path``: real ones, made by pip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

from lastgood.config import ProcessConfig
from lastgood.session.watch import watch
from lastgood.sources.finder import Finder, Found, Interpreter
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.watch_events import BridgeRestored, ReloadError
from real_project import DEADLINE, RealProject, Told

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "ed"
version = "1"
[tool.setuptools]
packages = ["ed_package", "ed_package.part", "ed_spread", "ed_spread.inner", "ed_virtual.leaf"]
py-modules = ["ed_single"]
[tool.setuptools.package-dir]
"" = "flat"
ed_package = "lib/package"
ed_spread = "lib/spread"
"ed_virtual.leaf" = "lib/leaf"
"""

PACKAGE = """\
def price() -> int:
    from ed_package.late import PRICE
    return PRICE
"""

FILES = {
    "pyproject.toml": PROJECT,
    "lib/package/__init__.py": PACKAGE,
    "lib/package/late.py": "PRICE = 1\n",
    "lib/package/part/deep.py": "",
    "lib/spread/near.py": "",
    "lib/spread/inner/far.py": "",
    "lib/leaf/__init__.py": "",
    "lib/leaf/tip.py": "",
    "flat/ed_single.py": "",
}

NAMES = (
    *("ed_package", "ed_package.late", "ed_package.part", "ed_package.part.deep", "ed_package.missing"),
    *("ed_spread", "ed_spread.near", "ed_spread.inner", "ed_spread.inner.far"),
    *("ed_virtual", "ed_virtual.leaf", "ed_virtual.leaf.tip", "ed_single", "ed_single.x", "missing"),
)

PYTHON = """
import importlib.util, json, os, sys
sys.path[:0] = json.loads(sys.argv[2])
def find(name):
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    search = None if spec is None else spec.submodule_search_locations
    here = None if search is None else list(dict.fromkeys(each for each in search if os.path.isabs(each)))
    return None if spec is None else [spec.origin, here]
print(json.dumps({name: find(name) for name in json.loads(sys.argv[1])}))
"""


@dataclass(frozen=True)
class Installed:
    """A project that is installed, and the interpreter for which it is."""

    root: Path
    python: Path

    def by_python(self, *import_path: Path) -> Mapping[str, Any]:
        """Origin and directories of each name, as that interpreter has them."""
        arguments: list[str | Path] = [
            self.python,
            "-c",
            PYTHON,
            json.dumps(NAMES),
            json.dumps(list(map(str, import_path))),
        ]
        ran = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=self.python.parent)
        found: Mapping[str, Any] = json.loads(ran.stdout)
        return found

    def by_finder(self, *import_path: Path) -> Mapping[str, Any]:
        """The same, as they are found here."""
        finder = Finder(Disk(), import_path, worker_interpreter(ProcessConfig(python=self.python)))
        return {name: shown(finder.find(name)) for name in NAMES}


def shown(found: Found | None) -> Any:
    return None if found is None else [found.file, None if found.search is None else list(found.search)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    top = Path(os.path.realpath(tmp_path_factory.mktemp("editable")))
    root, python = top / "project", top / "env" / "bin" / "python"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", top / "env"], check=True)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-qq",
        "--retries",
        "1",
        "--no-deps",
        "--editable",
        root,
    ]
    try:
        made = subprocess.run(pip, capture_output=True, text=True, timeout=50)
    except subprocess.TimeoutExpired:
        pytest.skip("pip did not make an editable install within 50 s")
    if made.returncode != 0:
        pytest.skip(f"pip could not make an editable install: {made.stderr.strip().rpartition(chr(10))[2]}")
    if not list(top.glob("env/lib/python*/site-packages/__editable___*_finder.py")):
        pytest.skip("this setuptools makes no finder")
    return Installed(root, python)


def test_they_are_found_where_their_interpreter_finds_them(installed: Installed) -> None:
    found = installed.by_finder()
    assert found == installed.by_python()
    assert found["ed_package"] == [
        str(installed.root / "lib/package/__init__.py"),
        [str(installed.root / "lib/package")],
    ]
    assert [name for name in NAMES if found[name] is None] == ["ed_package.missing", "ed_single.x", "missing"]


def test_what_is_on_the_import_path_goes_first(installed: Installed, tmp_path: Path) -> None:
    tmp_path = Path(os.path.realpath(tmp_path))
    for name in ("ed_package/__init__.py", "ed_single/bare.txt", "ed_spread/more.py", "ed_virtual/x.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = installed.by_finder(tmp_path)
    assert found == installed.by_python(tmp_path)
    assert found["ed_package"] == [str(tmp_path / "ed_package/__init__.py"), [str(tmp_path / "ed_package")]]
    assert found["ed_spread"] == [None, [str(tmp_path / "ed_spread"), str(installed.root / "lib/spread")]]


async def test_one_is_wrapped_watched_and_pinned(installed: Installed, project: RealProject, told: Told) -> None:
    project.configure("ed_package", "ed_virtual.leaf", head=f'runtime.process.python = "{installed.python}"')
    package = installed.root / "lib/package"
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=told, debounce=0.01) as session:
            await told.success()
            (package / "__init__.py").write_text("def price(:\n")
            (package / "late.py").write_text("PRICE = 2 +\n")
            await told.failure()
            assert await session.handle.call("ed_package", "price") == 1
            os.kill(session.bridge.pid, signal.SIGKILL)
            await told.next(BridgeRestored)
            assert await session.handle.call("ed_package", "price") == 1
            (package / "__init__.py").write_text("def price() -> int:\n    return 3\n")
            while isinstance(await told.end(), ReloadError):
                pass  # of the two edits, if they came one by one
            assert await session.handle.call("ed_package", "price") == 3


def test_this_interpreter_tells_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first finder goes first; a namespace without directories has that which its name is mapped to."""
    finders = []
    for number, namespaces in ((1, {"a": [], "b": ["/b1"]}), (2, {"b": ["/b2"], "c": []})):
        module: Any = ModuleType(f"__editable___{number}_finder")
        module.MAPPING, module.NAMESPACES = {"a": f"/a{number}"}, namespaces
        monkeypatch.setitem(sys.modules, module.__name__, module)
        finders.append(type("_EditableFinder", (), {"__module__": module.__name__, "find_spec": lambda *_: None}))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, *finders])
    found: Interpreter = worker_interpreter(ProcessConfig())
    assert {name: found.mapping[name] for name in ("a",)} == {"a": "/a1"}
    assert {name: found.namespaces[name] for name in "abc"} == {"a": ["/a1"], "b": ["/b1", "/b2"], "c": []}
