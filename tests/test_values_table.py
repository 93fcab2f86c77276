"""docs/reference/values.md has what may cross as real calls have it: everything crosses as it is, or is named in an error."""

from __future__ import annotations

import pytest

import values_table
from values_table import Found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return values_table.explored(tmp_path_factory.mktemp("values"))


def test_every_type_crosses_as_it_is_wherever_it_may_stand(found: Found) -> None:
    assert {where: cell for where, cell in found.cells.items() if cell not in ("", values_table.NOT_HASHABLE)} == {}


@pytest.mark.parametrize(("text", "name"), values_table.REFUSED, ids=[text for text, _ in values_table.REFUSED])
def test_what_may_not_cross_is_an_error_that_names_it_and_its_place(found: Found, text: str, name: str) -> None:
    argument, result = found.errors[text]
    for error, start, way in (argument, "argument 1[1]: ", "to the worker"), (result, "result[1]: ", "from the worker"):
        assert error.startswith(start)
        assert f"{name} cannot cross {way}" in error


def test_the_document_shows_the_table_of_today(found: Found) -> None:
    document = values_table.DOCUMENT.read_text(encoding="utf-8")
    assert document == values_table.renewed(document, found), "`python tests/values_table.py` writes it anew"
