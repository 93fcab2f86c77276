"""``lastgood init``, below the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lastgood.cli.starter import start_project
from lastgood.config import decode_config, load_config
from lastgood.errors import ConfigError
from lastgood.interpreters.once import generate_once
from lastgood.interpreters.project import Project
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_empty_directory_gets_a_config_and_an_example_that_generate(tmp_path: Path) -> None:
    started = start_project(tmp_path / "new" / "app")
    assert [path.name for path in started.written] == ["lastgood.toml", "greetings.py"]
    config = started.written[0]
    assert list(load_config(config).modules) == ["greetings"]
    done = generate_once(Project(Disk(), config, (), load_config, worker_interpreter, os.getpid()))
    assert (done.written, done.warnings) == (("__init__.py", "greetings.py"), ())


def test_a_directory_with_python_gets_a_config_alone_that_names_what_is_there(tmp_path: Path) -> None:
    for name in (
        "pricing.py",
        "shop/__init__.py",
        "setup.py",
        "test_shop.py",
        "tests/__init__.py",
        "_old.py",
        "a-b.py",
    ):
        write(tmp_path / name)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    started = start_project(tmp_path)
    assert started.found == ("pricing", "shop")
    assert {path for path in tmp_path.rglob("*") if path.is_file()} - before == {tmp_path / "lastgood.toml"}
    config = load_config(tmp_path / "lastgood.toml")
    assert (config.modules, config.python_import_path) == ({}, (tmp_path,))


def test_sources_below_src_are_found_there(tmp_path: Path) -> None:
    write(tmp_path / "setup.py")
    write(tmp_path / "src" / "shop" / "__init__.py")
    assert start_project(tmp_path).found == ("shop",)
    assert load_config(tmp_path / "lastgood.toml").python_import_path == (tmp_path / "src",)


def test_uncommenting_a_table_is_all_it_takes(tmp_path: Path) -> None:
    write(tmp_path / "pricing.py")
    config = start_project(tmp_path).written[0]
    text = config.read_text().replace("# [modules.pricing]", "[modules.pricing]").replace("# timeout", "timeout")
    assert list(decode_config(text.encode(), config).modules) == ["pricing"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("lastgood.toml", "mine"), ("pyproject.toml", "[tool.lastgood]\n")],
)
def test_a_config_that_is_there_already_is_left_alone(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path / name, text)
    with pytest.raises(ConfigError, match=f"{name}: has a config for lastgood already"):
        start_project(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, text)]


def test_a_config_further_up_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "lastgood.toml", "mine")
    assert start_project(tmp_path / "inner").written


def test_in_a_git_repository_wrappers_are_marked_as_generated_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    started = start_project(tmp_path / "app")
    generated = tmp_path / "app" / "generated"
    assert list(started.written[2:]) == [generated / ".gitattributes", generated / ".gitignore"]
    assert "*.py linguist-generated\n" in (generated / ".gitattributes").read_text()
    assert "*.edited\n" in (generated / ".gitignore").read_text()
    write(tmp_path / "other" / "generated" / ".gitignore", "mine")
    assert [path.name for path in start_project(tmp_path / "other").written[2:]] == [".gitattributes"]
    assert (tmp_path / "other" / "generated" / ".gitignore").read_text() == "mine"


def test_python_in_a_directory_below_is_python_too(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "module.py")
    started = start_project(tmp_path)
    assert [path.name for path in started.written] == ["lastgood.toml"]
