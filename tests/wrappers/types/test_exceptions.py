"""The exception classes of a source are declared in its wrapper: by their bases, with the attributes that they state."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from mypy import api

from lastgood.config import ModuleConfig
from lastgood.wrappers.types.exceptions import base_of
from wrapping import load, source, text_of, told, wrap

SHOP = '''
from dataclasses import dataclass

import requests
from errors import Declined as Declined, PaymentError, helper

class _Base(Exception):
    def __init__(self, sku: str, count=1, *, shelf: list[int] | None = None):
        super().__init__(sku)
        self.sku = sku
        self.count = count
        self.shelf: list[int] | None = shelf
        self._secret = 3

class ShopError(_Base):
    """What goes wrong in a shop."""
    status_code = 400
    hint: str = "none"

class OutOfStock(ShopError, LookupError):
    status_code = 404

class Offline(requests.RequestException): pass

class Slow(requests.Timeout, TimeoutError): pass

class Full(OSError):
    filename: bytes

class Several(ExceptionGroup): pass

@dataclass
class Bad(ShopError):
    why: str

class Desk:
    class Closed(Exception): pass

class _Private(Exception): pass

class Stop(StopIteration): pass

class Exit(SystemExit): pass

def quote(sku: str) -> int: ...
'''
ERRORS = "class PaymentError(Exception): ...\nclass Declined(PaymentError, ValueError): ...\ndef helper(): ...\n"


def test_exceptions_are_declared_by_bases_and_attributes() -> None:
    wrapped = wrap(SHOP, source("errors", ERRORS))
    text = text_of(wrapped)
    _, _, declared = text.partition("class _Base")
    declared, _, _ = f"class _Base{declared}".partition("@remote")
    assert [line for line in declared.splitlines() if line.strip()] == [
        "class _Base(Exception):",
        "    sku: str",
        "    count: Any",
        "    shelf: list[int] | None",
        "class ShopError(_Base):",
        '    """What goes wrong in a shop."""',
        "    status_code: int = 400",
        '    hint: str = "none"',
        "class OutOfStock(ShopError, LookupError):",
        "    status_code: int = 404",
        "class Offline(Exception):",
        "    pass",
        "class Slow(TimeoutError):",
        "    pass",
        "class Full(OSError):",
        "    filename: bytes  # type: ignore[assignment, unused-ignore]",
        "class Several(ExceptionGroup[Exception]):",
        "    pass",
        "class Bad(ShopError):",
        "    why: str",
        "class Desk:",
        "    class Closed(Exception):",
        "        pass",
    ]
    assert told(wrapped) == ()
    for name in ("Bad", "Declined", "OutOfStock", "ShopError", "Slow"):
        assert f'"{name}"' in text
    for name in ("_Base", "PaymentError", "Stop", "Exit", "_Private"):
        assert f'"{name}"' not in text
    assert "class PaymentError(Exception):" in text_of(wrapped, "errors.py")  # quote() may raise it


def test_what_is_excluded_is_not_declared() -> None:
    text = text_of(wrap("class A(Exception): ...\nclass B(Exception): ...", selection=ModuleConfig(exclude=("A",))))
    assert "class B(Exception):" in text
    assert "class A" not in text


def test_what_needs_an_instance_is_left_out_with_a_warning() -> None:
    wrapped = wrap(
        "class E(Exception):\n    @property\n    def code(self): ...\n    def show(self): ...\n    def __str__(self): ..."
    )
    assert told(wrapped) == (
        "pricing.E: it is declared by its bases and attributes. Left out: what needs an instance in the worker (code, show).",
    )
    assert "code" not in text_of(wrapped)


def test_they_are_made_as_exceptions_are() -> None:
    space = load(
        wrap(SHOP, source("errors", ERRORS)).files["pricing.py"].replace(b"from .errors import Declined", b""),
        lambda *_: None,
    )
    error: Any = space["OutOfStock"]("apple", 3)
    assert (error.args, error.status_code, str(error)) == (("apple", 3), 404, "('apple', 3)")
    assert isinstance(error, LookupError)


NEWER = (
    ("RuntimeError", "PythonFinalizationError"),  # in Python 3.13
    ("SyntaxError", "_IncompleteInputError"),
    ("ImportError", "ImportCycleError"),  # in 3.15
)


@pytest.mark.parametrize("name", sorted(vars(builtins)))
def test_each_builtin_exception_is_a_base(name: str) -> None:
    kind = vars(builtins)[name]
    stops = (StopIteration, StopAsyncIteration)
    is_one = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, stops)
    known = {newer: base for base, newer in NEWER}.get(name, getattr(kind, "__name__", ""))
    assert base_of(f"builtins.{name}") == (known if is_one else None)


@pytest.mark.parametrize(("base", "name"), NEWER)
def test_a_newer_builtin_exception_is_its_base_on_every_python(base: str, name: str) -> None:
    assert base_of(f"builtins.{name}") == base


def test_type_checkers_accept_them(tmp_path: Path) -> None:
    wrapped = wrap(SHOP, source("errors", ERRORS))
    for path, data in wrapped.files.items():
        file = tmp_path / "generated" / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    (tmp_path / "app.py").write_text(
        "from generated.pricing import OutOfStock, ShopError\n"
        "try:\n    ...\nexcept OutOfStock as error:\n    text: str = error.sku + str(error.status_code)\n"
        "except ShopError as other:\n    code: int = other.status_code\n"
    )
    out, err, status = api.run(
        ["--strict", "--no-incremental", "--config-file=", str(tmp_path / "app.py"), str(tmp_path / "generated")]
    )
    assert (status, err) == (0, ""), out


def test_a_builtin_base_that_another_base_has_is_not_said_again() -> None:
    # Python refuses a class that names a base before one that derives from it: class B(A, Warning, UserWarning).
    wrapped = wrap(
        "class A(Warning): ...\n"
        "class B(A, UserWarning): ...\n"
        "class C(A, Warning): ...\n"
        "class D(B): ...\n"
        "def warn() -> None:\n    raise D"
    )
    text = text_of(wrapped)
    for line in ("class A(Warning):", "class B(A, UserWarning):", "class C(A):", "class D(B):"):
        assert line in text
    kind: Any = load(wrapped.files["pricing.py"], lambda *_: None)["D"]
    assert issubclass(kind, UserWarning)
