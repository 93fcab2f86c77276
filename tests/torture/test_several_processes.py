"""Real programs of several processes, each with a session on the one project: an edit is live in all of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from marked_processes import all_ended, running_with
from real_project import BROKEN
from running import Running
from served_programs import Served, pricing, served

pytestmark = pytest.mark.torture

ASGI = """
import json
import os

import lastgood

session = None

async def app(scope, receive, send):
    global session
    if scope["type"] == "lifespan":
        await receive()
        async with lastgood.watch() as session:
            with open(os.environ["STARTS"], "a") as starts:
                print(os.getpid(), file=starts)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    from generated import pricing

    body = {"price": await pricing.price(), "pid": os.getpid(), "stale": session.status.stale, "role": session.role}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
"""

WSGI = """
import json
import os

import lastgood

session = lastgood.watch().start()
with open(os.environ["STARTS"], "a") as starts:
    print(os.getpid(), file=starts)

def app(environ, start_response):
    from generated import pricing

    body = {"price": pricing.price(), "pid": os.getpid(), "stale": session.status.stale, "role": session.role}
    start_response("200 OK", [("Content-Type", "application/json"), ("Connection", "close")])
    return [json.dumps(body).encode()]
"""

GUNICORN = ("gunicorn", "app:app", "--bind", "127.0.0.1:{port}", "--workers", "2", "--graceful-timeout", "10")
PROGRAMS: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "uvicorn": ("async", ASGI, ("uvicorn", "app:app", "--port", "{port}", "--workers", "2")),
    "gunicorn with uvicorn": ("async", ASGI, (*GUNICORN, "--worker-class", "uvicorn_worker.UvicornWorker")),
    "gunicorn": ("sync", WSGI, GUNICORN),
}


def until_all(program: Served, price: int, *, stale: bool = False) -> dict[int, str]:
    """Ask until each of the two processes has given this answer; return their roles."""
    roles: dict[int, str] = {}

    def right(answer: dict[str, object]) -> bool:
        if (answer["price"], answer["stale"]) == (price, stale):
            roles[int(str(answer["pid"]))] = str(answer["role"])
        return len(roles) == 2

    program.until(right)
    return roles


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.timeout(600)
def test_a_server_with_two_workers(tmp_path: Path, name: str, ends: signal.Signals) -> None:
    pytest.importorskip(name.split()[0])
    style, app, command = PROGRAMS[name]
    with served(tmp_path, {"app.py": app}, command, style) as program:
        roles = until_all(program, 1)
        assert sorted(roles.values()) == ["follower", "leader"]
        program.project.save("pricing.py", pricing(2))
        assert until_all(program, 2) == roles
        program.project.save("pricing.py", BROKEN)
        until_all(program, 2, stale=True)
        program.project.save("pricing.py", pricing(3))
        until_all(program, 3)
        leads = next(pid for pid, role in roles.items() if role == "leader")
        os.kill(leads, signal.SIGKILL)  # the server starts another one
        program.project.save("pricing.py", pricing(4))
        after = until_all(program, 4)
        assert leads not in after
        assert sorted(after.values()) == ["follower", "leader"]
        program.end(ends)


CONFTEST = """
import lastgood
import pytest

@pytest.fixture(scope="session")
def session():
    with lastgood.watch() as session:
        yield session
"""

TESTS = """
import os
import time

import pytest

def until(right):
    end = time.monotonic() + 100
    while not right():
        assert time.monotonic() < end
        time.sleep(0.02)

def done():
    with open(os.environ["STARTS"], "a") as steps:
        print(os.getpid(), file=steps)

@pytest.mark.parametrize("number", [1, 2])
def test_price(session, number):
    from generated import pricing

    assert pricing.price() == 1
    done()
    until(lambda: pricing.price() == 2)
    done()
    until(lambda: session.status.stale)
    assert pricing.price() == 2
    done()
    until(lambda: not session.status.stale and pricing.price() == 3)
    assert session.settle()
    assert pricing.price() == 3
"""


@pytest.mark.timeout(600)
def test_the_tests_of_a_project_in_two_processes(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_pricing.py")
    with served(tmp_path, {"conftest.py": CONFTEST, "test_pricing.py": TESTS}, command) as program:
        for number, text in enumerate((pricing(2), BROKEN, pricing(3)), 1):
            program.until_steps(2 * number)
            program.project.save("pricing.py", text)
        assert program.ended() == 0, program.out
        assert len(set(program.starts)) == 2
        assert "2 passed" in program.out


APP = """
import time, lastgood

with lastgood.watch(on_event=lastgood.print_events) as session:
    from generated import pricing

    last = None
    while True:
        if (now := (session.role, pricing.price(), session.status.stale)) != last:
            print("answer", *now, flush=True)
            last = now
        time.sleep(0.02)
"""


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
@pytest.mark.timeout(600)
def test_an_app_beside_lastgood_watch(tmp_path: Path, ends: signal.Signals) -> None:
    with served(tmp_path, {"app.py": APP}, ("lastgood", "watch"), "sync") as watch:
        watch.until_printed("live      generation 1")
        app = Running(sys.executable, "app.py", cwd=watch.project.root, deadline=300.0)
        try:
            app.line("answer follower 1 False")
            watch.project.save("pricing.py", pricing(2))
            app.line("answer follower 2 False")
            watch.until_printed("live      generation 2")
            watch.project.save("pricing.py", BROKEN)
            app.line("answer follower 2 True")
            watch.end(ends)
            app.line("answer leader 2 True")
            watch.project.save("pricing.py", pricing(3))
            app.line("answer leader 3 False")
            app.send(ends)
            assert app.ended().status != 0
        finally:
            app.stop()
    assert all_ended(tmp_path), running_with(tmp_path)
