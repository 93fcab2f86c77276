"""What tools that print tracebacks show of an error of a worker: the lines that it runs, also when the file was edited since."""

from __future__ import annotations

import atexit
import io
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.traceback import Traceback

from generating import importable
from lastgood import watch
from real_project import RealProject

SHOP = """
class OutOfStock(LookupError):
    def __init__(self, sku: str) -> None:
        super().__init__(f"no {sku} left")

def buy(sku: str) -> int:
    # what comes before the line
    return take(sku) + 1

def take(sku: str) -> int:
    first = 1

    raise OutOfStock(
        sku
    )

def chained(sku: str) -> int:
    try:
        return {}[sku]
    except KeyError as error:
        error.add_note("a note")
        raise ValueError(sku) from error

def several(sku: str) -> int:
    errors = []
    for function in (buy, chained):
        try:
            function(sku)
        except Exception as error:
            errors.append(error)
    raise ExceptionGroup("two of them", errors)
"""
OF_ONE = ("return take(sku) + 1", "raise OutOfStock(", "no apple left")
OF_A_CHAIN = ("return {}[sku]", "KeyError: 'apple'", "raise ValueError(sku) from error", "ValueError: apple")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LASTGOOD = ("src/lastgood", "in call", "__next__")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[RealProject]:
    config = '[modules.shop]\n[output]\ndir = "generated"\nstyle = "sync"\n[runtime.process]\nspare = false\n'
    project = RealProject(tmp_path, {"shop.py": SHOP, "lastgood.toml": config})
    with importable(project.root, "generated"):
        yield project


def break_off(project: RealProject, session: Any) -> None:
    """Save what cannot be parsed: the worker runs what was there before."""
    project.save("shop.py", "# moved (\n" + SHOP + "def broken(:\n")
    assert not session.reload_now()


def by_traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def with_locals(error: Exception) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def by_logging(error: Exception) -> str:
    record = logging.LogRecord("app", 40, "", 0, "it failed", (), (type(error), error, error.__traceback__))
    return logging.Formatter().format(record)


def by_rich(error: Exception) -> str:
    shown = io.StringIO()
    console = Console(width=200, file=shown, color_system=None)
    console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
    return shown.getvalue()


def by_pytest(error: Exception) -> str:
    return str(pytest.ExceptionInfo.from_exception(error).getrepr(style="long", showlocals=True))


TOOLS: list[Callable[[Exception], str]] = [by_traceback, with_locals, by_logging, by_rich, by_pytest]


def caught(function: Callable[[str], Any]) -> Exception:
    try:
        function("apple")
    except Exception as error:
        return error
    raise AssertionError("it raises")


def test_tools_show_the_lines_that_the_worker_runs(shop: RealProject) -> None:
    with watch(shop.config_file, on_event=lambda _: None) as session:
        from generated import shop as wrapper  # type: ignore[import-not-found]  # made just now

        for file in ("shop.py", "shop.py (before an edit)"):
            one, chain, group = map(caught, (wrapper.buy, wrapper.chained, wrapper.several))
            for tool in TOOLS:
                shown = tool(one)
                assert [line for line in OF_ONE if line not in shown] == []
                assert [line for line in LASTGOOD if line in shown] == []
                shown = tool(chain)
                assert [line for line in OF_A_CHAIN if line not in shown] == []
                if tool is not by_rich:  # it leaves out names of files that do not exist, and notes
                    assert file in shown
                    assert "a note" in shown
                if tool is by_rich and version("rich").startswith("13."):
                    continue  # it shows no groups
                shown = tool(group)
                assert [line for line in (*OF_ONE, "raise ValueError(sku) from error") if line not in shown] == []
            assert "what comes before the line" in by_rich(one)
            assert "def take(sku: str) -> int:" in by_pytest(one)
            if file == "shop.py":
                break_off(shop, session)


# --- notebooks


@pytest.mark.peers
def test_ipython_shows_them(shop: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    interactiveshell = pytest.importorskip("IPython.core.interactiveshell", reason="it is in the extra 'peers'")
    monkeypatch.setenv("IPYTHONDIR", str(shop.root / "ipython"))
    config = pytest.importorskip("traitlets.config").Config()
    config.HistoryManager.enabled = False
    shell = interactiveshell.InteractiveShell(config=config)

    def run(cell: str) -> str:
        with redirect_stdout(io.StringIO()) as shown:
            shell.run_cell(cell)
        return COLOURS.sub("", shown.getvalue())

    with watch(shop.config_file, on_event=lambda _: None) as session:
        for moment in ("fresh", "edited"):
            run("from generated import shop")
            for mode in ("Context", "Verbose", "Plain"):
                shell.run_line_magic("xmode", mode)
                shown = run("shop.buy('apple')")
                assert [line for line in OF_ONE if line not in shown] == []
                assert [line for line in LASTGOOD if line in shown] == []
                shown = run("shop.chained('apple')")
                assert [line for line in OF_A_CHAIN if line not in shown] == []
            if moment == "fresh":
                break_off(shop, session)
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)


CELLS = """
import sys
sys.path.insert(0, {root!r})
import lastgood
session = lastgood.watch({config!r}, on_event=lambda _: None).start()
from generated import shop
"""


@pytest.mark.peers
def test_a_kernel_of_jupyter_sends_them_to_its_notebook(shop: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = pytest.importorskip("jupyter_client.manager", reason="it is in the extra 'peers'")
    pytest.importorskip("ipykernel", reason="it is in the extra 'peers'")
    monkeypatch.setenv("IPYTHONDIR", str(shop.root / "ipython"))
    kernel, client = manager.start_new_kernel(startup_timeout=60)
    shown: list[str] = []

    def hear(message: Any) -> None:
        if message["msg_type"] == "error":
            shown.append(COLOURS.sub("", "\n".join(message["content"]["traceback"])))

    def run(cell: str) -> Any:
        shown.clear()
        return client.execute_interactive(cell, timeout=60, output_hook=hear)["content"]["status"]

    try:
        cells = CELLS.format(root=str(shop.root), config=str(shop.config_file))
        assert run(cells) == "ok", shown
        for moment in ("fresh", "edited"):
            assert run("shop.buy('apple')") == "error"
            assert [line for line in OF_ONE if line not in shown[0]] == []
            assert [line for line in LASTGOOD if line in shown[0]] == []
            if moment == "fresh":
                shop.save("shop.py", "# moved (\n" + SHOP + "def broken(:\n")
                assert run("assert not session.reload_now()") == "ok", shown
        assert run("session.close()") == "ok", shown
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def test_an_interrupted_call_shows_the_call_and_nothing_of_lastgood(shop: RealProject) -> None:
    shop.save(
        "shop.py",
        f"{SHOP}\nimport os, signal, time\n\ndef interrupt(pid):\n    os.kill(pid, signal.SIGINT)\n    time.sleep(60)\n",
    )
    with watch(shop.config_file):
        from generated import shop as wrapper

        with pytest.raises(KeyboardInterrupt) as caught:
            wrapper.interrupt(os.getpid())
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)] == [
        "test_an_interrupted_call_shows_the_call_and_nothing_of_lastgood"
    ]
