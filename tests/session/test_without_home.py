"""A session of a user without a home directory: what is kept lasts as long as it does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood import WatchProgram
from lastgood.store import user_key
from real_project import MORE, QUOTE, RealProject, Told


def no_variable(_: Path, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("HOME")
    patch.setattr(os.path, "expanduser", lambda path: path)  # as for a uid without an entry in the password database


def a_home_that_does_not_exist(top: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HOME", str(top / "nonexistent"))


def the_root_directory(_: Path, patch: pytest.MonkeyPatch) -> None:
    """As ``docker run --user`` sets it."""
    patch.setenv("HOME", "/")
    patch.setattr(user_key, "is_own", lambda found: found.st_ino != os.stat("/").st_ino)


def a_home_that_cannot_be_written(top: Path, patch: pytest.MonkeyPatch) -> None:
    """For root, too."""
    (top / "home" / ".local").mkdir(parents=True)
    for name in (".cache", ".local/state"):
        (top / "home" / name).write_bytes(b"")
    patch.setenv("HOME", str(top / "home"))


@pytest.mark.parametrize(
    "home", [no_variable, a_home_that_does_not_exist, the_root_directory, a_home_that_cannot_be_written]
)
async def test_it_undoes_and_goes_on_as_any_other(
    home: Callable[[Path, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable)
    monkeypatch.setattr(user_key, "_warned", set())
    home(tmp_path, monkeypatch)
    async with start() as session:
        await told.success()
        before = project.tree()
        project.save("pricing.py", MORE)
        await told.success()
        assert await session.undo()
        await told.success()
        assert project.tree() == before
        project.save("pricing.py", QUOTE.replace("sku", "code"))
        await told.success()
        assert b"code: str" in project.tree()["pricing.py"]
    (warning,) = [record.getMessage() for record in caplog.records if record.name == user_key.__name__]
    assert "later runs will not recognize what this one keeps" in warning
    assert not (tmp_path / "nonexistent").exists()
