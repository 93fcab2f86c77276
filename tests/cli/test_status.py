"""``lastgood status``, and ``lastgood generate`` beside a session: the session that runs is asked."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

from command_line import Run
from real_project import BROKEN, MORE, RealProject
from running import Running

Watch = Callable[..., Running]


def test_no_session_runs(run: Run, project: RealProject) -> None:
    ran = run("status")
    assert (ran.status, ran.out, ran.err) == (5, "No session of lastgood.toml runs.\n", "")
    assert not (project.root / ".lastgood").exists()
    assert run("generate").status == 0
    assert run("status").status == 5
    assert json.loads(run("status", "--json").out) == {"running": False}


def test_a_session_runs_and_another_one_follows_it(run: Run, project: RealProject, watch: Watch) -> None:
    watch().line("live ")
    watch().line("live ")
    ran = run("status")
    assert ran.status == 0
    assert "lastgood.toml: generation 1 is live, kept by the session of process" in ran.out
    assert "; followed by process " in ran.out
    project.save("pricing.py", MORE)
    told = json.loads(run("status", "--json").out)
    assert (told["running"], told["stale"], len(told["followers"])) == (True, False, 1)


def test_what_is_live_is_stale(run: Run, project: RealProject, watch: Watch) -> None:
    running = watch()
    running.line("live ")
    project.save("pricing.py", BROKEN)
    running.line("STALE")
    while (ran := run("status")).status == 0:  # the others are told after the terminal
        pass
    assert ran.status == 4
    assert "STALE since 2" in ran.out
    assert "GenerationError: Generation failed for 1 module(s):" in ran.out
    told = json.loads(run("status", "--json").out)
    assert (told["generation"], told["cycle"], told["error"]["type"]) == (1, 2, "GenerationError")


def test_generate_asks_the_session_that_runs(run: Run, project: RealProject, watch: Watch) -> None:
    running = watch()
    running.line("live ")
    ran = run("generate")
    assert (ran.status, ran.out, ran.err) == (0, "  2 unchanged\n", "")
    running.line("generation 2")
    project.save("pricing.py", BROKEN)
    running.line("STALE")
    ran = run("generate")
    assert ran.status == 1
    assert "The session that leads has failed with GenerationError" in ran.err


def test_generate_beside_a_session_that_is_stopped_is_an_error(run: Run, project: RealProject, watch: Watch) -> None:
    project.save("lastgood.toml", '[modules.pricing]\n[output]\ndir = "generated"\n[watch]\nwarm_timeout = 0.5\n')
    running = watch()
    running.line("live ")
    running.send(signal.SIGSTOP)
    try:
        ran = run("generate")
    finally:
        running.send(signal.SIGCONT)
    assert ran.status == 1
    assert "has given no sign of life for 0.5 s (warm_timeout)" in ran.err
