"""``[output] annotated``: the metadata of ``Annotated`` types that wrappers keep, and the aliases that have some."""

from __future__ import annotations

import pytest

from lastgood.wrappers import Wrapped, wrap_modules
from lastgood.wrappers.generate import Pipeline
from wrapping import source, text_of

HEAD = """
import math, annotated_types as at, pydantic
from decimal import Decimal
from typing import Annotated, Callable
from annotated_types import Ge, LowerCase
from elsewhere import Other
from fastapi import Body, Depends, Query
from markupsafe import Markup
from pydantic import Field, PositiveInt, constr
LIMIT = 5
Size = Annotated[int, Field(gt=0)]
class Desk: ...
def make(): ...
"""
PACKAGES = ("annotated_types", "fastapi", "pydantic")


def wrapped(text: str, *annotated: str) -> Wrapped:
    return wrap_modules([source("pricing", HEAD + text)], annotated=annotated)


def parameter(annotation: str, *annotated: str) -> tuple[str, str]:
    """The annotation of a parameter in the wrapper, and the warning about it."""
    made = wrapped(f"def f(x: {annotation}): ...", *annotated)
    text = text_of(made).rpartition("def f(")[2].strip().removeprefix("x: ").rpartition(") -> Any")[0]
    about = [each.removeprefix("pricing.f: the annotation of parameter 'x'") for each in made.warnings if "'x'" in each]
    return " ".join(text.split()).rstrip(","), "".join(about)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Annotated[int, Field(gt=0, description='d')]", 'Annotated[int, Field(gt=0, description="d")]'),
        ("Annotated[int, Field(lt=LIMIT * 2)]", "Annotated[int, Field(lt=10)]"),
        ("Annotated[int, pydantic.Field(gt=0), at.Le(3), 'doc']", 'Annotated[int, Field(gt=0), Le(3), "doc"]'),
        ("Annotated[float, Ge(-math.inf)]", "Annotated[float, Ge(-inf)]"),
        ("Annotated[Decimal, Field(gt=Decimal('1'))]", 'Annotated[Decimal, Field(gt=Decimal("1"))]'),
        ("Annotated[str, Field(examples=['a', ()], json_schema_extra={'a': {'b': [1]}})]", None),
        ("Annotated[int, Field]", "Annotated[int, Field]"),
        ("Annotated[int | None, Query(max_length=3)]", None),
        ("list[Size] | None", "list[Annotated[int, Field(gt=0)]] | None"),
        ("Annotated['Size', Ge(1)]", "Annotated[Annotated[int, Field(gt=0)], Ge(1)]"),
        ("PositiveInt", "PositiveInt"),
        ("dict[str, pydantic.PositiveInt]", "dict[str, PositiveInt]"),
    ],
)
def test_metadata_of_the_named_packages_are_kept(annotation: str, expected: str | None) -> None:
    expected = annotation.replace("'", '"') if expected is None else expected
    assert parameter(annotation, *PACKAGES) == (expected, "")


@pytest.mark.parametrize(
    ("annotation", "expected", "left_out"),
    [
        ("Annotated[int, Other(1)]", "int", "Other(1)"),
        ("Annotated[int, Field(gt=0), Other]", "Annotated[int, Field(gt=0)]", "Other"),
        ("Annotated[int, Depends(make)]", "int", "Depends(make)"),
        ("Annotated[int, Field(default_factory=lambda: 1)]", "int", "Field(default_factory=lambda: 1)"),
        ("Annotated[int, Field(**{})]", "int", "Field(**{})"),
        ("Annotated[int, Desk()]", "int", "Desk()"),
        ("LowerCase[str]", "str", "LowerCase"),
        ("constr(min_length=3)", "str", "constr(min_length=3)"),
    ],
)
def test_anything_else_is_left_out_with_a_warning(annotation: str, expected: str, left_out: str) -> None:
    text, warning = parameter(annotation, *PACKAGES)
    assert text == expected
    assert warning.startswith(f" is without its metadata {left_out}. Kept are ")


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Annotated[int, Field(gt=0), Other(1)]", "int"),
        ("PositiveInt", "int"),
        ("pydantic.types.StrictStr", "str"),
        ("LowerCase[str]", "str"),
        ("constr(min_length=3)", "str"),
        ("Markup", "str"),
    ],
)
def test_without_packages_types_are_plain(annotation: str, expected: str) -> None:
    assert parameter(annotation) == (expected, "")


def test_what_is_kept_is_imported_and_only_that() -> None:
    text = text_of(wrapped("def f(x: Size, y: Annotated[int, Ge(1)]): ...", "annotated_types"))
    assert "from annotated_types import Ge\nfrom lastgood.runtime import remote\n" in text
    assert "pydantic" not in text
    assert "Annotated" not in text_of(wrapped("def f(x: Size): ..."))


def test_fields_results_and_items_of_streams_keep_them() -> None:
    text = text_of(
        wrapped(
            "from collections.abc import Iterator\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Item:\n    size: Size = 3\n    names: Annotated[list[str], Field(max_length=2)] = None\n"
            "def f() -> Annotated[Item, Field(title='t')]: ...\n"
            "def g() -> Iterator[Annotated[int, Ge(1)]]: yield 1",
            *PACKAGES,
        )
    )
    assert "    size: Annotated[int, Field(gt=0)] = 3\n" in text
    assert '-> Annotated[Item, Field(title="t")]' in text
    assert "-> AsyncIterator[Annotated[int, Ge(1)]]" in text


def test_a_default_that_tells_a_framework_of_a_value() -> None:
    text = text_of(wrapped("def f(x: str = Query('a', max_length=LIMIT), y: str = Body(Other)): ...", "fastapi"))
    assert 'def f(x: str = Query("a", max_length=5), y: str = ...)' in text
    assert "Query" not in text_of(wrapped("def f(x: str = Query('a')): ..."))


def test_other_packages_are_another_wrapper() -> None:
    named = [source("pricing", HEAD + "def f(x: Size): ...")]
    memo = Pipeline()._memo
    texts = [text_of(Pipeline(memo=memo, annotated=each).wrap(named, lambda _: None)) for each in ((), PACKAGES, ())]
    assert texts[0] == texts[2]
    assert texts[0] != texts[1]
