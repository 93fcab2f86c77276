"""A ``.lastgood/`` that somebody has committed gets the next command to generate anew, and to nothing else."""

from __future__ import annotations

import errno
import json
import marshal
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

import lastgood
from lastgood.bridges.worker.manifest import Damaged, Manifest
from lastgood.config import load_config
from lastgood.errors import ConfigError, NothingToUndo
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Project
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.store.file_system import Claim, Stat, digest_of
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting
from lastgood.store.trees import read_sealed, write_sealed
from lastgood.store.user_key import cache_directory
from real_project import QUOTE, FakeFactory
from victim import PLANTED, PRECIOUS, Entry, Forgery, Victim, content, dangling, directory, fifo, hard_link, huge, link


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path)


# --- each kind of file, forged in turn


def entry(operation: str, path: str, **others: object) -> Entry:
    return {"operation": operation, "path": path, **others}


OPERATIONS = ("WriteFile", "ReplaceFile", "RemoveFile", "SetAside", "MakeDirectory", "RemoveDirectory", "Teleport")
PATHS = ("absolute", "link/precious", "", ".", "a\0b", "sub/../mine.py")


def forged_journal(operation: str, path: str) -> Forgery:
    def forge(victim: Victim) -> None:
        os.symlink(victim.outside, victim.project.output / "link")
        absolute = str(victim.outside / "precious") if path == "absolute" else path
        victim.journal(entry(operation, absolute, digest=digest_of(PRECIOUS), to="../../outside/precious"))

    return forge


def deep_directories(victim: Victim) -> None:
    """Deeper than Python recurses."""
    here = os.open(victim.home, os.O_RDONLY)
    for name in ("stage-1", *(["d"] * 1200)):
        os.mkdir(name, dir_fd=here)
        here, above = os.open(name, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)


def long_directories(victim: Victim) -> None:
    """Deeper than the system takes paths."""
    here = os.open(victim.home, os.O_RDONLY)
    for name in ("stage-1", ".0", *(["d" * 200] * 60)):
        os.mkdir(name, dir_fd=here)
        os.close(os.open("file", os.O_CREAT, dir_fd=here))
        here, above = os.open(name, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)


def former(victim: Victim) -> None:
    """A manifest that has another directory emptied, whose own manifest names all that lies there."""
    files = {"precious": digest_of(PRECIOUS)}
    other = victim.outside.parent / ".lastgood" / "outside" / "manifest.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"version": 1, "files": files}))
    told = {"former": str(victim.outside), "former_manifest": digest_of(other.read_bytes())}
    victim.commit("manifest.json", {"version": 1, "files": {}, **told})


def a_cache(victim: Victim) -> None:
    """SQLite of an earlier version's place, with a trigger."""
    database = sqlite3.connect(victim.home / "cache")
    database.executescript(
        "CREATE TABLE answers (key TEXT PRIMARY KEY, digest BLOB, data BLOB, used INTEGER) WITHOUT ROWID;"
        "CREATE TRIGGER t AFTER INSERT ON answers BEGIN DELETE FROM answers; END; PRAGMA user_version = 1;"
    )
    database.close()


OWN = (
    "lock",
    "pid",
    "manifest.json",
    "journal.json",
    "journal.new",
    "journal.unverified",
    "undo-request",
    "manifest.json.new",
    "../.gitignore",
)
DIRECTORIES = (
    "backup",
    "backup.unverified",
    "kept",
    "stage-1",
    "generations",
    "generations/objects",
    "generations/manifests",
    "generations/code",
)
HISTORY = "generations/history.json"
MANIFEST = {"version": 1, "files": {"mine.py": digest_of(PRECIOUS), "../../outside/precious": digest_of(PRECIOUS)}}

