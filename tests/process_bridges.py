"""A module for real workers to serve, and what tests of them wait for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from lastgood.bridges.process import ProcessBridge

HOLD = '''
import threading

def hold(path):
    """Return when whoever opens the FIFO for writing closes it again, interrupted or not."""
    read, done = [], threading.Event()

    def work():
        with open(path) as fifo:
            read.append(fifo.read())
        done.set()

    worker = threading.Thread(target=work, daemon=True)
    while True:
        try:
            if worker.ident is None:
                worker.start()
            done.wait()
            return read[0]
        except KeyboardInterrupt:
            pass
'''

SERVICE = (
    '''
import asyncio, enum, os, signal, subprocess, sys, threading

def echo(*args, **kwargs):
    return [args, kwargs]

def give(value):
    return value

calls = []

def note(value):
    calls.append(value)

def noted():
    return calls

def thread():
    return threading.current_thread().name

class Problem(Exception):
    pass

class Leaving(Exception):
    def __str__(self):
        sys.exit(3)

class Gone(tuple):
    def __iter__(self):
        sys.exit(3)

def gone():
    return [Gone([1])]

def fail(kind):
    inner(kind)

def inner(kind):
    if kind == "group":
        raise ValueError("bad") from KeyError("cause")
    raise {"value": ValueError("bad"), "own": Problem("mine"), "exit": SystemExit(3), "interrupt": KeyboardInterrupt(),
           "generator": GeneratorExit(), "leaving": Leaving()}[kind]

def die(status):
    print("last words", file=sys.stderr)
    os._exit(status)

def die_by(number):
    os.kill(os.getpid(), number)

def chatter():
    print("printed")
    print("complained", file=sys.stderr)
    os.write(1, b"raw\\n")
    subprocess.run(["echo", "from a child"], check=True)
    return sys.stdin.read()

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

def part_slowly(path, told):
    """Take a last step that ends when whoever opens the FIFO for writing closes it again. No time passes in between: of what
    the worker waits, a second is over at once, and ten never."""
    import atexit, time

    def part():
        with open(path) as fifo:  # without hold(): Python 3.12 starts no thread at its exit
            fifo.read()
        with open(told, "w") as file:
            file.write("parted")

    atexit.register(part)
    time.sleep = lambda seconds: None if seconds < 2 else threading.Event().wait()

def start_sleeper(detached):
    sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=detached)
    return sleeper.pid

def start(*command):
    return subprocess.Popen(command).pid

class Size(enum.Enum):
    S = 1

def odd(how):
    return {"object": {"x": [0, object()]}, "loop": calls.append(calls) or calls, "giant key": {10**5000: object()},
            "equal keys": {Size.S: 1, 1: 2}}[how]

arrived, everybody = 0, None

async def meet(number):
    """Return once that many calls are in here."""
    global arrived, everybody
    everybody = everybody or asyncio.Event()
    arrived += 1
    if arrived == number:
        everybody.set()
    await everybody.wait()
    return number

async def linger(path):
    try:
        open(path).close()
        await asyncio.Event().wait()
    finally:
        note("cancelled")

async def forever():
    try:
        await asyncio.Event().wait()
    finally:
        note("cancelled")

def hold_forever(path):
    hold(path)
    return forever()

async def hold_loop(path):
    return hold(path)

async def loop():
    return id(asyncio.get_running_loop())

async def stop_loop(how):
    loop = asyncio.get_running_loop()
    loop.call_soon({"stop": loop.stop, "exit": sys.exit}[how])

def allow_more_files(allow):
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if allow else 3, hard))

def allow_blocked_loops(number):
    import _lastgood_worker.asyncs
    _lastgood_worker.asyncs.MAX_FORGOTTEN = number

async def fail_later():
    await asyncio.sleep(0)
    inner("exit")

def environment():
    names = ("serving", "frames", "values", "main", "selection")
    found = []
    for name in names:
        try:
            __import__(name)
        except ImportError:
            pass
        else:
            found.append(name)
    return [os.environ.get("PYTHONPATH"), os.getcwd(), sys.argv[1:], found]
'''
    + HOLD
)


# An answer after this many seconds can only mean that there will be none.
DEADLINE = 30


@asynccontextmanager
async def running(source: Path, **options: Any) -> AsyncIterator[ProcessBridge]:
    bridge = ProcessBridge(import_path=[source], **{"modules": ["svc"], **options})
    with trio.fail_after(DEADLINE):
        await bridge.init()
        try:
            yield bridge
        finally:
            await bridge.dispose()


class Gate:
    """A FIFO at which a function in the worker waits."""

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = str(directory / name)
        os.mkfifo(self.path)
        self._end: int | None = None

    async def reached(self) -> None:
        """Wait until the function waits at it."""
        self._end = await trio.to_thread.run_sync(os.open, self.path, os.O_WRONLY, abandon_on_cancel=True)

    def open(self) -> None:
        """Let the function go on."""
        assert self._end is not None
        os.close(self._end)


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process or thread does, and tells nobody."""
    with trio.fail_after(DEADLINE):
        while not condition():
            await trio.to_thread.run_sync(os.sched_yield)


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


async def forget_a_call(bridge: ProcessBridge, gate: Gate, function: str = "hold") -> None:
    """Leave a call that goes on."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, "svc", function, [gate.path], {})
            await gate.reached()
            scope.cancel()


def links_of(pid: int | None) -> dict[str, str]:
    """Its descriptors, and where each leads."""
    directory = f"/proc/{pid}/fd"
    return {f"{directory}/{name}": os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}


def pipes_of(pid: int | None) -> set[str]:
    """Its pipes and arenas, each as what no other is called."""
    links = links_of(pid)
    numbered = {f"{link} {os.stat(entry).st_ino}" for entry, link in links.items() if "arena" in link}
    return numbered | {link for link in links.values() if link.startswith("pipe:")}


def interpreter(version: str) -> Path | None:
    """A Python of this version on this machine."""
    roots = [Path("/usr/bin"), *sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin"))]
    return next((root / f"python{version}" for root in roots if (root / f"python{version}").exists()), None)
