"""A worker's environment: its interpreter, environment variables and working directory (``[runtime.process]``).

The bridge starts workers in it. Module resolution asks the same interpreter in the same environment for its search path.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from lastgood.config import ProcessConfig
from lastgood.errors import ConfigError

__all__ = [
    "OLDEST_PYTHON",
    "Environment",
    "existing_interpreter",
    "find_environment",
    "too_old",
    "unusable",
]

OLDEST_PYTHON = (3, 9)
"""The oldest Python that a worker runs in. See also bridges/worker/main.py."""


class Environment(Struct, frozen=True):
    """``python`` is the file to run, or a name that was not found on ``PATH``.

    ``env`` None means the app's own environment variables, ``cwd`` None its working directory. ``own``: it is the app's
    interpreter with the app's search path for modules.
    """

    python: str
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    own: bool = False


def find_environment(process: ProcessConfig) -> Environment:
    """Return the environment that ``process`` describes.

    A virtual environment is set up as by its ``activate`` script: its interpreter, ``VIRTUAL_ENV``, and its commands first on
    ``PATH``. Then ``env`` is applied, with literal values. It is not checked whether ``python`` exists. Raises
    :class:`ConfigError`, with the field, if ``virtual_env`` is not a virtual environment or ``cwd`` not a directory.
    """
    changes: dict[str, str] = {}
    python = sys.executable if process.python is None else str(process.python)
    if process.virtual_env is not None:
        python, commands = _virtual_env(process.virtual_env)
        changes["VIRTUAL_ENV"] = str(process.virtual_env)
        changes["PATH"] = os.pathsep.join(filter(None, (commands, os.environ.get("PATH"))))
    changes.update(process.env)
    cwd = None if process.cwd is None else _working_directory(process.cwd)
    env = None
    if changes:
        env = {**os.environ, **changes}
        if process.virtual_env is not None and "PYTHONHOME" not in process.env:
            env.pop("PYTHONHOME", None)
    if os.path.basename(python) == python:  # a bare name, looked up on the worker's PATH
        python = shutil.which(python, path=None if env is None else env.get("PATH", os.defpath)) or python
    own = (
        process.python is None
        and process.virtual_env is None
        and cwd is None
        and not any(name.startswith("PYTHON") for name in changes)
    )
    return Environment(python, env, cwd, own)


def existing_interpreter(found: Environment) -> Path:
    """Return the interpreter's file, which exists. Raise :class:`ConfigError` if it does not."""
    if os.path.basename(found.python) == found.python:
        raise unusable(found.python, "there is no such command on PATH")
    if not os.path.isfile(found.python):
        raise unusable(found.python, "it is a directory" if os.path.isdir(found.python) else "there is no such file")
    return Path(os.path.abspath(found.python))


def unusable(python: str | Path, why: str) -> ConfigError:
    """Return the error for an interpreter that cannot be run."""
    return ConfigError(
        f"the interpreter {python} cannot be run: {why}.",
        field="runtime.process.python",
        hint="Expected a Python interpreter, or leave the field out to use this one.",
    )


def too_old(python: Path, version: str) -> ConfigError:
    """Return the error for an interpreter in which no worker runs."""
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return ConfigError(
        f"the interpreter {python} is Python {version}; a worker needs Python {oldest} or newer.",
        field="runtime.process.python",
        hint="Set a newer one, or leave the field out to use this one.",
    )


def _virtual_env(directory: Path) -> tuple[str, str]:
    """Return the interpreter of a virtual environment and its directory of commands. Raise :class:`ConfigError`."""
    field, hint = "runtime.process.virtual_env", f'Make one with "python -m venv {directory}".'
    expected = "expected the directory of a virtual environment"
    if not os.path.isdir(directory):
        problem = "is not a directory" if os.path.exists(directory) else "does not exist"
        raise ConfigError(f"{directory} {problem}; {expected}.", field=field, hint=hint)
    if not os.path.isfile(directory / "pyvenv.cfg"):
        raise ConfigError(f"{directory} has no pyvenv.cfg; {expected}.", field=field, hint=hint)
    commands = directory / ("Scripts" if sys.platform == "win32" else "bin")
    python = commands / ("python.exe" if sys.platform == "win32" else "python")
    if not os.path.isfile(python):
        raise ConfigError(f"there is no interpreter {python}; {expected}.", field=field, hint=hint)
    return str(python), str(commands)


def _working_directory(directory: Path) -> str:
    if not os.path.isdir(directory):
        problem = "is not a directory" if os.path.exists(directory) else "does not exist"
        raise ConfigError(
            f"{directory} {problem}; expected the directory that the worker runs in.",
            field="runtime.process.cwd",
            hint="Make it, or leave the field out to use the app's.",
        )
    return str(directory)
