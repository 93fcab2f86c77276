"""What you call is what runs: after an edit, a call through a wrapper does what the same call of the edited source does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood import InProcessBridge
from versions_played import play_stories


@pytest.mark.parametrize(
    ("style", "create_bridge", "count", "edits"),
    [("sync", None, 9, 30), ("async", InProcessBridge.from_config, 55, 170)],
    ids=["in a worker", "in this process"],
)
def test_a_call_does_what_the_edited_source_does(
    style: str, create_bridge: Callable[..., Any] | None, count: int, edits: int, tmp_path: Path
) -> None:
    assert play_stories(count, tmp_path, style, create_bridge) >= edits
