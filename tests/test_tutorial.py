"""docs/tutorial.md, step by step: its files are saved, its commands run, and what it shows is what comes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from real_project import DEADLINE, RealProject
from running import Running, run

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = [code for _, code in re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)]
INSTALLING, ENTERING, SOURCE, CONFIG, APP, RUNS, EDITED, STALE, WRAPPER, RICHER, RICHER_APP, RICHER_RUNS, STATUS = (
    BLOCKS
)


def shown(block: str, command: str) -> list[str]:
    """The lines that a block shows below its command."""
    first, *lines = block.splitlines()
    assert first == f"$ {command}"
    return lines


def test_it_is_as_it_says(tmp_path: Path, processes: list[Running]) -> None:
    project = RealProject(tmp_path / "shop", {"pricing.py": SOURCE, "lastgood.toml": CONFIG, "app.py": APP})
    app = Running(sys.executable, "app.py", cwd=project.root, deadline=2 * DEADLINE)
    processes.append(app)
    for line in shown(RUNS, "python app.py"):
        assert app.line("three apples") == line
    edited = SOURCE.replace('"apple": 0.40', '"apple": 0.50')
    project.save("pricing.py", edited)
    app.line(EDITED.rstrip("\n"))
    project.save("pricing.py", edited.replace("quantity, 2)", "quantity, 2"))
    why, stale = STALE.splitlines()
    app.line(stale)
    project.save("pricing.py", edited)
    app.line(EDITED.rstrip("\n"))
    assert (project.output / "pricing.py").read_text() == WRAPPER
    project.save("pricing.py", RICHER)
    app.line(EDITED.rstrip("\n"))
    told = app.interrupt().err.splitlines()[0]
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    assert told == why.replace("/home/me/shop", str(project.root)).replace("Python 3.11", python)

    project.save("app.py", RICHER_APP)
    app = Running(sys.executable, "app.py", cwd=project.root, deadline=2 * DEADLINE)
    processes.append(app)
    for line in shown(RICHER_RUNS, "python app.py"):
        assert app.line("Offer") == line
    ran = run([sys.executable, "-m", "lastgood", "status"], project.root, 2 * DEADLINE)
    assert [ran.out.rstrip("\n")] == [line.replace("4711", str(app.pid)) for line in shown(STATUS, "lastgood status")]
    app.interrupt()
