"""The findings of ``lastgood doctor``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lastgood.children.limits import advice
from lastgood.errors import ConfigError, GenerationError, LastgoodError
from lastgood.session.error_texts import brief, error_text

__all__ = ["Finding", "State", "found_out"]

State = Literal["ok", "warn", "wrong"]
"""``"warn"``: lastgood works, but slower, or not as somebody may expect. ``"wrong"``: it does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found. ``to_do`` says what to do about it, and ``detail`` more of what is wrong; either may be empty."""

    check: str
    state: State
    text: str
    to_do: str = ""
    detail: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the finding as data for :mod:`json`."""
        return dataclasses.asdict(self)


def found_out(name: str, check: Callable[[], Iterator[tuple[State, str, str]]]) -> Iterator[Finding]:
    """Do a check, and yield its findings. What it raises is one, too."""
    try:
        for state, text, to_do in check():
            yield Finding(name, state, text, to_do)
    except (LastgoodError, OSError, MemoryError, RuntimeError) as error:
        yield _wrong(name, error)


def _wrong(name: str, error: BaseException) -> Finding:
    hint = error.hint if isinstance(error, ConfigError) else ""
    if isinstance(error, GenerationError):
        hint = 'Mend it; "lastgood generate" shows the lines.'
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    text = brief(error, Path.cwd())
    to_do = "\n".join(filter(None, [hint, *notes, advice(error)]))
    return Finding(name, "wrong", text.removesuffix(f" {hint}") if hint else text, to_do, error_text(error))
