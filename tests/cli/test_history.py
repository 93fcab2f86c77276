"""``lastgood history`` and ``lastgood undo``."""

from __future__ import annotations

import re
from collections.abc import Callable

from command_line import TWO, Run, two_generations
from lastgood.store.disk import Disk
from real_project import BROKEN, QUOTE, RealProject
from running import Running


def test_history_lists_the_good_generations_and_what_changed(run: Run, project: RealProject) -> None:
    project.save("stock.py", QUOTE)
    project.configure("pricing", "stock")
    two_generations(project)
    ran = run("history")
    assert (ran.status, ran.err) == (0, "")
    latest, first = ran.out.splitlines()
    assert re.fullmatch(r"\* \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  pricing\.py", latest)
    assert re.fullmatch(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  pricing\.py, stock\.py", first)


def test_history_says_when_there_is_none(run: Run, project: RealProject) -> None:
    assert run("history").out == "No good generation of generated is kept yet.\n"
    assert not (project.root / ".lastgood").exists()


def test_undo_brings_the_wrappers_back_where_no_session_runs(run: Run, project: RealProject) -> None:
    two_generations(project)
    assert b"number" in project.tree()["pricing.py"]
    project.save("pricing.py", BROKEN)
    ran = run("undo")
    assert (ran.status, ran.out, ran.err) == (0, "  wrote      generated/pricing.py\n", "")
    assert b"number" not in project.tree()["pricing.py"]
    assert len(run("history").out.splitlines()) == 1
    assert project.leftovers() == []
    again = run("undo")
    assert again.status == 1
    assert "nothing to go back to" in again.err


def test_undo_goes_back_to_what_generate_wrote_before(run: Run, project: RealProject) -> None:
    run("generate")
    before = project.tree()
    project.save("pricing.py", TWO)
    run("generate")
    lines = run("history").out.splitlines()
    assert [line[:2] for line in lines] == ["* ", "  "]
    assert lines[0].endswith("  pricing.py")
    assert run("undo").status == 0
    assert project.tree() == before
    assert len(run("history").out.splitlines()) == 1
    ran = run("undo")
    assert ran.status == 1
    assert "back" in ran.err
    assert project.tree() == before


def test_undo_asks_the_session_that_runs(run: Run, project: RealProject, watch: Callable[..., Running]) -> None:
    running = watch()
    running.line("live ")
    project.save("pricing.py", TWO)
    running.line("live ")
    ran = run("undo")
    assert (ran.status, ran.err) == (0, "")
    assert "Asked the session of process" in ran.out
    assert "It has gone back to that of 20" in ran.out
    assert b"number" not in project.tree()["pricing.py"], "the command returns when it is done"
    running.line("generation 2 is undone")
    running.line("STALE")
    again = run("undo")
    assert again.status == 1
    assert "nothing to go back to" in again.err


def test_undo_beside_what_says_nothing_about_itself_is_an_error(run: Run, project: RealProject) -> None:
    two_generations(project)
    lock = Disk().lock(project.root / ".lastgood" / "generated" / "lock")  # of an earlier version, perhaps
    assert lock is not None
    try:
        ran = run("undo")
    finally:
        lock.release()
    assert (ran.status, ran.out) == (1, "Asked a session to undo its live generation.\n")
    assert "is already kept up to date by another session" in ran.err
