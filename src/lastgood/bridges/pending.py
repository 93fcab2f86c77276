"""Answers that are waited for, and what a call that is late had waited behind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trio

__all__ = ["PendingAnswer", "waited_behind"]


class PendingAnswer:
    """The future answer to a call: ``kind`` and ``body`` of its frame (``kind`` is None until the frame arrives).

    ``target``: the function, as in the frame. ``late``: its timeout is over; ``waited`` then says what it had waited behind.
    ``began``: when its time began to count. ``queued``: when it was made, if it had to wait, and ``behind`` the call that it
    began after, with the time at which that one began. ``holds_thread``: it has begun and occupies one of the ``threads``.
    ``apart``: it runs on the event loop. ``extended``: it got its one extension of the deadline. ``has_begun``: the worker said
    so. ``of_stream``: it is asked for by a stream, and is no call.
    """

    __slots__ = (
        "apart",
        "began",
        "behind",
        "body",
        "deadline",
        "extended",
        "has_begun",
        "holds_thread",
        "kind",
        "late",
        "number",
        "of_stream",
        "parked",
        "queued",
        "target",
        "waited",
    )

    def __init__(self, number: int, target: bytes = b"") -> None:
        self.number = number
        self.target = target
        self.of_stream = False
        self.kind: int | None = None
        self.body = b""
        self.parked: trio.lowlevel.Task | None = None
        self.began = 0.0
        self.deadline = 0.0
        self.queued = 0.0
        self.behind: tuple[bytes, float] | None = None
        self.late = False
        self.waited = ""
        self.holds_thread = False
        self.apart = False
        self.extended = False
        self.has_begun = False

    @property
    def name(self) -> str:
        """The called function, as ``module.function``."""
        return _name(self.target)


def waited_behind(
    answer: PendingAnswer, others: Iterable[PendingAnswer], streams: Iterable[PendingAnswer], now: float, threads: int
) -> str:
    """Return what ``answer``, which is late, had waited behind, as a sentence; empty if nothing is known.

    ``others`` are the calls that still run, forgotten ones included, and ``streams`` the opening requests of the open streams.
    """
    if answer.apart:
        # One that is there for a shorter time cannot have held it up for most of its own.
        since = now - (now - answer.began) / 2
        beside = [other for other in others if other.apart and other.began <= since and other is not answer]
        if not beside:
            return ""
        return (
            f"It ran on the event loop of the worker beside {_longest(beside, now)}: a function there that blocks instead "
            "of awaiting holds up all of them."
        )
    running = [other for other in others if other.holds_thread and other is not answer]
    turns = [stream for stream in streams if not stream.apart and stream.target != answer.target]
    if answer.of_stream and running:
        return f"Its items take turns with calls, and the worker ran {_longest(running, now)} (threads = {threads})."
    if answer.has_begun or not turns or answer.of_stream:
        return _queued_behind(answer)
    return f"It had not begun: it waited behind {_longest(running + turns, now)} (threads = {threads})."


def _queued_behind(answer: PendingAnswer) -> str:
    """Return the sentence about a call that had to wait before its time began; empty if it had not."""
    if answer.behind is None:
        return ""
    target, began = answer.behind
    return (
        f"Before that, it had waited {answer.began - answer.queued:.3g} s for a thread of the worker, last behind "
        f"{_name(target)}, which ran for {answer.began - began:.3g} s."
    )


def _longest(answers: list[PendingAnswer], now: float) -> str:
    longest = min(answers, key=lambda each: each.began)
    what = "the stream " if longest.of_stream else ""
    more = f" and {len(answers) - 1} more" if len(answers) > 1 else ""
    return f"{what}{longest.name}, running for {now - longest.began:.3g} s{more}"


def _name(target: bytes) -> str:
    return target.decode(errors="replace").replace("\0", ".") or "a question about the modules"
