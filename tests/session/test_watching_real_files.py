"""Sessions on real files: whatever an editor, a version control system or a build does to them.

Nothing here waits for time to pass. That something leads to no cycle is shown by a real edit after it: the cycle which that
edit starts is the next one, and names no other path.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.config import Config
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import Change, WatchPaths
from lastgood.wrappers import Generated
from real_project import BROKEN, DEADLINE, QUOTE, FakeFactory, RealProject, Told, assert_the_next_cycle_is_of, quote

# --- how files are saved ------------------------------------------------------------------------------------------


async def test_files_replaced_by_rename_stay_watched_however_often(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start() as session:
        await told.success()
        for version in range(20):
            project.save("pricing.py", quote(version))
            await assert_the_next_cycle_is_of(project, told, "pricing.py")
            project.configure("pricing", head=f"# {version}")
            await assert_the_next_cycle_is_of(project, told, "lastgood.toml")
        assert session.generation == 41


async def test_a_broken_save_by_rename_and_its_fix(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start() as session:
        await told.success()
        for version in range(5):
            project.save("pricing.py", BROKEN + "#" * version)
            await told.failure()
            assert session.status.stale
            project.save("pricing.py", quote(version))
            await told.success()
            assert not session.status.stale


def save_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def save_as_vim(path: Path, text: str) -> None:
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def save_by_delete(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def save_by_rename(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".tmp.1234")
    fresh.write_text(text)
    fresh.replace(path)


def save_by_link(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.swp")
    fresh.write_text(text)
    path.unlink()
    fresh.rename(path)


@pytest.mark.parametrize("save", [save_in_place, save_as_vim, save_by_delete, save_by_rename, save_by_link])
async def test_the_last_of_many_saves_is_never_missed(
    save: Callable[[Path, str], None], project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    """Half a file may be seen on the way, and fail; what counts is how it ends."""
    async with start():
        await told.success()
        for version in range(10):
            save(project.root / "pricing.py", QUOTE + f"def f{version}() -> None: ...\n")
            while f"f{version}".encode() not in project.tree()["pricing.py"]:
                await told.end()


async def test_an_edit_of_the_same_size_and_time_is_an_edit(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    path = project.root / "pricing.py"
    async with start():
        await told.success()
        for version in range(5):
            times = path.stat()
            project.save("pricing.py", quote(version % 10))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            await assert_the_next_cycle_is_of(project, told, "pricing.py")


async def test_a_touch_or_a_chmod_is_no_edit(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    path = project.root / "pricing.py"
    async with start():
        await told.success()
        for number in range(20):
            os.utime(path, (number, number))
            path.chmod(0o600 | number % 8)
            os.utime(project.config_file)
            project.save("pricing.py", QUOTE)  # the same bytes in a new file
        project.configure("pricing", head="# an edit")
        await assert_the_next_cycle_is_of(project, told, "lastgood.toml")
    assert told.changes == [project.config_file]


async def test_what_is_ignored_leads_to_no_cycle(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop")
    project.save("shop/__init__.py", QUOTE)
    ignored = [
        *("shop/__pycache__/__init__.cpython-311.pyc", "shop/.pytest_cache/v", "shop/.mypy_cache/3.11/a.json"),
        *("shop/.ruff_cache/0/x", "shop/.git/index", "shop/sub/__pycache__/deep/x.py", "__pycache__/lastgood.py"),
        *("shop/__init__.py~", "shop/.__init__.py.swp", "shop/4913", "shop/.#__init__.py", "shop/#__init__.py#"),
        *("shop/.lastgood/x", "other.py", "README.md"),
    ]
    async with start():
        await told.success()
        for number in range(5):
            for path in ignored:
                project.save(path, str(number))
        for path in ignored:
            project.remove(path)
        project.save("shop/__init__.py", quote(2))
        await assert_the_next_cycle_is_of(project, told, "shop/__init__.py")
    assert told.changes == [project.root / "shop" / "__init__.py"]


async def test_the_output_may_lie_inside_a_watched_package(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop", output="shop/generated")
    project.save("shop/__init__.py", QUOTE)
    async with start():
        assert (await told.success()).touched
        for version in range(5):
            project.save("shop/generated/foreign.txt", f"{version}")
            project.save("shop/__init__.py", QUOTE + f"def f{version}() -> None: ...\n")
            good = await told.success()
            assert (good.changed, good.cycle) == ((project.root / "shop" / "__init__.py",), version + 2)
            assert good.touched
    assert set(told.changes) == {project.root / "shop" / "__init__.py"}


async def test_a_source_may_lie_inside_the_output_directory(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop", head='python_import_path = ["generated/src"]')
    project.save("generated/src/shop.py", QUOTE)
    async with start():
        assert (await told.success()).written == (Path("__init__.py"), Path("shop.py"))
        project.save("generated/src/shop.py", quote(2))
        await assert_the_next_cycle_is_of(project, told, "generated/src/shop.py")


# --- the config and the extra paths -------------------------------------------------------------------------------


async def test_a_config_that_is_removed_and_put_back(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    text = project.config_file.read_text()
    async with start() as session:
        await told.success()
        for _ in range(3):
            project.remove("lastgood.toml")
            await told.failure()
            assert session.status.stale
            project.save("lastgood.toml", text)
            await assert_the_next_cycle_is_of(project, told, "lastgood.toml")


async def test_a_module_that_is_named_no_longer_is_watched_no_longer(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("pricing", "shop")
    project.save("shop.py", QUOTE)
    async with start():
        await told.success()
        project.configure("pricing")
        await told.success()
        assert told.watched == (project.config_file, project.root / "pricing.py")
        project.save("shop.py", quote(2))
        project.save("pricing.py", quote(2))
        await assert_the_next_cycle_is_of(project, told, "pricing.py")
    assert project.root / "shop.py" not in told.changes


async def test_another_output_directory_takes_over_and_the_former_is_emptied_of_ours(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start():
        await told.success()
        (project.output / "mine.txt").write_text("mine")
        project.configure("pricing", output="wrappers")
        good = await told.success()
        assert good.touched == good.written == (Path("__init__.py"), Path("pricing.py"))
        assert project.tree() == {"mine.txt": b"mine"}
        assert (project.root / "wrappers" / "pricing.py").exists()
        project.configure("pricing", output="generated")
        await told.success()
        assert sorted(project.tree()) == ["__init__.py", "mine.txt", "pricing.py"]
        assert not (project.root / "wrappers" / "pricing.py").exists()


async def test_a_config_that_is_a_link_is_watched_at_both_ends(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    for name in ("first", "second"):
        project.save(f"configs/{name}.toml", project.config_file.read_text() + f"# {name}\n")
    project.remove("lastgood.toml")
    project.config_file.symlink_to("configs/first.toml")
    async with start():
        await told.success()
        assert told.watched == (project.root / "configs" / "first.toml", project.root / "pricing.py")
        project.save("configs/first.toml", project.config_file.read_text() + "# edited\n")
        await assert_the_next_cycle_is_of(project, told, "configs/first.toml")
        link = project.root / ".link.swp"
        link.symlink_to("configs/second.toml")
        link.replace(project.config_file)
        await told.success()
        assert told.watched == (project.root / "configs" / "second.toml", project.root / "pricing.py")


async def test_sources_that_are_links_are_watched_where_they_lie(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    outside = RealProject(tmp_path_factory.mktemp("outside"), {"shop/__init__.py": QUOTE, "shop/deep/part.py": ""})
    project.configure("shop")
    (project.root / "shop").symlink_to(outside.root / "shop")
    async with start():
        await told.success()
        assert outside.root / "shop" in told.watched
        for path in ("shop/__init__.py", "shop/deep/part.py", "shop/new.py"):
            outside.save(path, "# edited\n")
            assert (await told.success()).changed == (outside.root / path,)


async def test_extra_paths_are_watched_too_also_before_they_exist(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    paths = ["data", "rates.csv", "later/on"]
    project.save("data/a.json", "1")
    project.save("rates.csv", "1")
    async with start(extra_watch_paths=[project.root / path for path in paths]):
        await told.success()
        assert told.watched == tuple(
            sorted([project.config_file, project.root / "pricing.py", *(project.root / path for path in paths)])
        )
        for path in ("data/a.json", "data/deep/b.json", "rates.csv", "later/on"):
            project.save(path, "2")
            await assert_the_next_cycle_is_of(project, told, path)


# --- an edit at any moment ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["create", "init", "probe", "dispose"])
async def test_an_edit_while_a_cycle_runs_leads_to_one_that_starts_after_it(
    point: str, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    async with start():
        await told.success()
        pause = factory.pause(point)
        project.save("pricing.py", quote(2))
        await pause.reached.wait()
        project.save("pricing.py", quote(3))
        while len(told.changes) < 2:
            await told.next(Change)
        pause.go()
        assert (await told.success()).cycle == 2
        await assert_the_next_cycle_is_of(project, told, "pricing.py")
    assert [cycle for kind, cycle in told.cycles if kind == "reload-start"] == [1, 2, 3]


async def test_an_edit_while_a_cycle_runs_that_nobody_has_noticed_when_it_ends(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    async with start():
        await told.success()
        factory.call("probe", lambda: project.save("pricing.py", quote(3)))
        project.save("pricing.py", quote(2))
        assert (await told.success()).cycle == 2
        await assert_the_next_cycle_is_of(project, told, "pricing.py")


async def test_an_edit_while_a_cycle_runs_and_fails(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    def edit_and_fail() -> None:
        project.save("pricing.py", quote(3))
        raise LookupError("mine")

    async with start():
        await told.success()
        factory.call("create", edit_and_fail)
        project.save("pricing.py", quote(2))
        await told.failure()
        await assert_the_next_cycle_is_of(project, told, "pricing.py")


@pytest.mark.parametrize("point", ["generate", "create", "init", "probe"])
async def test_an_edit_during_the_start_leads_to_the_second_cycle(
    point: str, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    async def generate(_: Config, stage: Path) -> Generated:
        text = await trio.Path(project.root / "pricing.py").read_text()
        await factory.pass_by("generate")
        await trio.Path(stage / "pricing.py").write_text(text)
        return Generated(("pricing.py",))

    factory.call(point, lambda: project.save("pricing.py", quote(2)))
    async with start(generate=generate):
        await told.success()
        await assert_the_next_cycle_is_of(project, told, "pricing.py")
    assert project.tree() == {"pricing.py": quote(2).encode()}


async def test_an_edit_of_a_new_module_in_the_cycle_that_takes_it_up(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    async def generate(config: Config, stage: Path) -> Generated:
        names = tuple(f"{module}.py" for module in config.modules)
        texts: dict[str, Any] = {name: await trio.Path(project.root / name).read_bytes() for name in names}
        await factory.pass_by("generate")
        for name, text in texts.items():
            await trio.Path(stage / name).write_bytes(text)
        return Generated(names)

    project.save("shop.py", quote(1))
    async with start(generate=generate):
        await told.success()
        factory.call("generate", lambda: project.save("shop.py", quote(2)))
        project.configure("pricing", "shop")
        await assert_the_next_cycle_is_of(project, told, "lastgood.toml")
        await assert_the_next_cycle_is_of(project, told, "shop.py")
    assert project.tree()["shop.py"] == quote(2).encode()


async def test_a_generator_that_kills_itself_loses_no_later_edit(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    """SystemExit fails the stage like anything else, also when that stage was the first to read the module."""
    exits = [False]

    async def generate(config: Config, stage: Path) -> Generated:
        if exits[0]:
            raise SystemExit(3)
        names = tuple(f"{module}.py" for module in config.modules)
        for name in names:
            await trio.Path(stage / name).write_text("")
        return Generated(names)

    project.save("shop.py", quote(1))
    async with start(generate=generate):
        await told.success()
        exits[0] = True
        project.configure("pricing", "shop")
        assert isinstance((await told.failure()).error, SystemExit)
        exits[0] = False
        project.save("shop.py", quote(2))
        await assert_the_next_cycle_is_of(project, told, "shop.py")


async def test_steady_edits_cannot_put_a_reload_off_beyond_max_wait(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start(debounce=3600, max_wait=0.05):
        await told.success()
        project.save("pricing.py", quote(2))
        await assert_the_next_cycle_is_of(project, told, "pricing.py")


async def test_edits_that_come_together_make_one_cycle(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    names = [f"m{number}" for number in range(20)]
    for name in names:
        project.save(f"{name}.py", QUOTE)
    project.configure(*names)
    async with start(debounce=DEADLINE, max_wait=3600) as session:
        await told.success()
        for name in names:
            project.save(f"{name}.py", quote(2))
        while len(set(told.changes)) < len(names):
            await told.next(Change)
        assert await session.reload_now()  # rather than to wait for the debounce
        await assert_the_next_cycle_is_of(project, told, *(f"{name}.py" for name in names))
        assert session.generation == 2


async def test_a_helper_that_import_statements_reach_is_watched(
    project: RealProject, told: Told, start: Callable[..., WatchProgram]
) -> None:
    project.save("helper.py", "RATE = 2\n")
    project.save("deeper.py", "X = 1\n")
    project.save("pricing.py", "def quote() -> int:\n    from helper import RATE\n    return RATE\n")
    async with start() as session:
        await told.success()
        watched = next(event for event in told.events if isinstance(event, WatchPaths))
        assert project.root / "helper.py" in watched.paths
        project.save("helper.py", "import deeper\nRATE = 3\n")
        await assert_the_next_cycle_is_of(project, told, "helper.py")
        project.save("deeper.py", "X = 2\n")
        await assert_the_next_cycle_is_of(project, told, "deeper.py")
        assert session.generation == 3
