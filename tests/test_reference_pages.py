"""The reference pages are whole: nothing that a user can set, get or catch is missing there."""

from __future__ import annotations

import dataclasses
import importlib
import re
import typing
from functools import cache

import msgspec
import pytest

import cli_page
import lastgood
import page_blocks
from lastgood import config, errors, watch_events
from source_texts import is_in_the_sources

FAILURES = "docs/failures.md"
TABLES: dict[str, type[msgspec.Struct]] = {
    "[modules.<name>]": config.ModuleConfig,
    "[output]": config.OutputConfig,
    "[watch]": config.WatchConfig,
    "[runtime.process]": config.ProcessConfig,
    "[serve]": config.ServeConfig,
    "[generator]": config.GeneratorConfig,
}
NOT_IN_THE_FILE = {"path", "pinned"}
CODE = re.compile(r"`([^`]+)`")


@cache
def rows(page: str, section: str | None = None) -> dict[str, list[str]]:
    """Return the cells of each row of the tables of a page, or of one section of it, by its first cell."""
    text = page_blocks.text_of(page)
    if section is not None:
        (text,) = re.findall(rf"^## `?{re.escape(section)}`?\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    cells = [re.split(r"(?<!\\) ?\| ?", line.strip("| ")) for line in text.splitlines() if line.startswith("| `")]
    return {name.strip("`"): rest for first, *rest in cells for name in first.split(", ")}


def default_text(value: object) -> set[str]:
    """Return how the page may write a default."""
    match value:
        case None:
            return {"none", "all", "the app's", "`python_import_path`"}
        case True | False:
            return {f"`{value}`".lower()}
        case str():
            return {f'`"{value}"`'}
        case tuple():
            return {"`[]`"}
        case dict():
            return {"`{}`"}
        case _:
            return {f"`{value}`"}


@pytest.mark.parametrize("section", TABLES)
def test_every_field_of_the_config_is_there_with_its_default(section: str) -> None:
    told = rows("docs/reference/config.md", section)
    fields = {field.name: field for field in msgspec.structs.fields(TABLES[section])}
    assert list(told) == list(fields)
    for name, field in fields.items():
        type_, default, meaning = told[name]
        assert type_
        assert meaning
        if name not in config.TIMES:  # their defaults are those of watch()
            made = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            assert default in ({"required"} if field.required else default_text(made)), name


def test_every_table_of_the_config_is_there() -> None:
    fields = {field.name for field in msgspec.structs.fields(config.Config)} - NOT_IN_THE_FILE
    assert {*rows("docs/reference/config.md", "At the top")} == fields | {"generator"}


def test_the_times_are_those_of_watch() -> None:
    told = rows("docs/reference/config.md", "[watch]")
    docstring = lastgood.watch.__doc__ or ""
    for name in config.TIMES[:-1]:
        seconds = told[name][1].strip("`")
        assert re.search(rf"``{name}``: [^(]*\({float(seconds):g}", docstring), name


def test_every_event_is_there_with_its_fields() -> None:
    told = rows("docs/reference/events.md")
    for event in typing.get_args(watch_events.WatchEvent):
        name, fields, meaning = told[event.type]
        assert name == f"`{event.__name__}`"
        assert CODE.findall(fields) == [field.name for field in dataclasses.fields(event)]
        assert meaning
    assert {field.name for field in dataclasses.fields(watch_events.ApiChange)} <= {*told}


def test_every_error_is_there() -> None:
    told = rows("docs/reference/errors.md")
    assert {*errors.__all__} - {*told} == {"LastgoodError", "ModuleFailure"}
    assert all(len(cells) == 2 for cells in told.values())


def test_the_commands_are_those_of_today() -> None:
    document = cli_page.DOCUMENT.read_text(encoding="utf-8")
    assert document == cli_page.renewed(document), "`python tests/cli_page.py` writes them anew"


@pytest.mark.parametrize("name", ["testing", "runtime", "planner", "effects", "interpreters"])
def test_every_public_module_is_documented_with_its_names(name: str) -> None:
    module = importlib.import_module(f"lastgood.{name}")
    assert module.__all__
    (page,) = [text for text in api_pages() if f".. automodule:: lastgood.{name}\n" in text]
    if f".. automodule:: lastgood.{name}\n   :no-members:\n" in page:
        assert {*module.__all__} <= {*re.findall(r"^\.\. auto\w+:: (\w+)", page, re.MULTILINE)}


def test_every_public_name_is_documented() -> None:
    documented = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", "\n".join(api_pages()), re.MULTILINE))
    documented |= {f"lastgood.{name}" for name in documented}
    runtime = {"clear_runtime_bridge", "get_runtime_bridge", "set_runtime_bridge"}
    names = {*lastgood.__all__} - {"__version__"} - runtime
    assert {name for name in names if f"lastgood.{name}" not in documented} == set()


def api_pages() -> list[str]:
    """The texts of the pages that are made from docstrings."""
    return [path.read_text(encoding="utf-8") for path in sorted(page_blocks.TOP.glob("docs/reference/api/*.rst"))]


def test_every_text_that_a_reader_may_look_for_is_in_the_sources() -> None:
    cells = [line.split(" | ")[0] for line in page_blocks.text_of(FAILURES).splitlines() if line.startswith("| ")]
    quoted = [text for cell in cells for text in CODE.findall(cell)]
    texts = [text for text in quoted if " " in text]
    assert len(texts) > 50
    assert [text for text in texts if not is_in_the_sources(text)] == []


def test_a_text_that_nobody_writes_is_missed() -> None:
    assert is_in_the_sources("Generation … was undone")
    assert not is_in_the_sources("Generation … was improved")
    assert not is_in_the_sources("the one before is live … Generation")
