"""``[watch] poll``: where no notification comes, files are read again and again; with a system that never reports anything."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from watchfiles._rust_notify import RustNotify

from lastgood.interpreters import watching
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import PollingStarted
from process_bridges import until
from real_project import QUOTE, RealProject, Told, assert_the_next_cycle_is_of, quote

Start = Callable[..., WatchProgram]

POLLED = "[watch]\npoll = 0.02\n"


class Watchers:
    """Those of the system, as far as it has any."""

    def __init__(self) -> None:
        self.open = 0
        self.started = 0

    def start(self, *arguments: object) -> Watcher:
        return Watcher(self, RustNotify(*arguments))  # type: ignore[arg-type]  # passed on as they came


class Watcher:
    def __init__(self, all_of_them: Watchers, real: RustNotify) -> None:
        self.all_of_them, self.real = all_of_them, real
        all_of_them.open += 1
        all_of_them.started += 1

    def watch(self, *arguments: object) -> object:
        return self.real.watch(*arguments)  # type: ignore[arg-type]  # passed on as they came

    def close(self) -> None:
        self.all_of_them.open -= 1
        self.real.close()


@pytest.fixture
def watchers(monkeypatch: pytest.MonkeyPatch) -> Watchers:
    found = Watchers()
    monkeypatch.setattr(watching, "RustNotify", found.start)
    return found


def configure(project: RealProject, *tables: str) -> None:
    project.configure("shop")
    project.save("lastgood.toml", "".join((project.config_file.read_text(), *tables)))


async def test_what_is_polled_starts_no_watcher_and_loses_no_edit(
    project: RealProject, start: Start, told: Told, watchers: Watchers
) -> None:
    configure(project, POLLED)
    project.save("releases/one/shop/__init__.py", QUOTE)
    project.save("releases/two/shop/__init__.py", "def two() -> None: ...\n")
    (project.root / "shop").symlink_to("releases/one/shop")
    async with start():
        await told.success()
        for version, path in enumerate(["__init__.py", "new.py", "deep/er/new.py", "new.py"]):
            project.save(f"releases/one/shop/{path}", quote(version + 3))
            await assert_the_next_cycle_is_of(project, told, f"releases/one/shop/{path}")
        project.remove("shop")
        (project.root / "shop").symlink_to("releases/two/shop")
        while b"def two(" not in project.tree().get("shop.py", b""):
            await told.end()
        configure(project, POLLED, "# edited\n")
        await assert_the_next_cycle_is_of(project, told, "lastgood.toml")
    assert watchers.started == 0
    assert not [event for event in told.events if isinstance(event, PollingStarted)], "nothing has given out"


async def test_the_config_turns_polling_on_and_off(
    project: RealProject, start: Start, told: Told, watchers: Watchers
) -> None:
    project.save("shop/__init__.py", QUOTE)
    configure(project)
    program = start()
    program.given = {**program.given, "idle_look": math.inf}
    async with program:
        await told.success()
        await until(lambda: watchers.open == 2)  # the tree, and its parent
        for version in range(2):
            configure(project, POLLED)
            await told.success()
            await until(lambda: watchers.open == 0)
            project.save("shop/__init__.py", quote(2 * version))
            await assert_the_next_cycle_is_of(project, told, "shop/__init__.py")
            configure(project)
            await told.success()
            await until(lambda: watchers.open == 2)
            project.save("shop/__init__.py", quote(2 * version + 1))
            await assert_the_next_cycle_is_of(project, told, "shop/__init__.py")
    await until(lambda: watchers.open == 0)