FORGED: Mapping[str, Forgery] = {
    **{f"{each} outside": forged_journal(each, "../../outside/precious") for each in OPERATIONS},
    **{f"{each} of what is not ours": forged_journal(each, "mine.py") for each in OPERATIONS},
    **{f"ReplaceFile {path!r}": forged_journal("ReplaceFile", path) for path in PATHS},
    "stage elsewhere": lambda victim: victim.journal(
        entry("WriteFile", "mine.py", digest=digest_of(PRECIOUS)), stage="../.."
    ),
    "manifest": content("manifest.json", MANIFEST),
    "former": former,
    "history": content(
        HISTORY, {"version": 1, "good": [{"manifest": "../../../../outside/precious", "generation": 1, "at": 1}]}
    ),
    **{f"{name} is a link": link(name, "precious") for name in (*OWN, HISTORY, "cache")},
    **{
        f"{name} is a hard link": hard_link(name)
        for name in ("lock", "manifest.json", "journal.json", "pid", "undo-request")
    },
    **{f"{name} is a FIFO": fifo(name) for name in (*OWN, HISTORY, "cache", *DIRECTORIES)},
    **{f"{name} is a directory": directory(name) for name in (*OWN, HISTORY, "cache")},
    **{f"{name} is a link to a directory": link(name) for name in DIRECTORIES},
    **{f"{name} is huge": huge(name) for name in ("manifest.json", "journal.json", "pid", HISTORY)},
    **{f"{name} is a link to nowhere": dangling(name) for name in ("lock", "pid", "kept", "stage-1")},
    "the pid of a stranger": content("pid", b"1\n"),
    "a lock that names a stranger": content("lock", b"1\n"),
    "an object that is somebody's file": hard_link(f"generations/objects/{digest_of(PRECIOUS)}"),
    "a manifest that is a link": link(f"generations/manifests/{digest_of(PRECIOUS)}", "precious"),
    **{f"{name} for Python": content(name, PLANTED) for name in ("sitecustomize.py", "evil.pth", "__init__.py")},
    "deep JSON": content("manifest.json", b"[" * 100_000),
    "deep directories": deep_directories,
    "long directories": long_directories,
    "a cache": a_cache,
    "a damaged cache": content("cache", b"SQLite format 3\0" + bytes(100)),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_what_is_forged_changes_nothing_but_what_is_generated(victim: Victim, forge: Forgery) -> None:
    forge(victim)
    before = victim.untouched()
    for command, status in (("plan", 0), ("history", 0), ("undo", 1), ("generate", 0)):
        done = victim.run(command)
        assert done.exit_code == status, f"{command}: {done.output}"
        assert victim.untouched() == before, command
        assert not (victim.home / "executed").exists(), command
    assert b"async def quote" in victim.project.tree()["pricing.py"]


def test_as_many_are_tried_as_the_documentation_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"
    assert f"| {len(FORGED)} attacks, each before" in page.read_text(encoding="utf-8")


async def test_a_session_starts_anew_beside_it_all(victim: Victim, factory: FakeFactory) -> None:
    victim.journal(entry("ReplaceFile", "mine.py", digest=digest_of(PRECIOUS)))
    victim.commit("manifest.json", MANIFEST)
    victim.commit(HISTORY, {"version": 1, "good": [{"manifest": "one", "generation": 1, "at": 1}]})
    victim.commit("undo-request", b"")
    before = victim.untouched()
    async with lastgood.watch(victim.project.config_file, create_bridge=factory.create_bridge) as session:
        assert session.generation == 1
        assert not await session.undo()
        assert isinstance(session.status.error, NothingToUndo)
    assert victim.untouched() == before


# --- what is genuine, but not this user's


def test_what_another_user_has_made_and_committed_is_not_brought_back(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of it is as lastgood writes it, at this very path; an undo would run it."""
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
        victim.project.save("pricing.py", PLANTED.decode() + QUOTE)
        assert victim.run("generate").exit_code == 0
        victim.project.save("pricing.py", QUOTE)
        assert victim.run("generate").exit_code == 0
        assert "mine" not in victim.run("history").output
    assert "No good generation" in victim.run("history").output
    assert victim.run("undo").exit_code == 1
    assert victim.run("generate").exit_code == 0


def test_a_sealed_file_is_none_in_another_place(tmp_path: Path) -> None:
    write_sealed(Disk(), tmp_path / "manifest.json", b"{}")
    (tmp_path / "journal.json").write_bytes((tmp_path / "manifest.json").read_bytes())
    assert read_sealed(Disk(), tmp_path / "manifest.json") == b"{}"
    assert read_sealed(Disk(), tmp_path / "journal.json") is None


def test_a_promotion_that_was_cut_short_before_the_key_was_lost_is_made_anew(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (victim.project.output / "mine.py").unlink()
    promoting = cut_short(victim)
    assert promoting.promotion.operations
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
    assert victim.run("generate").exit_code == 0
    assert "does not have this user's seal" in caplog.text
    assert b"code: str" in victim.project.tree()["pricing.py"]
    assert victim.project.leftovers() == []


def broken(victim: Victim, _: pytest.MonkeyPatch) -> None:
    victim.project.save("pricing.py", "def (")


def unwritable(victim: Victim, patch: pytest.MonkeyPatch) -> None:
    """The promotion fails after it has changed wrappers."""
    victim.project.save("pricing.py", QUOTE.replace("sku", "number"))
    write = Disk.write

    def fail(self: Disk, path: Path, data: bytes) -> None:
        if path == victim.home / "manifest.json.new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(self, path, data)

    patch.setattr(Disk, "write", fail)


@pytest.mark.parametrize("harm", [broken, unwritable], ids=lambda each: each.__name__)
def test_a_promotion_that_was_cut_short_is_undone_when_the_key_is_back(
    victim: Victim, tmp_path: Path, harm: Callable[[Victim, pytest.MonkeyPatch], None]
) -> None:
    (victim.project.output / "mine.py").unlink()
    assert victim.run("generate").exit_code == 0
    before = victim.project.tree()
    cut_short(victim)
    mixed = victim.project.tree()
    assert mixed != before
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
            harm(victim, patch)
            assert victim.run("generate").exit_code == 1
        assert victim.project.tree() == mixed
    OutputDirectory.claim(Disk(), victim.project.output, 1).release()
    assert victim.project.tree() == before
    assert victim.project.leftovers() == []


# --- what is this user's own, and was tampered with after a kill


def cut_short(victim: Victim) -> Promoting:
    """A promotion that was killed before its commit."""
    assert victim.run("generate").exit_code == 0
    victim.project.save("pricing.py", QUOTE.replace("sku", "code"))
    work = CycleFiles(project_of(victim), 1)
    work.resolve()
    output = work.claim()
    work.accept(work.generate())
    work.keep()
    work.promote()
    output.lock.release()
    assert work.promoting is not None
    return work.promoting


def project_of(victim: Victim) -> Project:
    return Project(Disk(), victim.project.config_file, (), load_config, worker_interpreter, os.getpid())


def test_a_backup_that_was_exchanged_is_not_put_back(victim: Victim) -> None:
    cut_short(victim)
    for backup in (victim.home / "backup").glob("[0-9]*"):
        backup.unlink()
        backup.write_bytes(PLANTED)
    assert victim.run("generate").exit_code == 0
    assert PLANTED not in victim.project.tree().values()


def test_a_link_on_the_way_is_not_followed_when_a_journal_is(victim: Victim) -> None:
    victim.project.configure("shop.pricing")
    victim.project.save("shop/pricing.py", QUOTE)
    victim.project.save("shop/__init__.py", "")
    assert victim.run("generate").exit_code == 0
    victim.project.save("shop/pricing.py", QUOTE.replace("sku", "code"))
    work = CycleFiles(project_of(victim), 1)
    work.resolve()
    output = work.claim()
    work.accept(work.generate())
    work.promote()
    output.lock.release()
    there = victim.outside / "shop"
    (victim.project.output / "shop").rename(there)
    (victim.project.output / "shop").symlink_to(there)
    before = {path.name: path.read_bytes() for path in there.glob("*.py")}
    victim.run("generate")  # it may well say that the link is in its way
    assert {path.name: path.read_bytes() for path in there.glob("*.py")} == before


def test_bytecode_behind_a_link_is_none_of_ours(victim: Victim) -> None:
    os.symlink(victim.outside, victim.project.output / "__pycache__")
    before = victim.untouched()
    assert victim.run("generate").exit_code == 0
    victim.project.save("pricing.py", QUOTE.replace("sku", "code"))
    assert victim.run("generate").exit_code == 0
    after = victim.untouched()
    del before[str(victim.project.root / "pricing.py")], after[str(victim.project.root / "pricing.py")]
    assert after == before


def test_code_that_was_planted_is_not_run(victim: Victim) -> None:
    """Where an earlier version kept it, by the very name that the worker looks for."""
    source = victim.project.root / "pricing.py"
    codes = cache_directory(victim.home)
    assert codes is not None

    async def quote() -> object:
        async with lastgood.watch(victim.project.config_file) as session:
            return await session.bridge.call("pricing", "quote", ["a"], {})

    assert trio.run(quote) == 1.0
    (kept,) = (codes / "code").glob(f"{digest_of(source.read_bytes())}-*")
    planted = marshal.dumps(compile("def quote(sku): return 'planted'", str(source), "exec"))
    victim.commit(f"generations/code/{kept.name}", digest_of(planted).encode() + planted)
    kept.unlink()
    assert trio.run(quote) == 1.0
    assert not (victim.home / "generations" / "code" / kept.name).exists()


def test_a_manifest_that_was_exchanged_is_not_run(tmp_path: Path) -> None:
    """A worker that is started again opens what its session has made: under that name nothing else is that."""
    own, planted = Manifest(), Manifest()
    planted.roots = ["/"]
    path = tmp_path / digest_of(own.dumps())
    path.write_bytes(own.dumps())
    assert Manifest.load(str(path)).roots == []
    path.write_bytes(planted.dumps())
    with pytest.raises(Damaged, match="not those that its name stands for"):
        Manifest.load(str(path))


# --- the directory itself


def test_it_is_made_private_and_kept_so(victim: Victim) -> None:
    own = victim.home.parent
    os.chmod(own, 0o777)
    assert victim.run("generate").exit_code == 0
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    shutil.rmtree(own)
    before = os.umask(0)
    try:
        assert victim.run("generate").exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_root_makes_that_of_the_configs_owner_private(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, where a directory of the host is owned by a user of the host."""
    look, around = Disk.stat, victim.home.parent
    around.chmod(0o777)

    def fake(self: Disk, path: Path, *, follow: bool = False) -> Stat | None:
        found = look(self, path, follow=follow)
        return found if found is None else replace(found, owner=1000)

    monkeypatch.setattr(Disk, "stat", fake)
    monkeypatch.setattr(Disk, "user", lambda _: 0)
    OutputDirectory.claim(Disk(), victim.project.output, 1, victim.project.config_file).release()
    assert stat.S_IMODE(around.stat().st_mode) == 0o700


def test_a_link_that_somebody_makes_just_before_the_directory_is_made_is_refused(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    around, mkdir = victim.home.parent, Disk.mkdir
    shutil.rmtree(around)

    def exchanged(self: Disk, path: Path) -> None:
        if path == around:
            path.symlink_to(victim.outside)
        mkdir(self, path)

    monkeypatch.setattr(Disk, "mkdir", exchanged)
    before = victim.untouched()
    with pytest.raises(ConfigError, match="is a symbolic link"):
        OutputDirectory.claim(Disk(), victim.project.output, 1, victim.project.config_file)
    assert victim.untouched() == before


@pytest.mark.parametrize("command", ["generate", "plan", "history", "undo"])
@pytest.mark.parametrize("which", [".lastgood", ".lastgood/generated"])
@pytest.mark.parametrize("what", ["a link", "a file"])
def test_one_that_is_no_directory_is_refused(victim: Victim, command: str, which: str, what: str) -> None:
    path = victim.project.root / which
    shutil.rmtree(path)
    path.symlink_to(victim.outside) if what == "a link" else path.write_bytes(b"")
    before = victim.untouched()
    done = victim.run(command)
    assert done.exit_code == 1
    assert f"rm {path}" in done.output.replace("\n", "")
    assert victim.untouched() == before


@pytest.mark.parametrize(("owner", "config", "trusted"), [(1, 0, False), (0, 1, True), (1, 1, True), (7, 0, True)])
def test_one_of_another_user_is_refused(
    victim: Victim, monkeypatch: pytest.MonkeyPatch, owner: int, config: int, trusted: bool
) -> None:
    """Trusted are this user (7), root, and whoever owns the config."""
    look, me = Disk.stat, victim.home.parent

    def fake(self: Disk, path: Path, *, follow: bool = False) -> Stat | None:
        found = look(self, path, follow=follow)
        owners = {me: owner, victim.home: owner, victim.project.config_file: config}
        return found if found is None else replace(found, owner=owners.get(path, 7))

    monkeypatch.setattr(Disk, "stat", fake)
    monkeypatch.setattr(Disk, "user", lambda _: 7)
    if trusted:
        OutputDirectory.unclaimed(Disk(), victim.project.output, victim.project.config_file)
        return
    with pytest.raises(ConfigError, match=f"uid 1.*run: rm -r {me}"):
        OutputDirectory.unclaimed(Disk(), victim.project.output, victim.project.config_file)


DENIED = {
    "nothing of root's can be looked at": (0, 0o700, "", "sudo chown -R 7 {around}"),
    "nothing of root's can be written": (0, 0o755, "lock", "sudo chown -R 7 {around}"),
    "a lock that cannot be read": (7, 0o700, "lock", "chmod -R u+rwX {home}/lock"),
    "a stage that cannot be read": (7, 0o700, "stage-9", "chmod -R u+rwX {home}/stage-9"),
}


@pytest.mark.parametrize(("owner", "mode", "name", "remedy"), DENIED.values(), ids=DENIED)
def test_what_a_user_has_no_access_to_is_named_with_what_to_run(
    victim: Victim, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, name: str, remedy: str
) -> None:
    look, children, lock, home = Disk.stat, Disk.children, Disk.lock, victim.home
    victim.commit("lock", b"")
    (home / "stage-9").mkdir()

    def deny(path: Path, *, denied: bool) -> None:
        if denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def stat_of(self: Disk, path: Path, *, follow: bool = False) -> Stat | None:
        deny(path, denied=not name and home.parent in path.parents)
        found, is_around = look(self, path, follow=follow), path == home.parent
        bits = mode if is_around else 0 if path == home / name else 0o700
        return found if found is None else replace(found, owner=owner if is_around else 7, mode=bits)

    def children_of(self: Disk, path: Path) -> list[str]:
        deny(path, denied=path == home / name)
        return children(self, path)

    def lock_of(self: Disk, path: Path, *, holder: int | None = None) -> Claim | None:
        deny(path, denied=path == home / name)
        return lock(self, path, holder=holder)

    for method, fake in (("stat", stat_of), ("children", children_of), ("lock", lock_of), ("user", lambda _: 7)):
        monkeypatch.setattr(Disk, method, fake)
    with pytest.raises(ConfigError) as caught:
        OutputDirectory.claim(Disk(), victim.project.output, 1, victim.project.config_file)
    assert remedy.format(around=home.parent, home=home) in str(caught.value)


@pytest.mark.parametrize(
    ("owner", "remedy"),
    [(7, "Run: chmod u+rwx {parent}"), (0, "It belongs to another user (uid 0): have it made writable for you")],
)
def test_where_it_cannot_be_made_the_directory_around_it_is_named(
    victim: Victim, monkeypatch: pytest.MonkeyPatch, owner: int, remedy: str
) -> None:
    look, make, around = Disk.stat, Disk.mkdir, victim.home.parent
    shutil.rmtree(around)

    def stat_of(self: Disk, path: Path, *, follow: bool = False) -> Stat | None:
        found = look(self, path, follow=follow)
        return found if found is None else replace(found, owner=owner if path == around.parent else 7)

    def mkdir(self: Disk, path: Path) -> None:
        if path == around:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        make(self, path)

    for method, fake in (("stat", stat_of), ("mkdir", mkdir), ("user", lambda _: 7)):
        monkeypatch.setattr(Disk, method, fake)
    with pytest.raises(ConfigError) as caught:
        OutputDirectory.claim(Disk(), victim.project.output, 1, victim.project.config_file)
    told = str(caught.value)
    assert f".lastgood cannot be made in {around.parent}: Permission denied." in told
    assert remedy.format(parent=around.parent) in told


def test_one_of_roots_that_everybody_can_write_to_is_refused(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    look, around = Disk.stat, victim.home.parent

    def fake(self: Disk, path: Path, *, follow: bool = False) -> Stat | None:
        found = look(self, path, follow=follow)
        return found if found is None else replace(found, owner=0, mode=0o777 if path == around else found.mode)

    monkeypatch.setattr(Disk, "stat", fake)
    monkeypatch.setattr(Disk, "user", lambda _: 7)
    with pytest.raises(ConfigError, match=f"everybody can write to it.*sudo chown -R 7 {around}"):
        OutputDirectory.claim(Disk(), victim.project.output, 1, victim.project.config_file)
