"""The news of the session that leads a project, and a follower's knowledge of that session. Pure values."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from lastgood.effects.cycle import LeaderGeneration, Request
from lastgood.errors import LeaderFailed, WatchError

__all__ = ["Following", "LeaderFailure", "News"]


class LeaderFailure(Struct, frozen=True):
    """Why the leader's status is stale: a cycle of it that has failed, or an undo.

    ``manual``, ``changed`` and ``effect`` are those of its :class:`~lastgood.watch_events.ReloadError`, ``type_name`` and
    ``message`` those of the error. ``since``: seconds since the epoch.
    """

    cycle: int
    type_name: str
    message: str
    since: float
    manual: bool = False
    changed: tuple[Path, ...] = ()
    effect: str = "stage"

    @property
    def error(self) -> LeaderFailed:
        """A new error for the follower's own status and events."""
        return LeaderFailed(self.type_name, self.message)


class News(Struct, frozen=True):
    """The news of the leader, the session of process ``pid``: its last good generation, and why it is stale, if it is."""

    pid: int
    good: LeaderGeneration | None = None
    failure: LeaderFailure | None = None

    @property
    def cycle(self) -> int:
        """The number of the last cycle that is known of; 0 if there is none."""
        return max(0 if self.good is None else self.good.cycle, 0 if self.failure is None else self.failure.cycle)

    @property
    def generation(self) -> int:
        """The number of the last good generation; 0 if there is none."""
        return 0 if self.good is None else self.good.generation


class Following(Struct, frozen=True):
    """A follower's knowledge of its leader.

    - ``news``: the last news. ``beat`` and ``heard_at``: the number of the last sign of life, and its time (0: there was none).
    - ``silence``: the error of a leader that has given none for a while.
    - ``adopted``: cycle and generation, by the leader's numbers, of what was taken over last, or could not be.
    - ``failure``: the leader's failure of the last news that were taken note of; ``error``: it as an error.
    - ``asked``: callers whose request the leader has. ``answered``: the leader's answers, until its generation is taken over.
    """

    news: News
    beat: int = 0
    heard_at: float = 0.0
    silence: WatchError | None = None
    adopted: tuple[int, int] = (0, 0)
    failure: LeaderFailure | None = None
    error: LeaderFailed | None = None
    asked: tuple[tuple[int, Request], ...] = ()
    answered: tuple[tuple[int, bool], ...] = ()

    @property
    def is_behind(self) -> bool:
        """True if the leader has a generation that no attempt was made to take over."""
        good = self.news.good
        return good is not None and (good.cycle, good.generation) != self.adopted
