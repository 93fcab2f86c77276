"""On Windows, as far as it can be imitated, what cannot work is refused at once, and what can works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from real_project import DEADLINE


def test_what_cannot_work_is_refused_at_once_and_what_can_works(tmp_path: Path) -> None:
    program = Path(__file__).with_name("windows.py")
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=4 * DEADLINE, check=False
    )
    assert done.stdout.endswith("all of it holds\n"), done.stdout[-3000:] + done.stderr[-3000:]
