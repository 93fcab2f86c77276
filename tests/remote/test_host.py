"""The cache of a host: believed in nothing, private, bounded; and the shipments that it gets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lastgood.remote import Shipment
from lastgood.remote.host import cache as cache_module
from lastgood.remote.host.cache import Cargo, cache_home, sweep
from lastgood.remote.host.messages import HEADER, Inbox, Problem, digest_of, unpacked
from places import Elsewhere, config_of
from staged_project import StagedProject, run

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(cache_home())


@pytest.fixture
def shipment(staged: StagedProject) -> Shipment:
    (staged.top / "table").write_text("data")
    return Shipment.of(config_of(staged), ["table"])


def cargo_of(shipment: Shipment, home: Path) -> Cargo:
    return Cargo(str(home), unpacked(shipment.addressed(str(home)).message))


def keep(cargo: Cargo, shipment: Shipment) -> list[str]:
    """Give it what it lacks; return what that was."""
    lacks = cargo.lacks()
    for digest in lacks:
        cargo.keep(digest, shipment.read(digest))
    return lacks


def test_only_what_is_lacking_is_asked_for(home: Path, shipment: Shipment, staged: StagedProject) -> None:
    first = cargo_of(shipment, home)
    assert set(keep(first, shipment)) == set(shipment.objects)
    assert first.lacks() == []
    first.release()
    (staged.src / "helper.py").write_text("VERSION = 'edited'\n")
    staged.stage()
    following = Shipment.of(config_of(staged), ["table"])
    second = cargo_of(following, home)
    assert second.lacks() == [digest_of(b"VERSION = 'edited'\n")]
    assert second.tree == first.tree  # so that compiled code is of use
    second.release()


def test_it_is_private_and_what_has_another_digest_is_not_kept(home: Path, shipment: Shipment) -> None:
    cargo = cargo_of(shipment, home)
    with pytest.raises(Problem, match="has another digest"):
        cargo.keep(digest_of(b"a"), b"b")
    keep(cargo, shipment)
    cargo.unpack()
    cargo.release()
    assert not [path for path in (home, *home.rglob("*")) if path.lstat().st_mode & 0o077]


@pytest.mark.parametrize("damage", ["object", "link", "worker", "tree", "manifest"])
def test_what_is_damaged_is_not_used(home: Path, shipment: Shipment, tmp_path: Path, damage: str) -> None:
    cargo = cargo_of(shipment, home)
    keep(cargo, shipment)
    cargo.unpack()
    victim = {
        "object": home / "objects" / digest_of(b"data"),
        "link": home / "objects" / digest_of(b"data"),
        "worker": Path(cargo.worker) / "main.py",
        "tree": Path(cargo.tree) / "project" / "table",
        "manifest": Path(cargo.manifest),
    }[damage]
    before = victim.read_bytes()
    if damage == "link":
        (tmp_path / "same").write_bytes(before)
        victim.unlink()
        victim.symlink_to(tmp_path / "same")
        Path(cargo.tree, "project", "table").unlink()
    else:
        if damage == "object":
            Path(cargo.tree, "project", "table").unlink()
        victim.write_bytes(before.replace(before[:1], b"#"))
    again = cargo_of(shipment, home)
    asked = keep(again, shipment)
    again.unpack()
    assert asked == ([digest_of(b"data")] if damage in ("object", "link") else [])
    assert victim.read_bytes() == before
    assert not victim.is_symlink()
    for each in (cargo, again):
        each.release()


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b"])
def test_a_shipment_places_nothing_outside_of_it(home: Path, shipment: Shipment, path: str) -> None:
    message = unpacked(shipment.addressed(str(home)).message)
    message["tree"].append([path, digest_of(b"data"), 4, False])
    with pytest.raises(Problem, match="has a file outside of it"):
        Cargo(str(home), message)


def age(path: Path, days: float) -> None:
    """As if it had been used that long ago."""
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def swept(home: Path, limit: int = 1 << 30) -> None:
    (home / "swept").unlink(missing_ok=True)
    for _ in sweep(str(home), limit):
        pass


def test_what_was_not_used_for_long_goes_and_what_a_host_uses_stays(home: Path, shipment: Shipment) -> None:
    cargo = cargo_of(shipment, home)
    keep(cargo, shipment)
    cargo.unpack()
    stray = home / "objects" / digest_of(b"stray")
    stray.write_bytes(b"stray")
    for path in [path for room in ("objects", "trees", "workers", "manifests") for path in (home / room).iterdir()]:
        age(path, 31)
    for lease in (home / "leases").iterdir():
        age(lease, 1)  # its lock says that the host lives
    swept(home)
    assert not stray.exists()
    assert Path(cargo.tree, "project", "table").exists()
    assert Path(cargo.worker, "main.py").exists()
    assert cargo.lacks() == []
    cargo.release()
    for path in (home / "objects").iterdir():
        age(path, 31)
    swept(home)
    assert list((home / "leases").iterdir()) == []
    assert list((home / "objects").iterdir()) == []


def test_beyond_the_limit_the_oldest_goes(home: Path) -> None:
    paths = []
    for number in range(10):
        paths.append(home / "objects" / digest_of(b"%d" % number))
        paths[-1].write_bytes(bytes(1000))
        age(paths[-1], 10 - number)
    swept(home, 5000)
    assert [path.exists() for path in paths] == [False] * 5 + [True] * 5
    swept(home, 0)
    assert not any(path.exists() for path in paths)


def test_what_was_used_just_now_stays_and_it_is_swept_once_an_hour(home: Path) -> None:
    path = home / "objects" / digest_of(b"1")
    path.write_bytes(b"1")
    swept(home, 0)
    assert path.exists()
    age(path, 60)
    assert list(sweep(str(home))) == []
    assert path.exists()


def test_where_there_are_no_locks_the_age_of_a_lease_counts(
    home: Path, shipment: Shipment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_lock", lambda _: False)
    cargo = cargo_of(shipment, home)
    keep(cargo, shipment)
    cargo.release()
    (lease,) = (home / "leases").iterdir()
    age(lease, 1)
    swept(home, 0)
    assert lease.exists()
    age(lease, 31)
    swept(home, 0)
    assert not lease.exists()


async def test_a_damaged_cache_does_not_reach_the_worker(staged: StagedProject, elsewhere: Elsewhere) -> None:
    async with elsewhere.running(staged) as bridge:
        assert (await bridge.call("svc", "versions", [], {}))["svc"] == "pinned"
    for path in elsewhere.cache.glob("objects/*"):
        path.write_bytes(b"raise SystemExit('planted')\n")
    for path in elsewhere.cache.glob("workers/*/main.py"):
        path.write_bytes(b"raise SystemExit('planted')\n")
    async with elsewhere.running(staged) as bridge:
        assert await run(bridge, "import svc; result = svc.VERSION") == "pinned"


@pytest.mark.parametrize("size", [1, 3, 7, 10**6])
def test_messages_are_split_wherever_the_bytes_are(size: int) -> None:
    sent = [(5, b""), (20, b"x" * 100), (0, b""), (21, bytes(range(256)) * 50)]
    data = b"".join(HEADER.pack(kind, len(body)) + body for kind, body in sent)
    inbox = Inbox()
    received = [message for at in range(0, len(data), size) for message in inbox.feed(data[at : at + size])]
    assert received == sent
    with pytest.raises(ValueError, match="a message of"):
        inbox.feed(b"\xff" * HEADER.size)
