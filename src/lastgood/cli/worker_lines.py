"""What a worker prints and logs, as ``lastgood watch`` shows it: marked as the worker's, line by line."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from lastgood.bridges.start import WORKER_MARK

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["mark_worker_lines"]


def mark_worker_lines(console: Console) -> None:
    """Mark what the workers print that are started in this context; dim where stderr shows colours. Show what they log, too.

    ``console`` is that of stderr.
    """
    mark = "\x1b[2mworker |\x1b[0m " if console.color_system is not None and not console.no_color else "worker | "
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
