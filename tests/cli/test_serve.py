"""``lastgood serve``: an application in a directory without any config is served, and reloaded, and its errors are shown."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from command_line import Run
from running import Running

APP = """
VERSION = 1

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-root", scope["root_path"].encode())]})
    await send({"type": "http.response.body", "body": b"%d" % VERSION})

def make():
    return app

def broken():
    raise LookupError("no such thing")
"""
BROKEN = "async def app(:\n"

Serve = Callable[..., Running]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


@pytest.fixture
def serve(here: Path, processes: list[Running]) -> Serve:
    def start(*args: str, app: str = "main:app") -> Running:
        command = (sys.executable, "-m", "lastgood", "serve", app, *args)
        processes.append(Running(*command, cwd=here))
        return processes[-1]

    return start


def port_of(serving: Running) -> int:
    """The port that the first line names."""
    found = re.search(r"at https?://127.0.0.1:(\d+)", serving.line("lastgood "))
    assert found is not None
    return int(found[1])


def get(port: int, **headers: str) -> tuple[int, str, str | None]:
    """The status, the body, and what the header Lastgood says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("lastgood")
    finally:
        connection.close()


def changed(port: int, body: str) -> tuple[int, str, str | None]:
    """The first answer that is not ``body``: the earlier generation answers what reaches it before it has stopped."""
    while (found := get(port))[1] == body:
        pass
    return found


def save(here: Path, text: str) -> None:
    fresh = here / ".main.py.swp"
    fresh.write_text(text)
    fresh.replace(here / "main.py")


def version(number: int) -> str:
    return APP.replace("VERSION = 1", f"VERSION = {number}")


def test_edits_are_served_and_a_broken_one_is_not(here: Path, serve: Serve) -> None:
    serving = serve("--port", "0")
    port = port_of(serving)
    assert get(port) == (200, "1", "generation=1")
    serving.line("live  ")
    save(here, version(2))
    assert "generation 2" in serving.line("live  ")
    assert changed(port, "1") == (200, "2", "generation=2")
    save(here, BROKEN)
    assert "generation 2 is live. main.py:1: SyntaxError" in serving.line("STALE")
    while (found := get(port)) == (200, "2", "generation=2"):  # the worker is told at the same time
        pass
    assert found == (200, "2", "generation=2; stale")
    save(here, version(3))
    assert "generation 3" in serving.line("live  ")
    assert changed(port, "2") == (200, "3", "generation=3")
    ended = serving.interrupt()
    assert ended.status == 130
    assert ended.err.endswith("Stopped.\n")
    assert {path.name for path in here.iterdir()} <= {"main.py", ".lastgood", "__pycache__"}


def test_a_first_start_that_fails_is_answered_with_its_error_until_it_is_mended(here: Path, serve: Serve) -> None:
    save(here, "import nothing_there\n")
    serving = serve("--port", "0")
    port = port_of(serving)
    assert "nothing is live yet, it waits for an edit" in serving.line("failed")
    status, text, header = get(port)
    assert (status, header) == (503, "generation=0; stale")
    assert "ModuleNotFoundError: No module named 'nothing_there'" in text
    status, page, _ = get(port, Accept="text/html")
    assert status == 503
    assert page.startswith("<!doctype html>")
    assert "No module named &#x27;nothing_there&#x27;" in page
    save(here, BROKEN)
    serving.line("failed")
    assert "SyntaxError" in get(port)[1]
    save(here, version(2))
    serving.line("live  ")
    assert get(port) == (200, "2", "generation=1")


def test_sigterm_is_a_good_end(serve: Serve) -> None:
    serving = serve("--port", "0", "--no-header")
    port = port_of(serving)
    assert get(port) == (200, "1", None)
    assert serving.terminate().status == 0
    with pytest.raises(ConnectionRefusedError):
        get(port)


def test_a_closed_terminal_is_a_clean_end(here: Path, serve: Serve) -> None:
    serving = serve("--uds", "app.sock")
    serving.line("live  ")
    serving.send(signal.SIGHUP)
    assert serving.ended().status == 129
    assert not (here / "app.sock").exists()


def test_an_application_that_a_function_makes(serve: Serve) -> None:
    assert get(port_of(serve("--port", "0", "--factory", app="main:make"))) == (200, "1", "generation=1")


def test_what_is_served_may_be_named_in_a_config(here: Path, serve: Serve) -> None:
    (here / "lastgood.toml").write_text('[serve]\napp = "main:app"\nport = 0\nprobe = "/"\n')
    serving = serve("--", "--root-path", "/below", app="--verbose")
    port = port_of(serving)
    assert "lastgood.toml" in serving.line("watching")
    assert get(port) == (200, "1", "generation=1")
    (here / "lastgood.toml").write_text('[serve]\napp = "main:broken"\nport = 0\nprobe = "/"\n')
    serving.line("STALE")
    while (found := get(port)) == (200, "1", "generation=1"):
        pass
    assert found == (200, "1", "generation=1; stale")


