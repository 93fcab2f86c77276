"""Which class an exception of a source is of in the app: its own, or the nearest that the app knows."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

from lastgood import RemoteError
from lastgood.bridges.worker.values.known import Known
from lastgood.calls import classes
from lastgood.calls.classes import Declared
from raised_here import remote


def cancelled() -> BaseException:
    """Return what trio raises where a task is cancelled."""
    caught: list[BaseException] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught.append(error)
                raise

    trio.run(main)
    return caught[0]


def test_classes_of_the_standard_library_and_nearest_bases() -> None:
    import json
    import subprocess

    try:
        json.loads("{")
    except json.JSONDecodeError as error:
        got: Any = remote(error)
    assert isinstance(got, json.JSONDecodeError)
    assert (got.pos, got.doc) == (1, "{")
    got = remote(subprocess.CalledProcessError(3, ["a"], output=b"b"))
    assert isinstance(got, subprocess.CalledProcessError)
    assert (got.returncode, got.stdout) == (3, b"b")

    class Timeout(TimeoutError):
        pass

    Timeout.__module__ = "requests"
    got = remote(Timeout(110, "late"))
    assert issubclass(type(got), TimeoutError)
    assert (type(got).__name__, type(got).__module__, got.errno, got.type_name) == (
        "Timeout",
        "requests",
        110,
        f"requests.{Timeout.__qualname__}",
    )
    assert type(remote(cancelled())) is RemoteError


class ShopError(Exception):
    sku: str


class OutOfStock(ShopError): ...


def test_declared_classes_are_found_and_several_known_bases_are_combined() -> None:
    class Missing(OutOfStock, FileNotFoundError):
        pass

    found: dict[str, type] = {"ShopError": ShopError}

    class Found(Known):
        def find(self, module: str, name: str) -> type | None:
            return found.get(name) if module == __name__ else None

    got: Any = remote(OutOfStock("none"), Found())
    assert type(got).__mro__[-4:-3] == (ShopError,)
    assert type(got).__name__ == "OutOfStock"
    found["OutOfStock"] = OutOfStock
    got = remote(Missing(2, "no", "x"), Found())
    assert isinstance(got, OutOfStock)
    assert isinstance(got, FileNotFoundError)
    assert got.filename == "x"
    again: Any = remote(Missing(), Found())
    assert type(again) is type(got)
    for error in (got, remote(OutOfStock("none"), Found())):
        assert type(copy.copy(error)) is type(pickle.loads(pickle.dumps(error))) is type(error)


INSTALLED = """
class Meta(type):
    def __new__(meta, name, bases, space):
        kind = super().__new__(meta, name, bases, space)
        if kind.__module__ == "installed":
            assert name not in NAMES, "each name once"
            NAMES.append(name)
        return kind

NAMES = []

class NetworkError(OSError): pass

class Registered(NetworkError, metaclass=Meta):
    def __init__(self, sku): self.sku = sku
    @property
    def upper(self): return self.sku.upper()

class Final(NetworkError):
    def __init_subclass__(cls): raise RuntimeError("final")
"""


@pytest.mark.parametrize("known", [None, Declared()])
def test_a_class_of_an_installed_package_is_itself_if_the_app_has_imported_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Known | None
) -> None:
    module: Any = ModuleType("installed")
    module.__file__ = str(tmp_path / "installed.py")
    monkeypatch.setattr(classes, "_INSTALLED", (str(tmp_path),))
    monkeypatch.setitem(sys.modules, "installed", module)
    exec(INSTALLED, vars(module))
    errors = module.Registered("apple"), module.Final(5, "no")
    for _ in range(2):
        got: Any = remote(errors[0], known)
        assert isinstance(got, module.Registered)
        assert issubclass(type(got), OSError)
        assert (got.sku, got.upper, type(got).__module__, type(got).__name__) == (
            "apple",
            "APPLE",
            "installed",
            "Registered",
        )
    got = remote(errors[1], known)
    assert not isinstance(got, module.Final)  # nothing can derive from it
    assert isinstance(got, module.NetworkError)
    assert (got.errno, type(got).__name__) == (5, "Final")
    monkeypatch.delitem(sys.modules, "installed")
    got = remote(errors[0], known)
    assert not issubclass(type(got), module.NetworkError)
    assert issubclass(type(got), OSError)
    assert (got.sku, got.type_name) == ("apple", "installed.Registered")


def test_a_class_with_a_state_of_its_own_in_c_is_its_nearest_base() -> None:
    validation = pytest.importorskip("pydantic_core").ValidationError
    error = validation.from_exception_data("Order", [])
    got = remote(error)
    assert isinstance(got, ValueError)
    assert not issubclass(type(got), validation)
    assert (str(got), got.type_name) == (str(error), "pydantic_core._pydantic_core.ValidationError")
