"""Memoised queries: what is found out of sources is remembered in one place, in memory and on disk.

The idea is known from salsa (https://salsa-rs.github.io/salsa/overview.html) and Adapton (http://adapton.org): an answer is
stored with the inputs that were consulted for it, and stays valid as long as each of them has the same state. An answer from an
earlier session, or from before an edit that was reverted, is therefore as good as a new one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

if TYPE_CHECKING:
    from lastgood.sources.memo_on_disk import AnswersOnDisk

__all__ = ["Answer", "Memo", "Problem", "Query", "version_digest"]

KEPT_IN_A_RUN = 480_000_000
"""Maximum size, in bytes of memory as estimated, of the answers in memory."""
KEPT_BETWEEN = 60_000_000
"""The same limit between two runs."""

T = TypeVar("T")


class Problem(NamedTuple):
    """The reason why a module is broken; line and column as in :class:`.ModuleFailure`."""

    line: int | None
    message: str
    column: int | None = None


class Answer(msgspec.Struct, Generic[T], frozen=True, omit_defaults=True):
    """The answer to a query.

    ``consulted`` has the states of all modules that it depends on, including missing ones, as far as the key does not contain
    them (see :attr:`.ModuleSource.state`). ``failures`` has the problem of each broken module, by name.
    """

    found: T
    consulted: Mapping[str, str] = {}
    failures: Mapping[str, Problem] = {}


class Query(Generic[T]):
    """A kind of query. ``answer`` is the type of its answers, by which they are read from disk; None: they are not written."""

    def __init__(self, name: str, answer: type[Answer[T]] | None = None) -> None:
        self.name = name
        self.decoder = None if answer is None else msgspec.msgpack.Decoder(answer)


class Memo:
    """Remembers the answers to queries. For one thread.

    Each answer is in one place: on disk if :meth:`use` has named a file and the query's answers can be written, else in memory.
    The least recently used answers are evicted: those in memory by :data:`KEPT_IN_A_RUN` and :data:`KEPT_BETWEEN`, those on
    disk if they far outnumber those in use.

    The file lies in the user's cache directory and never in the project: wrappers are generated from the answers and imported
    by the app, and SQLite is not safe against a file that somebody else prepared. It is only a shortcut: what cannot be read,
    or is damaged, counts as missing, and a file that is not a memo is replaced.
    """

    def __init__(self) -> None:
        self._state_of: Callable[[str], str] = lambda _: ""
        self._states: dict[str, str] = {}  # of every module that was consulted for an answer, as of that answer
        self._here: dict[tuple[Hashable, ...], tuple[Answer[Any], int]] = {}
        self._size = 0
        self._file: AnswersOnDisk | None = None

    def use(self, path: Path | None, *, read_only: bool = False) -> None:
        """Remember answers in the file ``path`` from now on. With ``read_only``, nothing is written until the next call."""
        if self._file is not None and self._file.path != path:
            self.close()
        if path is not None:
            from lastgood.sources.memo_on_disk import AnswersOnDisk  # not in every app: SQLite takes a while to import

            self._file = self._file or AnswersOnDisk(path)
            self._file.is_read_only = read_only

    def begin_run(self, state_of: Callable[[str], str], changed: Iterable[str] | None = None) -> set[str]:
        """Begin a run, in which ``state_of`` returns the state of a module. Return the consulted modules that have changed.

        ``changed`` names the modules that may differ from the last run; None: any may.
        """
        self._state_of = state_of
        self._evict(KEPT_BETWEEN)
        names = self._states.keys() if changed is None else self._states.keys() & changed
        states = {name: state for name in names if (state := state_of(name)) != self._states[name]}
        self._states.update(states)
        return set(states)

    def ask(
        self, query: Query[T], key: tuple[Hashable, ...], compute: Callable[[], Answer[T]], size: int = 2_000
    ) -> Answer[T]:
        """Return the answer to ``query`` about ``key``: the remembered one if it is valid, else that of ``compute``.

        An answer with failures is not remembered. ``size`` is its size in memory, in bytes, as estimated.
        """
        answer = self.recall(query, key)
        if answer is None or any(self._state_of(name) != state for name, state in answer.consulted.items()):
            answer = compute()
            if not answer.failures:
                self._remember(query, (query.name, *key), answer, size)
        self._states.update(answer.consulted)
        return answer

    def recall(self, query: Query[T], key: tuple[Hashable, ...]) -> Answer[T] | None:
        """Return the remembered answer, whose ``consulted`` may have other states now; None if there is none."""
        place = query.name, *key
        if self._file is not None and query.decoder is not None:
            data = self._file.get(place)
            with suppress(msgspec.MsgspecError):  # data of another form
                return None if data is None else query.decoder.decode(data)
            return None
        known = self._here.pop(place, None)
        if known is None:
            return None
        self._here[place] = known  # at the end, as the one used last
        return known[0]

    def _remember(self, query: Query[T], place: tuple[Hashable, ...], answer: Answer[T], size: int) -> None:
        if self._file is not None and query.decoder is not None:
            # An answer that cannot be encoded, for example for surrogates in a docstring, is computed each time.
            with suppress(UnicodeEncodeError, RecursionError):
                self._file.put(place, _ENCODER.encode(answer))
            return
        _, former = self._here.pop(place, (None, 0))
        self._here[place] = answer, size
        self._size += size - former
        self._evict(KEPT_IN_A_RUN)

    def _evict(self, most: int) -> None:
        """Evict the least recently used answers until their size is at most ``most``, or a single one is left."""
        while self._size > most and len(self._here) > 1:
            _, size = self._here.pop(next(iter(self._here)))
            self._size -= size

    def keep(self, number: int) -> None:
        """Evict all answers in memory but the ``number`` that were used last."""
        while len(self._here) > number:
            _, size = self._here.pop(next(iter(self._here)))
            self._size -= size

    def tidy(self) -> None:
        """Write new answers to disk, and evict what need not be kept between two runs: to free its memory takes a while."""
        self._evict(KEPT_BETWEEN)
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Write new answers to disk, and close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


@functools.cache
def version_digest() -> str:
    """Return a digest of what makes wrappers: Python, and the source text of the rooms that do."""
    digest = hashlib.sha256(str(sys.version_info[:2]).encode())
    lastgood = Path(__file__).parents[1]
    for room in ("sources", "store", "wrappers"):
        # By os.walk(), because rglob() takes longer than all the reading.
        files = (os.path.join(top, name) for top, _, names in os.walk(lastgood / room) for name in names)
        for file in sorted(file for file in files if file.endswith(".py")):
            with open(file, "rb", buffering=0) as source:
                digest.update(source.read())
    return digest.hexdigest()


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
