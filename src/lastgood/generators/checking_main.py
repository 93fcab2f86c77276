"""The program of the process that checks staged files: ``python -P checking_main.py CALL ANSWER AT``.

CALL and ANSWER are JSON files. AT is a file with the name of the staged file that is being imported.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
import traceback
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

_BEYOND_TOP_LEVEL = "beyond top-level package"


class _StageFinder(MetaPathFinder):
    """A finder that imports the stage directory under the name of the output package."""

    def __init__(self, package: str, stage: Path) -> None:
        self._package = package
        self._stage = stage

    def find_spec(self, fullname: str, _path: object, _target: object = None, /) -> ModuleSpec | None:
        if fullname != self._package:
            return None
        init = self._stage / "__init__.py"
        if init.is_file():
            return spec_from_file_location(fullname, init, submodule_search_locations=[str(self._stage)])
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(self._stage)]
        return spec


def _compile(text: bytes, name: str) -> tuple[int | None, str] | None:
    """Compile a file. Return the line and the text of the error, or None."""
    try:
        compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        return error.lineno, f"{name} was staged, but is no Python: {error.msg}."
    except (ValueError, RecursionError, MemoryError) as error:
        return None, f"{name} was staged, but Python cannot compile it: {error}."
    return None


def _is_wrapper(text: bytes) -> bool:
    """Return whether a file defines or imports anything. Other files are not run."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) for node in ast.walk(ast.parse(text)))


def _import(stage: Path, package: str, name: str) -> tuple[int | None, str] | None:
    """Import a file. Return the line and the text of the error, or None."""
    parts = [package, *name.removesuffix(".py").split("/")]
    dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        importlib.import_module(dotted)
    except BaseException as error:  # SystemExit is a failure, too
        if isinstance(error, ImportError) and _BEYOND_TOP_LEVEL in str(error):
            return None  # a relative import beyond the output package can only be checked in its final place
        own = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(stage / name)
        ]
        return own[-1] if own else None, f"{name} was staged, but cannot be imported: {type(error).__name__}: {error}"
    return None


def _main(call_file: str, answer_file: str, at_file: str) -> None:
    call = json.loads(Path(call_file).read_bytes())
    sys.path[:] = call["path"]
    sys.dont_write_bytecode = True
    stage, package = Path(call["stage"]), str(call["package"])
    wrong: dict[str, Any] = {}
    texts = {name: (stage / name).read_bytes() for name in (*call["compiled"], *call["imported"])}
    for name, text in texts.items():
        wrong[name] = _compile(text, name)
    if not any(wrong.values()):
        sys.meta_path.insert(0, _StageFinder(package, stage))
        for name in call["imported"]:
            if _is_wrapper(texts[name]):
                Path(at_file).write_text(name)
                wrong[name] = _import(stage, package, name)
    found = [(name, *problem) for name, problem in sorted(wrong.items()) if problem is not None]
    Path(answer_file).write_text(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # do not wait for threads that an import has started
