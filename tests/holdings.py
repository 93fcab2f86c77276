"""What a process holds: descriptors, threads, child processes, files and memory."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from lastgood.session.session import Session
from real_project import DEADLINE, RealProject

__all__ = ["Held", "at_rest_with"]


@dataclass(frozen=True)
class Held:
    """What this process holds, the worker of the live generation included."""

    descriptors: int
    threads: int
    children: int
    temporary: int
    kept: int
    blocks: int  # of memory; their bytes would leap whenever the interpreter's table of interned names grows

    @classmethod
    def now(cls, project: RealProject) -> Held:
        gc.collect()
        children = []
        for task in os.listdir("/proc/self/task"):
            with suppress(FileNotFoundError):  # the thread has ended meanwhile
                children.append(Path(f"/proc/self/task/{task}/children").read_text())
        return cls(
            descriptors=len(os.listdir("/proc/self/fd")),
            threads=threading.active_count(),
            children=sum(len(line.split()) for line in children),
            temporary=len(os.listdir(tempfile.gettempdir())),
            kept=sum(1 for _ in (project.root / ".lastgood").rglob("*")),
            blocks=sys.getallocatedblocks(),
        )


async def at_rest_with(session: Session, project: RealProject, most: int, most_kept: int = 1000) -> Held:
    """What is held once worker, spare, guardian and extractor are all there is, with at most so many descriptors and kept files.

    What is let go of in the background may take a moment, and so may a file that is written beside the one that it replaces.
    """
    with trio.fail_after(DEADLINE):
        while not any(spare.is_waiting() for spare in session.bridge._spares):
            await trio.to_thread.run_sync(os.sched_yield)
        while (held := Held.now(project)).children != 4 or held.descriptors > most or held.kept > most_kept:
            await trio.to_thread.run_sync(os.sched_yield)
    return held
