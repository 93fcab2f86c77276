"""A kernel of Jupyter in a process of its own, and what its cells put out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from marked_processes import marked
from real_project import DEADLINE
from running import program_environment

__all__ = ["WAITS", "Cell", "Kernel", "kernel"]

WAITS = "lastgood: this cell waits for a reload, at most 60 s\n"

_LONGEST = 4 * DEADLINE
"""Seconds in which a cell has to end."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Cell:
    """What a cell has put out. ``on_output(cell)`` is called at each piece of it."""

    status: str = ""
    out: str = ""
    stderr: str = ""
    result: str = ""
    """The ``repr()`` of its last expression."""
    raised: str = ""
    """The class of what it raised."""
    traceback: str = ""
    on_output: Callable[[Cell], object] | None = field(default=None, repr=False)

    @property
    def err(self) -> str:
        """What it has put on stderr, apart from saying that it waits: that is so on a busy machine."""
        return self.stderr.replace(WAITS, "")

    def hear(self, message: Any) -> None:
        """Keep a message of the kernel."""
        content = message["content"]
        match message["msg_type"]:
            case "stream" if content["name"] == "stdout":
                self.out += content["text"]
            case "stream":
                self.stderr += content["text"]
            case "execute_result":
                self.result = content["data"]["text/plain"]
            case "error":
                self.raised = content["ename"]
                self.traceback = _COLOURS.sub("", "\n".join(content["traceback"]))
            case _:
                return
        if self.on_output is not None:
            self.on_output(self)


class Kernel:
    """A kernel that runs. Its cells run in the order in which they are sent."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self._client = client

    def run(self, code: str, on_output: Callable[[Cell], object] | None = None) -> Cell:
        """Run a cell to its end."""
        cell = Cell(on_output=on_output)
        reply = self._client.execute_interactive(code, timeout=_LONGEST, output_hook=cell.hear)
        cell.status = reply["content"]["status"]
        return cell

    def good(self, code: str) -> Cell:
        """Run a cell that raises nothing."""
        cell = self.run(code)
        assert cell.status == "ok", cell
        return cell

    def value(self, code: str) -> str:
        """Run a cell that is an expression, raises nothing and prints nothing; return its ``repr()``."""
        cell = self.good(code)
        assert (cell.out, cell.err) == ("", ""), cell
        return cell.result

    def interrupt(self) -> None:
        """Interrupt the cell that runs, as the button of a notebook does."""
        self.manager.interrupt_kernel()

    def shut_down(self, *, now: bool) -> None:
        """Shut it down, or kill it."""
        self.manager.shutdown_kernel(now=now)

    def restart(self) -> None:
        """Restart it, as the button of a notebook does."""
        self.manager.restart_kernel(now=False)
        self._client.wait_for_ready(timeout=_LONGEST)


@contextmanager
def kernel(directory: Path) -> Iterator[Kernel]:
    """Run a kernel in ``directory`` that imports the lastgood that is tested. It is killed at the end, if it still runs."""
    manager = pytest.importorskip("jupyter_client.manager", reason="it is in the extra 'peers'")
    pytest.importorskip("ipykernel", reason="it is in the extra 'peers'")
    own = {"IPYTHONDIR": str(directory / ".ipython"), "JUPYTER_RUNTIME_DIR": str(directory / ".jupyter")}
    environment = program_environment() | marked(directory) | own
    running, client = manager.start_new_kernel(startup_timeout=_LONGEST, cwd=str(directory), env=environment)
    try:
        yield Kernel(running, client)
    finally:
        client.stop_channels()
        running.shutdown_kernel(now=True)
