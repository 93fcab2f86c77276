"""The program of the process that looks at staged files: ``python -P checking_main.py CALL ANSWER AT``.

CALL and ANSWER are files of JSON; AT is one that names the file which is being imported.
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

_BEYOND = "beyond top-level package"


class _Top(MetaPathFinder):
    """Finds the package that the stage stands for, whatever its own name is."""

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
    """What is wrong with the syntax of a file: the line, and a sentence."""
    try:
        compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        return error.lineno, f"{name} was staged, but is no Python: {error.msg}."
    except (ValueError, RecursionError, MemoryError) as error:
        return None, f"{name} was staged, but Python cannot compile it: {error}."
    return None


def _is_wrapper(text: bytes) -> bool:
    """Whether it has anything that a wrapper consists of: there is no reason to run what has not."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) for node in ast.walk(ast.parse(text)))


def _import(stage: Path, package: str, name: str) -> tuple[int | None, str] | None:
    """What stands in the way of importing a file: the line in it, and a sentence."""
    parts = [package, *name.removesuffix(".py").split("/")]
    dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        importlib.import_module(dotted)
    except BaseException as error:  # SystemExit is no better
        if isinstance(error, ImportError) and _BEYOND in str(error):
            return None  # only where it is going to lie can tell
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
        sys.meta_path.insert(0, _Top(package, stage))
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
    os._exit(0)  # threads that an import has left are of no more use
