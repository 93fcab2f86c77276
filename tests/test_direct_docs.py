"""What docs/how-to/direct.md says is so: each block of code in it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lastgood.cli.commands import main
from running import Ran, program_environment, run

TEXT = (Path(__file__).parents[1] / "docs" / "how-to" / "direct.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "with lastgood.direct():": "7.5\n",
    "session = lastgood.watch if": "7.5\n",
    "create_bridge_reloader": "7.5\n10.5\n",
}
FILES = {
    "# pricing.py": "pricing.py",
    "[modules.pricing]": "lastgood.toml",
    "import direct_session": "tests/conftest.py",
    "[tool.pytest.ini_options]": "pyproject.toml",
    "def test_the_price": "tests/test_pricing.py",
}
OTHER_CONFTEST = "def wrappers():"


def block(text: str) -> str:
    """The one block that holds ``text``."""
    (found,) = [code for _, code in BLOCKS if text in code]
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of the files in the page, with its wrappers."""
    for text, name in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(block(text))
    done = CliRunner().invoke(main, ["generate", str(tmp_path / "lastgood.toml")])
    assert done.exit_code == 0, done.output
    return tmp_path


def test_every_block_is_tried() -> None:
    tried = {*PROGRAMS, *FILES, OTHER_CONFTEST, "coverage run"}
    assert sorted(block(text) for text in tried) == sorted(code for _, code in BLOCKS)


@pytest.mark.parametrize("text", PROGRAMS)
def test_a_program_prints_what_it_is_to_print(project: Path, text: str) -> None:
    (project / "app.py").write_text(block(text))
    assert run([sys.executable, "app.py"], project) == Ran(0, PROGRAMS[text], "")


@pytest.mark.parametrize("conftest", ["import direct_session", OTHER_CONFTEST])
def test_the_tests_pass(project: Path, conftest: str) -> None:
    (project / "tests" / "conftest.py").write_text(block(conftest))
    ran = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"], project)
    assert (ran.status, ran.err) == (0, "")
    assert "2 passed" in ran.out


def test_the_tools_need_no_settings(project: Path) -> None:
    (project / "app.py").write_text(block("with lastgood.direct():"))
    for line in block("coverage run").splitlines():
        ran = run([sys.executable, "-m", *line.removeprefix("python -m ").split()], project)
        assert (ran.status, ran.err) == (0, "")
    covered = run([sys.executable, "-m", "coverage", "report", "--include=pricing.py", "--format=total"], project)
    assert int(covered.out) >= 75


def test_a_debugger_stops_in_a_source_and_begins_where_it_raised(project: Path) -> None:
    (project / "app.py").write_text(block("with lastgood.direct():").replace('"apple", 3', '"apple", 0'))
    source = (project / "pricing.py").read_text()
    (project / "pricing.py").write_text(source.replace("    if quantity", "    breakpoint()\n    if quantity"))
    commands = "continue\np ('at', sku)\ncontinue\np ('raised', quantity)\nquit\n"
    ran = subprocess.run(
        [sys.executable, "-m", "pdb", "app.py"],
        cwd=project,
        env=program_environment(),
        input=commands,
        capture_output=True,
        text=True,
    )
    assert "(Pdb) ('at', 'apple')\n" in ran.stdout
    assert 'pricing.py(8)quote()\n-> raise ValueError(f"{quantity} of {sku} cannot be bought")\n' in ran.stdout
    assert "(Pdb) ('raised', 0)\n" in ran.stdout
