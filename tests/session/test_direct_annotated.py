"""``[output] annotated``: frameworks make of a wrapper's functions what they make of the source's own."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from imported import forgotten
from lastgood import direct
from lastgood.cli.commands import main as command

pydantic = pytest.importorskip("pydantic")

SHOP = """
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal
from annotated_types import Ge
from pydantic import Field, PositiveInt

class Colour(Enum):
    RED = "red"

@dataclass
class Item:
    name: Annotated[str, Field(min_length=1, description="the name")]
    size: PositiveInt = 3

def order(
    count: Annotated[int, Field(gt=0, description="how many")],
    kind: Literal["a", "b"] = "a",
    limit: Annotated[float, Ge(0)] = 60 * 2,
    colour: Colour = Colour.RED,
) -> Annotated[list[Item], Field(description="what was ordered")]:
    "Order items."
    return [Item("x", count)]
"""
ROUTES = """
from typing import Annotated
from fastapi import Query

def search(text: Annotated[str, Query(max_length=3)], page: int = Query(1, ge=1)) -> list[str]:
    return [text] * page
"""


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The wrapper and the source of a module, under ``direct()``."""
    name, text, *packages = getattr(request, "param", ("shop", SHOP, "pydantic", "annotated_types"))
    for package in packages:
        pytest.importorskip(package)
    (tmp_path / f"{name}.py").write_text(text)
    config = f"[modules.{name}]\n[output]\ndir = 'generated'\nstyle = 'sync'\nannotated = {packages}\n"
    (tmp_path / "lastgood.toml").write_text(config)
    done = CliRunner().invoke(command, ["generate", str(tmp_path / "lastgood.toml")])
    assert done.exit_code == 0, done.output
    monkeypatch.syspath_prepend(tmp_path)
    with forgotten(tmp_path), direct(tmp_path / "lastgood.toml"):
        yield importlib.import_module(f"generated.{name}"), importlib.import_module(name)


def described(function: Any) -> dict[str, Any]:
    """A schema of the parameters, as servers of tools make it of signature and annotations."""
    hints = typing.get_type_hints(function, include_extras=True)
    fields = {
        name: (hints[name], ... if each.default is each.empty else each.default)
        for name, each in inspect.signature(function).parameters.items()
    }
    made: dict[str, Any] = pydantic.create_model("Arguments", **fields).model_json_schema()
    made["result"] = pydantic.TypeAdapter(hints["return"]).json_schema()
    return made


def test_the_schema_of_a_tool_is_that_of_the_source(shop: tuple[Any, Any]) -> None:
    wrapper, source = shop
    assert described(wrapper.order) == described(source.order)
    assert described(wrapper.order)["properties"]["count"]["description"] == "how many"
    assert wrapper.order.__doc__ == source.order.__doc__


def test_arguments_are_validated_by_the_annotations(shop: tuple[Any, Any]) -> None:
    order = pydantic.validate_call(shop[0].order)
    assert order("2")[0].size == 2
    with pytest.raises(pydantic.ValidationError, match="greater than 0"):
        order(0)


def test_results_are_checked_without_their_metadata(shop: tuple[Any, Any]) -> None:
    (item,) = shop[0].order(2)
    assert type(item) is shop[0].Item
    with pytest.raises(pydantic.ValidationError, match="at least 1 character"):
        pydantic.TypeAdapter(shop[0].Item).validate_python({"name": ""})


@pytest.mark.parametrize("shop", [("shop", SHOP)], indirect=True)
def test_without_packages_a_wrapper_imports_none_of_them(shop: tuple[Any, Any]) -> None:
    wrapper = shop[0]
    assert {"pydantic", "annotated_types"}.isdisjoint(Path(wrapper.__file__).read_text().split())
    assert typing.get_type_hints(wrapper.order, include_extras=True)["count"] is int
    assert described(wrapper.order)["properties"]["count"] == {"title": "Count", "type": "integer"}


@pytest.mark.parametrize("shop", [("routes", ROUTES, "fastapi")], indirect=True)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_route_that_is_the_wrapper_itself_has_the_schema_of_the_source(shop: tuple[Any, Any]) -> None:
    fastapi = pytest.importorskip("fastapi")
    wrapper, source = shop

    def schema(function: Any) -> Any:
        app = fastapi.FastAPI()
        app.get("/search")(function)
        return app.openapi()

    assert schema(wrapper.search) == schema(source.search)
    parameters = schema(wrapper.search)["paths"]["/search"]["get"]["parameters"]
    assert [each["required"] for each in parameters] == [True, False]
