"""An app that is made to be killed: ``python follower.py`` beside a ``lastgood.toml`` calls its wrappers again and again.

It tells on stdout, a line each, what is new: ``answer ROLE N A B``, of which N stands in the wrapper and A and B in the modules
that the worker has imported. In ``promotions.log`` it writes down what it does to the output directory, as the first or the
last thing within its turn, so that the lines of all processes are in the order of what they have done.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lastgood
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting

LOG = os.open("promotions.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
TURN, APPLY, COMMIT, UNDO = OutputDirectory.turn, Promoting.apply, Promoting.commit, Promoting.undo


def note(what: str) -> None:
    os.write(LOG, f"{what} {os.getpid()}\n".encode())


@contextlib.contextmanager
def turn(self: OutputDirectory) -> Iterator[None]:
    with TURN(self):
        note("begin")
        try:
            yield
        finally:
            note("end")


def apply(self: Promoting, *arguments: Any) -> None:
    note("apply")
    APPLY(self, *arguments)


def commit(self: Promoting) -> None:
    note("commit")
    COMMIT(self)


def undo(self: Promoting) -> None:
    note("undo")
    UNDO(self)


def main() -> None:
    OutputDirectory.turn = turn  # type: ignore[method-assign]  # noted, and otherwise the same
    Promoting.apply, Promoting.commit, Promoting.undo = apply, commit, undo  # type: ignore[assignment,method-assign]  # likewise
    sys.path.insert(0, os.getcwd())
    last = ""
    with lastgood.watch(Path("lastgood.toml"), warm_timeout=20.0) as session:
        from generated import one  # type: ignore[import-not-found]  # made by the session

        while True:
            try:
                answer = " ".join(map(str, ("answer", session.role, *one.pair())))
            except lastgood.BridgeError as error:
                answer = f"error {type(error).__name__}: {error}".replace("\n", " | ")
            if answer != last:
                print(answer, flush=True)
                last = answer
            time.sleep(0.02)


if __name__ == "__main__":
    main()
