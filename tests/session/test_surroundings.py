"""Where and how an app is run: a session, and its worker, do there what they do elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from real_project import DEADLINE
from running import Ran, program_environment, run

APP = """
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # where no directory of the script is on the path
import lastgood

with lastgood.watch("lastgood.toml") as session:
    from wrappers import svc

    print(svc.f("é"), session.reload_now(), svc.f("ü").encode())
"""
GONE = """
import os, sys
import lastgood

with lastgood.watch("lastgood.toml") as session:
    from wrappers import svc

    os.mkdir("here")
    os.chdir("here")
    os.rmdir("../here")
    print(svc.f("a"), session.reload_now(), svc.f("b"))
    sys.path[:0] = ["", "src"]
    import json.tool  # anything new, as at a prompt
with lastgood.watch(session.config_file) as session:
    print(svc.f("c"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "lastgood.toml").write_text('[modules.svc]\n[output]\ndir = "wrappers"\nstyle = "sync"\n')
    (tmp_path / "svc.py").write_text('def f(x: str) -> str:\n    """Tell «x» twice."""\n    return x * 2\n', "utf-8")
    (tmp_path / "startup.py").write_text("raise SystemExit('only for interactive use')\n")
    (tmp_path / "gone.py").write_text(GONE)
    (tmp_path / "app.py").write_text(APP, "utf-8")
    return tmp_path


HOW: Mapping[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "settings": (
        (),
        {
            "PYTHONSTARTUP": "startup.py",
            "PYTHONHOME": sys.base_prefix,
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    ),
    "strict": (("-X", "dev"), {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2"}),
    "isolated, and ASCII": (
        ("-I",),
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:backslashreplace"},
    ),
}


@pytest.mark.parametrize(("options", "settings"), HOW.values(), ids=HOW)
def test_however_python_is_set_up(project: Path, options: Sequence[str], settings: Mapping[str, str]) -> None:
    environment = {name: value for name, value in program_environment().items() if name not in ("LANG", "LC_CTYPE")}
    done = subprocess.run(
        [sys.executable, *options, "app.py"],
        cwd=project,
        env={**environment, **settings},
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b" True b'\\xc3\\xbc\\xc3\\xbc'\n")


def test_a_working_directory_that_is_removed_stops_nothing(project: Path) -> None:
    assert run([sys.executable, "gone.py"], project) == Ran(0, "aa True bb\ncc\n", "")
