"""ProcessBridge with real workers: how they start, and where.

They wait on events, never on the clock; the deadlines only end a test that hangs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import lastgood.bridges
from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig, RuntimeConfig
from lastgood.errors import BridgeError, ConfigError, RemoteError, WorkerDied
from process_bridges import DEADLINE, Gate, is_alive, running, script

pytestmark = pytest.mark.usefixtures("nothing_is_left")

# --- starting


async def test_constructing_does_nothing_and_is_exported_lazily() -> None:
    bridge = lastgood.ProcessBridge("/no/such/python", modules=["nothing"])
    assert isinstance(bridge, lastgood.bridges.Bridge)
    assert bridge.pid is None
    assert not bridge.thread_safe
    await bridge.dispose()


def test_from_config() -> None:
    config = Config(
        path=Path("/x/lastgood.toml"),
        python_import_path=(Path("/x/src"),),
        modules={"svc": ModuleConfig(exclude=("a",))},
        output=OutputConfig(dir=Path("/x/generated")),
        runtime=RuntimeConfig(
            process=ProcessConfig(
                python=Path("/x/python"), env={"A": "b"}, cwd=Path("/x"), timeout=7.0, threads=2, pool=3, grace=4.0
            )
        ),
    )
    made = ProcessBridge.from_config(config)
    by_hand = ProcessBridge(
        "/x/python",
        import_path=["/x/src"],
        modules=config.modules,
        env={"A": "b"},
        cwd="/x",
        timeout=7.0,
        threads=2,
        pool=3,
        grace=4.0,
    )
    assert {**vars(made), "_gone": None, "_config_file": None} == {**vars(by_hand), "_gone": None}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"grace": -1}, ValueError),
        ({"threads": 0}, ValueError),
        ({"pool": 0}, ValueError),
        ({"env": {"A=B": "x"}}, ValueError),
        ({"python": "python3", "virtual_env": ".venv"}, ValueError),
        ({"modules": "svc"}, TypeError),
        ({"import_path": "src"}, TypeError),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ProcessBridge(**options)


async def test_a_missing_interpreter_is_named() -> None:
    bridge = ProcessBridge("/no/such/python")
    with pytest.raises(BridgeError, match="interpreter /no/such/python cannot be started: there is no such file"):
        await bridge.init()
    with pytest.raises(BridgeError, match="was disposed"):
        await bridge.call("svc", "f", [], {})


async def test_an_interpreter_that_may_not_be_executed_is_named(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("")
    with pytest.raises(BridgeError, match="python cannot be started: it may not be executed"):
        await ProcessBridge(tmp_path / "python").init()


async def test_an_interpreter_that_is_none_ends_before_it_is_ready(tmp_path: Path) -> None:
    bridge = ProcessBridge(script(tmp_path / "python", "#!/bin/sh\necho no python here >&2\nexit 7\n"))
    with trio.fail_after(DEADLINE), pytest.raises(WorkerDied) as died:
        await bridge.init()
    assert (died.value.status, died.value.doing) == (7, "before it was ready")
    assert died.value.stderr == "no python here"
    assert bridge.pid is None


@pytest.mark.parametrize(
    ("text", "type_name", "told"),
    [
        ("def f(:\n", "SyntaxError", "svc.py"),
        ("x = 1\n\nraise ValueError('at import')\n", "ValueError", 'svc.py", line 3'),
        ("import nowhere_to_be_found\n", "ModuleNotFoundError", "nowhere_to_be_found"),
        ("raise SystemExit(5)\n", "SystemExit", "svc.py"),
    ],
    ids=["syntax", "raises", "missing-import", "exits"],
)
async def test_what_an_import_raises_comes_with_its_traceback(
    source: Path, text: str, type_name: str, told: str
) -> None:
    (source / "svc.py").write_text(text)
    bridge = ProcessBridge(import_path=[source], modules=["svc"])
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError) as caught:
        await bridge.init()
    assert caught.value.type_name == type_name
    assert told in caught.value.traceback
    assert "importlib" not in caught.value.traceback
    assert "lastgood" not in caught.value.traceback.replace(str(source), "")


async def test_a_cancelled_init_leaves_nothing(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    (source / "svc.py").write_text(f"open({gate.path!r}).read()\n")
    bridge = ProcessBridge(import_path=[source], modules=["svc"])
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.init)
            await gate.reached()
            pid = bridge.pid
            nursery.cancel_scope.cancel()
    gate.open()
    assert pid is not None
    assert not is_alive(pid)
    assert bridge.pid is None


async def test_init_is_awaited_once(bridge: ProcessBridge) -> None:
    with pytest.raises(BridgeError, match="can be awaited once"):
        await bridge.init()


async def test_calls_before_init_and_after_dispose_say_so(source: Path) -> None:
    bridge = ProcessBridge(import_path=[source], modules=["svc"])
    with pytest.raises(BridgeError, match=r"await init\(\) before the first call"):
        await bridge.call("svc", "echo", [], {})
    await bridge.init()
    await bridge.dispose()
    with pytest.raises(BridgeError, match="was disposed"):
        await bridge.call("svc", "echo", [], {})
    with pytest.raises(BridgeError, match="can be awaited once"):
        await bridge.init()


async def test_another_thread_or_loop_is_told_so(bridge: ProcessBridge) -> None:
    async def call() -> None:
        with pytest.raises(BridgeError, match="another event loop or thread"):
            await bridge.call("svc", "echo", [], {})

    await trio.to_thread.run_sync(trio.run, call)

    def outside() -> None:
        with pytest.raises(BridgeError, match="outside of trio"):
            bridge.call("svc", "echo", [], {}).send(None)

    await trio.to_thread.run_sync(outside)


# --- where they run


async def test_the_worker_is_at_home_in_the_apps_surroundings(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(source))
    async with running(source) as bridge:
        assert await bridge.call("svc", "environment", [], {}) == [str(source), os.getcwd(), [], []]


@pytest.mark.parametrize("closed", [(2,), (0, 1), (0, 1, 2)], ids=["no stderr", "stderr alone", "none"])
async def test_an_app_that_has_closed_standard_streams_has_workers(closed: tuple[int, ...], source: Path) -> None:
    (source / "loud.py").write_text("import os\ndef loud():\n    os.write(2, bytes(1_000_000))\n    return 'done'\n")
    program = (
        "import os, sys, trio; from lastgood.bridges.process import ProcessBridge\n"
        "out = open(os.dup(1), 'w')\n"
        "async def main():\n"
        f"    [os.close(fd) for fd in {closed}]\n"
        "    bridge = ProcessBridge(import_path=[sys.argv[1]], modules=['loud'])\n"
        "    await bridge.init()\n"
        "    out.write(await bridge.call('loud', 'loud', [], {}))\n"
        "    await bridge.dispose()\n"
        "trio.run(main); out.close(); os._exit(0)"
    )
    app = await trio.run_process([sys.executable, "-c", program, source], capture_stdout=True, capture_stderr=True)
    assert app.stdout == b"done"
    assert len(app.stderr) == (0 if 2 in closed else 1_000_000)


async def test_the_worker_runs_where_it_is_told(source: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)  # noqa: ASYNC221 - no more than a start
    (source / "place.py").write_text(
        "import os, sys\n"
        "def place(): return [sys.prefix, os.getcwd(), os.environ['ADDED'], os.environ['PATH'].split(':')[0]]\n"
    )
    options: dict[str, Any] = {"virtual_env": tmp_path / "venv", "cwd": tmp_path, "env": {"ADDED": "$HOME"}}
    async with running(source, modules=["place"], **options) as bridge:
        assert await bridge.call("place", "place", [], {}) == [
            str(tmp_path / "venv"),
            str(tmp_path),
            "$HOME",
            str(tmp_path / "venv" / "bin"),
        ]


async def test_surroundings_that_are_not_there_are_told_before_anything_is_started(tmp_path: Path) -> None:
    bridge = ProcessBridge(cwd=tmp_path / "missing")
    with pytest.raises(BridgeError, match=r'field "runtime.process.cwd": .*missing does not exist'):
        await bridge.init()
    config = Config(
        path=tmp_path / "lastgood.toml",
        python_import_path=(),
        modules={},
        output=OutputConfig(dir=tmp_path / "generated"),
        runtime=RuntimeConfig(process=ProcessConfig(virtual_env=tmp_path)),
    )
    with pytest.raises(ConfigError, match=r'lastgood.toml: field "runtime.process.virtual_env": .* has no pyvenv.cfg'):
        await ProcessBridge.from_config(config).init()
