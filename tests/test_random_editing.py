"""Scripts of edits that hypothesis writes, on a real package tree, with cycles that fail at random.

When it is quiet, what is live is what is on disk, or the status is stale and says why, and the last good is live. Edits come
in bursts, between two events of the session, so that many hit a cycle under way.

A path is not brought back to what it was within the round of bursts that changed it: a generator that reads the disk by
itself may have seen what was there between two readings, and nobody could tell.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lastgood.config import Config
from lastgood.errors import ConfigError, GenerationError, ModuleFailure, UnwatchableModule
from lastgood.session.session import Session
from lastgood.session.watch import watch
from lastgood.watch_events import Change, WatchEvent
from lastgood.wrappers import Generated
from real_project import DEADLINE

FILES = ("__init__.py", "core.py", "extra.py", "sub/__init__.py", "sub/deep.py", "sub/more/leaf.py")
DIRECTORIES = ("", "sub", "sub/more")
CONFIG = 'python_import_path = ["current"]\n[modules.pkg]\n[output]\ndir = "generated"\n'

Sources = dict[str, str]


def sources(root: Path) -> Sources:
    """What a generator sees of the disk: the config, and every source of the package or of the module it has turned into."""
    found = {"lastgood.toml": (root / "lastgood.toml").read_text()} if (root / "lastgood.toml").is_file() else {}
    package, module = root / "current" / "pkg", root / "current" / "pkg.py"
    if module.is_file() and not (package / "__init__.py").is_file():
        return found | {"pkg.py": module.read_text()}
    visited: set[str] = set()
    for directory, directories, names in os.walk(package, followlinks=True):
        visited.add(os.path.realpath(directory))
        directories[:] = sorted(
            name for name in directories if os.path.realpath(os.path.join(directory, name)) not in visited
        )
        for name in sorted(names):
            path = Path(directory, name)
            if name.endswith(".py") and path.is_file():
                found[f"pkg/{path.relative_to(package).as_posix()}"] = path.read_text()
    return found


@dataclass(eq=False)
class Attempt:
    """A cycle that got as far as to generate: the sources it saw, and why it failed."""

    seen: Sources
    error: Exception | None = None
    failures: tuple[ModuleFailure, ...] = ()


class Remembers:
    """A bridge that knows what it was made from."""

    def __init__(self, made_from: Sources) -> None:
        self.made_from = made_from
        self.disposed = False

    async def call(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()

    async def dispose(self) -> None:
        self.disposed = True
        await trio.lowlevel.checkpoint()


@dataclass(eq=False)
class Editor:
    """Somebody who edits. Every content is new: ``fresh()``. ``changed``: the paths of this round.

    The sources are in ``releases``, of which ``current`` is one.
    """

    root: Path
    contents: int = 0
    changed: set[str] = field(default_factory=set)
    factory_fails: bool = False
    factory_edits: bool = False

    def fresh(self, text: str = "value = {}\n") -> str:
        self.contents += 1
        return text.format(self.contents)

    def path(self, name: str) -> Path:
        path = self.place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.changed.add(name)
        return path

    def place(self, name: str) -> Path:
        return self.root / name if name == "lastgood.toml" else self.root / "current" / name

    def may_revert(self, *names: str) -> bool:
        """Whether what was there at the start of the round is there still, at and below ``names``."""
        return not any(each == name or each.startswith(f"{name}/") for each in self.changed for name in names)

    # --- what never brings anything back

    def write(self, place: int) -> None:
        self.path(f"pkg/{FILES[place]}").write_text(self.fresh())

    def rename_over(self, place: int) -> None:
        target = self.path(f"pkg/{FILES[place]}")
        temporary = target.with_name(f".{target.name}.swp")
        temporary.write_text(self.fresh())
        temporary.replace(target)

    def break_source(self, place: int) -> None:
        self.path(f"pkg/{FILES[place]}").write_text(self.fresh("BROKEN {}\n"))

    def make_directory(self, _: int) -> None:
        self.path(self.fresh("pkg/new{}/deeper/x.py")).write_text(self.fresh())

    def touch(self, place: int) -> None:
        path = self.place("pkg") / FILES[place]
        if path.exists():
            os.utime(path)

    def chmod(self, place: int) -> None:
        path = self.place("pkg") / FILES[place]
        if path.exists():
            path.chmod(0o600 if place % 2 else 0o644)

    def churn(self, place: int) -> None:
        """What an interpreter and an editor leave beside a source."""
        directory = self.place("pkg") / DIRECTORIES[place % 3]
        if directory.is_dir():
            (directory / "__pycache__").mkdir(exist_ok=True)
            (directory / "__pycache__" / "core.cpython-311.pyc").write_text(self.fresh())
            (directory / "core.py~").write_text(self.fresh())

    def edit_outside(self, _: int) -> None:
        """What a link may lead to."""
        self.path("outside/tool.py").write_text(self.fresh())

    def configure(self, _: int) -> None:
        self.path("lastgood.toml").write_text(self.fresh("# {}\n") + CONFIG)

    def break_config(self, _: int) -> None:
        self.path("lastgood.toml").write_text(self.fresh("broken{} = 1\n") + CONFIG)

    def fail_factory(self, _: int) -> None:
        self.factory_fails = True

    def configure_later(self, _: int) -> None:
        """While the next bridge is made, and that waits until the edit has been noticed."""
        self.factory_edits = True

    # --- what may

    def delete(self, place: int) -> None:
        name = f"pkg/{FILES[place]}"
        if self.may_revert(name) and self.place(name).exists():
            self.path(name).unlink()

    def delete_config(self, _: int) -> None:
        if self.may_revert("lastgood.toml"):
            self.path("lastgood.toml").unlink(missing_ok=True)

    def move_out(self, place: int) -> None:
        name = DIRECTORIES[place % 3]
        source, attic = self.place("pkg") / name, self.root / "attic" / (name or "pkg")
        if self.may_revert(f"pkg/{name}".rstrip("/")) and source.is_dir() and not attic.exists():
            attic.parent.mkdir(parents=True, exist_ok=True)
            source.rename(attic)
            self.changed.add(f"pkg/{name}".rstrip("/"))

    def move_in(self, place: int) -> None:
        name = DIRECTORIES[place % 3]
        target, attic = self.place("pkg") / name, self.root / "attic" / (name or "pkg")
        if self.may_revert(f"pkg/{name}".rstrip("/")) and attic.is_dir() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            attic.rename(target)
            self.changed.add(f"pkg/{name}".rstrip("/"))

    def link_file(self, place: int) -> None:
        self._link(f"pkg/alias{place % 2}.py", FILES[place])

    def link_directory(self, place: int) -> None:
        self._link(f"pkg/library{place % 2}", ("../outside", "sub", ".")[place % 3])

    def _link(self, name: str, target: str) -> None:
        if self.may_revert(name) and self.place("pkg").is_dir():
            temporary = self.place("pkg") / ".link.swp"
            temporary.symlink_to(target)
            temporary.replace(self.path(name))

    def swing(self, _: int) -> None:
        """What a deployment does: the link on the way to everything leads to another release."""
        if self.may_revert("pkg", "pkg.py", "outside"):
            link, temporary = self.root / "current", self.root / ".current.swp"
            temporary.symlink_to("releases/" + ("two" if link.readlink().name == "one" else "one"))
            temporary.replace(link)
            self.changed.update(("pkg", "pkg.py", "outside"))

    def toggle_module(self, _: int) -> None:
        """A module beside the package: it counts where the package has no ``__init__``."""
        if self.may_revert("pkg.py"):
            if self.path("pkg.py").exists():
                self.path("pkg.py").unlink()
            else:
                self.path("pkg.py").write_text(self.fresh())

    def check_out(self, branch: int) -> None:
        """What git does: some files change, others come and go, all in a moment."""
        if not self.may_revert("pkg"):
            return
        for place, name in enumerate(FILES):
            path = self.path(f"pkg/{name}")
            if (place + branch) % 3:
                path.write_text(f"value = 'of branch {branch % 2}'\n")
            else:
                path.unlink(missing_ok=True)


OPERATIONS: tuple[Callable[[Editor, int], None], ...] = (
    Editor.write,
    Editor.rename_over,
    Editor.break_source,
    Editor.make_directory,
    Editor.touch,
    Editor.chmod,
    Editor.churn,
    Editor.edit_outside,
    Editor.configure,
    Editor.break_config,
    Editor.fail_factory,
    Editor.configure_later,
    Editor.delete,
    Editor.delete_config,
    Editor.move_out,
    Editor.move_in,
    Editor.link_file,
    Editor.link_directory,
    Editor.swing,
    Editor.toggle_module,
    Editor.check_out,
)


@dataclass(frozen=True)
class Edit:
    """One operation, at a place."""

    kind: str
    place: int

    def do(self, editor: Editor) -> None:
        getattr(editor, self.kind)(self.place)


edits = st.builds(Edit, st.sampled_from([each.__name__ for each in OPERATIONS]), st.integers(0, len(FILES) - 1))
bursts = st.tuples(st.lists(edits, min_size=1, max_size=5), st.integers(0, 3))
"""Edits, and how many events of the session are waited for before the next ones, as long as some have to come."""
scripts = st.lists(st.lists(bursts, min_size=2, max_size=5), min_size=2, max_size=5)
"""Rounds of bursts. After each round it gets quiet."""

Script = list[list[tuple[list[Edit], int]]]


class Play:
    """A session while a script is played."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = root / "generated"
        self.editor = Editor(root)
        self.attempts: list[Attempt] = []
        self.noticed = trio.Event()

    async def play(self, script: Script) -> None:
        for release in ("two", "one"):
            (self.root / "releases" / release).mkdir(parents=True)
            (self.root / "current").unlink(missing_ok=True)
            (self.root / "current").symlink_to(f"releases/{release}")
            for place in range(len(FILES)):
                self.editor.write(place)
        self.editor.configure(0)
        program = watch(
            self.root / "lastgood.toml",
            create_bridge=self.create_bridge,
            generate=self.generate,
            on_event=self.on_event,
            debounce=0.01,
            max_wait=0.05,
            set_as_global=False,
        )
        async with program as session:
            events = session.events()
            for bursts in script:
                self.editor.changed.clear()
                for edits, gap in bursts:
                    for edit in edits:
                        edit.do(self.editor)
                    await self.let_pass(gap, session, events)
                await self.quiet(session, events)
                # A reading that begins now: the next round may bring back what this one has changed.
                assert await session.reload_now() is not session.status.stale
                await self.quiet(session, events)

    async def let_pass(self, gap: int, session: Session, events: AsyncIterator[WatchEvent]) -> None:
        for _ in range(gap):
            if self.is_in_step(session):
                return
            with trio.fail_after(DEADLINE):
                await anext(events)

    async def quiet(self, session: Session, events: AsyncIterator[WatchEvent]) -> None:
        """Until what is live is what is on disk. It can only get so by a cycle, and that is told."""
        passed = []
        try:
            with trio.fail_after(DEADLINE):
                while not self.is_in_step(session):
                    passed.append(await anext(events))
        except trio.TooSlowError:
            disk, seen = sources(self.root), self.attempts[-1].seen
            pytest.fail(f"never in step: {session.status}\non disk: {disk}\nattempted: {seen}\nevents: {passed}")

    def is_in_step(self, session: Session) -> bool:
        """Whether the last attempt was made from what is on disk, and everything is as its outcome demands."""
        disk, status, bridge = sources(self.root), session.status, session.bridge
        if bridge.disposed or self.written() != wrappers_of(bridge.made_from):
            return False
        config = disk.get("lastgood.toml", "")
        if not config:
            return isinstance(status.error, ConfigError) and "does not exist" in str(status.error)
        if config.startswith("broken"):
            return isinstance(status.error, ConfigError) and status.error.field == config.split()[0]
        if not self.editor.place("pkg").is_dir() and not self.editor.place("pkg.py").is_file():
            return isinstance(status.error, UnwatchableModule)
        attempt = self.attempts[-1]
        if attempt.seen != disk:
            return False
        if attempt.failures:
            return isinstance(status.error, GenerationError) and status.error.failures == attempt.failures
        if attempt.error is not None:
            return status.error is attempt.error
        return not status.stale and bool(bridge.made_from == disk)

    def written(self) -> Sources:
        """The wrappers on disk; none, when a promotion that is under way has taken one away just now."""
        try:
            return {path.relative_to(self.output).as_posix(): path.read_text() for path in self.output.rglob("*.txt")}
        except FileNotFoundError:
            return {}

    async def generate(self, _config: Config, stage: Path) -> Generated:
        """On the thread of the edits, and without a checkpoint: it sees whole bursts."""
        seen = sources(self.root)
        broken = [path for path, text in seen.items() if text.startswith("BROKEN")]
        failures = tuple(ModuleFailure("pkg", self.root / path, 1, seen[path]) for path in broken)
        self.attempts.append(Attempt(seen, failures=failures))
        for path, text in wrappers_of(seen).items():
            (stage / path).parent.mkdir(parents=True, exist_ok=True)
            (stage / path).write_text(text)
        return Generated(tuple(wrappers_of(seen)), (), failures)

    def on_event(self, event: WatchEvent) -> None:
        if isinstance(event, Change) and event.path.name == "lastgood.toml":
            self.noticed.set()

    async def create_bridge(self, _config: Config) -> Remembers:
        attempt = self.attempts[-1]
        if self.editor.factory_edits:
            self.editor.factory_edits = False
            self.noticed = trio.Event()
            self.editor.configure(0)
            with trio.fail_after(DEADLINE):
                await self.noticed.wait()
        if self.editor.factory_fails:
            self.editor.factory_fails = False
            attempt.error = ArithmeticError("the factory fails")
            raise attempt.error
        return Remembers(attempt.seen)


def wrappers_of(seen: Sources) -> Sources:
    """One for each source."""
    return {f"{path}.txt": text for path, text in seen.items()}


def play(script: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(os.path.realpath(directory))
        try:
            trio.run(Play(root).play, script)
        finally:
            shutil.rmtree(root / "attic", ignore_errors=True)


# What fails has waited for its deadline: to shrink it would take an hour.
UNSHRUNK = (Phase.explicit, Phase.generate)


@settings(max_examples=12, derandomize=True, deadline=None, database=None, phases=UNSHRUNK)
@given(scripts)
def test_when_it_is_quiet_what_is_live_is_what_is_on_disk(script: Script) -> None:
    play(script)


@pytest.mark.torture
@settings(max_examples=400, deadline=None, database=None, phases=UNSHRUNK, print_blob=True)
@given(scripts)
def test_when_it_is_quiet_what_is_live_is_what_is_on_disk_many_times_over(script: Script) -> None:
    play(script)
