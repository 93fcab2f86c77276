"""Records of what the wire and the scripts say today, so that any change of it is seen, and is meant.

``RENEW_RECORDS=1 pytest -n0 FILE`` writes those of a file's tests anew; ``git diff tests/records`` then shows what has changed.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["compare_with_record"]

PLACE = Path(__file__).parent / "records"


def compare_with_record(name: str, text: str) -> None:
    """Fail unless ``text`` is the record of this name."""
    path = PLACE / f"{name}.txt"
    if os.environ.get("RENEW_RECORDS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"there is no {path}; RENEW_RECORDS=1 writes it"
    assert text == path.read_text(), "if that is meant: RENEW_RECORDS=1 writes it anew"
