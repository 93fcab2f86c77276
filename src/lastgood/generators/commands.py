"""From a config to the argument lists to be run. Pure: nothing is looked up, and no shell takes part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Run", "needs_source", "runs"]

_PLACEHOLDER = re.compile(r"\{(config|stage|source|name|python)\}")


@dataclass(frozen=True, slots=True)
class Run:
    """One process to be run. ``source`` is the one that it is for, if it is for one."""

    arguments: tuple[str, ...]
    source: Path | None = None


def needs_source(command: Sequence[str]) -> bool:
    """Whether the command is to be run for each source."""
    return any(found[1] in ("source", "name") for text in command for found in _PLACEHOLDER.finditer(text))


def runs(command: Sequence[str], sources: Sequence[Path], *, config: Path, stage: Path, python: str) -> tuple[Run, ...]:
    """``command`` with its placeholders filled in: one run, or one for each of ``sources`` if it speaks of a source.

    ``{config}`` is the config file, ``{stage}`` the directory to write into, ``{source}`` a source, relative to the config's
    directory if it lies there, and ``{name}`` its name without directory and suffix, ``{python}`` an interpreter. Other braces
    stay as they are.

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
        Run(fill({**known, "source": _spelt(source, config.parent), "name": source.stem}), source) for source in sources
    )


def _spelt(source: Path, directory: Path) -> str:
    """``source`` as seen from ``directory``. Never with a dash in front, which would make it an option."""
    spelt = str(source.relative_to(directory) if source.is_relative_to(directory) else source)
    return f"./{spelt}" if spelt.startswith("-") else spelt
