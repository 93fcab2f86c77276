"""What a worker runs in, and what is said when it is not there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lastgood.config import ProcessConfig
from lastgood.errors import ConfigError
from lastgood.sources.environment import Environment, existing_interpreter, find_environment


@pytest.fixture(autouse=True)
def apps_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin:/bin", "PYTHONHOME": "/home"})


def environment(found: Environment) -> dict[str, str]:
    """But for what pytest puts there itself."""
    return {name: value for name, value in (found.env or {}).items() if name != "PYTEST_CURRENT_TEST"}


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return path


@pytest.fixture
def virtual_env(tmp_path: Path) -> Path:
    executable(tmp_path / "venv" / "bin" / "python")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    return tmp_path / "venv"


def test_nothing_said_is_the_apps_own() -> None:
    assert find_environment(ProcessConfig()) == Environment(sys.executable, own=True)


def test_env_is_added_and_taken_literally() -> None:
    found = find_environment(ProcessConfig(env={"NEW": "$PATH ~", "PATH": "/only"}))
    assert environment(found) == {"PATH": "/only", "PYTHONHOME": "/home", "NEW": "$PATH ~"}
    assert found.own


@pytest.mark.parametrize(
    "process", [{"env": {"PYTHONPATH": "x"}}, {"cwd": Path("/")}, {"python": Path(sys.executable)}], ids=str
)
def test_what_may_change_where_modules_are_looked_for_is_not_the_apps_own(process: dict[str, Any]) -> None:
    assert not find_environment(ProcessConfig(**process)).own


def test_a_virtual_environment_is_entered_as_activate_does(virtual_env: Path) -> None:
    found = find_environment(ProcessConfig(virtual_env=virtual_env))
    assert found.python == str(virtual_env / "bin" / "python")
    assert environment(found) == {"PATH": f"{virtual_env}/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(virtual_env)}
    assert not found.own


def test_env_goes_before_the_virtual_environment(virtual_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    found = find_environment(ProcessConfig(virtual_env=virtual_env, env={"PYTHONHOME": "/own"}))
    assert environment(found) == {"PATH": f"{virtual_env}/bin", "VIRTUAL_ENV": str(virtual_env), "PYTHONHOME": "/own"}


def test_a_bare_name_is_looked_up_on_the_workers_path(tmp_path: Path) -> None:
    python = executable(tmp_path / "my-python")
    found = find_environment(ProcessConfig(python=Path("my-python"), env={"PATH": str(tmp_path)}))
    assert found.python == str(python)
    assert existing_interpreter(found) == python


@pytest.mark.parametrize(
    ("process", "field", "says"),
    [
        (
            {"virtual_env": Path("missing")},
            "virtual_env",
            "missing does not exist; expected the directory of a virtual",
        ),
        ({"virtual_env": Path("file")}, "virtual_env", "file is not a directory; expected the directory of a virtual"),
        ({"virtual_env": Path("empty")}, "virtual_env", "empty has no pyvenv.cfg"),
        ({"virtual_env": Path("half")}, "virtual_env", "there is no interpreter .*half/bin/python"),
        ({"cwd": Path("missing")}, "cwd", "missing does not exist; expected the directory that the worker runs in"),
        ({"cwd": Path("file")}, "cwd", "file is not a directory; expected the directory that the worker runs in"),
        ({"python": Path("no-such-python")}, "python", "there is no such command on PATH"),
        ({"python": Path("dir/missing")}, "python", "there is no such file"),
        ({"python": Path("./empty").absolute()}, "python", "there is no such file|it is a directory"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_not_there_is_a_config_error_with_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: dict[str, Path], field: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "pyvenv.cfg").write_text("")
    with pytest.raises(ConfigError, match=says) as caught:
        existing_interpreter(find_environment(ProcessConfig(**process)))  # type: ignore[arg-type]  # each is a Path
    assert caught.value.field == f"runtime.process.{field}"
