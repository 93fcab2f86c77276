"""Faults that random edits have found (``tests/test_versions.py``), each as a short script."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from generating import importable
from lastgood import BridgeError, watch
from real_project import RealProject

TAKE = "def take(value):\n    return type(value).__name__\n"
KINDS = {
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass Point:\n",
    "slots": "from dataclasses import dataclass\n@dataclass(slots=True)\nclass Point:\n",
    "named tuple": "from typing import NamedTuple\nclass Point(NamedTuple):\n",
}


@pytest.fixture(autouse=True)
def _sync_wrappers_that_can_be_imported(project: RealProject) -> Iterator[None]:
    project.save("lastgood.toml", project.config_file.read_text() + 'style = "sync"\n')
    with importable(project.root, "generated"):
        yield


def test_a_named_tuple_whose_class_is_gone_is_refused(project: RealProject) -> None:
    point = (
        "from typing import NamedTuple\nclass Point(NamedTuple):\n    x: int\ndef every(point: Point) -> None: ...\n"
    )
    project.save("pricing.py", TAKE + point)
    with watch(project.config_file, debounce=1000, max_wait=1000) as session:
        wrapper = importlib.import_module("generated.pricing")
        held = wrapper.Point(1)
        assert wrapper.take(held) == "Point"
        project.save("pricing.py", TAKE)
        assert session.reload_now()
        with pytest.raises(BridgeError, match="Point"):
            wrapper.take(held)


@pytest.mark.parametrize("kind", KINDS)
def test_of_an_instance_of_an_earlier_declaration_no_field_is_lost_in_silence(project: RealProject, kind: str) -> None:
    every = "def every(point: Point) -> None: ...\n"
    project.save("pricing.py", f"{TAKE}{KINDS[kind]}    x: int\n    y: int\n{every}")
    with watch(project.config_file, debounce=1000, max_wait=1000) as session:
        wrapper = importlib.import_module("generated.pricing")
        held = wrapper.Point(1, 2)
        assert wrapper.take(held) == "Point"
        project.save("pricing.py", f"{TAKE}{KINDS[kind]}    y: int\n{every}")
        assert session.reload_now()
        if kind == "dataclass":  # it has the field as an attribute
            assert wrapper.take(held) == "Point"
            return
        with pytest.raises(BridgeError, match="unexpected keyword argument 'x'"):
            wrapper.take(held)


@pytest.mark.parametrize("kind", KINDS)
def test_an_instance_of_an_earlier_declaration_that_lacks_a_field_is_refused(project: RealProject, kind: str) -> None:
    every = "def every(point: Point) -> None: ...\n"
    project.save("pricing.py", f"{TAKE}{KINDS[kind]}    x: int\n{every}")
    with watch(project.config_file, debounce=1000, max_wait=1000) as session:
        wrapper = importlib.import_module("generated.pricing")
        held = wrapper.Point(1)
        assert wrapper.take(held) == "Point"
        project.save("pricing.py", f"{TAKE}{KINDS[kind]}    x: int\n    y: int\n{every}")
        assert session.reload_now()
        with pytest.raises(BridgeError, match="missing 1 required positional argument: 'y'"):
            wrapper.take(held)
