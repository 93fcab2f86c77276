"""The files that ``lastgood init`` writes: a commented config, and an example module where there is no Python yet."""

from __future__ import annotations

import keyword
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from lastgood.config import find_config
from lastgood.errors import ConfigError

__all__ = ["Initialized", "start_project"]

_CONFIG = """\
# lastgood keeps generated wrappers and a live worker in step with the modules named here.
# Relative paths are relative to this file.

# Where modules are looked for.
python_import_path = [{import_path}]

# One table for each module whose functions the app calls. A dotted name is quoted: [modules."shop.pricing"].
# A table may be empty, or hold
#   functions = ["quote"]            only these functions
#   classes = ["Desk"]               only these classes
#   exclude = ["Desk.close"]         not these
#   exclude_patterns = ["debug_*"]   nor any like these
[modules]
{modules}
# The wrappers are written here, and imported as generated.<module>. A file that is not lastgood's is never overwritten.
[output]
dir = "generated"
# style = "sync"                # plain functions that block, instead of async ones

# The worker process that runs the modules.
[runtime.process]
# python = ".venv/bin/python"   # its interpreter; left out, the one that runs lastgood
# timeout = 30.0                # seconds a call may take
"""

_EXAMPLE = '''\
"""An example to edit while "lastgood watch" runs."""


def greet(name: str, *, loudly: bool = False) -> str:
    """A greeting."""
    text = f"Hello, {name}."
    return text.upper() if loudly else text
'''

_NOT_SOURCES = frozenset(
    {"conftest", "generated", "noxfile", "setup", "tasks", "test", "tests", "docs", "build", "dist"}
)


_MARKS = {
    ".gitattributes": "# Code review shows generated files folded.\n*.py linguist-generated\n",
    ".gitignore": "# What lastgood keeps of wrappers that were edited by hand.\n*.edited\n*.edited-*\n",
}
"""The files that git finds in the output directory."""


class Initialized(Struct, frozen=True):
    """The result of ``lastgood init``.

    ``written`` are the new files; ``found`` are modules that the config names in comments, for the user to choose from, unless the
    ``example`` was written, which the config names.
    """

    directory: Path
    written: tuple[Path, ...]
    found: tuple[str, ...]
    example: Path | None = None


def start_project(directory: Path) -> Initialized:
    """Write ``lastgood.toml`` into ``directory``, and an example module if there is no Python file in it.

    In a git repository, the output directory gets a ``.gitattributes`` and a ``.gitignore``. The directory is created if
    necessary. Nothing is overwritten: raises :class:`ConfigError` if the directory has a config already, and :class:`OSError`.
    """
    directory = Path(os.path.abspath(directory))
    _refuse_second(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "lastgood.toml"
    if not _has_python(directory):
        example = directory / "greetings.py"
        _write_new(example, _EXAMPLE)
        _write_new(config, _CONFIG.format(import_path='"."', modules="[modules.greetings]\n"))
        return Initialized(directory, (config, example, *_marks(directory)), (), example)
    source = directory / "src"
    top = source if source.is_dir() and any(_modules(source)) else directory
    found = tuple(_modules(top))
    tables = "".join(f"# [modules.{name}]\n" for name in found)
    import_path = f'"{top.relative_to(directory)}"'
    _write_new(config, _CONFIG.format(import_path=import_path, modules=tables or "# [modules.pricing]\n"))
    return Initialized(directory, (config, *_marks(directory)), found)


def _marks(directory: Path) -> Iterator[Path]:
    """Have git mark the wrappers as generated, where it is used; yield the files that were not there."""
    if not any((place / ".git").exists() for place in (directory, *directory.parents)):
        return
    output = directory / "generated"
    output.mkdir(exist_ok=True)
    for name, text in _MARKS.items():
        with suppress(FileExistsError):
            _write_new(output / name, text)
            yield output / name


def _refuse_second(directory: Path) -> None:
    try:
        found = find_config(directory)
    except ConfigError:
        return
    if found.parent == directory:
        raise ConfigError("has a config for lastgood already; it is left as it is.", file=found)


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _has_python(directory: Path) -> bool:
    for _, directories, files in os.walk(directory):
        if any(name.endswith(".py") for name in files):
            return True
        directories[:] = [name for name in directories if not name.startswith(".")]
    return False


def _modules(top: Path) -> Iterator[str]:
    """Yield the names of modules and packages directly in ``top`` that could be sources, sorted."""
    for path in sorted(top.iterdir()):
        name = path.stem if path.suffix == ".py" else path.name
        is_source = path.is_file() if path.suffix == ".py" else (path / "__init__.py").is_file()
        if is_source and _could_be_named(name):
            yield name


def _could_be_named(name: str) -> bool:
    is_name = name.isidentifier() and not keyword.iskeyword(name)
    return is_name and not name.startswith(("_", "test_")) and name not in _NOT_SOURCES
