"""The lowest dependencies that ``pyproject.toml`` declares, and the newest that were tried: ``.ci/run`` tries both.

They are files of constraints for pip, which do not ask for anything by themselves:
``PIP_CONSTRAINT=tests/constraints/lowest.txt pip install -e '.[test,tables]'``. Where the newest ones that are installed are newer
than those of ``newest.txt``, ``RENEW_RECORDS=1 pytest -n0 tests/test_constraints.py`` writes both anew.
"""

from __future__ import annotations

import importlib.metadata
import os
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = {
    each.name: each for each in map(Requirement, PROJECT["dependencies"] + EXTRAS["test"] + EXTRAS["tables"])
}
LOWEST, NEWEST = HERE / "constraints" / "lowest.txt", HERE / "constraints" / "newest.txt"


def floor(requirement: Requirement) -> str:
    (version,) = [each.version for each in requirement.specifier if each.operator == ">="]
    return version


def constraints(path: Path) -> dict[str, Requirement]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {each.name: each for each in map(Requirement, lines)}


def test_the_lowest_are_those_that_are_declared() -> None:
    lines = "".join(f"{name}=={floor(each)}\n" for name, each in sorted(REQUIREMENTS.items()))
    text = "# The lowest versions that pyproject.toml declares. Written by tests/test_constraints.py.\n" + lines
    if os.environ.get("RENEW_RECORDS"):
        LOWEST.write_text(text)
    assert LOWEST.read_text() == text


def test_the_newest_that_were_tried_are_of_the_same_packages() -> None:
    if os.environ.get("RENEW_RECORDS"):
        there = {name: importlib.metadata.version(name) for name in sorted(REQUIREMENTS)}
        head = "# The newest versions that the suite has passed with: older ones are not taken for the newest.\n"
        NEWEST.write_text(head + "".join(f"{name}>={version}\n" for name, version in there.items()))
    tried = constraints(NEWEST)
    assert tried.keys() == REQUIREMENTS.keys()
    for name, each in tried.items():
        assert Version(floor(each)) >= Version(floor(REQUIREMENTS[name])), name


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_dependency_has_a_floor(extra: str) -> None:
    assert [each for each in map(Requirement, EXTRAS[extra]) if ">=" not in str(each.specifier)] == []
