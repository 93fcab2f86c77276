"""Lines are broken as ruff breaks them."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lastgood.wrappers.write.layout import WIDTH, Annotated, Brackets, Operands, Shape, assign, define, lay_out


class Writer:
    """Random types, values and statements, some of them much longer than a line."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def name(self) -> str:
        return "".join(self.random.choices("abcxyzg", k=self.random.choice([1, 3, 5, 8, 13, 20, 34])))

    def type(self, depth: int = 0) -> Shape:
        which = self.random.random()
        if depth > 3 or which < 0.4:
            return self.name()
        if which < 0.6:
            options = [self.type(depth + 1) for _ in range(self.random.randint(2, 4))]
            return Operands(["int", *(each for each in options if not isinstance(each, Operands)), "None"])
        if which < 0.7:
            texts = [f'"{self.name()}"' for _ in range(self.random.randint(1, 9))]
            return Brackets("Literal[", texts, "]", is_bare=True)
        items = [self.type(depth + 1) for _ in range(self.random.randint(1, 3))]
        return Brackets(f"{self.name()}[", items, "]", is_bare=True)

    def literal(self, depth: int = 0) -> str:
        which = self.random.random()
        if depth > 2 or which < 0.6:
            return self.random.choice([f'"{self.name()}"', "None", "-1", str(self.random.randint(0, 9999))])
        inside = [self.literal(depth + 1) for _ in range(self.random.randint(0, 4))]
        return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"

    def value(self) -> str:
        """What a field may have by default."""
        inside = [self.literal(1) for _ in range(self.random.randint(0, 4))]
        return self.random.choice(
            [
                self.literal(),
                f"[{', '.join(inside)}]",
                " | ".join(self.name() for _ in range(self.random.randint(1, 4))),
                f"field(default_factory=lambda: [{', '.join(inside)}], kw_only=True)",
                f"field(default_factory=list[{self.name()}], init=False)",
                f"field(default={self.literal()}, repr=False, compare=False)",
                f"{self.name()}({', '.join(inside)})",
                f"field(default_factory=lambda: {{{', '.join(f'1: {each}' for each in inside)}}}, init=False)",
            ]
        )

    def parameters(self) -> Iterator[Annotated]:
        given = False
        for place in range(self.random.randint(0, 4)):
            given |= self.random.random() < 0.3
            yield Annotated(f"{self.name()}{place}", self.type(), self.literal() if given else None)


def reformatted(lines: Sequence[str], where: Path) -> str:
    """What ruff would change."""
    where.write_text("\n".join(lines).rstrip() + "\n")
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(where)]
    return subprocess.run(ruff, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("seed", range(3))
def test_ruff_would_change_nothing(tmp_path: Path, seed: int) -> None:
    writer = Writer(seed)
    lines: list[str] = []
    for _ in range(120):
        lines += [*define(f"async def {writer.name()}", list(writer.parameters()), writer.type(), "", ": ..."), "", ""]
        lines.append(f"class {writer.name()}:")
        lines += assign(Annotated(writer.name(), writer.type(), writer.value()), "    ")
        lines += assign(Annotated(writer.name(), writer.type()), "    ")
        lines += [*assign(writer.value(), "    ", before="a = "), "", ""]
    assert sum(len(line) > WIDTH - 10 for line in lines) > 30
    assert reformatted(lines, tmp_path / "sample.py") == ""


def test_what_fits_in_a_line_stays_in_it() -> None:
    brackets = Brackets("f(", ["a", Operands(["b", "c"])], ")", hugs=True)
    assert lay_out(brackets, "    ", before="return ") == ["    return f(a, b | c)"]
    assert define("def f", [Annotated("x", "int", "1")], "str", "") == ["def f(x: int = 1) -> str:"]
