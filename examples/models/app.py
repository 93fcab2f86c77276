"""Orders that come as JSON: checked by generated pydantic models, priced by a generated wrapper.

``pip install datamodel-code-generator``, then ``python app.py '{"sku": "apple", "quantity": 3}'``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")


async def main(text: str) -> None:
    """Price one order."""
    async with lastgood.watch(CONFIG):
        from generated import shop
        from generated.models.order import Order

        order = Order.model_validate_json(text)
        print(f"{order.quantity} of {order.sku}: {await shop.total(order.sku, order.quantity):.2f}")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
