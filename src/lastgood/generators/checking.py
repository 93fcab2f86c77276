"""Python files that were not made by lastgood are looked at before they are promoted, in a process of their own (contract §5).

What ``generate()`` wrote are wrappers: they are imported, as whoever uses them will, if they define or import anything. What
other generators made need only compile: where it can be imported from is theirs to know.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from lastgood.errors import ModuleFailure
from lastgood.generators.process import run_process

__all__ = ["check_staged"]

logger = logging.getLogger(__name__)

_PROGRAM = Path(__file__).with_name("checking_main.py")
_LASTGOOD = Path(__file__).parents[2]
_TIMEOUT = 60.0
"""Seconds that all of it may take: what is imported may hang."""


async def check_staged(
    stage: Path,
    package: str,
    *,
    imported: Iterable[str] = (),
    compiled: Iterable[str] = (),
    note: Callable[[str], object] = lambda _: None,
) -> tuple[ModuleFailure, ...]:
    """What is wrong with files of ``stage``, by their paths there. Those that are not Python's are fine.

    Wrappers are ``imported`` as modules of ``package``; from where that lies in a larger one it is not judged. ``note(module)``
    is told where it was when it did not come to an end.
    """
    names = {each for each in imported if each.endswith(".py")}
    call = {
        "stage": str(stage),
        "package": package,
        "imported": sorted(names),
        "compiled": sorted({each for each in compiled if each.endswith(".py")} - names),
        "path": [*sys.path, str(_LASTGOOD)],
    }
    if not names and not call["compiled"]:
        return ()
    if not await trio.Path(_PROGRAM).exists():
        logger.warning("%s: not looked at before it is promoted: a process would not see this file system", package)
        return ()
    with TemporaryDirectory(prefix="lastgood-") as directory:
        told, answer = trio.Path(directory, "call"), trio.Path(directory, "answer")
        await told.write_text(json.dumps(call))
        arguments = [sys.executable, "-P", str(_PROGRAM), str(told), str(answer), str(Path(directory, "at"))]
        try:
            ended = await run_process(arguments, cwd=Path(os.getcwd()), timeout=_TIMEOUT)
        finally:  # a cancel is the end of the stage's time
            at = _named_in(Path(directory, "at"), package)
            note(at)
        try:
            problems = json.loads(await answer.read_bytes())
        except (OSError, ValueError):  # os._exit(), a signal, or the timeout
            said = f":\n{ended.err.strip()}" if ended.err.strip() else "."
            return (ModuleFailure(at, None, None, f"the process that imported the wrappers {ended.how}{said}"),)
    return tuple(ModuleFailure(_module(name), None, line, text) for name, line, text in problems)


def _named_in(file: Path, otherwise: str) -> str:
    try:
        return _module(file.read_text())
    except OSError:
        return otherwise


def _module(name: str) -> str:
    parts = name.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
