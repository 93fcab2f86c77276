"""The commands in ``docs/reference/cli.md``, from click: ``python tests/cli_page.py`` renews them."""

from __future__ import annotations

import re
from pathlib import Path

import click

from lastgood.cli.commands import main

__all__ = ["DOCUMENT", "renewed"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
BEGIN, END = "<!-- commands: begin -->", "<!-- commands: end -->"


def renewed(document: str) -> str:
    """Return the page with the commands and options of today."""
    before, rest = document.split(BEGIN)
    sections = [section(name, command) for name, command in main.commands.items()]
    return "\n\n".join([before.rstrip() + f"\n\n{BEGIN}", *sections, END + rest.split(END)[1]])


def section(name: str, command: click.Command) -> str:
    """Return what the page says of one command."""
    # Not by make_metavar(), which has a parameter more since click 8.2.
    arguments = [each for each in command.collect_usage_pieces(click.Context(command)) if each != "[OPTIONS]"]
    rows = [f"| {spelling(option)} | {option.help} |" for option in command.params if isinstance(option, click.Option)]
    table = "\n".join(["| option | |", "|---|---|", *rows]) if rows else "It has no options."
    return f"## `{' '.join(['lastgood', name, *arguments])}`\n\n{prose(command.help or '')}\n\n{table}"


def spelling(option: click.Option) -> str:
    """Return an option as it is given, with the values that it takes."""
    if isinstance(option.type, click.Choice):
        value = " " + "\\|".join(option.type.choices)
    else:
        value = "" if option.is_flag else f" {option.type.name.upper()}"
    return f"`{option.opts[0]}{value}`"


def prose(text: str) -> str:
    """Return a docstring with each paragraph on a line of its own."""
    return "\n\n".join(re.sub(r"\s+", " ", paragraph).strip() for paragraph in text.split("\n\n"))


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
