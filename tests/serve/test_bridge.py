"""A generation that is served: started, probed, told of, replaced, ended; and what is said when it cannot be."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

import lastgood
from lastgood.config import Config, OutputConfig
from lastgood.errors import BridgeError, ConfigError, RemoteError
from lastgood.serve.binding import bind, release
from serving import APP, Served, serving, version

pytest.importorskip("uvicorn", reason="it serves")

QUIET = {"log_level": "critical", "access_log": False}
CONFIG = Config(
    path=Path("lastgood.toml"), python_import_path=(Path(),), modules={}, output=OutputConfig(dir=Path("generated"))
)


async def test_responses_say_which_generation_they_are_of_and_whether_it_is_stale(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET) as served:
        client = await served.connect()
        assert await client.get() == "1"
        assert client.headers["lastgood"] == "generation=1"
        assert client.headers["server"] == "uvicorn"
        assert served.bridge is not None
        served.bridge.tell(1, True)
        while client.headers["lastgood"] != "generation=1; stale":
            await client.get()
        await served.reload(version(2))
        assert await client.get() == "2"
        assert client.headers["lastgood"] == "generation=2"


async def test_without_the_header(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET, arguments={"header": False}) as served:
        client = await served.connect()
        assert await client.get() == "1"
        assert "lastgood" not in client.headers


async def test_options_are_uvicorns(tmp_path: Path) -> None:
    options = {**QUIET, "headers": [["x-own", "yes"]], "server_header": False, "root_path": "/api"}
    async with serving(tmp_path, options=options) as served:
        client = await served.connect()
        assert await client.get() == "1"
        assert client.headers["x-own"] == "yes"
        assert "server" not in client.headers


FACTORY = APP.replace("async def app(", "async def _app(") + "\n\nclass Makers:\n    def make():\n        return _app\n"


async def test_a_factory_behind_a_dotted_name(tmp_path: Path) -> None:
    async with serving(tmp_path, FACTORY, app="main:Makers.make", options=QUIET, arguments={"factory": True}) as served:
        assert await served.get() == "1"


ORDER = """
import asyncio, os, sys
from pathlib import Path

NOTES = Path(__file__).parent / "notes"

def note(text):
    with NOTES.open("a") as file:
        file.write(text + "\\n")

try:
    asyncio.get_running_loop()
except RuntimeError:
    note(f"imported as {__name__} without a loop")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        note("starting")
        scope["state"]["shared"] = "state"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        note("ending")
        await send({"type": "lifespan.shutdown.complete"})
        return
    note(f"{scope['path']} {scope['state']['shared']}")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
"""


async def test_the_order_of_a_life(tmp_path: Path) -> None:
    async with serving(tmp_path, ORDER, options=QUIET, arguments={"probe": "/health?deep=1"}) as served:
        assert await served.get("/page") == ""
    assert (tmp_path / "src" / "notes").read_text().splitlines()[:3] == [
        "imported as main without a loop",
        "starting",
        "/health state",
    ]
    assert (tmp_path / "src" / "notes").read_text().splitlines()[-2:] == ["/page state", "ending"]


HANGS = ORDER.replace('        note("ending")\n', '        note("ending")\n        await asyncio.sleep(1000)\n')


async def test_a_shutdown_that_takes_longer_than_grace_is_said_to_be_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, HANGS, options=QUIET, process={"grace": 0.5}) as served:
        assert await served.get("/page") == ""
    said = [record.getMessage() for record in caplog.records if record.name == "lastgood.serve.bridge"]
    assert said == ["main:app was killed: its shutdown took longer than 0.5 s (grace under [runtime.process])."]


async def failure(top: Path, text: str, app: str = "main:app", options: Any = QUIET, **arguments: Any) -> BaseException:
    """Return what the start of a generation raises, of which nothing is left."""
    async with trio.open_nursery() as nursery:
        served = Served(top, nursery, options=options, app=app, arguments=arguments)
        bridge = served.create(text)
        try:
            with pytest.raises(BridgeError) as raised:
                await bridge.init()
            assert bridge.pids == ()
        finally:
            release(served.sockets)
        return raised.value


RAISES = "def broken():\n    raise ValueError('no luck')\n"
STARTLETTE = """
import traceback

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        try:
            broken()
        except BaseException:
            await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
            raise
