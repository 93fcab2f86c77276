"""Which class a name stands for in a wrapper: two classes of one name, and classes under several names."""

from __future__ import annotations

import pytest

from wrapping import source, text_of, told, wrap

HEAD = """
from __future__ import annotations
import collections, typing as t
from dataclasses import dataclass
from enum import Enum
"""
USERS = [source(name, f"{HEAD}\n@dataclass\nclass User:\n  {name}: int") for name in ("v1", "v2")]


@pytest.mark.parametrize(
    ("text", "imports", "signature"),
    [
        (
            "import v1, v2\ndef f(x: v1.User) -> v1.User | v2.User: ...",
            "from .v1 import User\nfrom .v2 import User as _User\n",
            "f(x: User) -> User | _User",
        ),
        (
            "from v1 import User as Old\nfrom v2 import User\n__all__ = ['User', 'f']\ndef f(x: Old) -> User: ...",
            "from .v1 import User as _User\nfrom .v2 import User\n",
            "f(x: _User) -> User",
        ),
        (
            "from v1 import User as Old\nfrom v2 import User as New\n__all__ = ['New', 'Old', 'f']\ndef f(x: Old) -> New: ...",
            "from .v1 import User as Old\nfrom .v2 import User as New\n",
            "f(x: Old) -> New",
        ),
        (
            "import v1, v2\nOld = v1.User\nNew = v2.User\ndef f(x: Old) -> list[New]: ...",
            "from .v1 import User as Old\nfrom .v2 import User as New\n",
            "f(x: Old) -> list[New]",
        ),
        (
            "import v1\n@dataclass\nclass User(v1.User):\n  v1: v1.User\ndef f(x: User) -> v1.User: ...",
            "from .v1 import User as _User\n",
            "f(x: User) -> _User",
        ),
    ],
)
def test_two_classes_of_one_name_are_two(text: str, imports: str, signature: str) -> None:
    wrapped = wrap(f"{HEAD}\n{text}", *USERS)
    assert told(wrapped) == ()
    body = text_of(wrapped)
    assert f"\n{imports}\n__source__" in body
    assert f"async def {signature}: ..." in body
    assert all(
        f"class User:\n    {name}: int\n" in text_of(wrapped, f"{name}.py") for name in ("v1", "v2") if name in text
    )


def test_a_class_in_a_package_and_one_in_its_submodule_are_two() -> None:
    package = source(
        "shop", f"{HEAD}\nfrom .users import User as Inner\n@dataclass\nclass User:\n  n: int", is_package=True
    )
    module = source("shop.users", f"{HEAD}\n@dataclass\nclass User:\n  m: int")
    wrapped = wrap("import shop\ndef f(x: shop.User) -> shop.Inner: ...", package, module)
    assert "from .shop import User\nfrom .shop.users import User as _User\n" in text_of(wrapped)
    assert "class User:\n    n: int\n" in text_of(wrapped, "shop/__init__.py")
    assert "class User:\n    m: int\n" in text_of(wrapped, "shop/users.py")


def test_a_class_is_declared_under_the_name_that_its_module_binds() -> None:
    text = "Point = collections.namedtuple('Pt', 'x y')\nPt = Point\nC = Enum('Colour', 'RED')\ndef f(x: Pt) -> C: ..."
    body = text_of(wrap(f"{HEAD}\n{text}"))
    assert "class Point(NamedTuple):" in body
    assert "class C(Enum):" in body
    assert "async def f(x: Point) -> C: ..." in body
    assert '"Pt"' not in body


def test_a_type_that_is_imported_when_it_is_asked_for_is_exported() -> None:
    text = "if t.TYPE_CHECKING:\n  from v1 import User\ndef __getattr__(name): ...\n__all__ = ['User', 'f']\ndef f() -> User: ..."
    assert '__all__ = ["User", "f"]' in text_of(wrap(f"{HEAD}\n{text}", *USERS))


def test_a_nested_class_may_derive_from_one_beside_it() -> None:
    text = """
T = t.TypeVar("T")
class Api:
    class Error(Exception): pass
    class Gone(Error): pass
    @dataclass
    class Item(t.Generic[T]):
        value: T
    @dataclass
    class Pair(Item[Error]):
        other: int
    class Inner:
        @dataclass
        class A: x: int
        @dataclass
        class B(A): y: int
def f() -> Api.Inner.B: ...
def g() -> Api.Pair: ...
"""
    body = text_of(wrap(f"{HEAD}\n{text}"))
    for line in (
        "    class Gone(Error):",
        "    class Pair(Item[Error]):",
        "        class B(A):",
        "-> Api.Inner.B: ...",
    ):
        assert f"{line}\n" in body


def test_a_class_may_have_the_name_of_its_base() -> None:
    text = "from v1 import User, Error\nclass Error(Error): ...\n@dataclass\nclass User(User):\n  n: int\ndef f() -> User: ..."
    v1 = source("v1", f"{HEAD}\nclass Error(Exception): ...\n@dataclass\nclass User:\n  v1: int")
    wrapped = wrap(f"{HEAD}\n{text}", v1)
    body = text_of(wrapped)
    assert told(wrapped) == ()
    assert "from .v1 import Error as _Error\nfrom .v1 import User as _User\n" in body
    assert "class Error(_Error):" in body
    assert "class User(_User):\n    n: int\n" in body
    assert "async def f() -> User: ..." in body


def test_a_nested_class_may_have_the_name_of_its_base() -> None:
    text = "class Error(Exception): ...\nclass Api:\n  class Error(Error): ...\n  class Gone(Error): ..."
    body = text_of(wrap(f"{HEAD}\n{text}"))
    assert "class Api:\n    class Error(Error):\n        pass\n\n    class Gone(Error):" in body


def test_what_stands_between_a_class_and_its_base_of_that_name_may_mean_either() -> None:
    text = "from v1 import User\ndef g() -> User: ...\n@dataclass\nclass User(User):\n  n: int\ndef f() -> User: ..."
    body = text_of(wrap(f"{HEAD}\n{text}", *USERS))
    assert "async def g() -> Any: ..." in body
    assert "async def f() -> Any: ..." in body
