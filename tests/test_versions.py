"""What you call is what runs: after an edit, a call through a wrapper does what the same call of the edited source does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood import InProcessBridge
from versions_played import play_stories


@pytest.mark.parametrize(
    ("start", "style", "create_bridge", "count", "edits"),
    [
        (4, "sync", None, 9, 20),
        (2, "async", InProcessBridge.from_config, 32, 85),
        (3, "sync", InProcessBridge.from_config, 32, 85),
    ],
    ids=["in a worker", "in this process", "in this process, without a loop"],
)
def test_a_call_does_what_the_edited_source_does(
    start: int, style: str, create_bridge: Callable[..., Any] | None, count: int, edits: int, tmp_path: Path
) -> None:
    assert play_stories(count, tmp_path, style, create_bridge, start) >= edits
