"""The other sessions on a project, under trio: what is told to them, heard of them, and asked. It blocks in threads only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import assert_never

import trio

from lastgood import effects
from lastgood.children.limits import in_thread
from lastgood.effects import LeaderGeneration
from lastgood.errors import AlreadyWatched
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.leading import Answers, Follower, Leader, find_leader, follow
from lastgood.interpreters.project import Project
from lastgood.planner import State, events
from lastgood.planner.news import News
from lastgood.sources.snapshots import Linked
from lastgood.watch_events import WatchEvent

__all__ = ["OtherSessions"]


class OtherSessions:
    """The leader's side and the follower's of one session, which is one of both at a time.

    ``report(event)`` passes an event to the planner. Requests of followers get their numbers from ``tickets``, as those of the
    session's own callers do. ``follower`` is set as long as another session leads.
    """

    def __init__(
        self, project: Project, report: Callable[[events.Event], None], tickets: Iterator[int], *, generates: bool
    ) -> None:
        self.follower: Follower | None = None
        self._project = project
        self._leader = Leader(project, generates=generates)
        project.on_claim = self._leader.introduce
        self._report = report
        self._tickets = tickets
        self._said: tuple[News, Answers] = (News(project.pid), ())
        self._has_news = trio.Event()
        self._telling = trio.CancelScope()
        self._limiter = trio.CapacityLimiter(1)

    async def find_leader(self) -> tuple[News | None, tuple[int, int]]:
        """Follow the session that leads, and return its news; None if there is none.

        The second value is what the numbers of this session follow, see :class:`~lastgood.planner.events.Started`.
        """
        self.follower, numbered = await in_thread(find_leader, self._leader, limiter=self._limiter)
        return None if self.follower is None else self.follower.news, numbered

    async def follow(self, work: CycleFiles, error: AlreadyWatched) -> News:
        """Follow the session because of which ``work`` could not claim its output directory, and return its news.

        Raises ``error`` again, or another :class:`AlreadyWatched`, if that is not possible.
        """
        live = self._project.live
        if work.config is None or (live is not None and live.path != error.output):
            raise error
        self.follower = await in_thread(follow, self._leader, work.config, error, limiter=self._limiter)
        return self.follower.news

    async def newer(self, good: LeaderGeneration) -> News | None:
        """Return the leader's news if they have another last good generation than ``good``; see :meth:`Follower.newer`."""
        assert self.follower is not None
        return await in_thread(self.follower.newer, good, limiter=self._limiter)

    async def hear(self) -> bool:
        """Report the leader's news; return whether this session leads from now on."""
        assert self.follower is not None
        event = await in_thread(self.follower.hear, time.time(), limiter=self._limiter)
        is_elected = isinstance(event, events.Elected)
        if is_elected:
            self.follower = None
        if event is not None:
            self._report(event)
        return is_elected

    async def take(self) -> None:
        """Report what followers want."""
        asked = await in_thread(self._leader.take, limiter=self._limiter)
        for event in self._leader.events_of(asked, self._tickets):
            self._report(event)

    def linked(self, linked: Linked) -> Linked:
        """Return ``linked`` with the directories in which others write for this session."""
        there = self._leader.asked_in if self.follower is None else {self.follower.told_in}
        return Linked(linked.trees, linked.alone | there)

    def note(self, event: WatchEvent) -> None:
        """Take note of what is to be told to followers."""
        self._leader.note(event)

    def answer(self, ticket: int, *, succeeded: bool) -> None:
        """Pass on the answer to a request of a follower, if ``ticket`` stands for one."""
        self._leader.answer(ticket, succeeded=succeeded)

    def tell(self, state: State) -> None:
        """Tell followers what there is to tell in ``state``."""
        if state.following is None and (said := self._leader.to_tell(state)) != self._said:
            self._said = said
            self._has_news.set()

    @trio.lowlevel.enable_ki_protection
    async def tell_news(self) -> None:
        """Write the news for followers, whenever there are some. Runs until :meth:`end`."""
        with self._telling:
            while True:
                await self._has_news.wait()
                self._has_news = trio.Event()
                await in_thread(self._leader.tell, *self._said, limiter=self._limiter)

    @trio.lowlevel.enable_ki_protection
    async def carry_out(self, command: effects.Ask | effects.Beat | effects.Arm) -> None:
        """Carry out a command that concerns other sessions."""
        follower = self.follower
        match command:
            case effects.Beat():
                if not await in_thread(self._leader.beat, limiter=self._limiter) and self.follower is None:
                    self._report(events.LockRemoved())
            case effects.Ask(ticket, request) if follower is not None:
                await in_thread(follower.ask, ticket, request, limiter=self._limiter)
            case effects.Arm(paths) if follower is not None:
                await in_thread(follower.watch, paths, limiter=self._limiter)
            case effects.Ask() | effects.Arm():  # this session has come to lead meanwhile
                pass
            case _:
                assert_never(command)

    def end(self) -> None:
        """End :meth:`tell_news`."""
        self._telling.cancel()

    def leave(self) -> None:
        """Remove what was written for a leader. It may block."""
        if self.follower is not None:
            self.follower.leave()
