"""Tests of what an app does when a reload fails: a World has no disk, no processes and no sleeping."""

from __future__ import annotations

from lastgood.testing import World

CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'
SOURCE = "def quote(sku: str) -> float: ...\n"
LONGER = "def quote(sku: str, quantity: int = 1) -> float: ...\n"


def test_a_broken_edit_leaves_the_last_good_wrapper() -> None:
    world = World({"lastgood.toml": CONFIG, "pricing.py": SOURCE})
    world.start()
    good = world.files["generated/pricing.py"]
    world.write("pricing.py", "def quote(:\n")
    world.advance(seconds=0.1)
    assert world.status.stale
    assert world.files["generated/pricing.py"] == good
    world.write("pricing.py", LONGER)
    world.advance(seconds=0.1)
    assert not world.status.stale
    assert "quantity" in world.files["generated/pricing.py"]


def test_a_full_disk_leaves_the_last_good_wrapper() -> None:
    world = World({"lastgood.toml": CONFIG, "pricing.py": SOURCE})
    world.start()
    good = world.files["generated/pricing.py"]
    world.fail("promote", at=3, error=OSError("disk full"))
    world.write("pricing.py", LONGER)
    world.advance(seconds=0.1)
    assert world.status.stale
    assert world.files["generated/pricing.py"] == good
    assert world.reload_now()
