"""The manifest of a pinned generation: text that both sides read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bridges.worker.manifest import Damaged, Manifest, digest_of, new_sources, read_object

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["a\tb", "a\nb", "a\\nb", "\\", "\\\\t", "a\rb", "a\u2028b", "\udcff"]
)


@given(
    roots=st.lists(TEXTS),
    modules=st.lists(st.tuples(st.booleans(), TEXTS, TEXTS, TEXTS)),
    namespaces=st.dictionaries(TEXTS, st.lists(TEXTS, min_size=1)),
    elsewhere=st.lists(TEXTS),
    files=st.dictionaries(TEXTS, TEXTS),
)
def test_what_is_written_is_read(
    roots: list[str],
    modules: list[tuple[bool, str, str, str]],
    namespaces: dict[str, list[str]],
    elsewhere: list[str],
    files: dict[str, str],
) -> None:
    manifest = Manifest()
    manifest.roots, manifest.modules, manifest.namespaces = roots, modules, namespaces
    manifest.elsewhere, manifest.files = elsewhere, files
    assert vars(Manifest.loads(manifest.dumps(), "here")) == vars(manifest)


@given(
    before=st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), TEXTS, TEXTS), max_size=5),
    now=st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), TEXTS, TEXTS), max_size=5),
    kept=st.integers(0, 5),
)
def test_new_sources_are_those_that_no_module_had(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[bool, str, str, str]],
    now: list[tuple[bool, str, str, str]],
    kept: int,
) -> None:
    directory = tmp_path_factory.mktemp("manifests")

    def stored(modules: list[tuple[bool, str, str, str]]) -> str:
        manifest = Manifest()
        manifest.modules, manifest.files = modules, {"a file": "d"}
        path = directory / digest_of(manifest.dumps())
        path.write_bytes(manifest.dumps())
        return str(path)

    now += before[:kept]
    known = {digest for _, digest, _, _ in before}
    found = new_sources(stored(now), stored(before))
    assert {*found} == {(digest, path) for _, digest, _, path in now if digest not in known}


def test_it_is_text_for_people() -> None:
    manifest = Manifest()
    manifest.roots = ["/app/src"]
    manifest.modules = [(True, "d1", "shop", "/app/src/shop/__init__.py"), (False, "d2", "svc", "/app/src/svc.py")]
    manifest.namespaces = {"ns": ["/a/ns", "/b/ns"]}
    manifest.elsewhere = ["json"]
    manifest.files = {"wrappers/svc.py": "d3"}
    head, _, body = manifest.dumps().decode().partition("\n")
    assert head == f"lastgood-manifest-1\t{hashlib.sha256(body.encode()).hexdigest()}"
    assert body.splitlines() == [
        "root\t/app/src",
        "package\td1\tshop\t/app/src/shop/__init__.py",
        "module\td2\tsvc\t/app/src/svc.py",
        "namespace\tns\t/a/ns",
        "namespace\tns\t/b/ns",
        "elsewhere\tjson",
        "file\td3\twrappers/svc.py",
    ]


@pytest.mark.parametrize(
    "harm",
    [lambda data: data[:-1], lambda data: data + b"x", lambda _: b"", lambda _: b"\xff\n\xff", lambda data: data[1:]],
    ids=["cut", "longer", "empty", "garbage", "other-version"],
)
def test_any_damage_is_noticed(harm: object) -> None:
    assert callable(harm)
    manifest = Manifest()
    manifest.elsewhere = ["json"]
    with pytest.raises(Damaged, match=r"^here is damaged"):
        Manifest.loads(harm(manifest.dumps()), "here")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    manifest = str(tmp_path / "manifests" / "m")
    with pytest.raises(Damaged, match="manifests/m cannot be read: No such file or directory"):
        Manifest.load(manifest)
    with pytest.raises(Damaged, match="objects/abc cannot be read: No such file or directory"):
        read_object(manifest, "abc")


def test_bytes_are_found_by_their_digest_and_checked(tmp_path: Path) -> None:
    manifest, digest = str(tmp_path / "manifests" / "m"), digest_of(b"x = 1")
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / digest).write_bytes(b"x = 1")
    assert read_object(manifest, digest) == b"x = 1"
    (tmp_path / "objects" / digest).write_bytes(b"x = 2")
    with pytest.raises(Damaged, match="is damaged: its bytes are not those that its name stands for"):
        read_object(manifest, digest)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.mkdir()


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("put", [a_fifo, a_directory, a_link_to_a_device, huge], ids=lambda put: put.__name__)
def test_only_a_regular_file_of_some_size_is_read(tmp_path: Path, put: Callable[[Path], None]) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "objects").mkdir()
    manifest, digest = tmp_path / "manifests" / digest_of(b"m"), digest_of(b"x")
    put(manifest)
    put(tmp_path / "objects" / digest)
    with pytest.raises(Damaged):
        Manifest.load(str(manifest))
    with pytest.raises(Damaged):
        read_object(str(manifest), digest)


def test_the_digest_is_the_one_of_the_app() -> None:
    assert digest_of(b"x = 1") == hashlib.sha256(b"x = 1").hexdigest()
