"""Tests of an app that calls wrappers: no worker runs."""

from __future__ import annotations

import pytest
from cart import total


def test_a_cart_costs_what_its_things_cost() -> None:
    assert total({"apple": 3, "pear": 2}) == 2.30


def test_what_a_source_raises_comes_as_what_it_is() -> None:
    with pytest.raises(KeyError, match="plum"):
        total({"plum": 1})
