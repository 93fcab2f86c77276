"""A bridge says what functions and modules are, and goes on with calls."""

from __future__ import annotations

from pathlib import Path

import trio

from imported import forgotten
from lastgood import InProcessBridge, ProcessBridge
from process_bridges import DEADLINE

SOURCE = """
import time

def quote(sku, *, amount=1): return sku
def _hidden(): ...
globals()["made"] = 1
"""
HANGS = "import threading\ndef quote(): return 1\ndef __getattr__(name): ...\ndef __dir__(): threading.Event().wait()\n"
QUESTION = [("shop", "quote"), ("shop", "_hidden")], ["shop"]


async def test_with_and_without_a_worker_it_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SOURCE)
    worker = ProcessBridge(import_path=[tmp_path], modules=["shop"], timeout=DEADLINE)
    here = InProcessBridge(import_path=[tmp_path], modules=["shop"])
    with forgotten(tmp_path):
        for bridge in (worker, here):
            await bridge.init()
            functions, modules = await bridge.interface(*QUESTION)
            parameters = [["sku", 1, False], ["amount", 3, True]]
            assert [[list(each) for each in part] for part in functions[0][1:]] == [parameters, parameters]
            assert functions[1] == 'shop._hidden cannot be called: "_hidden" starts with "_", so it is private.'
            assert [list(each) for each in modules[0][1]] == [["quote", 0, "shop"], ["made", 2, ""]]
            await bridge.dispose()


async def test_one_that_hangs_is_given_up_and_calls_go_on(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(HANGS)
    bridge = ProcessBridge(import_path=[tmp_path], modules=["shop"], timeout=DEADLINE)
    await bridge.init()
    with trio.move_on_after(0.05) as scope:
        await bridge.interface(*QUESTION)
    assert scope.cancelled_caught
    assert await bridge.call("shop", "quote", (), {}) == 1
    await bridge.dispose()
