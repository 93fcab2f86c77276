"""Argument lists from the commands in a config. Pure: nothing is looked up on disk, and no shell is involved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

__all__ = ["Run", "needs_source", "runs"]

_PLACEHOLDER = re.compile(r"\{(config|stage|source|name|python)\}")


class Run(Struct, frozen=True):
    """One process to run. ``source`` is the source that it processes, if the command runs once per source."""

    arguments: tuple[str, ...]
    source: Path | None = None


def needs_source(command: Sequence[str]) -> bool:
    """Return whether the command is to be run once for each source."""
    return any(found[1] in ("source", "name") for text in command for found in _PLACEHOLDER.finditer(text))


def runs(command: Sequence[str], sources: Sequence[Path], *, config: Path, stage: Path, python: str) -> tuple[Run, ...]:
    """Fill in the placeholders of ``command``: one run, or one for each of ``sources`` if it has ``{source}`` or ``{name}``.

    ``{config}`` is the config file, ``{stage}`` the directory to write into, ``{source}`` a source, relative to the config's
    directory if it is inside, ``{name}`` its name without directory and suffix, and ``{python}`` an interpreter. Other braces
    are left as they are.

    >>> [each.arguments for each in runs(
    ...     ["protoc", "--python_out={stage}", "{source}"], [Path("/p/a.proto")],
    ...     config=Path("/p/lastgood.toml"), stage=Path("/s"), python="python")]
    [('protoc', '--python_out=/s', 'a.proto')]
    """
    known = {"config": str(config), "stage": str(stage), "python": python}

    def fill(known: dict[str, str]) -> tuple[str, ...]:
        return tuple(_PLACEHOLDER.sub(lambda found: known[found[1]], text) for text in command)

    if not needs_source(command):
        return (Run(fill(known)),)
    return tuple(
        Run(fill({**known, "source": _path_text(source, config.parent), "name": source.stem}), source)
        for source in sources
    )


def _path_text(source: Path, directory: Path) -> str:
    """Return ``source`` relative to ``directory`` if it is inside; never with a leading dash, which would make it an option."""
    text = str(source.relative_to(directory) if source.is_relative_to(directory) else source)
    return f"./{text}" if text.startswith("-") else text
