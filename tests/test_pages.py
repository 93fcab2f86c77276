"""What the pages of the documentation show runs, and their links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import shlex
import sys
import tomllib
import urllib.parse
from pathlib import Path

import pytest
from click.testing import CliRunner

import lastgood
import page_blocks
from lastgood.cli.commands import main
from lastgood.config import decode_config
from page_blocks import BLOCKS, Block
from real_project import DEADLINE, RealProject
from running import run

HELD = {
    "README.md": "tests/test_readme.py",
    "docs/tutorial.md": "tests/test_tutorial.py",
    "docs/how-to/direct.md": "tests/test_direct_docs.py",
    "docs/how-to/threads.md": "tests/test_readme.py",
    "docs/how-to/generators.md": "tests/test_pages.py",
    "docs/how-to/serve.md": "tests/test_serve_docs.py",
    "docs/how-to/other-reloaders.md": "tests/torture/test_other_reloaders.py",
}
"""Pages whose programs take more than a run, and the tests that play them."""

PYTHON = [block for block in BLOCKS if block.language == "python"]
FIELDS = {"python_import_path", "modules", "output", "watch", "runtime", "generator", "generators", "serve"}


def test_every_python_block_can_be_compiled() -> None:
    for block in PYTHON:
        compile(block.text, block.head, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_python_block_is_run_or_says_why_not() -> None:
    others = [block for block in PYTHON if not block.kind and block.page not in HELD]
    assert [block.head for block in others if not page_blocks.is_in_an_example(block)] == [], page_blocks.__doc__


def test_few_blocks_are_only_parts() -> None:
    parts = [block for block in BLOCKS if block.kind == "part"]
    assert all(block.what for block in parts)
    assert len(parts) <= 12


@pytest.mark.parametrize(("page", "test"), HELD.items())
def test_the_tests_of_a_page_are_there(page: str, test: str) -> None:
    assert page in page_blocks.PAGES
    assert (page_blocks.TOP / test).is_file()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "run"], ids=lambda block: block.head)
def test_a_program_prints_what_the_page_says(block: Block, tmp_path: Path) -> None:
    style = "async" if "await " in block.text else "sync"
    page_blocks.project_of(block.page, tmp_path, style).save("app.py", block.text)
    ran = run([sys.executable, "app.py"], tmp_path, deadline=3 * DEADLINE)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.split() == ([] if block.what == "nothing" else block.what.split())


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "made"], ids=lambda block: block.head)
def test_a_wrapper_is_what_is_generated(block: Block, tmp_path: Path) -> None:
    project = page_blocks.project_of(block.page, tmp_path, "async")
    done = CliRunner().invoke(main, ["generate", str(project.config_file)])
    assert done.exit_code == 0, done.output
    assert block.text in (tmp_path / block.what).read_text(encoding="utf-8")


def test_the_generator_of_a_page_makes_files(tmp_path: Path) -> None:
    (code,) = [block.text for block in PYTHON if block.page == "docs/how-to/generators.md"]
    config = '[modules]\n[output]\ndir = "generated"\n[generator]\nuse = "tools.tables:generate"\nwatch = ["tables"]\n'
    RealProject(
        tmp_path, {"lastgood.toml": config, "tools/tables.py": code, "tables/prices.csv": "sku,price\napple,1\n"}
    )
    done = CliRunner().invoke(main, ["generate", str(tmp_path / "lastgood.toml")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "generated" / "prices.py").read_text() == "COLUMNS = ['sku', 'price']\n"


def test_the_printed_plan_is_the_plan() -> None:
    printed = {block.text for block in BLOCKS if block.kind == "printed"}
    assert printed == {f"{lastgood.watch('lastgood.toml').plan()}\n"}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=lambda block: block.head)
def test_a_config_is_valid(block: Block) -> None:
    document = tomllib.loads(block.text)
    table = document.get("tool", {}).get("lastgood") if "tool" in document else document
    if table is None or not FIELDS & {*table}:
        return  # the settings of another tool
    text = block.text.replace("[tool.lastgood", "[").replace("[.", "[").replace("[]\n", "")
    if "modules" not in table:
        text += "\n[modules]\n"
    if "output" not in table:
        text += '\n[output]\ndir = "generated"\n'
    elif "dir" not in table["output"]:
        text = text.replace("[output]\n", '[output]\ndir = "generated"\n')
    decode_config(text.encode(), Path("/project/lastgood.toml"))


def commands() -> list[list[str]]:
    """The commands of shells in all pages, as words."""
    blocks = [block for block in BLOCKS if block.language in ("sh", "console")]
    shown = [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.text.splitlines()
        if block.language == "sh" or line.startswith("$ ")
    ]
    words = [shlex.split(each, comments=True) for line in shown for each in re.split(r" && | \| |; ", line)]
    assert len(words) > 20
    return words


def test_the_commands_of_lastgood_are_called_as_they_can_be() -> None:
    for program, *words in filter(None, commands()):
        if program == "lastgood" and words[:1] not in (["--version"], ["--help"]):
            command, *arguments = words
            assert not main.commands[command].make_context(command, arguments).args


def test_what_the_other_commands_name_exists() -> None:
    project = tomllib.loads(page_blocks.text_of("pyproject.toml"))["project"]
    for words in commands():
        extras = [extra for word in words for found in re.findall(r"^\.\[(.+)\]$", word) for extra in found.split(",")]
        assert {*extras} <= {*project["optional-dependencies"]}
        for word in words:
            if re.match(r"(tests|benchmarks|examples|docs)/", word) and "_build" not in word:
                assert (page_blocks.TOP / word.partition("::")[0]).exists(), word


@pytest.mark.parametrize("page", page_blocks.LINKED)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in page_blocks.links_of(page):
        to, _, anchor = link.partition("#")
        if re.match(r"\w+:", to):
            assert urllib.parse.urlsplit(to).netloc, link
            continue
        target = os.path.normpath(os.path.join(os.path.dirname(page), to)) if to else page
        assert (page_blocks.TOP / target).exists(), link
        if anchor:
            assert anchor in page_blocks.anchors_of(target), link


def test_the_list_of_pages_names_each_of_them() -> None:
    listed = {os.path.normpath(os.path.join("docs", link)) for link in page_blocks.links_of("docs/index.md")}
    assert {page for page in page_blocks.PAGES if page.startswith("docs/")} - listed == {"docs/index.md"}
