"""A team that commits its wrappers: CI, two branches that change one source, a merge with conflicts, the hooks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from diary import Diary
from real_project import DEADLINE
from running import Ran, run

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not here"),
]

HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"
CI = "lastgood generate --check --format github"
WRAPPER = "generated/greetings.py"
DISCOUNT = "\n\ndef discount(price: float) -> float:\n    return price * 0.9\n"
SHIPPING = "\n\ndef shipping(weight: int) -> int:\n    return weight * 2\n"


def shell(command: str, cwd: Path) -> Ran:
    """Run a command line as it stands, with the programs that are installed beside this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return run(["env", f"PATH={path}", *shlex.split(command)], cwd, 4 * DEADLINE)


def good(command: str, cwd: Path) -> str:
    ran = shell(command, cwd)
    assert ran.status == 0, ran
    return ran.out


def git(command: str, cwd: Path) -> Ran:
    return shell(f"git -c user.name=Ada -c user.email=ada@example.org -c init.defaultBranch=main {command}", cwd)


def commit(text: str, clone: Path) -> None:
    """Commit and push everything that lies in a clone."""
    for command in ("add --all", f"commit --quiet --message '{text}'", "push --quiet origin HEAD:main"):
        ran = git(command, clone)
        assert ran.status == 0, ran


def clone(name: str, directory: Path) -> Path:
    ran = git(f"clone --quiet team.git {name}", directory)
    assert ran.status == 0, ran
    return directory / name


def hooks() -> dict[str, str]:
    """The command of each hook, by its name."""
    return dict(re.findall(r"^- id: (\S+)$.*?^  entry: (.+?)$", HOOKS.read_text(), re.MULTILINE | re.DOTALL))


def assert_ci_passes(name: str, directory: Path) -> Path:
    """In a fresh clone, as CI makes it. Nothing is printed, and nothing has become different."""
    fresh = clone(name, directory)
    assert good(CI, fresh) == ""
    assert git("status --porcelain", fresh).out == ""
    return fresh


def assert_mended(grace: Path, check: str, generate: str) -> bytes:
    """What is in the way of the wrapper is told, replaced and kept."""
    found = (grace / WRAPPER).read_bytes()
    ran = shell(CI, grace)
    assert (ran.status, ran.err) == (3, ""), ran
    annotation = f"::error file={WRAPPER},title=lastgood::is out of date: run "
    assert len([line for line in ran.out.splitlines() if line.startswith(annotation)]) == 1, ran.out
    assert shell(check, grace).status == 3
    assert (grace / WRAPPER).read_bytes() == found
    good(generate, grace)
    good(check, grace)
    assert good(CI, grace) == ""
    return found


def test_a_merge_with_conflicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diary = Diary("A team with committed wrappers, from an empty directory", capsys)
    check, generate = hooks()["lastgood-check"], hooks()["lastgood-generate"]
    with diary.step("git clone, lastgood init, lastgood generate, git push"):
        assert git("init --quiet --bare team.git", tmp_path).status == 0
        ada = clone("ada", tmp_path)
        good("lastgood init", ada)
        good("lastgood generate", ada)
        commit("Greetings", ada)
    with diary.step("CI passes in a clone of its own"):
        assert_ci_passes("ci-1", tmp_path)
    diary.first_success()
    source = (ada / "greetings.py").read_text()
    with diary.step("Ada and Grace each add a function at the same place, and generate"):
        grace = clone("grace", tmp_path)
        for who, more in ((ada, DISCOUNT), (grace, SHIPPING)):
            (who / "greetings.py").write_text(source + more)
            assert shell(check, who).status == 3
            good(generate, who)
            good(check, who)
        commit("Discount", ada)
        for command in ("add --all", "commit --quiet --message Shipping"):
            assert git(command, grace).status == 0
    with diary.step("Grace pulls: conflicts in the source and in the wrapper"):
        ran = git("pull --no-rebase --no-edit origin main", grace)
        assert ran.status == 1, ran
        assert git("diff --name-only --diff-filter=U", grace).out.splitlines() == [WRAPPER, "greetings.py"]
    with diary.step("with markers in the source, the error says so, at the line of the first"):
        lines = (grace / "greetings.py").read_text().splitlines()
        line = next(number for number, line in enumerate(lines, 1) if line.startswith("<<<<<<<"))
        ran = shell(CI, grace)
        assert ran.status == 1, ran
        place = f"::error file=greetings.py,line={line},title=lastgood::greetings: it has merge markers"
        assert ran.out.startswith(place), ran.out
        ran = shell(generate, grace)
        assert ran.status == 1, ran
        assert f"greetings.py:{line}" in ran.err, ran
        assert "it has merge markers" in ran.err, ran
    with diary.step("she mends the source, and lastgood generate the wrapper with its markers"):
        (grace / "greetings.py").write_text(source + DISCOUNT + SHIPPING)
        with_markers = assert_mended(grace, check, generate)
        assert b"<<<<<<< HEAD" in with_markers
        assert (grace / f"{WRAPPER}.edited").read_bytes() == with_markers
        mended = (grace / WRAPPER).read_bytes()
    for side in ("--ours", "--theirs"):
        with diary.step(f"or she takes a side first: git checkout {side}"):
            assert git(f"checkout --quiet {side} {WRAPPER}", grace).status == 0
            assert_mended(grace, check, generate)
            assert (grace / WRAPPER).read_bytes() == mended
    with diary.step("the merge is pushed, and CI passes"):
        commit("Merge", grace)
        assert_ci_passes("ci-2", tmp_path)
    with diary.step("Ada pulls: nothing to generate"):
        assert git("pull --quiet --ff-only origin main", ada).status == 0
        assert (ada / WRAPPER).read_bytes() == mended
        good(check, ada)
        good(generate, ada)
        assert git("status --porcelain", ada).out == ""
    with diary.step("her app has both functions"):
        names = "from generated.greetings import discount, greet, shipping"
        assert run([sys.executable, "-c", names], ada).status == 0