"""
SAYS_SO = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [("import nothing_there\n", 1), (RAISES + "broken()\n", 2), ("x = (\n", 1)],
    ids=["import", "raises", "syntax"],
)
async def test_a_program_that_cannot_be_imported(tmp_path: Path, text: str, line: int) -> None:
    error = await failure(tmp_path, text)
    assert isinstance(error, RemoteError)
    assert f'main.py", line {line}' in error.traceback


async def test_a_lifespan_that_raises(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error = await failure(tmp_path, STARTLETTE + RAISES, options={})
    assert isinstance(error, RemoteError)
    assert (error.type_name, error.message) == ("ValueError", "no luck")
    assert "in broken" in error.traceback
    assert error.traceback.splitlines()[1].endswith('main.py", line 8, in app')  # nothing comes before the program
    assert "Traceback" not in capfd.readouterr().err  # it is raised, and not logged as well


async def test_a_lifespan_that_says_why_it_fails(tmp_path: Path) -> None:
    assert str(await failure(tmp_path, SAYS_SO)) == "The lifespan of main:app has failed to start: no database."


async def test_a_probe_that_is_answered_with_a_failure(tmp_path: Path) -> None:
    text = APP.replace('"status": 200', '"status": 503')
    assert str(await failure(tmp_path, text, probe="/health")) == (
        "The probe GET /health of main:app was answered with 503 Service Unavailable; a generation is good if that is below 500."
    )


async def test_a_probe_that_raises(tmp_path: Path) -> None:
    error = await failure(tmp_path, APP, probe="/fails", options={})
    assert isinstance(error, RemoteError)
    assert (error.type_name, error.message) == ("ValueError", "on purpose")
    assert "raise ValueError" in error.traceback
    assert error.traceback.splitlines()[1].endswith('main.py", line 29, in app')
    assert "It was raised for the probe, GET /fails." in error.traceback


@pytest.mark.parametrize("path", ["/no/such", "/"])
async def test_a_probe_below_500_is_good(tmp_path: Path, path: str) -> None:
    text = APP.replace('"status": 200', '"status": 404')
    async with serving(tmp_path, text, options=QUIET, arguments={"probe": path}) as served:
        assert (await served.get()).startswith("404")


@pytest.mark.parametrize(
    ("text", "app", "said"),
    [
        (
            APP,
            "main:application",
            r"main:application: main \(.*main\.py\) has no attribute 'application'. Did you mean main:app\?",
        ),
        ("x = 1\n", "main:app", r"has no attribute 'app'. Define the ASGI application there."),
        ("app = 5\n", "main:app", r"main:app is an int, and an ASGI application is a callable"),
        ("def app(environ, start_response): ...\n", "main:app", r"main:app is a WSGI application, .*a2wsgi"),
        ("class A: pass\n", "main:A.b", r"main:A\.b: type in main \(.*main\.py\) has no attribute 'b'"),
    ],
)
async def test_what_is_no_application(tmp_path: Path, text: str, app: str, said: str) -> None:
    error = await failure(tmp_path, text, app)
    assert re.search(said, str(error)), error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def app():\n    raise TypeError('mine')\n", "TypeError: mine"),
        ("def app():\n    return 5\n", "the factory main:app returned an int"),
        ("app = 5\n", "main:app is an int, which cannot be called: it is no factory"),
    ],
)
async def test_a_factory_that_fails(tmp_path: Path, text: str, said: str) -> None:
    assert said in str(await failure(tmp_path, text, factory=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"log_levle": "info"}, "uvicorn has no option 'log_levle'; did you mean 'log_level'? Its options are: "),
        (
            {"log_level": "nonsense"},
            "uvicorn does not start with these options (log_level='nonsense'): KeyError: 'nonsense'",
        ),
        ({"http": "nonsense"}, "nonsense"),
        ({"ssl_certfile": "nowhere.pem"}, "ssl_certfile: there is no file "),
    ],
)
async def test_wrong_options(tmp_path: Path, options: Any, said: str) -> None:
    assert said in str(await failure(tmp_path, APP, options=options))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"app": "main"}, 'is written as "module:attribute", such as "main:app", and not \'main\'. Did you mean "main:app"'),
        ({"app": "main.py:app"}, 'and not \'main.py:app\'. Did you mean "main:app"?'),
        ({"app": "src/main.py"}, 'the application is written as "module:attribute"'),
        ({"probe": "health"}, 'the probe is the path of a request, such as "/health", and not \'health\'.'),
        ({"options": {"reload": True}}, "uvicorn's option reload makes no sense here: lastgood reloads."),
        ({"options": {"port": 1}}, "uvicorn's option port makes no sense here: the socket is bound by the app."),
        ({"options": {"workers": 2}}, "uvicorn's option workers makes no sense here: set pool under [runtime.process]."),
        ({"options": {"http": object}}, "uvicorn's option http cannot cross to the worker: "),
        ({"socket": []}, "there is no socket to serve from"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments: dict[str, Any], said: str) -> None:
    sockets = bind("127.0.0.1", 0)
    app = arguments.pop("app", "main:app")
    try:
        with pytest.raises(ConfigError, match=re.escape(said)):
            lastgood.ServerBridge.from_config(CONFIG, app, **{"socket": sockets, **arguments})
    finally:
        release(sockets)


def test_a_socket_that_does_not_listen() -> None:
    with socket.socket() as plain, pytest.raises(ConfigError, match="a socket to serve from does not listen"):
        lastgood.ServerBridge.from_config(CONFIG, "main:app", socket=plain)
    with pytest.raises(ConfigError, match="a socket to serve from is closed"):
        lastgood.ServerBridge.from_config(CONFIG, "main:app", socket=plain)


async def test_a_server_takes_no_calls(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET) as served:
        assert served.bridge is not None
        with pytest.raises(BridgeError, match=r"main\.app cannot be called: this session serves main:app over HTTP"):
            await served.bridge.call("main", "app")


async def test_an_interpreter_without_uvicorn(tmp_path: Path) -> None:
    text = "raise ModuleNotFoundError(\"No module named 'uvicorn'\", name='uvicorn')\n"
    (tmp_path / "without" / "uvicorn").mkdir(parents=True)
    (tmp_path / "without" / "uvicorn" / "__init__.py").write_text(text)
    async with trio.open_nursery() as nursery:
        served = Served(tmp_path, nursery, process={"env": {"PYTHONPATH": str(tmp_path / "without")}})
        try:
            with pytest.raises(BridgeError, match=r"has no uvicorn, which serves the application.*lastgood\[serve\]"):
                await served.create(APP).init()
        finally:
            release(served.sockets)


async def test_a_warm_start_takes_a_spare_that_has_imported_uvicorn(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET, process={"spare": True}) as served:
        assert served.bridge is not None
        assert served.bridge.why_fresh == "there was no spare"
        await served.bridge.prepare_spare()
        bridge = await served.reload(version(2))
        assert (bridge.warm, bridge.why_fresh) == ("spare", None)
        assert await served.get() == "2"


async def test_the_end_of_the_lifespan_is_bounded_by_grace(tmp_path: Path) -> None:
    text = APP.replace('if message["type"] == "lifespan.shutdown":', "if False:").replace(
        'await send({"type": message["type"] + ".complete"})',
        'if message["type"] == "lifespan.shutdown":\n                await asyncio.sleep(3600)\n'
        '            await send({"type": message["type"] + ".complete"})',
    )
    async with serving(tmp_path, text, options=QUIET, process={"grace": 0.1}) as served:
        bridge, served.bridge = served.bridge, None
        assert bridge is not None
        assert bridge.pids
        await served.retire(bridge)
        assert bridge.pids == ()
