"""lastgood in Pyodide, under node: installed by its own metadata, and a walk through what works and what is refused there.

The npm package ``pyodide`` is at ``LASTGOOD_PYODIDE``, else in ``node_modules`` of this repository or above it
(``npm install pyodide@314``); node is ``LASTGOOD_NODE``, else the one on the PATH. Wheels come from the package index.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.peers

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = ("click", "filelock", "msgspec", "returns", "rich")


@pytest.fixture(scope="module")
def package() -> Path:
    """The directory of the npm package."""
    near = [above / "node_modules" / "pyodide" for above in (ROOT, *ROOT.parents)]
    named = os.environ.get("LASTGOOD_PYODIDE")
    for place in [Path(named)] if named else near:
        if (place / "pyodide.mjs").exists():
            return place
    pytest.skip("the npm package pyodide is not there: npm install pyodide@314")


@pytest.fixture(scope="module")
def node() -> str:
    found = os.environ.get("LASTGOOD_NODE") or shutil.which("node")
    return found or pytest.skip("node is not there")


@pytest.fixture(scope="module")
def wheels(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of lastgood, and of everything that its metadata ask for in Pyodide, and micropip."""
    lock = json.loads((package / "pyodide-lock.json").read_text())
    into = tmp_path_factory.mktemp("wheels")
    micropip = f"micropip=={lock['packages']['micropip']['version']}"
    version, abi = lock["info"]["python"].rsplit(".", 1)[0], lock["info"]["abi_version"]
    theirs: list[str | Path] = [
        "--python-version",
        version,
        "--implementation",
        "cp",
        "--abi",
        f"cp{version.replace('.', '')}",
    ]
    theirs += ["--only-binary=:all:", "--platform", f"pyemscripten_{abi}_wasm32"]
    pip: list[str | Path] = [sys.executable, "-m", "pip"]
    fetched = subprocess.run(
        [*pip, "download", "--quiet", "--dest", into, *theirs, *PACKAGES, micropip], capture_output=True, text=True
    )
    if fetched.returncode != 0:
        pytest.skip(f"not all wheels for Pyodide {abi} can be had: {fetched.stderr.strip()[-300:]}")
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", into, ROOT], check=True)
    return into


def test_what_works_there_and_what_is_refused(package: Path, node: str, wheels: Path) -> None:
    command: list[str | Path] = [node, HERE / "run.mjs", package, wheels, HERE / "checks.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.endswith("all of it holds\n")
    print(done.stdout)
