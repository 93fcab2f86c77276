"""Shipments: which files cross, and where everything is on the other side."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lastgood.bridges.worker.manifest import Manifest, digest_of, object_path
from lastgood.config import Config
from lastgood.errors import BridgeError, ConfigError
from lastgood.remote import Shipment
from lastgood.remote.host.messages import unpacked
from places import Elsewhere, config_of
from staged_project import StagedProject, run


@pytest.fixture
def config(staged: StagedProject) -> Config:
    return config_of(staged)


def names(config: Config, *files: str) -> list[str]:
    message = unpacked(Shipment.of(config, files).addressed("/there").message)
    return [name for name, *_ in message["tree"]]


def test_a_manifest_names_the_files_of_the_other_side(config: Config, staged: StagedProject) -> None:
    shipment = Shipment.of(config)
    address = shipment.addressed("/there")
    tree = f"/there/trees/{shipment.tree_name}"
    made = Manifest.loads(unpacked(address.message)["manifest"].encode(), "the message")
    before = Manifest.load(str(staged.manifest))
    assert address.import_path == made.roots == [f"{tree}/project/src", f"{tree}/project/more"]
    assert [each[:3] for each in made.modules] == [each[:3] for each in before.modules]
    assert made.modules[0][3] == before.modules[0][3].replace(str(staged.top), f"{tree}/project")
    assert made.namespaces["ns"] == [f"{tree}/project/src/ns", f"{tree}/project/more/ns"]
    for path in (str(staged.src / "svc.py"), str(staged.top), "/elsewhere/x.py", str(staged.top) + "x"):
        assert address.here(address.there(path)) == path
    assert address.there("/elsewhere/x.py") == "/elsewhere/x.py"
    assert address.text_here(f'File "{tree}/project/src/svc.py"') == f'File "{staged.src}/svc.py"'


def test_files_are_named_by_globs_files_and_directories(config: Config, staged: StagedProject) -> None:
    for name in ("data/a.csv", "data/deep/b.bin", "data/__pycache__/c.pyc", "data/.hidden", "model.bin"):
        (staged.top / name).parent.mkdir(parents=True, exist_ok=True)
        (staged.top / name).write_text(name)
    assert names(config, "data") == ["project/data/a.csv", "project/data/deep/b.bin"]
    assert names(config, "data/*.csv", "model.bin", "model.bin") == ["project/data/a.csv", "project/model.bin"]
    assert names(config, "data/.hidden") == ["project/data/.hidden"]
    assert names(config, "**/*.bin") == ["project/data/deep/b.bin", "project/model.bin"]


def test_a_file_that_cannot_cross_is_named(
    config: Config, staged: StagedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    (staged.top / "large").write_bytes(bytes(100))
    monkeypatch.setattr("lastgood.remote.shipment.MAX_OBJECT", 10)
    with pytest.raises(
        ConfigError, match=r'field "files": .*large has 100 bytes, and .* is the most\. Put it there yourself'
    ):
        Shipment.of(config, ["large"])


def test_what_is_not_pinned_cannot_cross(config: Config) -> None:
    with pytest.raises(BridgeError, match="Only a pinned generation can run elsewhere"):
        Shipment.of(msgspec.structs.replace(config, pinned=None))


def test_what_has_changed_meanwhile_is_not_sent(config: Config, staged: StagedProject) -> None:
    (staged.top / "data").write_text("before")
    shipment = Shipment.of(config, ["data"])
    (staged.top / "data").write_text("after")
    with pytest.raises(BridgeError, match="data has changed while it was shipped"):
        shipment.read(digest_of(b"before"))
    (staged.top / "data").unlink()
    with pytest.raises(BridgeError, match="data cannot be shipped: No such file"):
        shipment.read(digest_of(b"before"))
    digest = digest_of((staged.src / "helper.py").read_bytes())
    Path(object_path(str(staged.manifest), digest)).write_bytes(b"damaged")
    with pytest.raises(BridgeError, match="has changed while it was shipped"):
        shipment.read(digest)
    staged.manifest.write_bytes(b"damaged")
    with pytest.raises(BridgeError, match=r"cannot be shipped\. .* is damaged"):
        Shipment.of(config)


async def test_sources_outside_of_the_project_have_a_place_of_their_own(
    staged: StagedProject, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    config = msgspec.structs.replace(config_of(staged), path=tmp_path / "other" / "lastgood.toml")
    bridge = elsewhere.bridge(config)
    await bridge.init()
    try:
        file = await run(bridge, "import svc; result = svc.__file__")
        assert Path(file).relative_to(elsewhere.cache / "trees").parts[1:] == ("path1", "svc.py")
        assert set((await bridge.call("svc", "versions", [], {})).values()) == {"pinned"}
        with pytest.raises(ValueError, match="here") as raised:
            await bridge.call("svc", "fail", [], {})
        assert f'{staged.src}/helper.py", line 4' in getattr(raised.value, "traceback", "")
    finally:
        await bridge.dispose()
