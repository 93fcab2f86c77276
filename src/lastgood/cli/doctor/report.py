"""The findings of ``lastgood doctor`` as lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text

from lastgood.cli.doctor.findings import Finding, State
from lastgood.session.console import hanging, harmless, width_of

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_findings"]

_STYLES: dict[State, str] = {"ok": "green", "warn": "magenta", "wrong": "bold red"}
_STATE, _CHECK = 7, 13
"""The columns of the state, and of the name of a check."""


def print_findings(findings: Iterable[Finding], console: Console, *, quiet: bool, verbose: bool) -> list[Finding]:
    """Print each finding when it is there, and at the end how many need to be looked at; return them all.

    ``quiet``: print only what is wrong. ``verbose``: print the whole text of each error.
    """
    told = []
    for each in findings:
        told.append(each)
        if quiet and each.state != "wrong":
            continue
        head = Text.assemble((each.state.ljust(_STATE), _STYLES[each.state]), each.check.ljust(_CHECK))
        body = Text(harmless(each.detail if verbose and each.detail else each.text))
        lines = hanging(head, body, width_of(console))
        if each.to_do:
            arrow = Text.assemble(" " * (_STATE + _CHECK), ("-> ", "bold"))
            lines += hanging(arrow, Text(harmless(each.to_do)), width_of(console))
        for line in lines:
            console.print(line)
    if not quiet:
        console.print(f"\n{_summary(told)}")
    return told


def _summary(told: Iterable[Finding]) -> str:
    states = [each.state for each in told]
    wrong, warned = states.count("wrong"), states.count("warn")
    if not wrong and not warned:
        return "Everything that a session needs is there."
    parts = [f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong"] * bool(wrong)
    parts += [f"{warned} could be better"] * bool(warned)
    return f"{', '.join(parts)}."
