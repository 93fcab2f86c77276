"""Names that are not the same everywhere are warned of everywhere."""

from __future__ import annotations

import pytest

from lastgood.generators.portable_names import unportable
from lastgood.testing import World


@pytest.mark.parametrize("name", ["con.py", "Aux.py", "shop/nul.py", "nul/__init__.py", "com1.tables.json"])
def test_devices_of_windows(name: str) -> None:
    (warning,) = unportable([name, "console.py", "shop/__init__.py", "com0.py"])
    assert "Windows has a device of that name" in warning


def test_names_that_differ_in_case() -> None:
    files = ["shop/Pricing.py", "shop/pricing.py", "stock/pricing.py", "Shop/__init__.py"]
    warnings = unportable(files)
    assert warnings == (
        "shop: it is the same file as Shop on macOS and Windows; rename one of the modules",
        "shop/pricing.py: it is the same file as shop/Pricing.py on macOS and Windows; rename one of the modules",
    )
    assert unportable(files[::-1]) == warnings
    assert unportable(["shop/pricing.py", "stock/pricing.py"]) == ()


def test_a_cycle_warns_of_them() -> None:
    world = World(
        {
            "lastgood.toml": '[modules.con]\n[modules.Con]\n[output]\ndir = "generated"\n',
            "con.py": "def a() -> int: ...\n",
            "Con.py": "def a() -> int: ...\n",
        }
    )
    world.start()
    warnings = world.events[-1].to_dict()["warnings"]
    assert [each.partition(":")[0] for each in warnings] == ["Con.py", "con.py", "con.py"]
