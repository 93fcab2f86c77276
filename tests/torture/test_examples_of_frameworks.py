"""The examples for web frameworks, under the servers that people start them with."""

from __future__ import annotations

import json
import shlex
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from real_project import DEADLINE
from served_programs import Served, served
from shipped import EXAMPLES

pytestmark = pytest.mark.torture

NEEDS = "it is in the extra 'reloaders'"
COMMANDS = {
    "fastapi": "uvicorn app:app --port {port}",
    "flask": "python app.py",
    "django": "python manage.py runserver {port}",
}


def run(example: str, directory: Path) -> AbstractContextManager[Served]:
    """Run a copy of an example."""
    pytest.importorskip(example, reason=NEEDS)
    there = EXAMPLES / example
    files = {path.relative_to(there).as_posix(): path.read_text() for path in there.rglob("*.*") if path.is_file()}
    return served(directory, files, shlex.split(COMMANDS[example]))


def until(program: Served, price: float, *, stale: bool) -> int | None:
    """Ask for three apples until they have this price; return the process that has answered, if it says so."""
    path = "quotes/apple?quantity=3"
    answer = program.until(lambda answer: (answer["price"], answer["stale"]) == (price, stale), path=path)
    pid: int | None = answer.get("pid")
    return pid


@pytest.mark.parametrize("example", COMMANDS)
def test_it_answers_through_a_good_a_broken_and_a_mended_edit(example: str, tmp_path: Path) -> None:
    with run(example, tmp_path) as program:
        source = (program.project.root / "pricing.py").read_text()
        first = until(program, 1.2, stale=False)
        program.project.save("pricing.py", source.replace("0.40", "0.50"))
        assert until(program, 1.5, stale=False) == first
        program.project.save("pricing.py", source.replace("def quote(", "def quote"))
        assert until(program, 1.5, stale=True) == first
        program.project.save("pricing.py", source)
        assert until(program, 1.2, stale=False) == first
        program.interrupt()


def test_a_web_socket_and_a_stream_of_the_fastapi_example(tmp_path: Path) -> None:
    client = pytest.importorskip("websockets.sync.client", reason=NEEDS)
    with run("fastapi", tmp_path) as program:
        source = (program.project.root / "pricing.py").read_text()
        until(program, 1.2, stale=False)
        with client.connect(f"ws://127.0.0.1:{program.port}/prices", open_timeout=DEADLINE) as socket:
            socket.send("apple")
            assert json.loads(socket.recv(DEADLINE)) == 0.4
            program.project.save("pricing.py", source.replace("0.40", "0.50"))
            until(program, 1.5, stale=False)
            socket.send("apple")
            assert json.loads(socket.recv(DEADLINE)) == 0.5
        with urllib.request.urlopen(f"http://127.0.0.1:{program.port}/catalogue", timeout=DEADLINE) as answer:
            assert answer.read() == b"apple 0.50\npear 0.55\n"
        program.interrupt()
