"""``watch(modules=[...])``: a session without a config file."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.errors import ConfigError, UnwatchableModule
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import ReloadError, WatchPaths
from real_project import DEADLINE, MORE, QUOTE, FakeFactory, Told


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("pricing.py").write_text(QUOTE)
    return Path(os.path.realpath(tmp_path))


@pytest.fixture
def start(factory: FakeFactory, told: Told) -> Callable[..., WatchProgram]:
    def start(**options: Any) -> WatchProgram:
        return watch(create_bridge=factory.create_bridge, on_event=told, debounce=0.01, **options)

    return start


async def test_the_modules_are_those_of_the_working_directory(
    here: Path, start: Callable[..., WatchProgram], told: Told, factory: FakeFactory
) -> None:
    (here / "lastgood.toml").write_text("no config is read")
    with trio.fail_after(DEADLINE):
        async with start(modules=["pricing"]) as session:
            assert (await told.next(WatchPaths)).paths == (here / "pricing.py",)
            await told.success()
            assert set(os.listdir(here / "generated")) == {"__init__.py", "pricing.py"}
            assert factory.configs[-1].python_import_path == (here,)
            (here / "pricing.py").write_text(MORE)
            await told.success()
            assert await session.undo()
            assert "more" not in (here / "generated/pricing.py").read_text()
    assert set(os.listdir(here)) == {"lastgood.toml", "pricing.py", "generated", ".lastgood"}


def test_it_answers_by_a_worker(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "src").mkdir()
    (here / "src/shop.py").write_text("def quote(sku: str) -> int:\n    return 3\n\n\ndef hidden() -> None: ...\n")
    monkeypatch.syspath_prepend(here)
    program = watch(
        modules={"shop": {"functions": ["quote"]}}, import_path=[Path("src")], output={"style": "sync", "dir": "made"}
    )
    with program:
        shop = importlib.import_module("made.shop")
        assert shop.quote("apple") == 3
        assert not hasattr(shop, "hidden")
    for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
        del sys.modules[name]


async def test_paths_count_from_where_it_was_called(
    here: Path,
    start: Callable[..., WatchProgram],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    program = start(modules=["pricing"], output=Path("made"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    async with program:
        assert (here / "made/pricing.py").exists()


@pytest.mark.usefixtures("here")
async def test_what_is_missing_is_told_as_for_a_config(start: Callable[..., WatchProgram], told: Told) -> None:
    with pytest.raises(UnwatchableModule, match='Module "missing" could not be resolved for watching'):
        async with start(modules=["missing"]):
            pass
    assert isinstance(told.events[-1], ReloadError)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"config_file": "lastgood.toml", "modules": ["a"]}, ConfigError, "found both"),
        ({"config_file": "lastgood.toml", "output": "made"}, ConfigError, "found both"),
        ({"output": "made"}, ConfigError, "together with modules"),
        ({"import_path": ["src"]}, ConfigError, "together with modules"),
        ({"modules": ["a"], "output": {"stile": "sync"}}, ConfigError, 'output.stile": unknown field'),
        ({"modules": ["a"], "output": {"style": "both"}}, ConfigError, 'expected "async" or "sync", found "both"'),
        ({"modules": ["a"], "output": "."}, ConfigError, "expected a directory for the wrappers alone"),
        ({"modules": ["a b"]}, ConfigError, "is not a module name"),
        ({"modules": {"a": {"function": []}}}, ConfigError, 'Did you mean "functions"'),
        ({"modules": "a"}, TypeError, "put the one that was given into a list"),
        ({"modules": ["a"], "import_path": "src"}, TypeError, "put the one that was given into a list"),
    ],
)
def test_what_is_wrong_is_told_at_the_call(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        watch(**arguments)
