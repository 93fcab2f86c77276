"""The public face: all of it is importable from ``lastgood``, and nothing is loaded before its time."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lastgood
from lastgood import errors, watch_events

SOURCES = Path(lastgood.__file__).parent

PUBLIC = [
    *("watch", "WatchProgram", "Session", "Status", "Generated", "ModuleFailure"),
    *("create_bridge_reloader", "BridgeReloader", "ProcessBridge", "Bridge", "Config"),
    *("direct", "DirectSession", "InProcessBridge"),
    *("get_runtime_bridge", "set_runtime_bridge", "clear_runtime_bridge"),
    *("LastgoodError", "ConfigError", "ConfigMigrationError", "WatchError", "GenerationError", "PromotionError"),
    *("UnmanagedFile", "AlreadyWatched", "Disposed", "NoRuntimeBridge", "BridgeError", "RemoteError", "CallTimeout"),
    *("WorkerDied", "ReturnTypeError"),
    *("WatchEvent", "WatchPaths", "Change", "ReloadStart", "ReloadSuccess", "ReloadError"),
    *("DisposeFailed", "PollingStarted", "Recovered", "BridgeLost", "BridgeRestored", "Superseded", "Runaway"),
]


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_importable(name: str) -> None:
    assert name in lastgood.__all__
    assert name in dir(lastgood)
    assert getattr(lastgood, name) is not None


def test_everything_exported_exists_and_is_what_its_room_has() -> None:
    assert len(set(lastgood.__all__)) == len(lastgood.__all__)
    for name, where in lastgood._MODULE_OF.items():
        room = importlib.import_module(f"lastgood.{where}")
        assert getattr(lastgood, name) is getattr(room, name)
        assert name in room.__all__


def test_every_error_and_every_event_is_exported() -> None:
    assert set(errors.__all__) <= set(lastgood.__all__)
    assert set(watch_events.__all__) <= set(lastgood.__all__)


def test_what_type_checkers_see_is_what_is_exported() -> None:
    text = (SOURCES / "__init__.py").read_text()
    seen = {line.rpartition(" as ")[2].strip() for line in text.splitlines() if line.startswith("    from lastgood.")}
    assert seen == set(lastgood.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lastgood' has no attribute 'nonsense'"):
        _ = lastgood.nonsense


def test_the_docstring_names_what_there_is() -> None:
    named = re.findall(r":(func|class|mod):`([\w.]+)`", lastgood.__doc__ or "")
    assert {name for role, name in named if role != "mod"} <= set(lastgood.__all__)
    modules = [name for role, name in named if role == "mod"]
    assert modules
    for module in modules:
        importlib.import_module(module)


def test_watch_has_its_parameters_with_their_defaults() -> None:
    positional, *named = inspect.signature(lastgood.watch).parameters.values()
    assert (positional.name, positional.default) == ("config_file", None)
    assert {each.kind for each in named} == {inspect.Parameter.KEYWORD_ONLY}
    assert {each.name: each.default for each in named} == {
        "modules": None,
        "import_path": None,
        "output": None,
        "create_bridge": None,
        "generate": None,
        "probe": None,
        "extra_watch_paths": (),
        "debounce": None,
        "max_wait": None,
        "warm_timeout": None,
        "drain_timeout": None,
        "stage_timeout": None,
        "supersede_after": None,
        "wait_for_first": False,
        "on_event": None,
        "set_as_global": True,
    }


def test_it_is_typed() -> None:
    assert (SOURCES / "py.typed").exists()


@pytest.mark.parametrize(
    ("statement", "unloaded"),
    [
        ("import lastgood", ("trio", "watchfiles", "msgspec", "rich", "returns", "lastgood.errors")),
        ("from lastgood import create_bridge_reloader", ("trio", "watchfiles", "msgspec", "rich", "returns")),
        ("from lastgood.calls.registry import get_runtime_bridge", ("trio", "watchfiles", "msgspec", "rich")),
        (
            "from lastgood import direct, InProcessBridge",
            ("trio", "asyncio", "watchfiles", "msgspec", "rich", "returns", "click", "subprocess"),
        ),
        ("from lastgood import watch", ("lastgood.wrappers.generate", "rich")),
        ("import lastgood.effects", ("trio", "watchfiles", "msgspec", "subprocess")),
        (
            "import lastgood.planner",
            ("trio", "watchfiles", "subprocess"),
        ),  # its states and events are msgspec's structs
    ],
    ids=["lastgood", "reloader", "runtime", "direct", "watch", "effects", "planner"],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, unloaded: tuple[str, ...]) -> None:
    program = f"import sys; sys.path.insert(0, {str(SOURCES.parent)!r}); {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint(unloaded)
