"""Following links: each one on the way is found where it lies, and the way ends where the system's own would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lastgood.sources.links import Links, links_to
from lastgood.store.disk import Disk

LINKS = {
    "current": "releases/one",
    "releases/latest": "two",
    "channel": "deep/er/stable",
    "deep/er/stable": "../../current/src",
    "again": "./releases/../current",
    "nowhere": "releases/three/src",
    "circle": "elsewhere/../circle",
    "spiral": "spiral/spiral",
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    root = Path(os.path.realpath(tmp_path))
    for directory in ("releases/one/src", "releases/two/src", "deep/er", "elsewhere"):
        (root / directory).mkdir(parents=True)
    for link, text in {**LINKS, "absolute": str(root / "current")}.items():
        (root / link).symlink_to(text)
    return root


@pytest.mark.parametrize(
    ("path", "links"),
    [
        ("releases/one/src", []),
        ("current/src/a.py", ["current"]),
        ("current/../two/src", ["current"]),
        ("releases/latest", ["releases/latest"]),
        ("channel/a.py", ["channel", "current", "deep/er/stable"]),
        ("again", ["again", "current"]),
        ("absolute/src", ["absolute", "current"]),
        ("nowhere/a.py", ["nowhere"]),
        ("releases/one/./src//a.py", []),
    ],
)
def test_the_links_on_the_way_and_its_end(path: str, links: list[str], top: Path) -> None:
    way = Links(Disk().read_link).way(f"{top}/{path}")
    assert sorted(way.links) == [str(top / link) for link in links]
    assert way.links == {link: os.readlink(link) for link in way.links}
    assert way.real == os.path.realpath(top / path)


@pytest.mark.parametrize("path", ["circle/a.py", "spiral", "spiral/a.py"])
def test_a_circle_has_an_end(path: str, top: Path) -> None:
    link = path.partition("/")[0]
    assert set(links_to([top / path], Links(Disk().read_link))) == {top / link}
