"""An app that calls code of another virtual environment.

``python -m venv .venv`` and ``.venv/bin/pip install humanize`` here, then ``python app.py``: of the two environments only .venv
needs humanize, and only the app's needs lastgood. Edit report.py while it runs.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")


def main() -> None:
    """Call twice a second."""
    with lastgood.watch(CONFIG) as session:
        from generated import report

        while True:
            state = "STALE" if session.status.stale else "live"
            print(f"{report.size(3_000_000)} ({state}, from {report.environment()})", flush=True)
            time.sleep(0.5)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
