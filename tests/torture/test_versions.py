"""Edits and calls as in the ordinary suite, many times over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood import InProcessBridge
from versions_played import play_stories

pytestmark = pytest.mark.torture


@pytest.mark.parametrize(
    ("start", "style", "create_bridge"),
    [
        (11, "sync", None),
        (12, "async", None),
        (13, "sync", InProcessBridge.from_config),
        (14, "async", InProcessBridge.from_config),
    ],
)
def test_a_call_does_what_the_edited_source_does(
    start: int, style: str, create_bridge: Callable[..., Any] | None, tmp_path: Path
) -> None:
    assert play_stories(190, tmp_path, style, create_bridge, start) >= 500
