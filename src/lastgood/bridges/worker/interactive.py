"""``breakpoint()`` and ``input()`` in a worker: they raise an error that says what to do, since a worker has no terminal.

Debuggers and prompts that read by ``input()``, such as :mod:`pdb`, get the same error.
"""

from __future__ import annotations

import builtins
import os
import sys

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["refuse_interaction"]


def refuse_interaction() -> None:
    """Replace what would wait for somebody at the keyboard, unless it was replaced already.

    What the user sets takes effect: ``PYTHONBREAKPOINT``, ``sys.breakpointhook``, and ``input()`` from another ``sys.stdin``.
    """
    if sys.breakpointhook is sys.__breakpointhook__:
        sys.breakpointhook = _refuse_breakpoint
    nothing, read = sys.stdin, builtins.input

    def input(prompt: object = "", /) -> str:  # noqa: A001 - it replaces the function of this name
        if sys.stdin is not nothing:
            return read(prompt)
        raise _refusal("input() has nobody to ask")

    if getattr(read, "__module__", None) == "builtins":
        builtins.input = input


def _refuse_breakpoint(*args: Any, **kwargs: Any) -> Any:
    if os.environ.get("PYTHONBREAKPOINT"):
        return sys.__breakpointhook__(*args, **kwargs)
    raise _refusal("breakpoint() has no terminal")


def _refusal(problem: str) -> RuntimeError:
    pid = os.getpid()
    ways = [f"`python -m debugpy --listen 5678 --pid {pid}`"]
    if sys.version_info >= (3, 14):
        ways.insert(0, f"`python -m pdb -p {pid}`")
    return RuntimeError(
        f"{problem} here, in a worker of lastgood (process {pid}). Call the function under lastgood.direct() instead, "
        f"in the app's own process, where both work as usual, or attach a debugger to the worker: {' or '.join(ways)}."
    )
