"""What a worker runs in: its interpreter, environment and working directory (contract §7, ``[runtime.process]``).

The bridge starts workers in it; who looks for modules asks the same interpreter in the same environment where it would look.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lastgood.config import ProcessConfig
from lastgood.errors import ConfigError

__all__ = ["Environment", "existing_interpreter", "find_environment", "unusable"]


@dataclass(frozen=True, slots=True)
class Environment:
    """``python`` is the file to run, or a name that is not on ``PATH``. ``env`` None is the app's own environment, ``cwd``
    None its working directory. ``own`` tells that it is the app's interpreter, which would look for modules where it does here.
    """

    python: str
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    own: bool = False


def find_environment(process: ProcessConfig) -> Environment:
    """The environment that ``process`` describes.

    A virtual environment is entered as its ``activate`` script does it: its interpreter, ``VIRTUAL_ENV``, its commands
    first on ``PATH``. Then comes ``env``, whose values are taken literally. Whether ``python`` exists is not looked at.
    Raises :class:`ConfigError`, with the field, if ``virtual_env`` is no virtual environment or ``cwd`` no directory.
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
    if os.path.basename(python) == python:  # a bare name; looked up where the worker would look
        python = shutil.which(python, path=None if env is None else env.get("PATH", os.defpath)) or python
    own = (
        process.python is None
        and process.virtual_env is None
        and cwd is None
        and not any(name.startswith("PYTHON") for name in changes)
    )
    return Environment(python, env, cwd, own)


def existing_interpreter(found: Environment) -> Path:
    """The file of these environment, which exists. Raises :class:`ConfigError`."""
    if os.path.basename(found.python) == found.python:
        raise unusable(found.python, "there is no such command on PATH")
    if not os.path.isfile(found.python):
        raise unusable(found.python, "it is a directory" if os.path.isdir(found.python) else "there is no such file")
    return Path(os.path.abspath(found.python))


def unusable(python: str | Path, why: str) -> ConfigError:
    """The error that says why an interpreter cannot be run."""
    return ConfigError(
        f"the interpreter {python} cannot be run: {why}.",
        field="runtime.process.python",
        hint="Expected a Python interpreter, or leave the field out to use this one.",
    )


def _virtual_env(directory: Path) -> tuple[str, str]:
    """Its interpreter, and its directory of commands."""
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