def test_the_config_of_another_session_is_not_read(here: Path, serve: Serve) -> None:
    (here / "lastgood.toml").write_text('[modules.pricing]\n[output]\ndir = "generated"\n')
    assert get(port_of(serve("--port", "0")))[0] == 200


def test_options_of_uvicorn_are_passed_on(serve: Serve) -> None:
    serving = serve("--port", "0", "--", "--root-path", "/below", "--header", "X-More:1", "--no-server-header")
    connection = http.client.HTTPConnection("127.0.0.1", port_of(serving), timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    found = answer.getheader("x-root"), answer.getheader("x-more"), answer.getheader("server"), answer.read()
    connection.close()
    assert found == ("/below", "1", None, b"1")


def test_a_unix_socket_is_removed_at_the_end(here: Path, serve: Serve) -> None:
    serving = serve("--uds", "app.sock")
    assert serving.line("lastgood ").partition(" at ")[2].startswith("app.sock. ")
    serving.line("live  ")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(here / "app.sock"))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in client.recv(1000)
    serving.interrupt()
    assert not (here / "app.sock").exists()


def test_events_as_json(serve: Serve) -> None:
    serving = serve("--port", "0", "--json")
    assert json.loads(serving.line("reload-success"))["generation"] == 1


def test_a_port_that_the_system_chooses_is_told_also_where_nothing_else_is(serve: Serve) -> None:
    serving = serve("--port", "0", "--quiet")
    told = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", serving.line("http"))
    assert told is not None
    assert get(int(told[1]))[:2] == (200, "1")
    ended = serving.interrupt()
    assert ended.out == ""
    serving = serve("--port", "0", "--json")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", serving.err.readline())


HOLDS = """
import asyncio, pathlib

async def app(scope, receive, send):
    assert scope["type"] == "http"
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.001)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""


def test_ctrl_c_says_what_it_waits_for(here: Path, serve: Serve) -> None:
    save(here, HOLDS)
    serving = serve("--port", "0")
    port = port_of(serving)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(get, port)
        while not (here / "begun").exists():
            time.sleep(0.001)
        serving.send(signal.SIGINT)
        while (
            "Responses that were begun have 10 s (--drain). Ctrl-C again ends them now." not in serving.err.readline()
        ):
            pass
        (here / "go").touch()
        assert answer.result() == (200, "done", "generation=1")
    assert serving.ended().status == 130


def test_a_module_that_does_not_exist(serve: Serve) -> None:
    serving = serve("--port", "0", app="mian:app")
    text = get_failure(port_of(serving))
    assert 'lastgood serve: Module "mian" could not be resolved for watching' in text
    assert "Run this in its directory, or write python_import_path into a lastgood.toml with [serve]" in text


def test_a_module_below_src_is_found_for_the_error(here: Path, serve: Serve) -> None:
    (here / "src" / "shop").mkdir(parents=True)
    serving = serve("--port", "0", app="shop.main:app")
    text = get_failure(port_of(serving))
    assert f"It is in {here}/src. Run this in its directory, or write python_import_path into a lastgood.toml" in text


def get_failure(port: int) -> str:
    status, text, _ = get(port)
    assert status == 503
    return text


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "the application is not named. Write it as an argument, such as `lastgood serve main:app`"),
        (["main"], 'app: expected a module and a name in it, such as "main:app", found "main".'),
        (["./shop/main.py"], 'such as "shop.main:app", found "./shop/main.py".'),
        (["../main.py"], 'such as "main:app", found "../main.py".'),
        (["main:app", "--probe", "health"], 'probe: expected a path that begins with "/", found "health".'),
        (
            ["main:app", "--", "--log-leve", "debug"],
            "what stands behind -- is for uvicorn: No such option",
        ),
        (["main:app", "--host", "::1", "--uds", "a.sock"], "--host or --port and --uds exclude each other"),
        (["main:app", "--port", "0", "--uds", "a.sock"], "--host or --port and --uds exclude each other"),
        (["main:app", "--uds", "a.sock", "--fd", "3"], "--uds and --fd exclude each other"),
        (["main:app", "--", "--port=99"], "--port is an option of lastgood serve: write it before --."),
        (["main:app", "--", "--reload"], "uvicorn's option reload makes no sense here: lastgood reloads."),
        (["main:app", "--", "--workers", "2"], "makes no sense here: set pool under [runtime.process]"),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_usage(run: Run, args: list[str], says: str) -> None:
    ran = run("serve", *args)
    assert ran.status == 2
    assert says in ran.err


@pytest.mark.usefixtures("here")
def test_a_port_that_is_in_use(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ran = run("serve", "main:app", "--port", str(other.getsockname()[1]))
    assert ran.status == 1
    assert "another program listens there. Stop that one, or choose another port" in ran.err


@pytest.mark.usefixtures("here")
def test_without_uvicorn(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = run("serve", "main:app")
    assert (ran.status, ran.err) == (
        1,
        "Error: lastgood serve needs uvicorn, which is not installed: pip install 'lastgood[serve]'\n",
    )
