"""The fixture of pytest under which wrappers work without a worker. Nothing else in lastgood imports pytest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.calls.import_hints import is_on_path, top_of
from lastgood.config import find_config, load_config
from lastgood.errors import ConfigError
from lastgood.session.direct import DirectSession, direct, refuse_missing_wrappers

__all__ = ["direct_session"]


@pytest.fixture(scope="session", autouse=True)
def direct_session(pytestconfig: pytest.Config) -> Iterator[DirectSession]:
    """Have wrappers call the sources in this process, in every test below the ``conftest.py`` that imports this fixture.

    A test that calls without wrappers asks for the fixture, and uses its ``handle``. The config file is the nearest
    ``lastgood.toml``, or ``pyproject.toml`` with a ``[tool.lastgood]`` table, in the directory where pytest was started or above
    it, else in pytest's root directory or above that. In the first case, the directory around the wrappers is put at the end of
    ``sys.path``, so that test modules can import them. The sources are imported once, so what they keep in their globals lives
    as long as the test run. Raises as :meth:`~lastgood.DirectSession.start` does.
    """
    with direct(_find_config_file(pytestconfig.invocation_params.dir, pytestconfig.rootpath)) as session:
        yield session


def _find_config_file(started_in: Path, root: Path) -> Path:
    try:
        return find_config(started_in)
    except ConfigError:
        return find_config(root)


def _prepare_imports() -> None:
    """Have test modules import wrappers at their top, which is before the fixture starts.

    Appends the directory around them to ``sys.path``. Raises :class:`ConfigError` if one was never generated. Does nothing if there
    is no config in the directory where pytest was started or above it: the fixture then looks further.
    """
    try:
        config = load_config(find_config(Path.cwd()))
    except ConfigError:
        return  # the fixture raises it, in the test
    refuse_missing_wrappers(config)
    entry, _ = top_of(os.path.realpath(config.place))
    if not is_on_path(entry):
        sys.path.append(entry)


_prepare_imports()
