"""Which directories are the user's sources. What is imported from them is tested with real workers in bridges/."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from lastgood.bridges.worker.importing import is_local, local_roots
from lastgood.bridges.worker.manifest import Manifest
from lastgood.bridges.worker.pinned import Sources

STDLIB = os.path.dirname(os.path.abspath(os.__file__))
INSTALLED = [STDLIB, "/app/.venv/lib/python3.11/site-packages", "/app/env/lib"]


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/app", True),
        ("/app/pkg/sub", True),
        ("/application", False),
        ("/app/.venv/lib/python3.11/site-packages", False),
        ("/app/.venv/lib/python3.11/site-packages/numpy", False),
        ("/app/env/lib/numpy", False),
        ("/app/other/site-packages/numpy", False),
        ("/usr/lib/python3/dist-packages", False),
        ("/srv/site-packages/mine", True),
        ("/elsewhere", False),
    ],
)
def test_local_is_what_lies_under_the_import_path_and_was_not_installed(path: str, local: bool) -> None:
    assert is_local(path, ["/app", "/srv/site-packages/mine"], INSTALLED) is local


def test_the_standard_library_is_never_local() -> None:
    assert not is_local(STDLIB, ["/"], INSTALLED)
    assert not is_local(os.path.join(STDLIB, "json"), ["/"], INSTALLED)
    assert not is_local(sysconfig.get_path("stdlib"), [os.path.dirname(STDLIB)], INSTALLED)


@pytest.mark.parametrize("package_first", [True, False])
def test_a_package_goes_before_a_module_beside_it(package_first: bool) -> None:
    pinned = Manifest()
    pinned.modules = [(False, "d1", "a.b", "/app/a/b.py"), (True, "d2", "a.b", "/app/a/b/__init__.py")]
    pinned.modules.sort(reverse=package_first)
    sources = Sources(pinned, "manifest")
    assert sources.find("b", ["/elsewhere", "/app/a", "/app"]) == "/app/a/b/__init__.py"
    assert sources.find("b", ["/app/x/../a"]) == "/app/a/b/__init__.py"
    assert sources.find("b", ["/app", "/app/a/b"]) is None


def test_an_import_path_inside_of_what_is_installed_is_no_root(tmp_path: Path) -> None:
    installed, local = tmp_path / "site-packages", tmp_path / "src"
    for directory in (installed / "mine", local):
        directory.mkdir(parents=True)
    (tmp_path / "link").symlink_to(installed)
    entries = [str(local), str(installed), str(installed / "mine"), str(tmp_path / "link" / "mine")]
    assert local_roots(entries, [str(installed)]) == [str(local)]
