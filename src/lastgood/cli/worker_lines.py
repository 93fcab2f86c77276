"""What a worker prints and logs, as ``lastgood watch`` shows it: marked as the worker's, line by line."""

from __future__ import annotations

import logging
import os

from lastgood.bridges.start import WORKER_MARK
from lastgood.session.event_lines import make_console

__all__ = ["mark_worker_lines"]


def mark_worker_lines() -> None:
    """Mark what the workers print that are started in this context; dim where stderr shows colours. Show what they log, too."""
    console = make_console(stderr=True)
    mark = "\x1b[2mworker |\x1b[0m " if console.is_terminal and not console.no_color else "worker | "
    WORKER_MARK.set(mark.encode())
    handler = logging.StreamHandler()
    handler.setFormatter(_Marked(mark))
    handler.setLevel(logging.WARNING)  # as where no handler was set up
    logging.root.addHandler(handler)


class _Marked(logging.Formatter):
    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.process == os.getpid():
            return text
        lines = f"{record.levelname} {record.name}: {text}".splitlines()
        return "\n".join(f"{self._mark}{line}" for line in lines)
