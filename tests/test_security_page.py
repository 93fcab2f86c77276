"""``SECURITY.md`` is in what is published, and the places that it names are those that are used."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from lastgood.store import user_key as module
from lastgood.store.user_key import cache_directory, user_key

TOP = Path(__file__).parents[1]
PAGE = (TOP / "SECURITY.md").read_text(encoding="utf-8")


def test_it_is_in_the_source_distribution() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    assert "SECURITY.md" in project["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]


def test_the_key_and_the_caches_lie_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        assert f"`${variable}/lastgood/" in PAGE
        monkeypatch.delenv(variable)
    monkeypatch.setattr(module, "_warned", set())
    monkeypatch.setenv("HOME", str(tmp_path))
    user_key()
    cache = cache_directory(Path("/p/.lastgood/generated"))
    assert cache is not None
    assert f"`~/{(tmp_path / '.local/state/lastgood/key').relative_to(tmp_path)}`" in PAGE
    assert os.path.isfile(tmp_path / ".local/state/lastgood/key")
    assert f"`~/{cache.parent.relative_to(tmp_path)}/`" in PAGE


def test_every_page_it_links_to_exists() -> None:
    assert "](docs/explanation/reliability.md)" in PAGE
    assert (TOP / "docs" / "explanation" / "reliability.md").is_file()


def test_it_says_how_to_report() -> None:
    assert "open a private security advisory on the repository" in PAGE
    assert "@" not in PAGE, "an address that nobody may read"
