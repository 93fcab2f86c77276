"""The ``lastgood`` command: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import lastgood
from command_line import TWO, Run, two_generations
from lastgood.cli.commands import main
from lastgood.store.disk import Disk
from lastgood.store.output_directory import OutputDirectory
from real_project import BROKEN, QUOTE, RealProject
from running import Ran, Running
from running import run as run_process

# --- the command itself -------------------------------------------------------------------------------------


def test_help_lists_every_command_with_one_whole_line(run: Run) -> None:
    ran = run("--help")
    commands = ran.out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in commands] == [
        "watch",
        "serve",
        "generate",
        "plan",
        "status",
        "history",
        "undo",
        "init",
        "doctor",
        "demo",
    ]
    assert all(line.endswith(".") and not line.endswith("...") for line in commands)


def test_version(run: Run) -> None:
    assert run("--version") == Ran(0, f"lastgood {lastgood.__version__}\n", "")


@pytest.mark.parametrize("name", main.commands)
def test_every_command_has_the_options_of_what_it_prints(name: str) -> None:
    options = {spelling for option in main.commands[name].params for spelling in option.opts}
    assert options >= {"--json", "--quiet", "--verbose", "--no-color"} | ({"--config"} if name != "demo" else set())


@pytest.mark.parametrize("args", [["bogus"], ["watch", "--bogus"], ["plan", "a", "b"]], ids=" ".join)
def test_wrong_usage_is_status_2(run: Run, args: list[str]) -> None:
    ran = run(*args)
    assert (ran.status, ran.out) == (2, "")
    assert "Usage: lastgood" in ran.err


def test_python_m_lastgood_is_the_same_and_help_loads_no_machinery() -> None:
    code = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['lastgood', '--version']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('lastgood', run_name='__main__')\n"
        "print({'trio', 'lastgood.wrappers', 'rich', 'watchfiles'} & set(sys.modules) or 'light')"
    )
    assert run_process([sys.executable, "-c", code], Path()) == Ran(0, f"lastgood {lastgood.__version__}\nlight\n", "")


@pytest.mark.parametrize("text", ["raise KeyboardInterrupt", "exec('raise KeyboardInterrupt')"], ids=["plain", "exec"])
def test_ctrl_c_while_the_command_is_loaded_is_no_traceback(text: str, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(text)  # python -m looks here first
    assert run_process([sys.executable, "-m", "lastgood", "plan"], tmp_path) == Ran(130, "", "Stopped.\n")


# --- which config -------------------------------------------------------------------------------------------

COMMANDS = ["watch", "generate", "plan"]


def test_without_an_argument_the_nearest_config_is_taken(
    run: Run, project: RealProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = project.root / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert run("generate").status == 0
    assert set(project.tree()) == {"__init__.py", "pricing.py"}


def test_the_argument_is_a_config_file(run: Run, project: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.save("pyproject.toml", '[tool.lastgood.modules.pricing]\n[tool.lastgood.output]\ndir = "other"\n')
    monkeypatch.chdir(project.root.parent)
    assert "other/pricing.py" in run("generate", "project/pyproject.toml").out
    assert (project.root / "other" / "pricing.py").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_config_at_all_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(command)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("Error: no lastgood.toml, and no pyproject.toml with a [tool.lastgood] table, in ")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("missing.toml", "missing.toml: the config file does not exist."),
        (".", "is a directory; expected a config file."),
        ("typo.toml", 'typo.toml: field "outptu": unknown field;'),
        ("legacy.toml", 'legacy.toml: Legacy config field "development" is no longer supported.'),
        ("nowhere.toml", 'nowhere.toml: Module "nowhere" could not be resolved for watching'),
        ("builtin.toml", 'Module "math" is not backed by a local Python source file or package directory'),
        ("broken.toml", "Generation failed for 1 module(s):"),
    ],
    ids=lambda value: value if value.endswith(".toml") else "",
)
def test_a_mistake_is_one_clear_message_and_status_1(
    run: Run, project: RealProject, command: str, config: str, message: str
) -> None:
    project.save("broken.py", BROKEN)
    project.save("typo.toml", '[modules]\n[outptu]\ndir = "g"\n')
    project.save("legacy.toml", "[development]\n")
    for name, module in (("nowhere", "nowhere"), ("builtin", "math"), ("broken", "broken")):
        project.save(f"{name}.toml", f'[modules.{module}]\n[output]\ndir = "g"\n')
    ran = run(command, config)
    assert ran.status == 1
    assert message in ran.err
    assert ran.err.startswith("Error: ")
    assert not (project.root / "g").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_module_is_told_with_the_places_where_it_was_looked_for(
    run: Run, project: RealProject, command: str
) -> None:
    project.save("nowhere.toml", '[modules.nowhere]\n[output]\ndir = "g"\n')
    assert f'"nowhere" was looked for in:\n  {project.root}\n' in run(command, "nowhere.toml").err


# --- generate -----------------------------------------------------------------------------------------------


def test_generate_tells_what_it_wrote_removed_and_left(run: Run, project: RealProject) -> None:
    project.configure("pricing", "old")
    project.save("old.py", QUOTE)
    assert run("generate") == Ran(
        0,
        "  wrote      generated/__init__.py\n  wrote      generated/old.py\n  wrote      generated/pricing.py\n",
        "",
    )
    project.configure("pricing")
    assert run("generate") == Ran(
        0,
        "  removed    generated/old.py\n  2 unchanged\n",
        "",
    )


LEFT_OUT = "from contextlib import contextmanager\n@contextmanager\ndef opened():\n    yield 1\n"


def test_generate_warns_on_stderr(run: Run, project: RealProject) -> None:
    project.save("pricing.py", LEFT_OUT)
    ran = run("generate")
    assert ran.status == 0
    assert ran.err.startswith("Warning: pricing.opened: left out: ")


TWO_LEFT_OUT = f"{LEFT_OUT}@contextmanager\ndef closed():\n    yield 2\ndef there(): ...\n"


@pytest.mark.parametrize("command", ["generate", "plan"])
def test_warnings_are_summed_up_by_cause_and_verbose_prints_each(run: Run, project: RealProject, command: str) -> None:
    project.save("pricing.py", QUOTE + TWO_LEFT_OUT)
    summary = run(command).err.splitlines()
    assert [line.partition(":")[0] for line in summary] == [
        "Warning",
        "These are the causes of 2 warnings; --verbose prints each.",
    ]
    assert summary[0].startswith("Warning: 2 left out: it returns a context manager")
    assert summary[0].endswith("(e.g. closed, opened)")
    each = run(command, "--verbose").err.splitlines()
    assert [line.split(": ")[1] for line in each] == ["pricing.opened", "pricing.closed"]


def everything(project: RealProject) -> dict[str, tuple[int, int, bytes]]:
    """Every file and directory of the project: mode, modification time, bytes."""
    stats = {path: path.lstat() for path in sorted(project.root.rglob("*"))}
    return {str(p): (s.st_mode, s.st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p, s in stats.items()}


def test_check_of_what_is_up_to_date_is_status_0(run: Run, project: RealProject) -> None:
    run("generate")
    before = everything(project)
    assert run("generate", "--check") == Ran(0, "2 files are up to date in generated.\n", "")
    assert everything(project) == before


def test_check_of_what_is_out_of_date_is_status_3_with_a_diff_and_writes_nothing(
    run: Run, project: RealProject
) -> None:
    project.configure("pricing", "old")
    project.save("old.py", QUOTE)
    run("generate")
    project.configure("pricing", "fresh")
    project.save("fresh.py", QUOTE)
    project.save("pricing.py", TWO)
    before = everything(project)
    ran = run("generate", "--check")
    assert (ran.status, ran.err) == (3, "3 files are out of date: run lastgood generate.\n")
    heads = [line for line in ran.out.splitlines() if line.startswith(("--- ", "+++ "))]
    assert heads == [
        *("--- /dev/null", "+++ generated/fresh.py"),
        *("--- generated/old.py", "+++ /dev/null"),
        *("--- generated/pricing.py", "+++ generated/pricing.py"),
    ]
    assert "\n-async def quote(sku: str) -> float: ...\n" in ran.out
    assert "\n+async def quote(sku: str, number: int) -> float: ...\n" in ran.out
    assert everything(project) == before


def test_check_where_nothing_was_ever_written_leaves_no_directory(run: Run, project: RealProject) -> None:
    before = everything(project)
    ran = run("generate", "--check")
    assert (ran.status, ran.err) == (3, "2 files are out of date: run lastgood generate.\n")
    assert everything(project) == before


def test_a_diff_shows_a_hand_edited_wrapper_whatever_is_in_it(run: Run, project: RealProject) -> None:
    run("generate")
    (project.output / "pricing.py").write_bytes(b"mine\x0c = '\xff'\r\nlast")
    ran = run("generate", "--check")
    assert ran.status == 3
    assert "-mine\x0c = '\ufffd'\r\n-last\n\\ No newline at end of file\n+" in ran.out


@pytest.mark.parametrize("args", [["--check"], ["--check", "--fail-on-warn"], ["--fail-on-warn"]], ids=" ".join)
def test_a_failure_is_status_1_whatever_was_asked(run: Run, project: RealProject, args: list[str]) -> None:
    project.save("pricing.py", BROKEN)
    ran = run("generate", *args)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("Error: Generation failed for 1 module(s):")


def test_warnings_are_status_2_if_that_is_asked_and_the_wrappers_are_written(run: Run, project: RealProject) -> None:
    project.save("pricing.py", QUOTE + LEFT_OUT)
    assert run("generate", "--check", "--fail-on-warn").status == 2
    assert not project.output.exists()
    ran = run("generate", "--fail-on-warn")
    assert (ran.status, set(project.tree())) == (2, {"__init__.py", "pricing.py"})
    assert ran.err.startswith("Warning: pricing.opened: left out")
    assert run("generate", "--check", "--fail-on-warn").status == 2
    assert run("generate", "--check").status == 0


@pytest.mark.usefixtures("project")
def test_without_warnings_fail_on_warn_is_status_0(run: Run) -> None:
    assert run("generate", "--fail-on-warn").status == 0
    assert run("generate", "--check", "--fail-on-warn").status == 0


def test_generate_leaves_a_file_that_is_not_ours(run: Run, project: RealProject) -> None:
    mine = project.save("generated/pricing.py", "mine = 1\n")
    ran = run("generate")
    assert ran.status == 1
    assert ran.err.startswith(f"Error: {mine}: lastgood did not write this file and will not overwrite it.")
    assert project.tree() == {"pricing.py": b"mine = 1\n"}


def test_generate_beside_a_session_names_its_pid(run: Run, project: RealProject) -> None:
    session = OutputDirectory.claim(Disk(), project.output, 1)
    ran = run("generate")
    session.release()
    assert (ran.status, ran.out) == (1, "")
    assert "already kept up to date by the session of process 1" in ran.err


def test_generate_of_no_module_says_so(run: Run, project: RealProject) -> None:
    project.configure()
    assert run("generate") == Ran(0, "  There is nothing to wrap: [modules] is empty.\n", "")


@pytest.mark.usefixtures("project")
def test_generate_says_what_it_recovered(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def recover(output: OutputDirectory) -> None:
        output.recovered = ("pricing.py",)

    monkeypatch.setattr(OutputDirectory, "recover", recover)
    assert run("generate").out.startswith(
        "A promotion that was cut short has been undone first:\n  restored   generated/pricing.py\n"
    )


@pytest.mark.usefixtures("project")
def test_notes_are_told_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        error = lastgood.PromotionError("no")
        error.add_note("and this")
        raise error

    monkeypatch.setattr("lastgood.interpreters.once.generate_once", fail)
    assert run("generate") == Ran(1, "", "Error: no\nand this\n")


def test_an_error_of_the_system_is_told_with_its_file(run: Run, project: RealProject) -> None:
    project.save("here", "a file")
    project.configure("pricing", output="here/generated")
    ran = run("generate")
    assert ran.status == 1
    assert f"{project.root / 'here'}" in ran.err


# --- plan ---------------------------------------------------------------------------------------------------


def test_plan_prints_the_cycle_and_the_files_and_touches_nothing(run: Run, project: RealProject) -> None:
    before = sorted(project.root.rglob("*"))
    ran = run("plan")
    assert (ran.status, ran.err) == (0, "")
    cycle, _, files = ran.out.partition("\n\n")
    assert cycle == str(lastgood.watch(project.config_file).plan())
    assert files == (
        "files in generated\n  make     generated/\n  write    generated/__init__.py\n  write    generated/pricing.py\n"
    )
    assert sorted(project.root.rglob("*")) == before


def test_plan_shows_the_order_in_which_the_live_bridge_makes_way(run: Run, project: RealProject) -> None:
    project.save("lastgood.toml", project.config_file.read_text() + "[runtime.process]\noverlap = false\n")
    _, _, later = run("plan").out.partition("\n\nlater on, with overlap = false\ncycle 2\n")
    numbered = [line.split()[:2] for line in later.splitlines() if line[2:3].isdigit()]
    assert [name for _, name in numbered] == ["stage", "promote", "dispose", "warm", "swap", "watch"]


def test_plan_tells_what_callers_will_see_differently_than_in_the_last_good_generation(
    run: Run, project: RealProject
) -> None:
    two_generations(project)
    project.save("pricing.py", QUOTE + "def stock(): ...\n")
    assert run("plan").out.partition("against the last good generation\n")[2] == (
        "  altered  function pricing.quote(sku: str, number: int) -> float, now (sku: str) -> float; breaking\n"
        "  added    function pricing.stock() -> Any\n"
    )


def test_plan_and_generate_tell_what_is_kept_of_a_fresh_clone(run: Run, project: RealProject) -> None:
    run("generate")
    shutil.rmtree(project.root / ".lastgood")
    project.save("generated/pricing.py", project.tree()["pricing.py"].decode() + "mine = 1\n")
    (copies,) = [line for line in run("plan").out.splitlines() if line.startswith("  copy")]
    assert re.fullmatch(r"  copy     generated/pricing.py to .lastgood/generated/kept/[0-9a-f]{16}/pricing.py", copies)
    assert "pricing.py may have been edited by hand" in run("generate").err
    assert "mine" in (project.root / copies.partition(" to ")[2]).read_text()


def test_plan_names_every_kind_of_change(run: Run, project: RealProject) -> None:
    project.configure("pricing", "shop.old")
    project.save("shop/old.py", QUOTE)
    run("generate")
    project.configure("pricing", "fresh")
    project.save("fresh.py", LEFT_OUT)
    project.save("generated/pricing.py", "mine = 1\n")
    ran = run("plan")
    assert ran.out.partition("\n\n")[2] == (
        "files in generated\n"
        "  keep     generated/pricing.py as generated/pricing.py.edited\n"
        "  write    generated/fresh.py\n"
        "  replace  generated/pricing.py\n"
        "  remove   generated/shop/__init__.py\n"
        "  remove   generated/shop/old.py\n"
        "  remove   generated/shop/\n"
        "  1 unchanged\n"
        "\n"
        "against the last good generation\n"
        "  removed  function shop.old.quote(sku: str) -> float; breaking\n"
    )
    assert ran.err.startswith("Warning: fresh.opened: left out")


# --- init ---------------------------------------------------------------------------------------------------


def test_init_writes_a_start_and_says_what_to_do_next(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("init")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("  wrote  lastgood.toml\n  wrote  greetings.py\n\nNext:\n  lastgood plan ")
    assert ran.out.endswith(
        "In an app:\n  async with lastgood.watch():\n      from generated import greetings\n"
        '      print(await greetings.greet("Ada"))\n'
    )
    assert run("generate").status == 0
    again = run("init")
    assert (again.status, again.out) == (1, "")
    assert "has a config for lastgood already; it is left as it is." in again.err


def test_init_elsewhere_names_the_modules_it_found(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "pricing.py").write_text(QUOTE)
    ran = run("init", "app")
    assert ran.out.startswith(
        "  wrote  app/lastgood.toml\n\nNext:\n  cd app\n"
        "  Name the modules to wrap under [modules] in lastgood.toml (pricing).\n"
    )


# --- watch, in a process of its own -------------------------------------------------------------------------


def event(watching: Running, kind: str) -> dict[str, Any]:
    """The next event of that type."""
    found: dict[str, Any] = json.loads(watching.line(f'{{"type": "{kind}"'))
    return found


def test_watch_tells_of_edits_and_of_being_stale_until_ctrl_c(
    project: RealProject, watch: Callable[..., Running]
) -> None:
    watching = watch()
    assert watching.line("watches for").endswith("watches for lastgood.toml. Ctrl-C ends it.")
    assert watching.line("live ").endswith(": start-up; wrote __init__.py, pricing.py")
    project.save("pricing.py", BROKEN)
    assert watching.line("failed").endswith("pricing.py; cycle 2 at stage")
    assert watching.line("> 1 | ").endswith("> 1 | def quote(:")
    assert watching.out.readline().endswith(" |           ^\n")
    assert "; generation 1 is live. pricing.py:1: pricing: " in watching.line("STALE")
    project.save("pricing.py", f"{QUOTE}1 / 0\n")
    assert watching.line("failed").endswith("cycle 3 at warm")
    stale = watching.line("STALE")
    assert stale.endswith("; generation 1 is live. pricing.py:3: ZeroDivisionError: division by zero")
    project.save("pricing.py", QUOTE.replace("sku", "code"))
    assert watching.line("live ").endswith(": pricing.py; wrote pricing.py")
    line = watching.line("altered ")
    assert line.endswith("function pricing.quote(sku: str) -> float, now (code: str) -> float; breaking")
    assert watching.interrupt() == Ran(130, "", "Stopped.\n")
    assert project.leftovers() == []


def test_a_verbose_watch_tells_of_each_step_and_its_time(project: RealProject, watch: Callable[..., Running]) -> None:
    watching = watch("--verbose")
    assert re.search(r" m?s \(cycle 1\): wrote __init__.py, pricing.py; stage .* ms$", watching.line("live "))
    project.save("pricing.py", BROKEN)
    watching.line("change    pricing.py")
    watching.line("reload    cycle 2: pricing.py")
    assert watching.line("failed").endswith("  cycle 2 at stage")


def test_watch_json_is_one_event_a_line_and_nothing_else(project: RealProject, watch: Callable[..., Running]) -> None:
    project.save("pricing.py", f"print('at import')\n{QUOTE}")
    watching = watch("--json")
    told = [json.loads(watching.out.readline()) for _ in range(3)]
    assert [each["type"] for each in told] == ["reload-start", "watch-paths", "reload-success"]
    assert told[2]["written"] == ["__init__.py", "pricing.py"]
    assert set(told[2]["timings"]) == {"stage", "promote", "warm", "swap", "watch"}
    project.save("pricing.py", BROKEN)
    assert event(watching, "reload-error")["error"]["type"] == "GenerationError"
    ran = watching.interrupt()
    assert (ran.status, ran.out) == (130, "")
    assert ran.err.splitlines() == ["at import", "Stopped."]


@pytest.mark.parametrize("args", [[], ["--json"]], ids=["lines", "json"])
def test_watch_ends_in_silence_when_nobody_reads_it(
    project: RealProject, watch: Callable[..., Running], args: list[str]
) -> None:
    watching = watch(*args)
    watching.line("generation")
    watching.out.close()
    project.save("pricing.py", BROKEN)
    assert watching.ended() == Ran(1, "", "")
    assert project.leftovers() == []


def test_watch_json_of_a_start_that_fails_has_the_event_and_the_message(run: Run, project: RealProject) -> None:
    project.save("pricing.py", BROKEN)
    ran = run("watch", "--json")
    assert [json.loads(line)["type"] for line in ran.out.splitlines()] == ["reload-start", "reload-error"]
    assert ran.status == 1
    assert ran.err.startswith("Error: Generation failed for 1 module(s):\n  pricing (")


def test_init_takes_the_config_that_it_writes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "--config", "shop/lastgood.toml", "--quiet") == Ran(0, "", "")
    assert (tmp_path / "shop" / "lastgood.toml").is_file()
    assert run("init", "--config", "other.toml").status == 2
    assert run("init", "shop", "--config", "lastgood.toml").status == 2


def test_demo_exits_with_what_it_came_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (0, 1):
        monkeypatch.setattr("lastgood.cli.demo.run", lambda status=status: status)
        assert run("demo").status == status


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("--quiet", {"quiet": True, "verbose": False}),
        ("--json", {"quiet": True, "verbose": False}),
        ("--verbose", {"quiet": False, "verbose": True}),
    ],
)
def test_demo_prints_what_it_is_asked_to(
    option: str, shown: dict[str, bool], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, bool] = {}

    def play(console: Console, *, verbose: bool) -> int:
        asked.update(quiet=console.quiet, verbose=verbose)
        return 0

    monkeypatch.setattr("lastgood.cli.demo.run", play)
    assert run("demo", option) == Ran(0, '{\n  "passed": true\n}\n' if option == "--json" else "", "")
    assert asked == shown


NEWER = f"""#!/bin/sh
case "$2" in
*compile*) echo null > "$3" ;;
*) "{sys.executable}" "$@" && sed -i 's/\\[[0-9]*, [0-9]*\\]\\]$/[3, 99]]/' "$3" ;;
esac
"""


def test_syntax_that_only_the_workers_python_can_read_names_both_and_what_to_do(run: Run, project: RealProject) -> None:
    python = project.save("newer", NEWER)
    python.chmod(0o755)
    project.save("pricing.py", "x = 1\nnewer keyword\n")
    config = project.config_file
    config.write_text(config.read_text() + f'[runtime.process]\npython = "{python}"\n')
    ran = run("generate")
    assert ran.status == 1
    assert "pricing.py:2)" in ran.err
    assert "; the worker runs 3.99, where it is valid). Run the app with Python 3.99, or write it so that " in ran.err


def test_a_helper_that_only_the_workers_python_can_read_is_unknown_and_told_of(run: Run, project: RealProject) -> None:
    python = project.save("newer", NEWER)
    python.chmod(0o755)
    project.save("helper.py", "x = 1\nnewer keyword\n")
    project.save("pricing.py", "from helper import Sku\ndef quote(sku: Sku) -> int: ...\n")
    config = project.config_file
    config.write_text(config.read_text() + f'[runtime.process]\npython = "{python}"\n')
    ran = run("generate")
    assert ran.status == 0, ran.err
    (warning,) = [line for line in (ran.out + ran.err).splitlines() if "helper: " in line]
    assert "left out, or became Any, since its source cannot be read: line 2: " in warning
    assert "Run the app with Python 3.99" in warning
    wrapper = next(path for path in project.root.rglob("pricing.py") if "@remote" in path.read_text())
    assert "def quote(sku: Any) -> int: ..." in wrapper.read_text()


def test_an_interpreter_that_is_not_there_is_told_with_file_and_field(run: Run, project: RealProject) -> None:
    project.configure("pricing", head="")
    config = project.config_file
    config.write_text(config.read_text() + '[runtime.process]\npython = "no/python"\n')
    ran = run("plan")
    assert ran.status == 1
    assert f'{config}: field "runtime.process.python"' in ran.err.replace("\n", "")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")], ids=repr)
@pytest.mark.parametrize("command", ["generate", "plan", "undo"])
def test_a_limit_of_the_system_is_one_message_that_names_it(
    run: Run, project: RealProject, command: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Disk, "real_path", fail)
    ran = run(command, str(project.config_file))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("Error: ")
    assert "ulimit -" in ran.err
