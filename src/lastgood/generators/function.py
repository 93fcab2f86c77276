"""The program of the process that calls a Python generator: ``python -P function.py CALL ANSWER``, with two JSON files.

Each call has a fresh process, which ignores cached bytecode under ``python_import_path``: it runs the sources on disk.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

_INSTALLED = ("site-packages", "dist-packages")


class _UncachedLoader(SourceFileLoader):
    """A loader that always compiles the source and ignores cached bytecode."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _import_uncached(roots: Sequence[str]) -> None:
    """Search modules in ``roots`` first, and import those without cached bytecode."""

    def hook(directory: str) -> FileFinder:
        path = Path(directory)
        if not any(path.is_relative_to(root) for root in roots) or set(_INSTALLED) & set(path.parts):
            raise ImportError("not ours", path=directory)
        return FileFinder(directory, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_UncachedLoader, SOURCE_SUFFIXES))

    sys.path[:0] = roots
    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


def _load_function(use: str) -> Callable[..., object]:
    module, _, name = use.partition(":")
    target: Any = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    if not callable(target):
        raise TypeError(f"{use} is a {type(target).__name__}; expected a function.")
    function: Callable[..., object] = target
    return function


def _json_answer(made: object, stage: Path) -> dict[str, Any]:
    """Convert the function's result to JSON values. ``files`` is None if all files in the stage count."""
    from lastgood.wrappers import Generated, check_generated

    if made is None:
        return {"files": None}
    if isinstance(made, Generated):
        made = check_generated(made, "it")
        failures = [(each.module, each.file and str(each.file), each.line, each.message) for each in made.failures]
        return {"files": [str(path) for path in made.files], "warnings": list(made.warnings), "failures": failures}
    if isinstance(made, Iterable) and not isinstance(made, str | bytes):
        return {"files": [str(stage.joinpath(path).relative_to(stage)) for path in made]}
    raise TypeError(f"it returned {type(made).__name__}; expected lastgood.Generated, an iterable of paths, or None.")


def _describe_error(error: BaseException, roots: Sequence[str]) -> dict[str, Any]:
    """Describe an error: the last line of the user's code in its traceback, and the traceback from the user's code on."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(Path(frame.filename).is_relative_to(root) for root in roots)]
    file, line = (own[-1].filename, own[-1].lineno) if own else (None, None)
    if isinstance(error, SyntaxError) and error.filename:
        from lastgood.bridges.worker.merges import explain_file

        explain_file(error)
        file, line = error.filename, error.lineno
    summary = "".join(traceback.format_exception_only(error)).rstrip()
    stack = traceback.format_list(frames[frames.index(own[0]) :]) if own else []
    return {"file": file, "line": line, "message": "\n".join([summary, "".join(stack).rstrip()]).rstrip()}


def _main(call_file: str, answer_file: str) -> None:
    call = json.loads(Path(call_file).read_bytes())
    sys.path.append(call["lastgood"])  # last, and only needed where lastgood is not installed
    from lastgood.config import decode_config

    sys.dont_write_bytecode = True
    roots: list[str] = call["roots"]
    stage = Path(call["stage"])
    try:
        config = decode_config(base64.b64decode(call["config"]), Path(call["path"]))
        _import_uncached(roots)
        answer = _json_answer(_load_function(call["use"])(config, stage), stage)
    except Exception as error:
        answer = {"error": _describe_error(error, roots)}
    Path(answer_file).write_text(json.dumps(answer))


if __name__ == "__main__":
    _main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # do not wait for threads that the function has started
