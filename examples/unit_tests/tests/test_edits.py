"""A test with a real worker: it edits a source, and waits until that was attempted."""

from __future__ import annotations

from pathlib import Path

import lastgood


def test_an_edit_is_live(tmp_path: Path) -> None:
    source = tmp_path / "pricing.py"
    source.write_text("def quote(sku: str) -> int:\n    return 1\n")
    (tmp_path / "lastgood.toml").write_text('[modules.pricing]\n[output]\ndir = "generated"\n')
    with lastgood.watch(tmp_path / "lastgood.toml", set_as_global=False) as session:
        source.write_text("def quote(sku: str) -> int:\n    return 2\n")
        assert session.settle()
        assert session.handle.call_blocking("pricing", "quote", ["apple"]) == 2
        source.write_text("def quote(\n")
        assert not session.settle()
        assert session.status.stale
        assert session.handle.call_blocking("pricing", "quote", ["apple"]) == 2
