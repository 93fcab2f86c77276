"""Check of staged Python files that the built-in generator did not write, before promotion, in a process of their own.

Files of a ``generate()`` function are wrappers: they are imported, if they define or import anything. Files of other generators
are only compiled, since it is not known from where they can be imported.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from lastgood.errors import ModuleFailure
from lastgood.generators.process import run_process
from lastgood.store.temporary import temporary_directory

__all__ = ["check_staged"]

logger = logging.getLogger(__name__)

_PROGRAM = Path(__file__).with_name("checking_main.py")
_LASTGOOD = Path(__file__).parents[2]
_TIMEOUT = 60.0
"""Maximum duration of the check in seconds: an import may hang."""


async def check_staged(
    stage: Path,
    package: str,
    *,
    imported: Iterable[str] = (),
    compiled: Iterable[str] = (),
    note: Callable[[str], object] = lambda _: None,
) -> tuple[ModuleFailure, ...]:
    """Return the failures of files in ``stage``, given by their paths there. Only files with the suffix ``.py`` are checked.

    Files in ``imported`` are imported as modules of ``package``, those in ``compiled`` only compiled. A relative import beyond
    ``package`` is no failure. ``note(module)`` is called at the end with the module that was imported last.
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
        logger.warning("%s: not checked before it is promoted: another process cannot see this file system", package)
        return ()
    with temporary_directory() as directory:
        call_file, answer = trio.Path(directory, "call"), trio.Path(directory, "answer")
        await call_file.write_text(json.dumps(call))
        arguments = [sys.executable, "-P", str(_PROGRAM), str(call_file), str(answer), str(directory / "at")]
        try:
            ended = await run_process(arguments, cwd=None, timeout=_TIMEOUT)
        finally:  # also when cancelled, at the stage timeout
            at = _module_in(directory / "at", package)
            note(at)
        try:
            problems = json.loads(await answer.read_bytes())
        except (OSError, ValueError):  # os._exit(), a signal, or the timeout
            output = f":\n{ended.err.strip()}" if ended.err.strip() else "."
            return (ModuleFailure(at, None, None, f"the process that imported the wrappers {ended.how}{output}"),)
    return tuple(ModuleFailure(_module_name(name), None, line, text) for name, line, text in problems)


def _module_in(file: Path, otherwise: str) -> str:
    try:
        return _module_name(file.read_text())
    except OSError:
        return otherwise


def _module_name(name: str) -> str:
    parts = name.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
