"""Which directories are the user's sources. That they are compiled anew is tested with a real worker (test_process.py)."""

from __future__ import annotations

import os
import sysconfig

import pytest

from lastgood.bridges.worker.importing import is_local

STDLIB = os.path.dirname(os.path.abspath(os.__file__))


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/app", True),
        ("/app/pkg/sub", True),
        ("/application", False),
        ("/app/.venv/lib/python3.11/site-packages", False),
        ("/app/.venv/lib/python3.11/site-packages/numpy", False),
        ("/usr/lib/python3/dist-packages", False),
        ("/srv/site-packages/mine", True),
        ("/elsewhere", False),
    ],
)
def test_local_is_what_lies_under_the_import_path_and_was_not_installed(path: str, local: bool) -> None:
    assert is_local(path, ["/app", "/srv/site-packages/mine"]) is local


def test_the_standard_library_is_never_local() -> None:
    assert not is_local(STDLIB, ["/"])
    assert not is_local(os.path.join(STDLIB, "json"), ["/"])
    assert not is_local(sysconfig.get_path("stdlib"), [os.path.dirname(STDLIB)])
