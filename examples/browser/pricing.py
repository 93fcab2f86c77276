"""What apples cost. Edit it in the page, and press Save."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal


@dataclass
class Quote:
    sku: str
    quantity: int
    total: Decimal


def quote(sku: str, quantity: int = 1) -> Quote:
    """What ``quantity`` of ``sku`` cost."""
    return Quote(sku, quantity, Decimal("0.40") * quantity)


def rising(sku: str, most: int) -> Iterator[Quote]:
    """One quote for each quantity up to ``most``."""
    for quantity in range(1, most + 1):
        yield quote(sku, quantity)
