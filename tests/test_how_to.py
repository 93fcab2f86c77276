"""The pages of docs/how-to that describe a program: their code is that of the program, or a program itself, which runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lastgood.config import decode_config
from running import Ran, run
from shipped import EXAMPLES

PAGES = Path(__file__).parents[1] / "docs" / "how-to"
EXAMPLE_OF = {
    "fastapi": ["fastapi"],
    "flask-and-django": ["flask", "django"],
    "mcp-server": ["mcp_server"],
    "game-loop": ["game"],
    "slow-model": ["slow_model"],
    "other-environment": ["other_environment"],
    "unit-tests": ["unit_tests"],
    "own-bridge": ["own_bridge"],
    "ci": [],
    "docker": [],
    "polling": [],
    "debugging": [],
}


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code in that language; one inside of a list is indented."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def programs(page: str) -> list[str]:
    """The blocks of Python that are whole programs: those that import lastgood."""
    return [
        code
        for code in blocks(page, "python")
        if re.search(r"^import lastgood$|^from lastgood import ", code, re.MULTILINE)
    ]


@pytest.mark.parametrize("page", EXAMPLE_OF)
def test_what_it_shows_of_an_example_is_there(page: str) -> None:
    shipped = [path.read_text("utf-8") for name in EXAMPLE_OF[page] for path in (EXAMPLES / name).rglob("*.py")]
    excerpts = [code for code in blocks(page, "python") if code not in programs(page)]
    assert [code for code in excerpts if not any(code in text for text in shipped)] == []


@pytest.mark.parametrize("page", EXAMPLE_OF)
def test_its_configs_are_valid(page: str) -> None:
    for code in blocks(page, "toml"):
        whole = code if "[modules" in code else f'[modules]\n[output]\ndir = "generated"\n{code}'
        decode_config(whole.encode(), Path("/project/lastgood.toml"))


def test_the_program_that_debugs_runs_either_way(tmp_path: Path) -> None:
    (program,) = programs("debugging")
    (tmp_path / "lastgood.toml").write_text('[modules.pricing]\n[output]\ndir = "generated"\nstyle = "sync"\n')
    (tmp_path / "pricing.py").write_text("def quote(sku: str, quantity: int) -> float:\n    return 2.5 * quantity\n")
    (tmp_path / "app.py").write_text(program)
    assert run([sys.executable, "app.py"], tmp_path) == Ran(0, "7.5\n", "")
    assert run(["env", "DEBUGGING=1", sys.executable, "app.py"], tmp_path) == Ran(0, "7.5\n", "")


def test_the_reloader_runs(tmp_path: Path) -> None:
    (program,) = programs("own-bridge")
    assert run([sys.executable, "-c", program], tmp_path) == Ran(0, "", "")
