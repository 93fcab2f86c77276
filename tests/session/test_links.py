"""Links on the way to what is watched, swung elsewhere and back, on real files.

No reading is made without a hint of the system, so that what is seen here has been noticed, and not found by chance.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from lastgood.session.watch import WatchProgram, watch
from lastgood.sources.listings import Listings
from real_project import DEADLINE, FakeFactory, RealProject, Told, assert_the_next_cycle_is_of

Start = Callable[..., WatchProgram]


@dataclass(frozen=True)
class Layout:
    """``link`` leads to ``one`` and is swung to ``two``; ``source``: the file that is meant, once by each.

    ``links`` are others on the way. All paths but the texts of links are relative to the project.
    """

    link: str
    one: str
    two: str
    source: tuple[str, str]
    module: str = "pricing"
    entry: str = "."
    links: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()


RELEASES = ("releases/one/src/pricing.py", "releases/two/src/pricing.py")
SHOPS = ("releases/one/shop/tax.py", "releases/two/shop/tax.py")

LAYOUTS = {
    "an entry of the import path": Layout("src", "releases/one/src", "releases/two/src", RELEASES, entry="src"),
    "the parent of an entry": Layout("current", "releases/one", "releases/two", RELEASES, entry="current/src"),
    "an ancestor, with a way up in its text": Layout(
        "deep/er/current", "../../releases/one", "../../releases/two", RELEASES, entry="deep/er/current/src"
    ),
    "the nearest of two on the way": Layout(
        "src", "current/one/src", "current/two/src", RELEASES, entry="src", links={"current": "releases"}
    ),
    "the farthest of two on the way": Layout(
        "current", "releases/one", "releases/two", RELEASES, entry="src", links={"src": "current/src"}
    ),
    "the end of a chain, in another directory": Layout(
        "channels/stable",
        "../releases/one",
        "../releases/two",
        RELEASES,
        entry="current/src",
        links={"current": "channels/stable"},
    ),
    "a module": Layout("pricing.py", *RELEASES, RELEASES),
    "a package": Layout("shop", "releases/one/shop", "releases/two/shop", SHOPS, module="shop.tax"),
    "what a package leads to by another": Layout(
        "current", "releases/one", "releases/two", SHOPS, module="shop.tax", links={"shop": "current/shop"}
    ),
    "a directory inside of a package": Layout(
        "shop/parts",
        "../releases/one/shop",
        "../releases/two/shop",
        SHOPS,
        module="shop.parts.tax",
        others=("shop/__init__.py",),
    ),
    "what a directory inside of a package leads to by another": Layout(
        "current",
        "releases/one",
        "releases/two",
        SHOPS,
        module="shop.parts.tax",
        links={"shop/parts": "../current/shop"},
        others=("shop/__init__.py",),
    ),
    "a file inside of a package": Layout(
        "shop/tax.py", "../" + SHOPS[0], "../" + SHOPS[1], SHOPS, module="shop.tax", others=("shop/__init__.py",)
    ),
    "what a file inside of a package leads to by another": Layout(
        "current",
        "releases/one",
        "releases/two",
        SHOPS,
        module="shop.tax",
        links={"shop/tax.py": "../current/shop/tax.py"},
        others=("shop/__init__.py",),
    ),
    "a mounted ConfigMap": Layout(
        "mount/..data",
        "..2026_01",
        "..2026_02",
        ("mount/..2026_01/pricing.py", "mount/..2026_02/pricing.py"),
        entry="mount",
        links={"mount/pricing.py": "..data/pricing.py"},
    ),
    "a mounted ConfigMap that is a package": Layout(
        "shop/..data",
        "..2026_01",
        "..2026_02",
        ("shop/..2026_01/tax.py", "shop/..2026_02/tax.py"),
        module="shop.tax",
        links={"shop/tax.py": "..data/tax.py"},
    ),
}


def source(version: str) -> str:
    return f"def {version}() -> None: ...\n"


def swing_by_rename(link: Path, target: str) -> None:
    fresh = link.with_name(f".{link.name}.swp")
    fresh.symlink_to(target)
    os.replace(fresh, link)


def swing_by_unlink(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def lay_out(project: RealProject, layout: Layout) -> None:
    project.remove("pricing.py")
    project.configure(layout.module, head=f'python_import_path = ["{layout.entry}"]')
    for path, version in zip(layout.source, ("first", "second"), strict=True):
        project.save(path, source(version))
    for path in layout.others:
        project.save(path, "")
    for path, target in {**layout.links, layout.link: layout.one}.items():
        (project.root / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / path).symlink_to(target)


def hinted(program: WatchProgram) -> WatchProgram:
    """Let nothing be read without a hint."""
    program.given = {**program.given, "idle_look": math.inf}
    return program


async def live(project: RealProject, told: Told, layout: Layout, version: str) -> tuple[Path, ...]:
    """Wait until the wrapper of that version is live; return what led to that cycle."""
    wrapper = f"{layout.module.replace('.', '/')}.py"
    changed: tuple[Path, ...] = ()
    with trio.fail_after(DEADLINE / 3):
        while f"def {version}(" not in project.tree().get(wrapper, b"").decode():
            end = await told.end()
            changed = end.changed
    return changed


@pytest.mark.parametrize("swing", [swing_by_rename, swing_by_unlink])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
async def test_a_link_that_is_swung_is_an_edit(
    layout: Layout, swing: Callable[[Path, str], None], project: RealProject, start: Start, told: Told
) -> None:
    lay_out(project, layout)
    link = project.root / layout.link
    one, two = (project.root / path for path in layout.source)
    async with hinted(start()):
        await told.success()
        assert is_watched(one, told)
        swing(link, layout.two)
        assert link in await live(project, told, layout, "second")
        assert is_watched(two, told)
        assert not is_watched(one, told) or one.is_relative_to(project.root / "shop")
        project.save(layout.source[1], source("third"))
        assert await live(project, told, layout, "third") == (two,)
        project.save(layout.source[0], source("fourth"))
        project.save(layout.source[1], source("fifth"))
        changed = await live(project, told, layout, "fifth")
        assert changed == (two,) or one.is_relative_to(project.root / "shop")
        swing(link, layout.one)
        assert link in await live(project, told, layout, "fourth")
        project.save(layout.source[0], source("sixth"))
        assert await live(project, told, layout, "sixth") == (one,)


def is_watched(path: Path, told: Told) -> bool:
    return any(path.is_relative_to(each) for each in told.watched)


# --- the config file, extra paths, and what Python does not import --------------------------------------------------


async def test_a_config_that_is_reached_by_a_link_belongs_to_what_the_link_leads_to(
    project: RealProject, factory: FakeFactory, told: Told
) -> None:
    for version in ("one", "two"):
        project.save(
            f"releases/{version}/lastgood.toml", f"# {version}\n[modules.pricing]\n[output]\ndir = 'generated'\n"
        )
        project.save(f"releases/{version}/pricing.py", source(version))
    link = project.root / "current"
    link.symlink_to("releases/one")
    program = watch(link / "lastgood.toml", create_bridge=factory.create_bridge, on_event=told, debounce=0.01)
    async with hinted(program):
        await told.success()
        swing_by_rename(link, "releases/two")
        good = await told.success()
        assert link in good.changed
        assert told.watched == tuple(project.root / "releases/two" / name for name in ("lastgood.toml", "pricing.py"))
        assert "def two(" in (project.root / "releases/two/generated/pricing.py").read_text()
        project.save("releases/two/lastgood.toml", "[modules]\n[output]\ndir = 'generated'\n")
        await assert_the_next_cycle_is_of(project, told, "releases/two/lastgood.toml")


async def test_an_extra_path_is_watched_where_a_link_leads_to(project: RealProject, start: Start, told: Told) -> None:
    for version in ("one", "two"):
        project.save(f"releases/{version}/data/rates.csv", version)
    link = project.root / "current"
    link.symlink_to("releases/one")
    async with hinted(start(extra_watch_paths=[link / "data"])):
        await told.success()
        swing_by_rename(link, "releases/two")
        assert link in (await told.success()).changed
        assert project.root / "releases/two/data" in told.watched
        project.save("releases/one/data/rates.csv", "no more")
        project.save("releases/two/data/more/rates.csv", "more")
        await assert_the_next_cycle_is_of(project, told, "releases/two/data/more/rates.csv")


async def test_a_link_that_leads_nowhere_fails_a_cycle_and_is_mended_by_another(
    project: RealProject, start: Start, told: Told
) -> None:
    layout = LAYOUTS["the parent of an entry"]
    lay_out(project, layout)
    link = project.root / layout.link
    async with hinted(start()) as session:
        await told.success()
        swing_by_rename(link, "releases/three")
        assert link in (await told.failure()).changed
        assert session.status.stale
        project.save("releases/three/src/pricing.py", source("third"))
        assert await live(project, told, layout, "third")
        swing_by_rename(link, "nowhere")
        await told.failure()
        swing_by_rename(link, layout.two)
        assert link in await live(project, told, layout, "second")


async def test_in_a_package_that_is_a_link_what_python_does_not_import_is_no_edit(
    project: RealProject, start: Start, told: Told
) -> None:
    lay_out(project, LAYOUTS["a package"])
    async with hinted(start()):
        await told.success()
        project.save("releases/one/shop/notes.txt", "no source")
        project.save("releases/one/shop/tax.py", source("second"))
        await assert_the_next_cycle_is_of(project, told, "releases/one/shop/tax.py")


async def test_data_that_a_package_leads_to_is_watched_there(project: RealProject, start: Start, told: Told) -> None:
    project.configure("shop")
    text = project.config_file.read_text()
    project.save("lastgood.toml", f'{text}[watch]\ninclude = ["shop/rates.csv"]\n')
    project.save("shop/__init__.py", "")
    for version in ("one", "two"):
        project.save(f"data/{version}/rates.csv", version)
    (project.root / "shop/rates.csv").symlink_to("../data/one/rates.csv")
    async with hinted(start()):
        await told.success()
        swing_by_rename(project.root / "shop/rates.csv", "../data/two/rates.csv")
        assert project.root / "shop/rates.csv" in (await told.success()).changed
        project.save("data/two/rates.csv", "edited")
        await assert_the_next_cycle_is_of(project, told, "data/two/rates.csv")


# --- what is read, and what a worker sees of it ---------------------------------------------------------------------


async def test_what_was_found_before_a_swing_is_not_mixed_with_what_is_found_after_it(
    project: RealProject, start: Start, factory: FakeFactory, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is swung between two directories that it leads to. Both releases are watched then, since the last one failed."""
    for version in ("one", "two"):
        project.save(f"releases/{version}/src/pricing.py", source(version))
        project.save(f"releases/{version}/lib/shop.py", source(version))
    project.configure("pricing", "shop", head='python_import_path = ["current/src", "current/lib"]')
    link = project.root / "current"
    link.symlink_to("releases/one")
    real_path = Listings.real_path

    def swing_and_resolve(self: Listings, path: str) -> str:
        if path == str(link / "lib"):
            monkeypatch.setattr(Listings, "real_path", real_path)
            swing_by_rename(link, "releases/two")
        return real_path(self, path)

    async with hinted(start()):
        await told.success()
        factory.fail("create", LookupError())
        swing_by_rename(link, "releases/two")
        await told.failure()
        monkeypatch.setattr(Listings, "real_path", swing_and_resolve)
        swing_by_rename(link, "releases/one")
        assert link in (await told.success()).changed
        assert all("def two(" in project.tree()[f"{name}.py"].decode() for name in ("pricing", "shop"))


async def test_a_worker_runs_what_the_link_led_to_and_names_its_files_as_python_does(
    project: RealProject, told: Told
) -> None:
    for version in ("one", "two"):
        project.save(f"releases/{version}/late.py", f"VERSION = {version!r}\n")
        text = f"def where() -> list[str]:\n    import late\n    return [{version!r}, late.VERSION, __file__]\n"
        project.save(f"releases/{version}/pricing.py", text)
    project.configure("pricing", head='python_import_path = ["current"]')
    link = project.root / "current"
    link.symlink_to("releases/one")
    with trio.fail_after(DEADLINE):
        async with hinted(watch(project.config_file, on_event=told, debounce=0.01)) as session:
            await told.success()
            for version in ("two", "one"):
                swing_by_rename(link, f"releases/{version}")
                assert link in (await told.success()).changed
                found = await session.handle.call("pricing", "where")
                assert found == [version, version, str(link / "pricing.py")]
            project.save("releases/two/pricing.py", "def where(:\n")
            swing_by_rename(link, "releases/two")
            await told.failure()
            assert (await session.handle.call("pricing", "where"))[:2] == ["one", "one"]
