"""lastgood.bridges.worker.hidden: a ``types.py`` of the user's has its name to itself, and the worker goes on working."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.worker.hidden import note_hidden
from lastgood.config import ProcessConfig
from lastgood.errors import BridgeError, RemoteError
from lastgood.sources.resolution import refused_by_worker, worker_interpreter
from process_bridges import interpreter
from real_project import DEADLINE
from serving import Served
from staged_project import SOURCES, StagedProject

NAMES = ["types", "random", "email", "json", "logging", "traceback", "inspect", "linecache"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_worker_works_although_its_own_modules_need_the_one_that_is_hidden(
    staged: StagedProject, name: str
) -> None:
    staged.write({f"{name}.py": "MINE = True\n", "svc.py": f"import {name}\n{SOURCES['svc.py']}"})
    staged.write({"svc.py": f"{(staged.src / 'svc.py').read_text()}\nasync def later():\n    return {name}.MINE\n"})
    staged.stage()
    with trio.fail_after(DEADLINE):
        async with staged.running() as bridge:
            assert await bridge.call("svc", "later", [], {}) is True
            with pytest.raises(ValueError, match="here") as raised:
                await bridge.call("svc", "fail", [], {})
            assert isinstance(raised.value, RemoteError)
            assert "raise ValueError('here')" in raised.value.traceback
            assert await bridge.interface([("svc", "run")], ["svc"])
            stream = bridge.stream("svc", "run", ["result = iter([1, 2])"])
            assert [item async for item in stream] == [1, 2]


@pytest.mark.parametrize(
    ("name", "then"), [("types", "from types import ModuleType"), ("email", "import email.parser")]
)
async def test_a_start_that_fails_of_it_says_what_to_do(staged: StagedProject, name: str, then: str) -> None:
    staged.write({f"{name}.py": "MINE = True\n", "helper.py": f"import {name}\n{then}\n"})
    staged.stage()
    bridge = ProcessBridge(import_path=staged.import_path, modules=["svc"], pinned=staged.manifest)
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError) as raised:
        await bridge.init()
    path = staged.src / f"{name}.py"
    assert "Rename it." in raised.value.traceback or "consider renaming" in raised.value.traceback
    assert str(path) in raised.value.traceback


async def test_a_server_whose_start_fails_of_it_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="it serves")
    async with trio.open_nursery() as nursery:
        served = Served(tmp_path, nursery)
        served.project.write({"logging.py": "MINE = True\n"})
        bridge = served.create("import logging\n")
        with pytest.raises(
            BridgeError, match=r"logging\.py hides the standard library's module logging .* Rename it\."
        ):
            await bridge.init()
        for each in served.sockets:
            each.close()


@pytest.mark.parametrize("version", ["3.9", "3.10"])
async def test_on_older_pythons(staged: StagedProject, version: str) -> None:
    staged.write({"types.py": "MINE = True\n", "helper.py": "import types\nfrom types import ModuleType\n"})
    staged.stage()
    bridge = ProcessBridge(
        interpreter(version), import_path=staged.import_path, modules=["svc"], pinned=staged.manifest
    )
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError) as raised:
        await bridge.init()
    note = f"{staged.src / 'types.py'} hides the standard library's module types from all that imports it. Rename it.\n"
    assert raised.value.traceback.endswith(note)


def test_other_errors_have_no_such_note() -> None:
    assert note_hidden(ImportError("cannot import name 'x' from 'shop'"), {"sys": "/p/sys.py"}) is None
    assert note_hidden(ImportError("cannot import name 'x' from 'absent'"), {"absent": "/p/absent.py"}) is None
    told = note_hidden(ImportError("cannot import name 'x' from 'sys' (consider renaming it)"), {"sys": "/p/sys.py"})
    assert told is None
    error = ValueError("unable")
    error.__context__ = AttributeError("module 'sys' has no attribute 'x'")
    error.__context__.__context__ = error
    assert note_hidden(error, {"sys": "/p/sys.py"}) is not None


def test_an_interpreter_is_asked_where_such_a_module_lies(tmp_path: Path) -> None:
    for name in ("types", "json", "warnings"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    process = ProcessConfig(cwd=tmp_path)
    assert tmp_path not in worker_interpreter(process).sys_path
    assert refused_by_worker(process, b"x = 1\n") is None
