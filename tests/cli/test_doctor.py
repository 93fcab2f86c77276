"""``lastgood doctor``: what it looks at, and what it says to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from command_line import Run
from lastgood.cli.doctor import CHECKS, machine, surroundings
from lastgood.cli.doctor.findings import Finding, found_out
from lastgood.cli.doctor.project import Examined, the_config
from lastgood.interpreters import watching
from real_project import BROKEN, RealProject
from running import Running
from scarcity import few_descriptors

Told = Callable[..., list[str]]


@pytest.fixture
def told(project: RealProject) -> Iterator[Told]:
    """Do a check, after those whose findings it needs; what it has found: state, text, what to do."""
    examined = Examined()

    def told(name: str, *before: str) -> list[str]:
        list(the_config(examined, lambda: project.config_file))
        for each in before:
            assert [found.state for found in found_out(each, partial(CHECKS[each], examined))] == ["ok"]
        (found,) = found_out(name, partial(CHECKS[name], examined))
        assert found.state == "ok" or found.to_do or found.detail
        return [found.state, found.text, found.to_do]

    yield told
    examined.release()


@pytest.fixture
def report(run: Run) -> Callable[..., dict[str, list[str]]]:
    """Run the command; what it has found, by the name of the check: state, text, what to do."""

    def report(status: int = 0) -> dict[str, list[str]]:
        ran = run("doctor", "--json")
        assert (ran.status, ran.err) == (status, "")
        return {each["check"]: [each["state"], each["text"], each["to_do"]] for each in json.loads(ran.out)}

    return report


Report = Callable[..., dict[str, list[str]]]


def all_of(project: RealProject, name: str) -> list[Finding]:
    """Everything that a check has found."""
    examined = Examined()
    list(the_config(examined, lambda: project.config_file))
    found = list(found_out(name, partial(CHECKS[name], examined)))
    examined.release()
    return found


def files(project: RealProject) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in project.root.rglob("*")}


@pytest.mark.usefixtures("project")
def test_where_everything_is_there_each_check_is_a_line(run: Run) -> None:
    run("generate")
    ran = run("doctor")
    assert (ran.status, ran.err) == (0, "")
    *lines, empty, summary = ran.out.splitlines()
    checks = [line[7:20].strip() for line in lines if line.startswith("ok ")]
    assert checks[:6] == ["versions", "config", "interpreter", "worker", "modules", "session"]
    assert {"wrappers", "permissions", "watching", "open files", "processes"} <= set(checks)
    assert empty == ""
    assert summary == "Everything that a session needs is there." or "could be better" in summary


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_it_changes_nothing(run: Run, project: RealProject, used: bool) -> None:
    if used:
        run("generate")
    before = files(project)
    run("doctor")
    assert files(project) == before


def test_wrappers_that_are_out_of_date_could_be_better(told: Told, run: Run) -> None:
    state, text, to_do = told("wrappers", "interpreter", "modules")
    assert (state, text) == ("warn", "2 files are out of date in generated")
    assert to_do == 'Run "lastgood generate", or "lastgood watch".'
    run("generate")
    assert told("wrappers", "interpreter", "modules")[:2] == ["ok", "2 files are up to date in generated"]


# --- the config, and what it names


def test_no_config_is_wrong_and_the_machine_is_looked_at_all_the_same(report: Report, project: RealProject) -> None:
    project.config_file.unlink()
    found = report(status=1)
    assert found["config"][0] == "wrong"
    assert "no lastgood.toml" in found["config"][1]
    assert {"versions", "open files", "processes"} <= found.keys()
    assert "worker" not in found


def test_a_mistake_in_the_config_is_told_with_its_line(report: Report, project: RealProject) -> None:
    project.config_file.write_text("[modules\n")
    assert report(status=1)["config"][1].startswith("lastgood.toml:1: ")


def test_a_config_without_a_module_says_where_to_name_one(project: RealProject) -> None:
    project.configure()
    ((state, text, to_do),) = the_config(Examined(), lambda: project.config_file)
    assert (state, text) == ("warn", "lastgood.toml names no module")
    assert "[modules]" in to_do


def test_a_module_that_is_missing_or_broken_is_told(told: Told, run: Run, project: RealProject) -> None:
    project.configure("pricing", "nowhere")
    state, text, to_do = told("modules", "interpreter")
    assert (state, text) == ("wrong", 'lastgood.toml: Module "nowhere" could not be resolved for watching')
    assert "was looked for in" in to_do
    project.configure("pricing")
    project.save("pricing.py", BROKEN)
    state, text, _ = told("wrappers", "interpreter", "modules")
    assert (state, text.partition(" (")[0]) == ("wrong", "pricing.py:1: pricing: invalid syntax")
    whole = run("doctor", "--quiet", "--verbose")
    assert (whole.status, whole.out.count("Generation failed for 1 module(s):")) == (1, 1)
    assert run("doctor", "--quiet").out.splitlines()[0].startswith("wrong  wrappers     pricing.py:1: ")


def test_an_interpreter_that_is_not_there_is_told_once(report: Report, project: RealProject) -> None:
    project.save("lastgood.toml", f'{project.config_file.read_text()}[runtime.process]\npython = "no/python"\n')
    found = report(status=1)
    assert found["interpreter"][0] == "wrong"
    assert "there is no such file" in found["interpreter"][1]
    assert "leave the field out" in found["interpreter"][2]
    assert {"worker", "modules", "wrappers"}.isdisjoint(found)


def test_a_worker_that_does_not_start_is_told(told: Told, project: RealProject) -> None:
    python = project.save("python", f'#!/bin/sh\ncase "$1" in -u) exit 3 ;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    project.save("lastgood.toml", f'{project.config_file.read_text()}[runtime.process]\npython = "{python}"\n')
    state, text, _ = told("worker", "interpreter")
    assert (state, "3" in text) == ("wrong", True)


# --- what is around it


def test_the_session_that_runs_is_named(told: Told, watch: Callable[..., Running]) -> None:
    running = watch()
    running.line("live ")
    state, text, _ = told("session")
    assert (state, text) == ("ok", f"the session of process {running.pid} keeps generated up to date")
    running.interrupt()
    assert told("session")[1] == "none runs here"


def test_a_promotion_that_was_cut_short_is_told(told: Told, run: Run, project: RealProject) -> None:
    run("generate")
    (project.root / ".lastgood" / "generated" / "journal.json").write_text("{}")
    assert told("session")[0] == "warn"


def test_what_cannot_be_written_to_is_told_with_what_to_run(
    told: Told, run: Run, project: RealProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("generate")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != project.output)
    state, text, to_do = told("permissions")
    assert (state, text) == ("wrong", "generated cannot be written to")
    assert to_do == f"Run: chmod u+rwx {project.output}"


def test_a_file_system_without_locks_is_wrong_and_without_links_only_slower(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        assert "without hard links" in told("permissions")[1]
    monkeypatch.setattr(surroundings, "_has_locks", lambda _: False)
    state, text, to_do = told("permissions")
    assert (state, "has no locks" in text, "local file system" in to_do) == ("wrong", True, True)


def test_an_output_that_is_to_be_made_can_be_made(told: Told, project: RealProject) -> None:
    project.configure("pricing", output="a/b/generated")
    assert told("permissions")[:2] == ["ok", "a/b can be made"]
    assert not (project.root / "a").exists()


def test_locks_are_tried(tmp_path: Path) -> None:
    assert surroundings._has_locks(tmp_path)


def test_a_system_that_tells_of_no_edit_is_to_be_polled(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "seconds_to_notice", lambda *_: None)
    state, text, to_do = told("watching")
    assert (state, "told of no edit within 2 s" in text, "poll = true" in to_do) == ("warn", True, True)


def test_one_that_cannot_watch_says_why(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the limit is reached")

    monkeypatch.setattr(watching, "RustNotify", fail)
    state, text, to_do = told("watching")
    assert (state, text) == ("warn", "the system does not watch the directories of this project")
    assert to_do.startswith("The system's limit of watched directories is reached; raise it with ")


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "9p"])
def test_a_file_system_that_others_write_to_is_told(
    project: RealProject, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "file_system_of", lambda _: kind)
    monkeypatch.setattr(surroundings, "_is_other", lambda *_: True)
    *_, (state, text, _) = ((found.state, found.text, found.to_do) for found in all_of(project, "watching"))
    assert (state, f"{kind} tells of no edit that is made elsewhere" in text) == ("warn", True)


def test_what_is_polled_anyway_is_not_watched(told: Told, project: RealProject) -> None:
    project.save("lastgood.toml", f"{project.config_file.read_text()}[watch]\npoll = 0.5\n")
    assert told("watching")[:2] == ["ok", "files are read every 0.5 s, as poll under [watch] says"]


# --- git


def in_git(project: RealProject) -> None:
    subprocess.run(["git", "init", "-q", str(project.root)], check=True)


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@needs_git
def test_git_is_told_that_wrappers_are_generated(project: RealProject) -> None:
    assert all_of(project, "git") == []
    in_git(project)
    found = all_of(project, "git")
    assert [each.state for each in found] == ["warn", "warn"]
    for each in found:  # do what it says
        _, line, rest = each.to_do.split('"')
        project.save(rest.removeprefix(" into "), f"{line}\n")
    assert [each.state for each in all_of(project, "git")] == ["ok"]


@needs_git
def test_wrappers_that_are_not_committed_need_no_marks(told: Told, project: RealProject) -> None:
    in_git(project)
    project.save(".gitignore", "generated/\n")
    assert told("git")[:2] == ["ok", "generated is ignored"]


@needs_git
def test_what_init_writes_is_what_git_needs(
    run: Run, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    assert "wrote  generated/.gitattributes" in run("init").out
    assert report()["git"][0] == "ok"
    run("generate")
    assert report()["wrappers"][0] == "ok"


# --- the machine


def test_few_open_files_are_wrong() -> None:
    with few_descriptors(20):
        ((state, text, to_do),) = machine.open_files()
    assert (state, "a session needs 64" in text, "ulimit -n 4096" in to_do) == ("wrong", True, True)


def test_a_low_limit_of_open_files_could_be_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_descriptors", lambda: (250, 256))
    assert [state for state, _, _ in machine.open_files()] == ["warn"]
    monkeypatch.setattr(machine, "free_descriptors", lambda: (float("inf"), float("inf")))
    assert [state for state, _, _ in machine.open_files()] == ["ok"]


@pytest.mark.parametrize(
    ("watches", "instances", "directories", "state", "to_do"),
    [
        (8192, 128, 100, "ok", ""),
        (8192, 128, None, "ok", ""),
        (8192, 128, 5000, "warn", "Raise it: sudo sysctl fs.inotify.max_user_watches=524288."),
        (8192, 8, 100, "warn", "Raise it: sudo sysctl fs.inotify.max_user_instances=1024"),
    ],
)
def test_limits_of_watching(
    watches: int, instances: int, directories: int | None, state: str, to_do: str, tmp_path: Path
) -> None:
    (tmp_path / "max_user_watches").write_text(f"{watches}\n")
    (tmp_path / "max_user_instances").write_text(f"{instances}\n")
    ((found, _, what),) = machine.inotify(lambda: directories, tmp_path)
    assert (found, what.partition(" Where")[0]) == (state, to_do)


def test_a_system_without_these_limits_has_none(tmp_path: Path) -> None:
    assert list(machine.inotify(lambda: 1, tmp_path)) == []


def test_the_limit_of_processes_is_that_of_the_nearest_group_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "groups").write_text("0::/app/session\n")
    inner = tmp_path / "mounted" / "app" / "session"
    inner.mkdir(parents=True)
    (inner / "pids.max").write_text("max\n")
    (inner.parent / "pids.max").write_text("100\n")
    (inner.parent / "pids.current").write_text("90\n")
    assert machine._free_in_container(tmp_path / "groups", tmp_path / "mounted") == 10
    assert machine._free_in_container(tmp_path / "none", tmp_path / "mounted") is None
    monkeypatch.setattr(machine, "_free_in_container", lambda *_: 10)
    assert [state for state, _, _ in machine.processes()] == ["warn"]


def test_the_file_system_is_that_of_the_device(tmp_path: Path) -> None:
    device = os.stat(tmp_path).st_dev
    mounts = tmp_path / "mounts"
    mounts.write_text(f"1 2 {os.major(device)}:{os.minor(device)} / /x rw shared:1 - ext9 /dev/x rw\n")
    assert machine.file_system_of(tmp_path, mounts) == "ext9"
    mounts.write_text("1 2 999:1 / /x rw - nfs server rw\n")
    assert machine.file_system_of(tmp_path, mounts) == ""
    assert machine.file_system_of(tmp_path, tmp_path / "none") == ""


def test_a_limit_that_a_check_meets_is_explained() -> None:
    def check() -> machine.Said:
        yield "ok", "first", ""
        raise RuntimeError("can't start new thread")

    first, second = found_out("a check", check)
    assert (first.state, second.state, "ulimit -u" in second.to_do) == ("ok", "wrong", True)
