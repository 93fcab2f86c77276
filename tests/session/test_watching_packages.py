"""Packages and directories under a session, on real files: made, nested, copied in, deleted, replaced."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from lastgood.errors import UnwatchableModule
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import BridgeRestored, Change
from real_project import DEADLINE, QUOTE, RealProject, Told, assert_the_next_cycle_is_of, quote


async def test_a_package_is_watched_as_a_tree(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop", "shop.tax.rates")
    files = ["shop/__init__.py", "shop/cart.py", "shop/tax/__init__.py", "shop/tax/rates.py", "shop/tax/rates.pyi"]
    for path in files:
        project.save(path, "")
    async with start():
        await told.success()
        assert told.watched == (project.config_file, project.root / "shop", project.root / "shop" / "tax" / "rates.py")
        for path in [*files, "shop/new.py", "shop/tax/new.py"]:
            project.save("shop/data/vat.json", path)  # what Python does not import is no source
            project.save(path, "# edited\n")
            await assert_the_next_cycle_is_of(project, told, path)
        project.remove("shop/new.py")
        await assert_the_next_cycle_is_of(project, told, "shop/new.py")
    assert sorted(project.tree()) == ["__init__.py", "shop/__init__.py", "shop/tax/__init__.py", "shop/tax/rates.py"]


async def test_what_include_names_counts_and_what_ignore_names_does_not(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop")
    rules = '[watch]\ninclude = ["data/**"]\nignore = ["_version.py", "shop/data/*.log"]\n'
    project.save("lastgood.toml", project.config_file.read_text() + rules)
    project.save("shop/__init__.py", "from shop import _version\n")
    project.save("shop/_version.py", "")
    project.save("shop/data/vat.json", "{}")
    async with start():
        await told.success()
        for path in ("shop/_version.py", "shop/data/errors.log", "shop/notes.txt"):
            project.save(path, "# written\n")
        project.save("shop/data/vat.json", "{...}")
        await assert_the_next_cycle_is_of(project, told, "shop/data/vat.json")


async def test_a_source_that_is_ignored_is_pinned_all_the_same(project: RealProject, told: Told) -> None:
    project.save("lastgood.toml", project.config_file.read_text() + '[watch]\nignore = ["rates.py"]\n')
    project.save("rates.py", "VAT = 1\n")
    project.save("pricing.py", "import rates\ndef quote() -> int:\n    return rates.VAT\n")
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=told, debounce=0.01) as session:
            project.save("rates.py", "VAT = 2\n")
            project.save("pricing.py", project.root.joinpath("pricing.py").read_text() + "# edited\n")
            await told.success()
            assert (await told.success()).changed == (project.root / "pricing.py",)
            assert await session.handle.call("pricing", "quote") == 2
            project.save("rates.py", "VAT = 3\n")
            os.kill(session.bridge.pid, signal.SIGKILL)
            await told.next(BridgeRestored)
            assert await session.handle.call("pricing", "quote") == 2


async def test_nested_directories_made_while_watching_are_picked_up(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop")
    project.save("shop/__init__.py", "")
    async with start():
        await told.success()
        for number in range(15):
            path = f"shop/a{number}/b/c/d/new.py"
            project.save(path, "")
            await assert_the_next_cycle_is_of(project, told, path)
            project.save(path, "# edited\n")
            await assert_the_next_cycle_is_of(project, told, path)


async def test_a_big_tree_that_is_copied_in_is_seen_whole(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project.configure("shop")
    project.save("shop/__init__.py", "")
    outside = tmp_path_factory.mktemp("outside")
    expected = set()
    for directory in range(20):
        for number in range(10):
            path = Path(f"d{directory}/e/m{number}.py")
            (outside / path).parent.mkdir(parents=True, exist_ok=True)
            (outside / path).write_text(f"x = {number}\n")
            expected.add(project.root / "shop" / "big" / path)
    async with start():
        await told.success()
        await trio.to_thread.run_sync(shutil.copytree, outside, project.root / "shop" / "big")
        while not expected <= set(told.changes):
            await told.next(Change)


@pytest.mark.parametrize("init", [None, "one", "two"], ids=["no __init__", "in the first", "in the second"])
async def test_every_root_of_a_namespace_package_is_watched(
    init: str | None, project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop", head='python_import_path = ["one", "two", "three"]')
    for root in ("one", "two"):
        project.save(f"{root}/shop/part_{root}.py", "")
    if init is not None:
        project.save(f"{init}/shop/__init__.py", QUOTE)
    async with start():
        await told.success()
        assert told.watched == (project.config_file, project.root / "one" / "shop", project.root / "two" / "shop")
        for root in ("one", "two"):
            project.save(f"{root}/shop/part_{root}.py", "# edited\n")
            await assert_the_next_cycle_is_of(project, told, f"{root}/shop/part_{root}.py")
        project.save("three/shop/part_three.py", "")
        await assert_the_next_cycle_is_of(project, told, "three/shop/part_three.py")
        assert project.root / "three" / "shop" in told.watched
        project.save("three/shop/part_three.py", "# edited\n")
        await assert_the_next_cycle_is_of(project, told, "three/shop/part_three.py")


async def test_an_init_that_comes_and_goes_in_a_namespace_package(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop")
    project.save("shop/part.py", "")
    async with start():
        await told.success()
        assert b"quote" not in project.tree()["shop.py"]
        project.save("shop/__init__.py", QUOTE)
        await assert_the_next_cycle_is_of(project, told, "shop/__init__.py")
        assert b"quote" in project.tree()["shop.py"]
        project.remove("shop/__init__.py")
        await assert_the_next_cycle_is_of(project, told, "shop/__init__.py")
        assert b"quote" not in project.tree()["shop.py"]


async def test_a_module_becomes_a_package_and_a_module_again(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start():
        await told.success()
        project.save("pricing/__init__.py", "def packaged() -> None: ...\n")  # goes before the module file
        await assert_the_next_cycle_is_of(project, told, "pricing/__init__.py")
        assert b"packaged" in project.tree()["pricing.py"]
        assert project.root / "pricing" in told.watched
        project.remove("pricing.py")
        await assert_the_next_cycle_is_of(project, told, "pricing.py")
        project.save("pricing/more.py", "")
        await assert_the_next_cycle_is_of(project, told, "pricing/more.py")

        project.save("pricing.py", QUOTE)
        await assert_the_next_cycle_is_of(project, told, "pricing.py")
        assert b"packaged" in project.tree()["pricing.py"]
        (project.root / "pricing").rename(project.root / "gone")
        await told.success()
        assert b"quote" in project.tree()["pricing.py"]
        assert told.watched == (project.config_file, project.root / "pricing.py")
        project.save("pricing.py", quote(3))
        await assert_the_next_cycle_is_of(project, told, "pricing.py")


async def test_a_root_directory_that_is_deleted_and_made_again(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop")
    project.save("shop/__init__.py", QUOTE)
    async with start() as session:
        await told.success()
        for version in range(5):
            (project.root / "shop").rename(project.root / f"gone{version}")
            assert isinstance((await told.failure()).error, UnwatchableModule)
            assert session.status.stale
            fresh = project.root / f"fresh{version}"
            project.save(f"fresh{version}/__init__.py", quote(version))
            fresh.rename(project.root / "shop")
            await assert_the_next_cycle_is_of(project, told, "shop/__init__.py")
            project.save("shop/deep/part.py", f"# {version}\n")
            good = await told.success()
            assert project.root / "shop" / "deep" / "part.py" in good.changed


async def test_a_root_directory_whose_parents_are_deleted_too(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop", head='python_import_path = ["src/python"]')
    project.save("src/python/shop/__init__.py", QUOTE)
    async with start():
        await told.success()
        shutil.rmtree(project.root / "src")
        await told.failure()
        project.save("src/python/shop/__init__.py", quote(1))
        while (await told.end()).type == "reload-error":
            pass  # the removal may have been seen in two steps
        project.save("src/python/shop/__init__.py", quote(2))
        await assert_the_next_cycle_is_of(project, told, "src/python/shop/__init__.py")


async def test_a_tree_that_is_replaced_as_by_a_checkout(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("shop")
    project.save("shop/__init__.py", QUOTE)
    project.save("shop/old.py", "")
    async with start():
        await told.success()
        project.save("branch/__init__.py", QUOTE + "def of_branch() -> None: ...\n")
        project.save("branch/new.py", "")
        shop = project.root / "shop"
        shop.rename(project.root / "master")
        (project.root / "branch").rename(shop)
        while b"of_branch" not in project.tree()["shop.py"]:
            await told.end()
        assert {shop / "__init__.py", shop / "old.py", shop / "new.py"} <= set(told.changes)


async def test_a_missing_module_that_appears(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start():
        await told.success()
        project.configure("pricing", "a.b.c")
        failed = await told.failure()
        assert isinstance(failed.error, UnwatchableModule)
        assert failed.error.module == "a.b.c"
        project.save("a/b/c.py", QUOTE)
        await assert_the_next_cycle_is_of(project, told, "a/b/c.py")
        project.save("a/b/c.py", quote(3))
        await assert_the_next_cycle_is_of(project, told, "a/b/c.py")
    assert "a/b/c.py" in project.tree()


async def test_a_module_that_would_be_found_first_takes_over_when_it_appears(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("pricing", head='python_import_path = ["first", "."]')
    async with start():
        await told.success()
        project.save("first/pricing.py", "def of_first() -> None: ...\n")
        await assert_the_next_cycle_is_of(project, told, "first/pricing.py")
        assert b"of_first" in project.tree()["pricing.py"]
        project.remove("first/pricing.py")
        await assert_the_next_cycle_is_of(project, told, "first/pricing.py")
        assert b"quote" in project.tree()["pricing.py"]
