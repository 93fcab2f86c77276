"""A project below a path that is not UTF-8, as an old archive may leave it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from lastgood.session.watch import watch
from real_project import DEADLINE


async def test_it_reloads_and_goes_back(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"pr\xf6j")
    try:
        root.mkdir()
    except OSError:  # macOS
        pytest.skip("this file system takes no such name")
    source, config = root / "pricing.py", root / "lastgood.toml"
    source.write_text("def quote():\n    return 1\n")
    config.write_text('[modules.pricing]\n[output]\ndir = "generated"\n')
    with trio.fail_after(DEADLINE):
        async with watch(config, on_event=lambda _: None) as session:
            await session.bridge.prepare_spare()
            for edit, expected in ((1, 1), (2, 2)):
                source.write_text(f"def quote():\n    return {edit}\n")
                assert await session.settle()
                assert await session.handle.call("pricing", "quote") == expected
            assert await session.undo()
            assert await session.handle.call("pricing", "quote") == 1
