"""What a request costs the process that answers it, in machine instructions, counted by callgrind: lastgood beside plain uvicorn.

Times on a shared machine wander by more than what is asked here. Instructions of one process do not: callgrind counts those between
two of its dumps, in which nothing happens but the requests (and uvicorn's tick, ten times a second, in both).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reload_peers import ENVIRONMENT, free_port

__all__ = ["Cost", "costs"]

BARE = '''\
import os

BODY = str(os.getpid()).encode()
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]


async def app(scope, receive, send):
    """Answer with the process id."""
    while scope["type"] == "lifespan":
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
'''

FASTAPI = '''\
import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def index() -> int:
    """Answer with the process id."""
    return os.getpid()
'''

APPS = {"FastAPI": FASTAPI, "bare": BARE}

CONFIG = """\
[serve]
app = "main:app"

[runtime.process]
spare = false
"""

START = 600.0  # seconds: lastgood itself is counted as well, and forty times slower for it
ROUNDS = 3
REQUESTS = 1000
WARM_UP = 300  # requests before the first round: the interpreter specialises what runs often


@dataclass
class Cost:
    """The instructions that one request costs, a round each."""

    app: str
    http: str
    who: str
    instructions: list[float] = field(default_factory=list)
    never: str | None = None


def commands(root: Path, http: str, port: int) -> dict[str, list[str]]:
    """The servers, all of whose processes are counted."""
    counted = ["valgrind", "--quiet", "--trace-children=yes", "--tool=callgrind"]
    counted += [f"--callgrind-out-file={root}/counted.%p", sys.executable, "-m"]
    address = ["main:app", "--port", str(port)]
    options = ["--http", http, "--log-level", "critical", "--no-access-log"]
    return {
        "uvicorn": [*counted, "uvicorn", *address, *options],
        "lastgood serve": [*counted, "lastgood", "serve", *address, "--", *options],
    }


def connected(process: subprocess.Popen[bytes], port: int) -> socket.socket:
    """Wait until a server answers, and return a connection that is kept alive."""
    end = time.perf_counter() + START
    while process.poll() is None:
        with contextlib.suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", port), START)
            if status_and_body(connection)[0] == 200:
                return connection
            connection.close()
        if time.perf_counter() > end:
            raise TimeoutError(f"no answer within {START:.0f} s")
        time.sleep(0.1)
    raise ConnectionError("it has ended")


def status_and_body(connection: socket.socket) -> tuple[int, bytes]:
    """Send a request, and return the answer, of which all comes at once."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    data = b""
    while b"\r\n\r\n" not in data or data.endswith(b"\r\n\r\n"):
        more = connection.recv(65536)
        if not more:
            raise ConnectionError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def control(what: str, pid: int) -> None:
    """Have callgrind do something in a process that it counts."""
    subprocess.run(["callgrind_control", what, str(pid)], check=True, timeout=60, capture_output=True)


def measure(cost: Cost, command: list[str], root: Path, port: int) -> None:
    """Start a server, and count a few rounds of requests."""
    with subprocess.Popen(
        command,
        cwd=root,
        env={**ENVIRONMENT, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if os.environ.get("SHOW_STDERR") else subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            with connected(process, port) as connection:
                for _ in range(WARM_UP):
                    pid = int(status_and_body(connection)[1])
                for number in range(1, ROUNDS + 1):
                    control("--zero", pid)
                    for _ in range(REQUESTS):
                        status_and_body(connection)
                    control("--dump", pid)
                    text = (root / f"counted.{pid}.{number}").read_text()
                    (total,) = re.findall(r"^totals: (\d+)", text, re.MULTILINE)
                    cost.instructions.append(int(total) / REQUESTS)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            cost.never = f"{type(error).__name__}: {error}"
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, and all that it started."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def costs(top: Path) -> list[Cost]:
    """Count, for each implementation of HTTP that uvicorn finds."""
    if shutil.which("callgrind_control") is None:
        print("the cost of a request is left out: valgrind is not installed")
        return []
    told = []
    for app, text in APPS.items():
        for http in ("h11", "httptools"):
            if importlib.util.find_spec(http) is None:
                continue
            root = top / f"{app}-{http}"
            root.mkdir(parents=True)
            (root / "main.py").write_text(text)
            (root / "lastgood.toml").write_text(CONFIG)
            for who, command in commands(root, http, port := free_port()).items():
                told.append(cost := Cost(app, http, who))
                measure(cost, command, root, port)
    return told


def ratio(cost: Cost, told: Sequence[Cost]) -> float | None:
    """Return how dear a request is, as a multiple of plain uvicorn's; None if one of them was not counted."""
    floor = next(each for each in told if (each.app, each.http, each.who) == (cost.app, cost.http, "uvicorn"))
    if not cost.instructions or not floor.instructions:
        return None
    return statistics.median(cost.instructions) / statistics.median(floor.instructions)


def show(told: Sequence[Cost]) -> None:
    """Print what a request costs, beside plain uvicorn."""
    for cost in told:
        name = f"{cost.app:<10}{cost.http:<12}{cost.who:<18}"
        times = ratio(cost, told)
        if times is None:
            print(f"{name}  {cost.never}")
        else:
            print(f"{name}{statistics.median(cost.instructions):>12,.0f} instructions a request{times:>8.3f} x uvicorn")
