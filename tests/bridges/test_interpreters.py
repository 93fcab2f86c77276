"""Interpreters as users have them: what runs before the worker, and scripts in place of a Python.

Both who asks an interpreter for its paths and the worker run in it.
"""

from __future__ import annotations

import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.config import ProcessConfig
from lastgood.errors import ConfigError, WorkerDied
from lastgood.sources.environment import OLDEST_PYTHON
from lastgood.sources.resolution import worker_interpreter
from process_bridges import DEADLINE, interpreter, running, script

EXEC = f'exec "{sys.executable}" "$@"'
AT_START = {
    "prints": "print('hello')",
    "prints without an end": "import os; os.write(1, b'abc')",
    "prints much": "import os; os.write(2, b'x' * 100_000); os.write(1, b'x' * 100_000)",
    "reads": "import sys; assert sys.stdin.read() == ''",
    "raises": "raise ValueError('at the start')",
    "replaces its streams": "import io, sys; sys.stdout = sys.stderr = io.StringIO(); sys.stdin = None",
    "closes its streams": "import sys; sys.stdin.close(); sys.stdout.close(); sys.stderr.close()",
    "closes their descriptors": "import os; [os.close(number) for number in (0, 1, 2)]",
    "prints at its end": "import atexit; atexit.register(print, 'bye')",
    "starts a thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "leaves a child": "import subprocess; subprocess.Popen(['sleep', '1000'])",
}

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def answers(source: Path, **options: Any) -> None:
    """Both who asks it, and a worker in it, are answered."""
    found = await trio.to_thread.run_sync(worker_interpreter, ProcessConfig(**options))
    assert "sys" in found.builtin_modules
    async with running(source, **options) as bridge:
        assert await bridge.call("svc", "give", [[1, "two"]], {}) == [1, "two"]


@pytest.mark.parametrize("text", AT_START.values(), ids=AT_START)
async def test_what_a_sitecustomize_does_disturbs_nobody(source: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(text)
    await answers(source, env={"PYTHONPATH": str(tmp_path / "site")})


@pytest.mark.parametrize(
    "line",
    ["import sys; print('hello'); sys.stdin.read()", "import nothing_that_exists", "import sys; sys.stdout = None"],
    ids=["prints", "raises", "replaces"],
)
async def test_what_a_pth_file_does_disturbs_nobody(source: Path, tmp_path: Path, line: str) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "early.pth").write_text(line + "\n")
    await answers(source, virtual_env=tmp_path / "venv")


@pytest.mark.parametrize(
    "text", [EXEC, f"echo hello; echo oh >&2; {EXEC}", f"cat; {EXEC}"], ids=["execs", "prints first", "reads first"]
)
async def test_a_script_that_becomes_the_interpreter_is_one(source: Path, tmp_path: Path, text: str) -> None:
    await answers(source, python=script(tmp_path / "python", f"#!/bin/sh\n{text}\n"))


WAITS = f'"{sys.executable}" "$@"; exit $?'
REFUSED = {
    "another program": ("#!/bin/true\n", "it did not answer as a Python interpreter does"),
    "prints what it is given": ("#!/bin/echo\n", "it did not answer as a Python interpreter does"),
    "crashes": ("#!/bin/sh\nkill -SEGV $$\n", "it was killed by SIGSEGV"),
    "ends": ("#!/bin/sh\nexit 7\n", "it ended with status 7"),
    "script of nothing": ("#!/no/such/program\n", "its first line names a program that is not there"),
    "of another machine": ("\x7fELF nonsense", "Exec format error"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_interpreter_is_told(tmp_path: Path, text: str, says: str) -> None:
    python = script(tmp_path / "python", text)
    with pytest.raises(ConfigError, match=says) as caught:
        worker_interpreter(ProcessConfig(python=python))
    assert caught.value.field == "runtime.process.python"
    assert str(python) in str(caught.value)


async def test_a_worker_that_is_a_scripts_child_says_so(source: Path, tmp_path: Path) -> None:
    bridge = ProcessBridge(script(tmp_path / "python", f"#!/bin/sh\n{WAITS}\n"), import_path=[source], modules=["svc"])
    with trio.fail_after(DEADLINE), pytest.raises(WorkerDied, match='write "exec" before the command'):
        await bridge.init()


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8"])
def test_one_that_is_too_old_is_told_with_the_oldest_that_is_not(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    with pytest.raises(ConfigError) as caught:
        worker_interpreter(ProcessConfig(python=python))
    assert caught.value.field == "runtime.process.python"
    assert str(caught.value).startswith(
        f'field "runtime.process.python": the interpreter {python} is Python {version}; a worker needs Python 3.9 or newer.'
    )


def test_the_oldest_is_the_workers() -> None:
    main = Path(sys.modules[ProcessBridge.__module__].__file__ or "").with_name("worker") / "main.py"
    assert f"if sys.version_info < {OLDEST_PYTHON}:" in main.read_text()


def test_one_that_vanishes_between_two_cycles_is_told(tmp_path: Path) -> None:
    python = script(tmp_path / "python", f"#!/bin/sh\n{EXEC}\n")
    assert worker_interpreter(ProcessConfig(python=python)).version == sys.version_info[:2]
    python.unlink()
    with pytest.raises(ConfigError, match="there is no such file"):
        worker_interpreter(ProcessConfig(python=python))
