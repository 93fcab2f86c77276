"""``direct()``: generic classes, type variables and ``Self`` arrive as the wrapper's classes, with fields of the right types."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from imported import forgotten
from lastgood import ReturnTypeError, direct
from lastgood.cli.commands import main as command

MODELS = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Self

@dataclass
class User:
    name: str
    boss: Self | None = None

    @classmethod
    def made(cls, name: str = "made") -> Self:
        return cls(name)

    @classmethod
    def several(cls, *like: Self) -> list[Self]:
        assert all(type(each) is cls for each in like)
        return [cls(each.name) for each in like]

@dataclass
class Admin(User):
    rights: int = 7
"""
PAGES = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar
from collections.abc import Iterable
from models import Admin, User

T = TypeVar("T")
Of = TypeVar("Of", bound=User)
Named = dict[str, T]

@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T | None = None
    next: Page[T] | None = None

    @classmethod
    def of(cls, items: list[T]) -> Page[T]:
        return cls(items)

@dataclass
class UserPage(Page[User]):
    total: int = 0

@dataclass
class Book(Generic[T, Of]):
    pages: list[Page[T]]
    author: Of

class Pair(NamedTuple, Generic[T]):
    left: T
    right: T

class Row(TypedDict, Generic[T]):
    cell: T

ADA = User("Ada")

def page() -> Page[User]:
    return Page([ADA], ADA, Page([]))

def numbers() -> Page[int]:
    return Page([1], 1)

def wrong() -> Page[int]:
    return Page([1], "1")

def user_page() -> UserPage:
    return UserPage([ADA], total=1)

def book() -> Book[int, User]:
    return Book([numbers()], ADA)

def pair() -> Pair[User]:
    return Pair(ADA, User("Bob"))

def row() -> Row[list[User]]:
    return {"cell": [ADA]}

def named() -> Named[Page[User]]:
    return {"a": page()}

def bare() -> Page:
    return Page([1, "a"], ADA)

def first(items: list[T], default: T | None = None) -> T:
    return items[0]

def eldest(items: Iterable[Of]) -> Of:
    return next(iter(items))

def turned(page: Page[User]) -> list[str]:
    assert type(page) is Page and all(type(each) is User for each in page.items)
    assert page.next is None or type(page.next) is Page
    return [each.name for each in page.items]

def kinds(user_page: UserPage, pair: Pair[User], row: Row[User], book: Book[Any, Admin]) -> list[str]:
    values = [user_page, user_page.items[0], pair, pair.left, row["cell"], book, book.pages[0], book.author]
    return [type(each).__name__ for each in values]
"""


class Wrappers:
    """The wrappers of both modules; every call gives its result, in either style."""

    def __init__(self, root: Path, style: str) -> None:
        (root / "models.py").write_text(MODELS)
        (root / "pages.py").write_text(PAGES)
        config = f"[modules.models]\n[modules.pages]\n[output]\ndir = 'generated'\nstyle = {style!r}\n"
        (root / "lastgood.toml").write_text(config)
        done = CliRunner().invoke(command, ["generate", str(root / "lastgood.toml")])
        assert done.exit_code == 0, done.output
        self.style = style
        self.models: Any = None
        self.pages: Any = None

    def call(self, function: Any, *args: Any) -> Any:
        return asyncio.run(function(*args)) if self.style == "async" else function(*args)


@pytest.fixture(params=["async", "sync"])
def wrappers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Wrappers]:
    monkeypatch.chdir(tmp_path)
    with forgotten(tmp_path):
        wrappers = Wrappers(tmp_path, request.param)
        with direct():
            wrappers.models = importlib.import_module("generated.models")
            wrappers.pages = importlib.import_module("generated.pages")
            yield wrappers


def test_results_are_of_the_classes_that_the_arguments_say(wrappers: Wrappers) -> None:
    call, models, pages = wrappers.call, wrappers.models, wrappers.pages
    ada = models.User("Ada")
    assert call(pages.page) == pages.Page([ada], ada, pages.Page([]))
    assert call(pages.numbers) == pages.Page([1], 1)
    assert call(pages.user_page) == pages.UserPage([ada], total=1)
    assert call(pages.book) == pages.Book([pages.Page([1], 1)], ada)
    assert call(pages.pair) == pages.Pair(ada, models.User("Bob"))
    assert call(pages.row) == {"cell": [ada]}
    assert call(pages.named) == {"a": pages.Page([ada], ada, pages.Page([]))}
    assert call(pages.Page.of, [1]) == pages.Page([1])
    assert call(pages.bare).items == [1, "a"]


def test_what_a_field_of_a_parametrised_class_does_not_take_is_an_error(wrappers: Wrappers) -> None:
    with pytest.raises(ReturnTypeError, match=r"result\.first"):
        wrappers.call(wrappers.pages.wrong)


def test_type_variables_of_functions(wrappers: Wrappers) -> None:
    call, models, pages = wrappers.call, wrappers.models, wrappers.pages
    assert call(pages.first, [1, 2]) == 1
    assert call(pages.eldest, [models.User("Ada")]) == models.User("Ada")


def test_arguments_arrive_as_the_classes_of_the_source(wrappers: Wrappers) -> None:
    call, models, pages = wrappers.call, wrappers.models, wrappers.pages
    ada = models.User("Ada")
    assert call(pages.turned, pages.Page([ada], next=pages.Page([]))) == ["Ada"]
    page, pair, row = pages.UserPage([ada]), pages.Pair(ada, ada), {"cell": ada}
    book = pages.Book([pages.Page([1])], models.Admin("Bob"))
    kinds = ["UserPage", "User", "Pair", "User", "User", "Book", "Page", "Admin"]
    assert call(pages.kinds, page, pair, row, book) == kinds
    assert call(models.Admin.several, models.Admin("Ada")) == [models.Admin("Ada")]
    assert {type(each) for each in call(models.User.several, ada)} == {models.User}


def test_self_is_the_class_that_a_method_is_called_on(wrappers: Wrappers) -> None:
    call, models = wrappers.call, wrappers.models
    assert call(models.User.made) == models.User("made")
    assert call(models.Admin.made, "Ada") == models.Admin("Ada")
    assert call(models.Admin.several) == []
