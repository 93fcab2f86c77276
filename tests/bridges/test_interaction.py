"""``breakpoint()`` and ``input()`` in a worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lastgood.bridges.in_process import InProcessBridge
from lastgood.errors import RemoteError
from process_bridges import running

pytestmark = pytest.mark.usefixtures("nothing_is_left")

ASKING = """
import builtins, io, os, sys

def ask(prompt="name? "):
    return input(prompt)

def stop():
    breakpoint()
    return "went on"

def debug():
    import pdb
    pdb.set_trace()
    return "went on"

def ask_of(text):
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        return input()
    finally:
        sys.stdin = before

def stop_by(what):
    os.environ["PYTHONBREAKPOINT"] = what
    try:
        return stop()
    finally:
        del os.environ["PYTHONBREAKPOINT"]

def read():
    return sys.stdin.read()

def where():
    return "here"
"""


@pytest.fixture
def asking(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(ASKING)
    return tmp_path


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("ask", "input() has nobody to ask here"),
        ("stop", "breakpoint() has no terminal here"),
        ("debug", "input() has nobody to ask here"),
    ],
)
async def test_what_waits_for_a_keyboard_says_what_to_do(asking: Path, function: str, problem: str) -> None:
    async with running(asking) as bridge:
        with pytest.raises(RemoteError) as refused:
            await bridge.call("svc", function, [], {})
        assert refused.value.type_name == "RuntimeError"
        assert refused.value.message.startswith(problem)
        assert "lastgood.direct()" in refused.value.message
        assert f"`python -m debugpy --listen 5678 --pid {bridge.pid}`" in refused.value.message
        assert (f"`python -m pdb -p {bridge.pid}`" in refused.value.message) == (sys.version_info >= (3, 14))
        assert f'File "{asking}/svc.py"' in refused.value.traceback
        assert await bridge.call("svc", "where", [], {}) == "here"


async def test_what_the_user_sets_takes_effect(asking: Path) -> None:
    async with running(asking) as bridge:
        assert await bridge.call("svc", "ask_of", ["Ann\n"], {}) == "Ann"
        assert await bridge.call("svc", "stop_by", ["0"], {}) == "went on"
        assert await bridge.call("svc", "stop_by", ["svc.where"], {}) == "went on"
        assert await bridge.call("svc", "read", [], {}) == ""


async def test_a_hook_that_was_set_at_the_start_stays(asking: Path) -> None:
    (asking / "sitecustomize.py").write_text("import sys\nsys.breakpointhook = lambda: None")
    async with running(asking, env={"PYTHONPATH": str(asking)}) as bridge:
        assert await bridge.call("svc", "stop", [], {}) == "went on"


async def test_at_an_import_they_say_so_too(asking: Path) -> None:
    (asking / "svc.py").write_text("breakpoint()")
    with pytest.raises(RemoteError, match=r"breakpoint\(\) has no terminal here"):
        async with running(asking):
            pass


def test_without_a_worker_they_work_as_usual(asking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: stopped.append(os.getpid()))
    monkeypatch.setattr("builtins.input", lambda prompt: f"{prompt}Ann")
    bridge = InProcessBridge(import_path=[asking], modules=["svc"], fresh=True)
    bridge.start()
    assert bridge.call_blocking("svc", "stop", [], {}) == "went on"
    assert stopped == [os.getpid()]
    assert bridge.call_blocking("svc", "ask", [], {}) == "name? Ann"
    bridge.stop()
