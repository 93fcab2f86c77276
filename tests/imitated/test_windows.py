"""On Windows, as far as it can be imitated, what cannot work is refused at once, and what can works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from real_project import DEADLINE


def run_all(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
        check=False,
    )
    assert done.stdout.endswith("all of it holds\n"), done.stdout[-3000:] + done.stderr[-3000:]


def test_what_cannot_work_is_refused_at_once_and_what_can_works(tmp_path: Path) -> None:
    run_all("windows.py", tmp_path)


def test_wrappers_do_not_depend_on_how_paths_are_written_or_lines_end_and_case_that_does_not_count_is_told(
    tmp_path: Path,
) -> None:
    run_all("windows_paths.py", tmp_path)
