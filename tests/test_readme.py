"""What the README says is so: its example runs, and the wrapper and the plan that it shows are the real ones."""

from __future__ import annotations

import re
import socket
import sys
import typing
from pathlib import Path

import pytest

import lastgood
from lastgood import watch_events
from lastgood.config import decode_config
from real_project import DEADLINE, RealProject
from running import Running, run

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "quotes"
README = (ROOT / "README.md").read_text(encoding="utf-8")
THREADS = (ROOT / "docs" / "how-to" / "threads.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def block(language: str, text: str) -> str:
    """The one block in that language that holds ``text``."""
    (found,) = [code for kind, code in BLOCKS if kind == language and text in code]
    return found


def test_the_two_commands_stand_on_lines_of_their_own() -> None:
    lines = README.splitlines()
    assert lines.count("pip install . && lastgood demo") == 1
    assert lines.count("pip install -e '.[test]' && pytest") == 1


def test_the_example_runs_and_lives_through_a_broken_edit(tmp_path: Path, processes: list[Running]) -> None:
    source = block("python", "return 2.5 * quantity")
    config = next(code for kind, code in BLOCKS if kind == "toml")
    files = {
        "lastgood.toml": config,
        "pricing.py": source,
        "app.py": block("python", "\nwith lastgood.watch() as session:"),
    }
    project = RealProject(tmp_path, files)
    app = Running(sys.executable, "app.py", cwd=tmp_path)
    processes.append(app)
    app.line("generation 1 (live): 7.5")
    assert (project.output / "pricing.py").read_text() == block("python", "@remote")
    project.save("pricing.py", source.replace("2.5", "3.5"))
    app.line("generation 2 (live): 10.5")
    project.save("pricing.py", source.replace("2.5", "(3.5"))
    app.line("generation 2 (STALE): 10.5")
    project.save("pricing.py", source)
    app.line("generation 3 (live): 7.5")
    assert app.interrupt().err.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("sync", "\nwith lastgood.watch() as session:"),
        ("async", "asyncio.run(main())"),
        ("sync", ".start()"),
    ],
    ids=["plain", "asyncio", "notebook"],
)
def test_the_examples_with_a_thread_run(tmp_path: Path, style: str, text: str) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", THREADS, re.DOTALL | re.MULTILINE)
    (code,) = [code for kind, code in blocks if kind == "python" and text in code]
    source = block("python", "return 2.5 * quantity")
    config = f'[modules.pricing]\n[output]\ndir = "generated"\nstyle = "{style}"\n'
    RealProject(tmp_path, {"lastgood.toml": config, "pricing.py": source, "app.py": code})
    ran = run([sys.executable, "app.py"], tmp_path)
    assert (ran.status, ran.err) == (0, "")
    assert "7.5" in ran.out


def test_the_printed_plan_is_the_plan() -> None:
    assert block("text", "cycle 1") == f"{lastgood.watch('lastgood.toml').plan()}\n"


def test_the_config_with_generators_is_valid() -> None:
    text = (ROOT / "docs" / "how-to" / "generators.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (config,) = [
        decode_config(code.encode(), Path("/project/lastgood.toml")) for code in blocks if "[generator" in code
    ]
    assert config.generators[0].label == "grpc_tools.protoc"


def test_every_event_that_a_page_names_exists() -> None:
    tags = {event.type for event in typing.get_args(watch_events.WatchEvent)}
    named = {
        (tag, path.name)
        for path in (ROOT / "docs").rglob("*.md")
        for tag in re.findall(r"`((?:reload|notice)-[a-z-]+)`", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    assert {(tag, page) for tag, page in named if tag not in tags} == set()


def test_the_server_example_answers_all_along(tmp_path: Path, processes: list[Running]) -> None:
    shipped = {name: (EXAMPLE / name).read_text() for name in ("lastgood.toml", "pricing.py", "app.py")}
    project = RealProject(tmp_path / "quotes", shipped)
    app = Running(sys.executable, "quotes/app.py", "0", cwd=tmp_path)
    processes.append(app)
    app.line("generation 1 is live")
    port = int(app.line("listening on port").split()[-1])
    with socket.create_connection(("localhost", port), DEADLINE) as client, client.makefile("rw") as lines:

        def ask(question: str) -> str:
            lines.write(f"{question}\n")
            lines.flush()
            return lines.readline().rstrip("\n")

        assert ask("apple 3") == "1.20"
        assert ask("plum") == "ValueError: no such thing: plum"
        project.save("pricing.py", shipped["pricing.py"].replace("0.40", "0.50"))
        app.line("generation 2 is live")
        assert ask("apple 3") == "1.50"
        project.save("pricing.py", shipped["pricing.py"].replace("0.40", "0.40)"))
        app.line("not reloaded: Generation failed for 1 module(s):")
        assert ask("apple 3") == "1.50 (stale)"
    ran = app.interrupt()
    assert (ran.status, ran.err) == (0, "")
