"""Several sessions on one project: the leader's side, and that of a follower. What is read and written here may block.

One file system stands between them, and no connection, so a process that is killed or stopped at any point leaves the others at
most without news. :mod:`lastgood.planner.following` decides what follows from them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from lastgood import watch_events
from lastgood.config import Config
from lastgood.effects import LeaderGeneration, Request
from lastgood.errors import AlreadyWatched, LastgoodError, LeaderFailed, WatchError
from lastgood.interpreters.project import Project
from lastgood.planner import State, events
from lastgood.planner.news import LeaderFailure, News
from lastgood.planner.states import Restoring, RollingBack, Running
from lastgood.sources.memo import version_digest
from lastgood.store.file_system import NoLocks, digest_of
from lastgood.store.leading import Asked, FollowerFiles, Identity, LeaderFiles, Needs, Record, Signatures
from lastgood.store.output_directory import OutputDirectory

__all__ = [
    "Answers",
    "Follower",
    "Leader",
    "ask_leader",
    "find_leader",
    "follow",
    "running_session",
]

logger = logging.getLogger(__name__)

_KEPT_ANSWERS = 64
_INTRODUCTION = 1.0
"""Seconds within which a session that has just claimed an output directory says who it is."""
_REPLACEMENT = 4.0
"""Seconds within which a leader whose files were cleaned away has made its generation anew, as a rule."""
_CHECK_INTERVAL = 0.02
_DEAD_CHECK = 0.5
"""Seconds without news after which a command looks whether the session has ended."""

_numbers = itertools.count(1)

Answers = tuple[tuple[str, bool], ...]
"""The last answers to requests, by their names. They are told together with the news that they are about."""


def identity_of(project: Project, config: Config, *, generates: bool) -> Identity:
    """Return what a session of ``project`` must have in common with those that follow it."""
    process = config.runtime.process
    # Of one environment, `lastgood` runs bin/python3 as a rule, and an app bin/python.
    own = f"{os.path.realpath(sys.executable)} ({os.path.realpath(sys.prefix)})"
    python = process.python or process.virtual_env or own
    arguments = "" if project.arguments is None else digest_of(project.arguments)
    config_file = project.files.real_path(project.config_file)
    return Identity(version_digest(), str(config_file), arguments, str(python), generates)


class Leader:
    """What the session of ``project`` tells its followers while it leads, and what these want of it.

    ``generates``: it has a ``generate`` of its own, so that none can follow it.
    """

    def __init__(self, project: Project, *, generates: bool) -> None:
        self.project = project
        self.generates = generates
        self._good: watch_events.ReloadSuccess | None = None
        self._failed: watch_events.ReloadError | None = None
        self._watched: tuple[Path, ...] = ()
        self._answers: deque[tuple[str, bool]] = deque(maxlen=_KEPT_ANSWERS)
        self._news = News(project.pid)
        self._said: tuple[News, Answers] = (self._news, ())
        self._identity: Identity | None = None
        self._told: dict[Path, tuple[Record, Signatures]] = {}
        self._problem = ""
        self._beats = 0
        self._has_lost = False
        self._followed = events.Followed(0)
        self._asked: dict[int, str] = {}  # the names of requests that are not answered yet, by ticket
        self._writing = threading.Lock()

    def note(self, event: watch_events.WatchEvent) -> None:
        """Take note of what is to be told to followers."""
        match event:
            case watch_events.ReloadSuccess():
                self._good = event
            case watch_events.ReloadError():
                self._failed = event
            case watch_events.WatchPaths(paths):
                self._watched = paths

    def events_of(self, asked: Asked, tickets: Iterator[int]) -> Iterator[events.Event]:
        """Return the events that follow from what followers want. Requests get a ticket each."""
        followed = events.Followed(asked.followers, asked.paths)
        if followed != self._followed:
            self._followed = followed
            yield followed
        for name, request in asked.requests.items():
            ticket = next(tickets)
            self._asked[ticket] = name
            yield events.REQUESTS[request](ticket)

    def answer(self, ticket: int, *, succeeded: bool) -> None:
        """Answer the request of a follower, if ``ticket`` is of one."""
        name = self._asked.pop(ticket, None)
        if name is not None:
            self._answers.append((name, succeeded))

    def to_tell(self, state: State) -> tuple[News, Answers]:
        """Return what is to be told in ``state``: the news, while a cycle is under way those from before it, and the answers."""
        return self._news_in(state), tuple(self._answers)

    def _news_in(self, state: State) -> News:
        if isinstance(state.phase, Running | RollingBack | Restoring):
            return self._news
        project, event, manifest = self.project, self._good, self.project.live_manifest
        good = None
        if event is not None and manifest is not None and state.live is not None:
            good = LeaderGeneration(
                event.cycle,
                event.generation,
                manifest.name,
                event.manual,
                event.changed,
                event.written,
                event.touched,
                event.warnings,
                event.changes,
                self._watched,
            )
        self._news = News(project.pid, good, self._failure(state))
        return self._news

    def _failure(self, state: State) -> LeaderFailure | None:
        if state.stale is None:
            return None
        error, since, event = state.stale.error, state.stale.since, self._failed
        cycle = 0 if state.live is None else state.live.cycle
        if isinstance(error, LeaderFailed):  # of a former leader, which this session has followed
            what = error.type_name, error.message, since
        else:
            what = type(error).__name__, _text(error), since
        if event is None or event.error is not error:
            return LeaderFailure(cycle, *what)
        return LeaderFailure(event.cycle, *what, event.manual, event.changed, event.effect)

    def introduce(self, config: Config) -> None:
        """Say who leads, from the moment on at which the output directory of ``config`` is claimed. Cannot fail."""
        self.introduce_as(identity_of(self.project, config, generates=self.generates), *self._said)

    def introduce_as(self, identity: Identity, news: News, answers: Answers = ()) -> None:
        """Say who leads, with the ``news`` of a former leader as long as there are no others. Cannot fail."""
        self._identity = identity
        self.tell(replace(news, pid=self.project.pid), answers)

    def tell(self, news: News, answers: Answers) -> None:
        """Write the news and the answers where followers read them, unless that was done already. Cannot fail."""
        project, self._said = self.project, (news, answers)
        if self._identity is None:
            return
        with self._writing:
            told: dict[Path, tuple[Record, Signatures]] = {}
            record = Record(self._identity, project.pid, news, dict(answers))
            for path, output in list(project.claimed.items()):
                files, known = LeaderFiles(project.files, output.home), self._told.get(path)
                with output.unreleased() as is_held:
                    if is_held and (known is None or known[0] != record or not files.is_told(known[1])):
                        try:
                            known = record, files.tell(record, None if known is None else known[1])
                        except OSError as error:
                            self._warn(f"other processes cannot follow this session: {error}")
                            continue
                if is_held and known is not None:
                    told[path] = known
            self._told = told

    def _warn(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning("%s", problem)
        self._problem = problem

    def beat(self) -> bool:
        """Give a sign of life; return False, once, if the lock was removed, so that another session may lead. Cannot fail."""
        self._beats += 1
        held = self._held()
        self.tell(*self._said)
        for files in held:
            with contextlib.suppress(OSError):
                files.beat(self._beats)
        is_news = not held and not self._has_lost
        self._has_lost = not held
        return not is_news

    def take(self) -> Asked:
        """Take the followers' requests, and return what they want; what they wanted last, if the lock was removed.

        What was told and has been removed or replaced, as by a checkout, is told again.
        """
        held = self._held()
        if not held:
            return Asked({}, self._followed.followers, self._followed.paths)
        self.tell(*self._said)
        for files in held:
            with contextlib.suppress(OSError):
                asked = files.take()
                self.project.asked_for = asked.paths
                return asked
        return Asked()

    @property
    def asked_in(self) -> frozenset[str]:
        """The directories in which followers leave what they want."""
        project = self.project
        return frozenset(str(LeaderFiles(project.files, output.home).asked) for output in project.claimed.values())

    def _held(self) -> Sequence[LeaderFiles]:
        project = self.project
        return [
            LeaderFiles(project.files, output.home) for output in list(project.claimed.values()) if output.is_held()
        ]


class Follower:
    """The side of a session of ``project`` that follows the one that holds ``output``, by its ``identity``."""

    def __init__(
        self,
        project: Project,
        output: OutputDirectory,
        identity: Identity,
        news: News,
        name: str = "",
        on_lead: Callable[[Identity, News], object] = lambda *_: None,
    ) -> None:
        self.output = output
        self._on_lead = on_lead
        self.news = news
        self._project = project
        self._identity = identity
        self._leader = LeaderFiles(project.files, output.home)
        self._files = FollowerFiles(project.files, output.home, name or _fresh_name(project))
        self._tickets: dict[str, tuple[int, Request]] = {}  # requests without an answer, by their names
        self._refused: list[int] = []  # tickets of those that could not be written
        self._paths: tuple[Path, ...] = project.extra_watch_paths

    @property
    def told_in(self) -> str:
        """The directory in which the leader tells its news."""
        return str(self._leader.told)

    def need(self, manifest: str = "") -> None:
        """Say what this follower needs: its paths, the generations of its bridges, and that of ``manifest``."""
        project = self._project
        manifests = {path.name for path in project.manifests.paths()} | ({manifest} if manifest else set())
        paths = (str(project.files.real_path(path)) for path in self._paths)
        with contextlib.suppress(OSError):  # it follows all the same
            if self._files.join(Needs(project.pid, tuple(sorted(paths)), tuple(sorted(manifests)))):
                for ticket, request in list(self._tickets.values()):  # they may have been removed
                    self._files.ask(ticket, request)

    def watch(self, paths: Iterable[Path]) -> None:
        """Have the leader watch ``paths`` as well."""
        self._paths = tuple(sorted({*self._paths, *paths}))
        self.need()

    def hear(self, now: float) -> events.Heard | events.Elected | None:
        """Read the news, or lead if nobody does. Return None if the leader has told nothing.

        Whoever gets the lock of the output directory leads; it is tried each time.
        """
        project = self._project
        try:
            project.claim(self.output.path)
        except AlreadyWatched:
            pass
        except (LastgoodError, OSError) as error:
            logger.debug("the output directory cannot be claimed: %s", error)
        else:
            self._on_lead(self._identity, self.news)  # at once: a first cycle may take long, and others want to follow
            self.leave()
            project.generation = max(project.generation, self.news.generation)
            return events.Elected(project.pid)
        self.need()
        found = self._leader.read()
        if found is None or self._identity.difference(found[0].identity, self._is_same):
            return None
        record, beat = found
        self.news = record.news
        refused, self._refused = self._refused, []
        answers = [
            *((self._tickets.pop(name)[0], ok) for name, ok in record.answers.items() if name in self._tickets),
            *((ticket, False) for ticket in refused),
        ]
        return events.Heard(record.news, now, beat, tuple(answers))

    def newer(self, good: LeaderGeneration, seconds: float = _REPLACEMENT) -> News | None:
        """Return the news in which ``good``, which is kept no more, is not the last good generation; wait for them a moment."""
        deadline = time.monotonic() + seconds
        while (found := self._leader.read()) is None or found[0].news.good == good:
            if time.monotonic() >= deadline:
                return None
            time.sleep(_CHECK_INTERVAL)
        if self._identity.difference(found[0].identity, self._is_same):
            return None
        self.news = found[0].news
        return self.news

    def ask(self, ticket: int, request: Request) -> None:
        """Leave a request for the leader."""
        self.need()
        try:
            self._tickets[self._files.ask(ticket, request)] = ticket, request
        except OSError as error:
            logger.warning("the session that leads cannot be asked: %s", error)
            self._refused.append(ticket)

    def leave(self) -> None:
        """Remove what was written for the leader."""
        self._files.leave()

    def _is_same(self, one: Path, other: Path) -> bool:
        return is_same_file(self._project, one, other)


def is_same_file(project: Project, one: Path, other: Path) -> bool:
    """Return whether two paths name one file; also if it does not exist."""
    signatures = [project.files.signature(str(path))[:2] for path in (one, other)]
    return one == other or (signatures[0] == signatures[1] != ())


def find_leader(leader: Leader, name: str = "") -> tuple[Follower | None, tuple[int, int]]:
    """Claim the output directory before the first cycle, if a session has led here before; or return the follower of the leader.

    The second value is what the numbers of this session follow, if it leads and others follow it already. Errors are left to the
    first cycle, which meets them again.
    """
    project = leader.project
    config = project.first_config()
    if config is None:
        return None, (0, 0)
    try:
        path = project.files.real_path(config.place)
        output = project.look_at(path)
        files = LeaderFiles(project.files, output.home)
        last = files.last()
        if last is None:
            return None, (0, 0)
        try:
            project.claim(path)
        except AlreadyWatched as error:
            return follow(leader, config, error, name), (0, 0)
        leader.introduce(config)
        if not files.followers():
            return None, (0, 0)
        project.generation = last.news.generation
        return None, (last.news.cycle, last.news.generation)
    except (LastgoodError, OSError):
        return None, (0, 0)


def follow(leader: Leader, config: Config, error: AlreadyWatched, name: str = "", *, wait: bool = True) -> Follower:
    """Return the follower of the session because of which ``leader`` cannot claim the output directory of ``config``.

    Raises ``error`` again if that one cannot be followed, with what differs. A session that has just begun has a moment to say
    who it is, if ``wait``.
    """
    if error.difference:
        raise error
    project = leader.project
    output = project.look_at(error.output)
    files = LeaderFiles(project.files, output.home)
    found = _introduced(files) if wait else files.read()
    if found is None:
        raise error
    record, _ = found
    identity = identity_of(project, config, generates=leader.generates)
    difference = identity.difference(record.identity, lambda one, other: is_same_file(project, one, other))
    if difference:
        raise AlreadyWatched(error.output, record.pid, difference) from None
    follower = Follower(project, output, identity, record.news, name, leader.introduce_as)
    follower.need()
    return follower


def ask_leader(project: Project, error: AlreadyWatched, request: Request) -> News | None:
    """Ask the session because of which ``error`` was raised for ``request``, and wait; return its news when it has done it.

    Return None if it has ended meanwhile. Raises ``error`` again if it is of another project, :class:`LeaderFailed` if what was
    asked for has failed, and :class:`WatchError` if it gives no sign of life for ``warm_timeout`` seconds.
    """
    if error.difference:
        raise error
    config = project.config(project.files.read)
    output = project.look_at(error.output)
    files, patience = LeaderFiles(project.files, output.home), project.settings(config).warm_timeout
    found = _introduced(files)
    if found is None:
        raise error
    asker = identity_of(project, config, generates=False)
    if not is_same_file(project, Path(asker.config_file), Path(found[0].identity.config_file)):
        raise AlreadyWatched(
            error.output, found[0].pid, asker.difference(found[0].identity, lambda *_: False)
        ) from None
    mine = FollowerFiles(project.files, output.home, _fresh_name(project))
    mine.join(Needs(project.pid))
    try:
        asked, last, since = mine.ask(1, request), found, time.monotonic()
        while True:
            found = files.read()
            if found is not None and asked in found[0].answers:
                return _outcome(found[0], succeeded=found[0].answers[asked])
            if found is not None and found != last:
                last, since = found, time.monotonic()
            if time.monotonic() - since > _DEAD_CHECK and _has_ended(project, error.output):
                return None
            if time.monotonic() - since > patience:
                raise WatchError(
                    f"The session of process {last[0].pid} has given no sign of life for {patience:g} s (warm_timeout). If it "
                    "is stopped, let it go on; if it hangs, end it."
                )
            time.sleep(_CHECK_INTERVAL)
    finally:
        mine.leave()


def running_session(project: Project) -> tuple[Record, tuple[int, ...]] | None:
    """Return what the session that leads the project tells, and the processes of its followers; None if none runs.

    Raises :class:`AlreadyWatched` if one runs that tells nothing.
    """
    path = project.files.real_path(project.config(project.files.read).place)
    output = project.look_at(path)
    if not project.files.is_file(output.home / "lock"):
        return None
    try:
        lock = project.files.lock(output.home / "lock")
    except NoLocks:
        lock = None
    if lock is not None:
        lock.release()
        return None
    files = LeaderFiles(project.files, output.home)
    found = _introduced(files)
    if found is None:
        raise AlreadyWatched(path, None)
    return found[0], tuple(sorted({needs.pid for needs in files.followers().values() if needs.pid}))


def _outcome(record: Record, *, succeeded: bool) -> News:
    if succeeded:
        return record.news
    failure = record.news.failure
    raise WatchError("The session has ended.") if failure is None else failure.error


def _has_ended(project: Project, output: Path) -> bool:
    try:
        project.claim(output)
    except AlreadyWatched:
        return False
    project.claimed.pop(output).release()
    return True


def _introduced(files: LeaderFiles) -> tuple[Record, int] | None:
    """Return what the holder of the lock tells; it has a moment to begin with that."""
    deadline = time.monotonic() + _INTRODUCTION
    while (found := files.read()) is None and time.monotonic() < deadline:
        time.sleep(_CHECK_INTERVAL)
    return found


def _fresh_name(project: Project) -> str:
    return f"{project.pid}-{next(_numbers)}-{secrets.token_hex(4)}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's error with a broken __str__
        return "<its text cannot be had>"
