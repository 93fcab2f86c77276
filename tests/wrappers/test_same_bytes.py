"""What is generated depends on the sources alone.

Another Python takes part where there is one that has what lastgood needs: by its name (``python3.13``) on the path, or named in
the environment variable ``LASTGOOD_PYTHONS`` (several with the path's separator between them).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import lastgood
from hard_signatures import HARD

ROOT = Path(lastgood.__file__).parents[1]
SOURCES = {
    **{f"hard{number}.py": text for number, (text, _) in enumerate(HARD.values())},
    "models.py": '''
"""Shown: 😀 \U0001f6dc ˸. Not shown: \u200b \ue000."""
import dataclasses, enum, typing
class Colour(enum.Flag):
    RED = 1
    BLUE = RED | 1 << 2
@dataclasses.dataclass
class Order:
    """An order."""
    sku: str = "\U0001f6dc"
    parts: set[str] = dataclasses.field(default_factory=lambda: {"a", "b", "c", "d", "e"})
    colour: Colour = Colour.BLUE
class Price(typing.NamedTuple):
    amount: float = 1e22
class Options(typing.TypedDict, total=False):
    order: Order
    prices: list[Price]
''',
    "shop/__init__.py": "from .desk import *\nfrom .till import again as again\n__all__ = ['Desk', 'sell', 'again']\n",
    "shop/desk.py": """
from models import *
def sell(order: Order, *, price: Price = Price(), **options: Options) -> dict[Colour, Order]: ...
class Desk:
    @classmethod
    def open(cls, order: "Order | None" = None) -> list["Price"]: ...
from shop.till import again as again
""",
    "generic.py": """
from dataclasses import dataclass
from typing import Generic, Self, TypeVar
import models
T = TypeVar("T")
Of = TypeVar("Of", bound="models.Order")
@dataclass
class Page(Generic[T]):
    items: list[T]
    next: Self | None = None
    @classmethod
    def of(cls, items: list[T]) -> Self: ...
@dataclass
class OrderPage(Page[models.Order], Generic[Of]):
    own: Of | None = None
def first(items: Page[T], *others: Of) -> tuple[T, OrderPage[Of]]: ...
""",
    "shop/till.py": "from shop.desk import Desk, Order\ndef again(order: Order, f=f'{1!r:>{2}}') -> Order: ...\n",
}
MODULES = sorted(name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in SOURCES)


def generate(root: Path, modules: list[str], python: str = sys.executable, seed: int = 0) -> Mapping[str, bytes]:
    """The wrappers of ``modules`` that ``lastgood generate`` makes below ``root``."""
    for name, text in SOURCES.items():
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", "surrogatepass")
    tables = "".join(f"[modules.{json.dumps(module)}]\n" for module in modules)
    config = f'python_import_path = ["src"]\n{tables}[output]\ndir = "generated"\n'
    (root / "lastgood.toml").write_text(config)
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
    command = [python, "-m", "lastgood", "generate", str(root / "lastgood.toml")]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.glob("generated/**/*.py"))}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    files = generate(tmp_path_factory.mktemp("here"), MODULES)
    assert len(files) == len(SOURCES) + 1
    return files


@pytest.mark.parametrize("seed", [1, 2])
def test_not_on_where_it_lies_nor_on_the_order_of_the_config_nor_on_hashes(
    seed: int, expected: Mapping[str, bytes], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "some where" / "é" / ("deep" * seed)
    elsewhere.mkdir(parents=True)
    assert generate(elsewhere, MODULES[::-1], seed=seed) == expected
    assert generate(elsewhere, MODULES[::-1], seed=seed + 2) == expected


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14", "3.15"])
def test_not_on_the_python(version: str, expected: Mapping[str, bytes], tmp_path: Path) -> None:
    assert generate(tmp_path, MODULES, python=python(version)) == expected


def python(version: str) -> str:
    """A Python of that version which has what lastgood needs."""
    named = os.environ.get("LASTGOOD_PYTHONS", "").split(os.pathsep)
    for each in (sys.executable, *named, shutil.which(f"python{version}")):
        if each and is_able(each, version):
            return each
    pytest.skip(f"no Python {version} with the packages that lastgood needs; LASTGOOD_PYTHONS may name one")


def is_able(interpreter: str, version: str) -> bool:
    script = f"import msgspec, sys, trio, watchfiles; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    return subprocess.run([interpreter, "-c", script], capture_output=True, timeout=60).returncode == 0
