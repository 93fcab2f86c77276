"""Draws what ``lastgood watch`` shows of a few edits on a terminal of 100 columns.

``python docs/terminal.py`` draws docs/terminal.svg, and the shorter docs/first-look.svg; with a name, only that one.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100
QUOTE = '''\
import stock


def quote(sku: str, quantity: int = 1) -> float:
    """What it costs."""
    return stock.price_of(sku) * quantity
'''
STOCK = 'PRICES = {"apple": 2.5}\n\n\ndef price_of(sku):\n    return PRICES[sku]\n'
EDITS: list[tuple[str, str, str | None]] = [
    ("stock.py", STOCK.replace("2.5", "2.75"), "generation 2"),
    ("pricing.py", QUOTE.replace("quantity: int = 1", "quantity: int = 1, *, currency: str = 'EUR'"), "altered"),
    ("stock.py", f"print('reading all prices')\n{STOCK}LIMIT = MOST\n", "STALE"),
    ("pricing.py", QUOTE.replace("(sku) * quantity", "(sku) * (quantity + 1"), "behind(?s:.*)STALE"),
    ("stock.py", STOCK, None),  # saved together with the next one
    ("pricing.py", QUOTE, "generation 4"),
]
FIRST_LOOK: list[tuple[str, str, str | None]] = [
    ("stock.py", STOCK.replace("2.5", "2.75"), "generation 2"),
    ("pricing.py", QUOTE.replace("(sku) * quantity", "(sku * quantity"), "STALE"),
    ("pricing.py", QUOTE.replace("quantity: int = 1", "quantity: int = 1, currency: str = 'EUR'"), r"now \("),
]
PICTURES = {"terminal": EDITS, "first-look": FIRST_LOOK}


def save(path: Path, text: str) -> None:
    """Save as editors do: write a new file, and rename it over the old one."""
    fresh = path.with_name(f"{path.name}~")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def shown_for(directory: Path, edits: list[tuple[str, str, str | None]]) -> str:
    """Watch the project in ``directory``, edit it, and return what the terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    command = [sys.executable, "-m", "lastgood", "watch"]
    watching = subprocess.Popen(
        command, cwd=directory, env=environment | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = ""

    def wait(text: str, since: int = 0) -> None:
        nonlocal shown
        while not re.search(f"{text}.*\n", shown[since:]):
            shown += os.read(ours, 4096).decode().replace("\r\n", "\n")

    wait("generation 1")
    for name, text, outcome in edits:
        before = len(shown)
        save(directory / name, text)
        if outcome is not None:
            wait(outcome, before)
    watching.terminate()
    watching.wait()
    return shown


def draw(name: str) -> None:
    """Write a picture."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        save(directory / "lastgood.toml", "[modules.pricing]\n[output]\ndir = 'generated'\n")
        save(directory / "pricing.py", QUOTE)
        save(directory / "stock.py", STOCK)
        shown = shown_for(directory, PICTURES[name])
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown), soft_wrap=True)
    console.save_svg(str(Path(__file__).with_name(f"{name}.svg")), title="lastgood watch")


if __name__ == "__main__":
    for each in sys.argv[1:] or PICTURES:
        draw(each)
