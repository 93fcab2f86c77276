"""Every test that ``docs/explanation/reliability.md`` names exists."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "explanation" / "reliability.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_every_test_that_is_named_exists() -> None:
    text = TABLE.read_text(encoding="utf-8")
    named = NAMED.findall(text)
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(async )?def {name}\(", (HERE / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []
    assert text.count(".py::") == len(named), "a test is named in another form"
