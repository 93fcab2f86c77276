"""Wrappers in a notebook that has `%autoreload 2` on: IPython re-executes their files before a cell, which does no harm."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from typing import Any

import pytest

from generating import importable
from lastgood import watch
from real_project import RealProject

interactiveshell = pytest.importorskip("IPython.core.interactiveshell", reason="it is in the extra 'peers'")
traitlets = pytest.importorskip("traitlets.config")

pytestmark = pytest.mark.peers

SHAPES = """
from dataclasses import dataclass
from enum import Enum

RATE = 1

class Unit(Enum):
    PIECE = 1

@dataclass
class Price:
    amount: int
    unit: Unit = Unit.PIECE

def price(amount: int) -> Price:
    return Price(amount * RATE)

def gone() -> int:
    return 1
"""
CHANGED = (
    SHAPES.replace("RATE = 1", "RATE = 2")
    .replace("PIECE = 1", "PIECE = 1\n    KILO = 2")
    .replace("unit: Unit = Unit.PIECE", "unit: Unit = Unit.KILO\n    note: str = 'new'")
    .replace("def gone", "def come")
)
SETUP = """
from generated import pricing
from generated.pricing import Price, Unit, gone, price
taken = (price, Price, Unit, Unit.PIECE)
held = price(3)
"""


@pytest.fixture
def shell(project: RealProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("IPYTHONDIR", str(project.root / "ipython"))
    config = traitlets.Config()
    config.HistoryManager.enabled = False
    shell = interactiveshell.InteractiveShell(config=config)
    shell.run_line_magic("load_ext", "autoreload")
    shell.run_line_magic("autoreload", "2")
    yield shell
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)


def run(shell: Any, cell: str) -> Any:
    done = shell.run_cell(cell)
    done.raise_error()
    return done.result


def test_it_keeps_functions_classes_and_members(project: RealProject, shell: Any) -> None:
    project.save("lastgood.toml", project.config_file.read_text() + 'style = "sync"\n')
    project.save("pricing.py", SHAPES)
    program = watch(project.config_file, debounce=1000, max_wait=1000)
    with importable(project.root, "generated"), program as session:
        run(shell, SETUP)
        for text, amount in ((CHANGED, 6), (SHAPES, 3), (CHANGED, 6)):
            project.save("pricing.py", text)
            assert session.reload_now()
            assert run(shell, "taken == (price, Price, Unit, Unit.PIECE)")
            assert run(shell, "taken == (pricing.price, pricing.Price, pricing.Unit, pricing.Unit.PIECE)")
            assert run(shell, "price(3).amount") == amount
            assert run(shell, "type(price(3)) is Price and type(price(3).unit) is Unit")
            assert run(shell, "isinstance(held, Price) and held.unit is Unit.PIECE")
            assert run(shell, "pricing.RATE") == amount // 3
        assert run(shell, "price(3)") == run(shell, "Price(6, Unit.KILO, 'new')")
        assert run(shell, "pricing.come()") == 1
        project.save("pricing.py", "def price(:\n")
        assert not session.reload_now()
        assert run(shell, "price(3)") == run(shell, "Price(6, Unit.KILO, 'new')")
        with pytest.raises(AttributeError, match="gone"):
            run(shell, "gone()")
