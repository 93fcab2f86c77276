"""Other platforms, imitated on Linux by taking away what they do not have. See ``sitecustomize.py`` beside this file."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from imitated.sitecustomize import VARIABLE, darwin
from lastgood.bridges import readiness

__all__ = ["VARIABLE", "imitate", "needs_stops", "not_on_darwin"]


def not_on_darwin(why: str) -> pytest.MarkDecorator:
    """Skip a test, of what macOS does not have, where that is imitated."""
    return pytest.mark.skipif(os.environ.get(VARIABLE) == "darwin" or sys.platform == "darwin", reason=why)


def needs_stops() -> pytest.MarkDecorator:
    return not_on_darwin("a stopped process is told from one that runs by waitid(), which is there from Python 3.13 on")


def imitate(platform: str) -> None:
    """Imitate a platform in this process, and in those that it starts."""
    if platform != "darwin":
        sys.exit(f'{VARIABLE} may be "darwin", not "{platform}".')
    darwin(everything=True)
    # Only here: trio's own loop needs it.
    without_epoll = {name: value for name, value in vars(select).items() if "epoll" not in name.lower()}
    vars(readiness)["select"] = SimpleNamespace(**without_epoll)
    # A program that is started elsewhere, and finds the modules of the tests, too.
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
