"""lastgood.store.generations: generations kept by content, a bounded number of them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.bridges.worker.manifest import Manifest, read_object
from lastgood.sources.pinning import Pinned, PinnedModule
from lastgood.store.disk import Disk
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.generations import KEPT, DamagedGeneration, GenerationStore, LateModule
from lastgood.store.memory_files import MemoryFiles

HOME = Path("/p/.lastgood/generated")
TOP = HOME / "generations"


def pinned(sources: Mapping[str, str]) -> Pinned:
    """Modules by name."""
    modules = []
    for name, text in sorted(sources.items()):
        path = Path("/p/src", f"{name}.py")
        modules.append(PinnedModule(name, path, path, is_package=False, digest=digest_of(text.encode())))
    return Pinned(
        roots=(Path("/p/src"),),
        modules=tuple(modules),
        namespaces={"ns": (Path("/p/src/ns"), Path("/q/ns"))},
        elsewhere=("json",),
        helpers=(),
        candidates=(),
        sources={module.file: sources[module.name].encode() for module in modules},
        digests={module.file: module.digest for module in modules},
        unreadable={},
    )


def others(**files: bytes) -> dict[str, tuple[str, bytes]]:
    """Other files of a generation, as ``put()`` takes them."""
    return {name: (digest_of(data), data) for name, data in files.items()}


class Recording(MemoryFiles):
    """What was changed, as ``operation name``."""

    def __init__(self) -> None:
        super().__init__()
        self.put(Path("/p/lastgood.toml"), b"")
        self.done: list[str] = []
        self.read_back: list[Path] = []
        self.flushed: list[str] = []
        self.before = lambda operation, path: self.done.append(f"{operation} {path.name}")

    def read(self, path: Path) -> bytes:
        self.read_back.append(path)
        return super().read(path)

    def barrier(self, paths: Sequence[Path]) -> None:
        self.flushed += (path.name for path in paths)
        super().barrier(paths)

    def objects(self) -> list[str]:
        return self.children(TOP / "objects")

    def manifests(self) -> list[str]:
        return self.children(TOP / "manifests")


@pytest.fixture
def files() -> Recording:
    return Recording()


@pytest.fixture
def store(files: Recording) -> GenerationStore:
    return GenerationStore(files, HOME)


def digest(text: str) -> str:
    return digest_of(text.encode())


def test_a_generation_is_kept_and_found_again(files: Recording, store: GenerationStore) -> None:
    made = store.put(pinned({"a": "1", "b": "2"}), others(wrapper=b"w", config=b"c"))
    kept = GenerationStore(files, HOME).open(made)
    assert kept.sources == {"a": b"1", "b": b"2"}
    assert kept.files == {"config": b"c", "wrapper": b"w"}
    assert files.objects() == sorted(map(digest, ["1", "2", "w", "c"]))
    assert made == TOP / "manifests" / digest_of(files.read(made))


def test_the_manifest_is_what_the_worker_reads(tmp_path: Path) -> None:
    made = GenerationStore(Disk(), tmp_path).put(pinned({"a": "1"}))
    manifest = Manifest.load(str(made))
    assert manifest.roots == ["/p/src"]
    assert manifest.modules == [(False, digest("1"), "a", "/p/src/a.py")]
    assert manifest.namespaces == {"ns": ["/p/src/ns", "/q/ns"]}
    assert manifest.elsewhere == ["json"]
    assert read_object(str(made), digest("1")) == b"1"


def test_keeping_costs_what_changed(files: Recording, store: GenerationStore) -> None:
    sources = {f"m{number}": str(number) for number in range(50)}
    store.put(pinned(sources))
    files.done.clear()
    made = store.put(pinned({**sources, "m7": "changed"}))
    assert files.done == [
        f"write {digest('changed')}.new",
        f"replace {digest('changed')}",
        f"write {made.name}.new",
        f"replace {made.name}",
    ]
    files.done.clear()
    assert store.put(pinned({**sources, "m7": "changed"})) == made
    assert not files.done
    assert not files.read_back


def test_what_the_history_names_is_on_disk_already(files: Recording, store: GenerationStore) -> None:
    store.record(store.put(pinned({"a": "1"})), generation=1, at=0.0)
    assert {digest("1"), "objects", "manifests"} <= {*files.flushed}
    files.flushed.clear()
    again = GenerationStore(files, HOME)  # of the next session, at whose start nothing is new
    again.record(again.put(pinned({"a": "1"})), generation=1, at=1.0)
    assert files.flushed == ["history.json.new"]
    assert [good.at for good in again.history()] == [1.0]


@pytest.mark.parametrize("gone", ["object", "manifest", "history"])
def test_what_had_to_be_written_again_is_not(files: Recording, store: GenerationStore, gone: str) -> None:
    made = store.put(pinned({"a": "1"}))
    store.record(made, generation=1, at=0.0)
    files.unlink({"object": TOP / "objects" / digest("1"), "manifest": made, "history": TOP / "history.json"}[gone])
    files.flushed.clear()
    again = GenerationStore(files, HOME)
    again.record(again.put(pinned({"a": "1"})), generation=1, at=1.0)
    assert {digest("1"), made.name, "objects", "manifests"} <= {*files.flushed}


def test_of_equal_bytes_one_copy_is_kept(files: Recording, store: GenerationStore) -> None:
    store.put(pinned({"a": "same", "b": "same"}), others(c=b"same"))
    assert files.objects() == [digest("same")]


def test_the_history_has_the_last_good_ones(files: Recording, store: GenerationStore) -> None:
    assert store.history() == ()
    made = []
    for number in range(KEPT + 2):
        made.append(store.put(pinned({"a": str(number)})))
        store.record(made[-1], generation=number, at=1000.0 + number, changed=[Path("/p/src/a.py")])
    history = GenerationStore(files, HOME).history()
    assert [good.generation for good in history] == [2, 3, 4, 5, 6]
    assert [store.path(good) for good in history] == made[2:]
    assert (history[-1].at, history[-1].changed) == (1006.0, ("/p/src/a.py",))


def test_the_history_has_each_generation_once(store: GenerationStore) -> None:
    one, two = store.put(pinned({"a": "1"})), store.put(pinned({"a": "2"}))
    for number, made in enumerate([one, two, two, one]):
        store.record(made, generation=number, at=0.0)
    assert [(store.path(good), good.generation) for good in store.history()] == [(two, 2), (one, 3)]


def test_what_was_undone_leaves_the_history(store: GenerationStore) -> None:
    made = [store.put(pinned({"a": str(number)})) for number in range(3)]
    for number, each in enumerate(made):
        store.record(each, generation=number, at=0.0)
    store.retract(made[1])
    assert [store.path(good) for good in store.history()] == made[:2]
    store.retract(made[2])  # it is not in there
    assert [store.path(good) for good in store.history()] == made[:2]


def late(name: str, text: str) -> LateModule:
    return LateModule(name, Path("/p/src", *name.split(".")).with_suffix(".py"), text.encode())


def test_what_is_imported_late_becomes_a_part_of_the_generation(files: Recording, store: GenerationStore) -> None:
    made = store.put(pinned({"a": "1"}), others(w=b"w"))
    store.record(made, generation=4, at=1000.0, changed=[Path("/p/src/a.py")])
    more = store.put_late(made, [late("plugin", "2"), LateModule("pack", Path("/p/src/pack/__init__.py"), b"3")])
    kept = GenerationStore(files, HOME).open(more)
    assert kept.sources == {"a": b"1", "plugin": b"2", "pack": b"3"}
    assert kept.files == {"w": b"w"}
    assert kept.late == {"plugin": Path("/p/src/plugin.py"), "pack": Path("/p/src/pack/__init__.py")}
    assert Manifest.loads(files.read(more), "").modules[1][0], "it is a package"
    (good,) = store.history()
    assert (store.path(good), good.generation, good.at) == (more, 4, 1000.0)
    store.sweep()
    assert files.manifests() == [more.name]
    store.open(more)


def test_of_a_module_that_is_imported_late_the_first_bytes_stay(files: Recording, store: GenerationStore) -> None:
    made = store.put_late(store.put(pinned({"a": "1"})), [late("plugin", "2")])
    files.done.clear()
    assert store.put_late(made, [late("plugin", "other"), late("a", "other")]) == made
    assert not files.done
    other = store.put_late(made, [late("more", "3")])
    assert store.open(other).sources == {"a": b"1", "plugin": b"2", "more": b"3"}


def test_which_modules_come_late_first_makes_no_difference(store: GenerationStore) -> None:
    made = store.put(pinned({"a": "1"}))
    modules = [late("x", "2"), late("y", "3")]
    assert store.put_late(made, modules) == store.put_late(made, modules[::-1])


def test_equal_generations_are_one_again_when_they_have_imported_the_same(store: GenerationStore) -> None:
    made = store.put(pinned({"a": "1"}))
    store.record(made, generation=1, at=0.0)
    store.put_late(made, [late("plugin", "2")])
    store.record(made, generation=2, at=0.0)
    assert [good.generation for good in store.history()] == [1, 2]
    more = store.put_late(made, [late("plugin", "2")])
    assert [(good.generation, store.path(good)) for good in store.history()] == [(2, more)]


def test_a_file_that_only_one_of_two_generations_imported_late_did_not_change(store: GenerationStore) -> None:
    plain = store.put(pinned({"a": "1"}))
    other = store.put(pinned({"a": "1", "b": "2"}))
    for made in (plain, store.put_late(other, [late("plugin", "3")])):
        store.record(made, generation=1, at=0.0)
    first, second = store.history()
    assert store.changed(second, first) == (Path("/p/src/b.py"),)
    store.record(store.put_late(plain, [late("plugin", "4")]), generation=2, at=0.0)
    *_, second, third = store.history()
    assert store.changed(third, second) == (Path("/p/src/b.py"), Path("/p/src/plugin.py"))
    assert Path("/p/src/plugin.py") in store.changed(third, None)


def test_a_generation_that_repeats_the_one_before_takes_its_place(files: Recording, store: GenerationStore) -> None:
    plain = store.put(pinned({"a": "1"}))
    store.record(plain, generation=1, at=0.0)
    before = store.put_late(plain, [late("plugin", "2")])
    files.put(Path("/p/src/plugin.py"), b"2")
    assert store.is_still(before, plain)
    assert store.is_still(plain, plain)
    store.record(plain, generation=2, at=0.0, repeats=before)
    assert [good.generation for good in store.history()] == [2]


def test_a_generation_whose_late_modules_are_others_by_now_is_another_one(
    files: Recording, store: GenerationStore
) -> None:
    plain, other = store.put(pinned({"a": "1"})), store.put(pinned({"a": "2"}))
    before = store.put_late(plain, [late("plugin", "2")])
    assert not store.is_still(before, plain), "it is gone"
    files.put(Path("/p/src/plugin.py"), b"3")
    assert not store.is_still(before, plain)
    assert not store.is_still(plain, other)
    files.unlink(before)
    assert not GenerationStore(files, HOME).is_still(before, plain)
    assert not GenerationStore(files, Path("/p/elsewhere")).is_still(plain, plain)


def test_what_nobody_reads_can_be_forgotten(files: Recording, store: GenerationStore) -> None:
    made = store.put(pinned({"a": "1"}))
    for _ in range(2):
        store.forget(made)
        assert files.manifests() == []
    with pytest.raises(DamagedGeneration):
        store.open(made)


def test_a_sweep_keeps_the_good_ones_and_those_in_use(files: Recording, store: GenerationStore) -> None:
    made = [
        store.put(pinned({"a": str(number), "b": "shared"}), others(w=f"w{number}".encode())) for number in range(8)
    ]
    for number in range(7):
        store.record(made[number], generation=number, at=0.0)
    files.put(TOP / "objects" / f"{digest('x')}.new", b"left by a kill")
    store.sweep([made[0]])
    kept = [0, 2, 3, 4, 5, 6]
    assert files.manifests() == sorted(made[number].name for number in kept)
    assert files.objects() == sorted(
        {digest("shared"), *(digest(f"{w}{number}") for number in kept for w in ("", "w"))}
    )
    store.sweep()
    assert made[0].name not in files.manifests()
    again = store.put(pinned({"a": "0", "b": "shared"}), others(w=b"w0"))
    assert store.open(again).files == {"w": b"w0"}


def test_a_sweep_keeps_the_codes_of_sources_that_are_kept(files: Recording, store: GenerationStore) -> None:
    store.codes = Path("/cache/code")
    store.record(store.put(pinned({"a": "1"})), generation=1, at=0.0)
    codes = [f"{digest('1')}-x", f"{digest('1')}-y", f"{digest('1')}-x.77-1", f"{digest('2')}-x", "rubbish"]
    for name in codes:
        files.put(store.codes / name, b"code")
    files.put(TOP / "code" / codes[0], b"where an earlier version kept it")
    store.sweep()
    assert files.children(store.codes) == codes[:2]
    assert files.children(TOP / "code") == []


def test_what_a_killed_process_left_is_in_nobodys_way(files: Recording, store: GenerationStore) -> None:
    leftover = TOP / "objects" / f"{digest('1')}.new"
    files.put(leftover, b"half")
    store.open(store.put(pinned({"a": "1"})))
    assert not files.is_file(leftover)


Damage = Callable[[MemoryFiles, Path], None]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda files, path: files.put(path, b"other"), "is damaged"),
        (lambda files, path: files.put(path, b""), "is damaged"),
        (lambda files, path: files.unlink(path), "cannot be read: No such file or directory"),
    ],
    ids=["other-bytes", "empty", "gone"],
)
@pytest.mark.parametrize("what", ["object", "file", "manifest"])
def test_damage_is_found_named_and_mended(files: Recording, harm: Damage, told: str, what: str) -> None:
    generation, more = pinned({"a": "1"}), others(w=b"w")
    made = GenerationStore(files, HOME).put(generation, more)
    path = {"object": TOP / "objects" / digest("1"), "file": TOP / "objects" / digest("w"), "manifest": made}[what]
    harm(files, path)
    later = GenerationStore(files, HOME)
    with pytest.raises(DamagedGeneration, match=told) as caught:
        later.open(made)
    assert caught.value.path == path
    assert str(path) in str(caught.value)
    assert str(copy.copy(caught.value)) == str(caught.value)
    assert later.put(generation, more) == made
    assert later.open(made).files == {"w": b"w"}


@pytest.mark.parametrize("what", ["object", "manifest"])
def test_no_more_is_read_than_a_generation_can_have(tmp_path: Path, what: str) -> None:
    home = tmp_path / ".lastgood" / "generated"
    made = GenerationStore(Disk(), home).put(pinned({"a": "1"}))
    path = made if what == "manifest" else home / "generations" / "objects" / digest("1")
    os.truncate(path, 1 << 40)
    with pytest.raises(DamagedGeneration, match="is damaged") as caught:
        GenerationStore(Disk(), home).open(made)
    assert caught.value.path == path


def test_objects_that_go_while_the_session_runs_are_put_again(files: Recording, store: GenerationStore) -> None:
    made = store.put(pinned({"a": "1"}))
    for path in (TOP / "objects" / digest("1"), made):
        files.unlink(path)
    assert store.put(pinned({"a": "1"})) == made
    store.open(made)


@pytest.mark.parametrize("text", [b"", b"no json", b'{"version": 1}'], ids=["empty", "garbage", "other-fields"])
def test_a_history_that_cannot_be_read_counts_as_none(files: Recording, store: GenerationStore, text: bytes) -> None:
    files.put(TOP / "history.json", text)
    assert store.history() == ()
    store.record(store.put(pinned({"a": "1"})), generation=1, at=0.0)
    assert len(store.history()) == 1


def test_a_damaged_manifest_does_not_keep_a_sweep_from_its_work(files: Recording, store: GenerationStore) -> None:
    good, bad = store.put(pinned({"a": "1"})), store.put(pinned({"a": "2"}))
    for made in (bad, good):
        store.record(made, generation=1, at=0.0)
    files.put(bad, b"damaged")
    GenerationStore(files, HOME).sweep()
    assert files.manifests() == [good.name]
    assert files.objects() == [digest("1")]


@given(fault=st.integers(0, 40), crashed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_after_a_fault_at_any_operation_all_that_is_good_is_whole(fault: int, crashed: bool) -> None:
    files = Recording()
    store = GenerationStore(files, HOME)
    made = store.put(pinned({"a": "1", "b": "2"}), others(w=b"w"))
    store.record(made, generation=1, at=0.0)
    left = fault

    def fail(_operation: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, os.strerror(28), str(path))

    files.before = fail
    sources = {"a": "1", "b": "changed", "c": "3"}
    try:
        newer = store.put(pinned(sources), others(w=b"v"))
        store.record(newer, generation=2, at=0.0)
        store.put_late(newer, [late("plugin", "4")])
        store.sweep()
    except OSError:
        pass
    files.before = lambda _operation, _path: None
    store = GenerationStore(files, HOME) if crashed else store
    history = store.history()
    assert [good.generation for good in history] in ([1], [1, 2])
    for good in history:
        store.open(store.path(good))
    newer = store.put(pinned(sources), others(w=b"v"))
    assert store.open(newer).files == {"w": b"v"}


def test_on_the_disk(tmp_path: Path) -> None:
    disk: FileSystem = Disk()
    store = GenerationStore(disk, tmp_path / "home")
    made = store.put(pinned({"a": "1"}), others(w=b"w"))
    store.record(made, generation=1, at=0.0)
    store.sweep([made])
    assert GenerationStore(disk, tmp_path / "home").open(made).files == {"w": b"w"}
    assert sorted(path.name for path in (tmp_path / "home" / "generations").iterdir()) == [
        "history.json",
        "manifests",
        "objects",
    ]
