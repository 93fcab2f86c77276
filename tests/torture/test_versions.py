"""Edits and calls as in the ordinary suite, many times over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood import InProcessBridge
from versions_played import play_stories

pytestmark = pytest.mark.torture


@pytest.mark.parametrize("style", ["sync", "async"])
@pytest.mark.parametrize("create_bridge", [None, InProcessBridge.from_config], ids=["in a worker", "in this process"])
def test_a_call_does_what_the_edited_source_does(
    style: str, create_bridge: Callable[..., Any] | None, tmp_path: Path
) -> None:
    assert play_stories(170, tmp_path, style, create_bridge) >= 500
