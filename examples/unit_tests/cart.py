"""A part of an app: it calls a wrapper."""

from __future__ import annotations

from collections.abc import Mapping

from generated import pricing


def total(cart: Mapping[str, int]) -> float:
    """Return what a cart costs."""
    return round(sum(pricing.quote(sku, quantity) for sku, quantity in cart.items()), 2)
