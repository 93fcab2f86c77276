"""Pipeline again and again: the result is what wrapping everything anew gives, and costs what has changed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lastgood.config import ModuleConfig, Style
from lastgood.sources import memo as memo_module
from lastgood.sources.memo import Memo
from lastgood.wrappers import ModuleSource, Wrapped, wrap_modules
from lastgood.wrappers.generate import Pipeline
from wrapping import source

MODELS = "from dataclasses import dataclass\n@dataclass\nclass Price:\n    amount: {}\n"
SHOP = "from shop.models import Price\ndef price(sku: str) -> Price: ...\ndef prices(count: {}) -> list[Price]: ...\n"
PLAIN = "def plain(value: {}) -> None: ...\n"


class Project:
    """Modules by name, wrapped by one :class:`Pipeline` that lives on, and by one that is made for each time."""

    def __init__(self, **texts: str) -> None:
        self.asked: list[str] = []
        self.reopen()
        self.style: Style = "async"
        self.selections: dict[str, ModuleConfig] = {}
        self.texts = {name.replace("__", "."): text for name, text in texts.items()}
        self.named = set(self.texts)

    def reopen(self, path: Path | None = None) -> None:
        """Begin anew, with what is remembered at ``path``."""
        self.memo = Memo()
        self.memo.use(path)
        self.wrapping = Pipeline(at=self.asked.append, memo=self.memo)

    def wrap(self) -> Wrapped:
        """Both results, which must be the same; ``asked`` are then the modules that were looked into for it."""
        self.asked.clear()
        sources = {name: source(name, text, selection=self.selections.get(name)) for name, text in self.texts.items()}
        named = [sources[name] for name in self.named if name in sources]
        again = self.wrapping.wrap(named, sources.get, self.style, local=sources)
        assert again == wrap_modules(named, find=sources.get, style=self.style, local=sources)
        return again


@pytest.fixture
def shop() -> Project:
    return Project(shop__models=MODELS.format("float"), shop__desk=SHOP.format("int"), other=PLAIN.format("int"))


def test_nothing_changed_costs_nothing(shop: Project) -> None:
    shop.wrap()
    shop.wrap()
    assert shop.asked == []


def test_an_edit_costs_that_module_alone(shop: Project) -> None:
    shop.wrap()
    shop.texts["other"] = PLAIN.format("str")
    assert b"value: str" in shop.wrap().files["other.py"]
    assert shop.asked == ["other"]


def test_whoever_uses_its_types_is_looked_into_again(shop: Project) -> None:
    shop.wrap()
    shop.texts["shop.models"] = MODELS.format("int")
    assert b"amount: int" in shop.wrap().files["shop/models.py"]
    assert set(shop.asked) == {"shop.models", "shop.desk"}


def test_a_module_that_appears_is_noticed_by_whoever_looked_for_it(shop: Project) -> None:
    models = shop.texts.pop("shop.models")
    assert shop.wrap().warnings
    shop.texts["shop.models"] = models
    assert not shop.wrap().warnings
    del shop.texts["shop.models"]
    assert shop.wrap().warnings


def test_a_selection_and_a_style_are_part_of_the_question(shop: Project) -> None:
    shop.wrap()
    shop.selections["shop.desk"] = ModuleConfig(functions=("price",))
    assert b"prices" not in shop.wrap().files["shop/desk.py"]
    assert shop.asked == ["shop.desk"]
    shop.style = "sync"
    assert b"async" not in shop.wrap().files["shop/desk.py"]
    assert shop.asked == []


def test_what_is_good_is_not_looked_into_again_while_another_is_broken(shop: Project) -> None:
    shop.wrap()
    good, shop.texts["other"] = shop.texts["other"], "def plain(:"
    assert [failure.module for failure in shop.wrap().failures] == ["other"]
    assert [failure.module for failure in shop.wrap().failures] == ["other"]
    shop.texts["other"] = good
    assert not shop.wrap().failures
    assert set(shop.asked) <= {"other"}


def test_a_module_that_moved_is_told_of_at_its_new_place(shop: Project) -> None:
    broken = source("other", "def plain(:")
    assert shop.wrapping.wrap([broken], lambda _: None).failures[0].file == broken.path
    moved = ModuleSource("other", broken.path and broken.path.parent / "src" / "other.py", broken.data, False)
    assert shop.wrapping.wrap([moved], lambda _: None).failures[0].file == moved.path


def test_only_those_that_are_said_to_have_changed_are_looked_at() -> None:
    wrapping = Pipeline()
    sources = {name: source(name, PLAIN.format("int")) for name in ("a", "b")}
    first = wrapping.wrap(list(sources.values()), sources.get)
    sources = {name: source(name, PLAIN.format("str")) for name in ("a", "b")}
    second = wrapping.wrap(list(sources.values()), sources.get, changed={"a"})
    assert (second.files["a.py"] != first.files["a.py"], second.files["b.py"]) == (True, first.files["b.py"])


def test_a_later_process_looks_into_nothing_that_is_kept(shop: Project, tmp_path: Path) -> None:
    shop.texts["other"] += "from dataclasses import dataclass\n@dataclass\nclass One: ...\n@dataclass\nclass Two: ...\n"
    for expected in ({"shop.models", "shop.desk", "other"}, set()):
        shop.reopen(tmp_path / "cache")
        shop.wrap()
        assert set(shop.asked) == expected
        shop.memo.close()
    shop.texts["shop.models"] = MODELS.format("int")
    shop.reopen(tmp_path / "cache")
    shop.wrap()
    assert set(shop.asked) == {"shop.models", "shop.desk"}
    shop.memo.close()


BASE = "from dataclasses import dataclass\n@dataclass\nclass Base:\n  n: int\ndef f() -> Base: ...\n"
CAT = "from base import Base\nclass Cat(Base): pass\n"


def test_a_derived_class_is_declared_as_soon_as_there_is_one() -> None:
    zoo = Project(base=BASE, cats="")
    zoo.named = {"base"}
    for text, expected in [
        ("", set()),
        (CAT, {"Cat"}),
        (CAT.replace("Cat", "Tom"), {"Tom"}),
        (CAT + "class Dog(Cat): pass\n", {"Cat", "Dog"}),
        (CAT + "class Dog(Cat, X): pass\n", {"Cat"}),
        ("from base import f\n", set()),
        (CAT, {"Cat"}),
        ("class Cat(", set()),
    ]:
        zoo.texts["cats"] = text
        wrapped = zoo.wrap()
        there = wrapped.files.get("cats.py", b"")
        assert {name for name in ("Cat", "Tom", "Dog") if f"class {name}(".encode() in there} == expected
        assert bool(wrapped.warnings) == ("X" in text)
        assert not wrapped.failures


def test_a_class_is_no_derived_one_any_more_if_its_base_changes() -> None:
    zoo = Project(base=BASE, cats=CAT, tom="from cats import Cat\nclass Tom(Cat): pass\n")
    zoo.named = {"base"}
    assert set(zoo.wrap().files) == {"__init__.py", "base.py", "cats.py", "tom.py"}
    zoo.texts["cats"] = "class Cat: pass\n"
    assert set(zoo.wrap().files) == {"__init__.py", "base.py"}
    zoo.texts["cats"] = CAT
    assert "tom.py" in zoo.wrap().files
    zoo.texts["base"] = BASE.replace("Base", "Bass")
    assert set(zoo.wrap().files) == {"__init__.py", "base.py"}


def test_whose_class_is_derived_depends_on_the_modules_in_between() -> None:
    zoo = Project(
        base=BASE, api="from base import Base as Animal\n", cats="from api import Animal\nclass Cat(Animal): pass\n"
    )
    zoo.named = {"base"}
    assert "cats.py" in zoo.wrap().files
    zoo.texts["api"] = "from base import f as Animal\n"
    assert "cats.py" not in zoo.wrap().files
    zoo.texts["api"] = "from base import *\nfrom base import Base as Animal\n"
    assert "cats.py" in zoo.wrap().files


def test_an_edit_looks_for_derived_classes_in_that_module_alone() -> None:
    zoo = Project(base=BASE, **{f"m{number}": CAT for number in range(20)})
    zoo.wrap()
    zoo.texts["m3"] = CAT.replace("Cat", "Tom")
    zoo.wrap()
    assert set(zoo.asked) == {"m3"}


def test_how_many_outlines_are_kept_makes_no_difference(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "KEPT_IN_A_RUN", 1)
    shop.wrap()
    assert len(shop.memo._here) == 1
    shop.texts["shop.models"] = MODELS.format("int")
    shop.wrap()


TEXTS = [
    MODELS.format("float"),
    MODELS.format("int") + "@dataclass\nclass Tax(Price):\n    rate: float = 0.0\n",
    "from m0 import *\nfrom m1 import Tax as Tax\ndef f(tax: Tax) -> list[Price]: ...\n",
    "from m0 import Price\n__all__ = ['Price', 'g']\ndef g(price: Price | None = None) -> 'Price': ...\n",
    "import m0, m1\nclass C:\n  @staticmethod\n  def s(p: m0.Price) -> m1.Tax: ...\n",
    (
        "from dataclasses import dataclass\nfrom m0 import Price\n"
        "@dataclass\nclass Tax(Price):\n  @classmethod\n  def c(cls, n: int) -> 'Tax': ...\n"
    ),
    "from m0 import Price\nfrom m1 import Tax\ndef h(n: int) -> Price | Tax | None: ...\ndef i() -> Price: ...\n",
    "from m2 import f as f, Tax as Tax\nfrom m3 import g as g\nN = 1\n",
    "from m1 import Tax\nclass Duty(Tax): pass\nclass Own:\n  class Fee(Duty): pass\n",
    "import m0, m4\nclass Toll(m0.Price, m4.Duty):\n  by: 'list[m4.Own]'\n",
    "class Price: ...\ndef j() -> list[Price]: ...\n",
    "def broken(:",
    "import os\ndef path() -> os.PathLike: ...\n",
]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_changes_the_result_is_that_of_wrapping_anew(seed: int) -> None:
    choose = random.Random(seed)
    modules = Project(**{f"m{number}": choose.choice(TEXTS) for number in range(5)})
    for _ in range(25):
        name = f"m{choose.randrange(5)}"
        match choose.randrange(6):
            case 0:
                modules.texts.pop(name, None)
            case 1:
                modules.named ^= {name}
            case 2:
                modules.selections[name] = ModuleConfig(exclude=(choose.choice(["f", "g", "Tax", "C"]),))
            case _:
                modules.texts[name] = choose.choice(TEXTS)
        modules.wrap()
