"""Processes that are forked from one with a session: they have none, end at once, and leave the session as it is."""

from __future__ import annotations

import os
import select
import sys
import textwrap
from pathlib import Path

import pytest

from imitated import not_on_darwin
from lastgood.children.guard import open_exit
from lastgood.errors import Forked
from real_project import DEADLINE
from running import Ran, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

TOML = '[modules.svc]\n[output]\ndir = "{dir}"\nstyle = "{style}"\n'

HEAD = """
import asyncio, multiprocessing, os, sys, warnings
import lastgood
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, from Python 3.12 on

def told(call):
    try:
        return call()
    except lastgood.Forked as error:
        return type(error).__name__

def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

# An async app: BODY is the child's, and the app then goes on with a call, a reload, and a call.
ASYNC = """
async def app():
    async with lastgood.watch("async.toml") as session:
        from wrappers_async import svc
        assert await svc.f(1) == 2
        pid = os.fork()
        if pid == 0:
            try:
                await svc.f(2)
            except lastgood.Forked as error:
                print(type(error).__name__, flush=True)
            await session.close()
            await session.wait_closed()
            BODY
        print("child", status_of(pid), flush=True)
        print("app", await svc.f(2), await session.reload_now(), await svc.f(3))
"""

PLAIN = """
session = lastgood.watch("sync.toml").start()
from wrappers_sync import svc
assert svc.f(1) == 2
"""

AND_GOES_ON = """
print("app", svc.f(2), session.reload_now(), svc.f(3))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for style in ("async", "sync"):
        (tmp_path / f"{style}.toml").write_text(TOML.format(dir=f"wrappers_{style}", style=style))
    (tmp_path / "own.toml").write_text(TOML.format(dir="wrappers_own", style="sync"))
    (tmp_path / "svc.py").write_text(
        "def f(x: int) -> int:\n    return x + 1\ndef count():\n    yield from range(1000)\n"
        "class Mine(ArithmeticError):\n    pass\ndef fail():\n    raise Mine('mine')\n"
    )
    return tmp_path


def ran(project: Path, *parts: str) -> Ran:
    (project / "app.py").write_text(HEAD + "\n".join(map(textwrap.dedent, parts)))
    return run([sys.executable, "app.py"], project)


LEAVE = {"exits": ("sys.exit(3)", 3), "goes on": ("return", 0), "raises": ("raise ValueError('of the child')", 1)}


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("start", ["import trio; trio.run(app)", "asyncio.run(app())"], ids=["trio", "asyncio"])
def test_an_async_app_goes_on_whatever_its_child_does(project: Path, start: str, leave: str) -> None:
    body, status = LEAVE[leave]
    it = ran(project, ASYNC.replace("BODY", body), start)
    assert (it.status, it.out.splitlines()) == (0, ["Forked", f"child {status}", "app 3 True 4"])
    assert ("of the child" in it.err) is (leave == "raises")


def test_a_plain_app_goes_on_whatever_its_child_does(project: Path) -> None:
    child = """
        pid = os.fork()
        if pid == 0:
            print(told(lambda: svc.f(2)), told(session.reload_now), told(session.undo), told(session.events), flush=True)
            print(told(lambda: session.handle.bridge), told(lastgood.get_runtime_bridge), session.closed, flush=True)
            session.close()
            session.wait_closed()
            sys.exit(3)
        print("child", status_of(pid), flush=True)
    """
    it = ran(project, PLAIN, child, AND_GOES_ON)
    assert it == Ran(0, "Forked Forked Forked Forked\nForked Forked True\nchild 3\napp 3 True 4\n", "")


def test_a_child_that_leaves_the_block_ends_nothing(project: Path) -> None:
    script = """
        with lastgood.watch("sync.toml") as session:
            from wrappers_sync import svc
            pid = os.fork()
            if pid:
                print("child", status_of(pid), flush=True)
                print("app", svc.f(2), session.reload_now(), svc.f(3))
        if pid == 0:
            sys.exit(3)
    """
    assert ran(project, script) == Ran(0, "child 3\napp 3 True 4\n", "")


def test_a_child_may_have_a_session_of_its_own(project: Path) -> None:
    child = """
        pid = os.fork()
        if pid == 0:
            with lastgood.watch("own.toml") as own:
                from wrappers_own import svc as mine
                print("own", mine.f(5), svc.f(6), flush=True)
            sys.exit(3)
        print("child", status_of(pid), flush=True)
    """
    assert ran(project, PLAIN, child, AND_GOES_ON) == Ran(0, "own 6 7\nchild 3\napp 3 True 4\n", "")


def test_the_output_directory_stays_the_sessions(project: Path) -> None:
    child = """
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        status_of(pid)
        with lastgood.watch("sync.toml", set_as_global=False) as session:
            print(session.role)
    """
    assert ran(project, PLAIN, child) == Ran(0, "follower\n", "")


def test_grandchildren_have_none_either(project: Path) -> None:
    child = """
        pid = os.fork()
        if pid == 0:
            pid = os.fork()
            if pid == 0:
                print(told(lambda: svc.f(2)), flush=True)
                sys.exit(4)
            sys.exit(status_of(pid))
        print("child", status_of(pid), flush=True)
    """
    assert ran(project, PLAIN, child, AND_GOES_ON) == Ran(0, "Forked\nchild 4\napp 3 True 4\n", "")


def test_pools_of_forked_processes(project: Path) -> None:
    script = """
        def in_child(x):
            return told(lambda: svc.f(x))

        from concurrent.futures import ProcessPoolExecutor
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            print(pool.map(in_child, [1, 2]))
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            print(list(pool.map(in_child, [1, 2])))
    """
    forked = "['Forked', 'Forked']\n"
    assert ran(project, PLAIN, script, AND_GOES_ON) == Ran(0, forked * 2 + "app 3 True 4\n", "")


def test_in_a_loop_of_the_childs_own(project: Path) -> None:
    script = """
        session = lastgood.watch("async.toml").start()
        from wrappers_async import svc
        import trio

        pid = os.fork()
        if pid == 0:
            print(told(lambda: asyncio.run(svc.f(1))), told(lambda: trio.run(svc.f, 1)), flush=True)
            sys.exit(3)
        print("child", status_of(pid), asyncio.run(svc.f(1)))
    """
    assert ran(project, script) == Ran(0, "Forked Forked\nchild 3 2\n", "")


def test_a_bridge_alone_and_a_reloader(project: Path) -> None:
    script = """
        import trio

        async def app():
            def create_bridge():
                return lastgood.ProcessBridge(import_path=["."], modules=["svc"])

            async with await lastgood.create_bridge_reloader(create_bridge, set_as_global=False) as reloader:
                bridge = reloader.current
                pid = os.fork()
                if pid == 0:
                    for call in (bridge.call, reloader.handle.call):
                        try:
                            await call("svc", "f", (1,), {})
                        except lastgood.Forked as error:
                            print(error.pid == os.getppid(), flush=True)
                    print(told(lambda: reloader.current), flush=True)
                    await reloader.dispose()
                    await bridge.dispose()
                    os._exit(3)
                print("child", status_of(pid), flush=True)
                print(await bridge.call("svc", "f", (1,), {}))

        trio.run(app)
    """
    assert ran(project, script) == Ran(0, "True\nTrue\nForked\nchild 3\n2\n", "")


def test_a_bridge_that_lives_on_no_loop_is_the_childs_too(project: Path) -> None:
    script = """
        import threading

        class Echo:
            async def call(self, module, function, args, kwargs):
                return function

            async def dispose(self):
                pass

        lastgood.set_runtime_bridge(Echo())
        handle = lastgood.get_runtime_bridge()
        from lastgood.calls import registry as runtime
        with runtime._publishing, runtime._published._lock:  # as another thread may hold them
            pid = os.fork()
        if pid == 0:
            print(handle.call_blocking("svc", "f"), flush=True)
            lastgood.clear_runtime_bridge()
            os._exit(3)
        print("child", status_of(pid))
    """
    assert ran(project, script) == Ran(0, "f\nchild 3\n", "")


def test_the_error_says_what_to_do() -> None:
    error = Forked("the session of lastgood.toml", 7)
    assert str(error) == (
        "This process was forked from process 7, and the session of lastgood.toml stayed there. Start a session here, after "
        'the fork, with an [output] dir of its own, or start processes by multiprocessing\'s "spawn".'
    )


STREAM = """
items = svc.count()
assert next(items) == 0
pid = os.fork()
if pid == 0:
    print(told(lambda: next(items)), flush=True)
    items.close()
    print(told(svc.count), flush=True)
    sys.exit()
print("child", status_of(pid), flush=True)
print("app", len(list(items)), svc.f(2))
"""


def test_a_stream_that_was_open_at_the_fork_is_the_parents(project: Path) -> None:
    done = ran(project, PLAIN, STREAM)
    assert (done.status, done.err) == (0, "")
    assert done.out.split() == ["Forked", "Forked", "child", "0", "app", "999", "3"]


DAEMON = """
import signal
HOW = {how!r}
workers = session.bridge.pids
first = os.fork()
if first == 0:
    os.setsid()
    if os.fork() == 0:
        held = os.open("held", os.O_WRONLY)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        open("waits").read()
        os._exit(0)
    os._exit(0)
os.waitpid(first, 0)
print(*workers, flush=True)
if HOW == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit()
"""


@pytest.mark.parametrize("how", ["exits", "is killed"])
def test_a_daemon_that_outlives_the_app_holds_nothing_of_its(project: Path, how: str) -> None:
    for name in ("held", "waits"):
        os.mkfifo(project / name)
    held = os.open(project / "held", os.O_RDONLY | os.O_NONBLOCK)
    waits = os.open(project / "waits", os.O_RDWR)  # the daemon goes on until this is closed
    try:
        # The output of the app comes to its end, although the daemon lives.
        app = ran(project, PLAIN, DAEMON.format(how=how))
        os.set_blocking(held, False)
        with pytest.raises(BlockingIOError):
            os.read(held, 1)
        for worker in map(int, app.out.split()):
            assert has_ended(worker)
        again = ran(project, PLAIN, AND_GOES_ON)
        assert (again.status, again.out) == (0, "app 3 True 4\n")
    finally:
        os.close(waits)
        os.set_blocking(held, True)
        assert os.read(held, 1) == b"", "the daemon has ended"
        os.close(held)


def has_ended(pid: int) -> bool:
    """Whether a process that is no child of ours ends in time."""
    descriptor = open_exit(pid)
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        return bool(poll.poll(DEADLINE * 1000))
    finally:
        os.close(descriptor)


INHERITED = """
def open_here():
    listing = os.open("/proc/self/fd", os.O_RDONLY)
    numbers = {*map(int, os.listdir(listing))} - {0, 1, 2, listing}
    os.close(listing)
    return {os.readlink(f"/proc/self/fd/{number}") for number in numbers if os.path.lexists(f"/proc/self/fd/{number}")}

before = open_here()
"""


@not_on_darwin("it has no memory that is shared by a sealed descriptor")
def test_a_child_keeps_no_pipe_no_shared_memory_and_no_lock(project: Path) -> None:
    child = """
        pid = os.fork()
        if pid == 0:
            kept = open_here() - before
            print([each for each in kept if each.startswith(("pipe:", "/memfd", "/proc", os.getcwd()))], flush=True)
            os._exit(3)
        print("child", status_of(pid), flush=True)
        mine = open_here() - before
        print(all(any(each.startswith(kind) for each in mine) for kind in ("pipe:", "/memfd", os.getcwd())), flush=True)
    """
    arrays = "svc.big(bytes(5_000_000))"  # the arena is used, and mapped
    (project / "svc.py").write_text(
        "def f(x: int) -> int:\n    return x + 1\ndef big(x: bytes) -> bytes:\n    return x\n"
    )
    it = ran(project, INHERITED, PLAIN, arrays, child, AND_GOES_ON)
    assert it == Ran(0, "[]\nchild 3\nTrue\napp 3 True 4\n", "")


def test_what_a_child_inherits_holds_up_no_close(project: Path) -> None:
    """The worker, and the process that reads sources, end as their pipes do."""
    child = """
        from lastgood.wrappers.process import extractor_process
        extractor_process._END = 1000
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(3)
        session.close()
        print("closed", flush=True)
        os.close(writing)
        print("child", status_of(pid))
    """
    patient = "[runtime.process]\ngrace = 1000\n"
    with (project / "sync.toml").open("a") as file:
        file.write(patient)
    assert ran(project, PLAIN, child) == Ran(0, "closed\nchild 3\n", "")


def test_a_child_leaves_no_warnings(project: Path) -> None:
    child = """
        warnings.simplefilter("always", ResourceWarning)
        pid = os.fork()
        if pid == 0:
            import gc
            items = None
            gc.collect()
            sys.exit(3)
        print("child", status_of(pid), flush=True)
    """
    assert ran(project, PLAIN, child, AND_GOES_ON) == Ran(0, "child 3\napp 3 True 4\n", "")


def test_a_child_may_call_its_sources_directly(project: Path) -> None:
    child = """
        pid = os.fork()
        if pid == 0:
            with lastgood.direct("sync.toml"):
                print("direct", svc.f(5), flush=True)
            sys.exit(3)
        print("child", status_of(pid), flush=True)
    """
    assert ran(project, PLAIN, child, AND_GOES_ON) == Ran(0, "direct 6\nchild 3\napp 3 True 4\n", "")


def test_a_session_of_its_own_on_the_same_directory_follows_that_of_the_parent_in_a_child(project: Path) -> None:
    child = """
        pid = os.fork()
        if pid == 0:
            with lastgood.watch("sync.toml") as own:
                print(own.role, own.generation, svc.f(5), flush=True)
            sys.exit(3)
        print("child", status_of(pid), flush=True)
    """
    assert ran(project, PLAIN, child, AND_GOES_ON) == Ran(0, "follower 1 6\nchild 3\napp 3 True 4\n", "")


@pytest.mark.torture  # the child's loop may take what wakes the parent's, which has nothing to do with the session
def test_a_child_that_runs_the_loop_on_does_nothing_for_the_session(project: Path) -> None:
    script = """
        import trio
        from lastgood.planner.events import CloseRequested

        async def app():
            async with lastgood.watch("async.toml", on_event=lambda event: print(event.type, flush=True)) as session:
                from wrappers_async import svc
                pid = os.fork()
                if pid == 0:
                    session._report(CloseRequested())  # as its timers and watchers report what they see
                    await trio.lowlevel.checkpoint()
                    print(type(session._driver.state.phase).__name__, flush=True)
                    os._exit(3)
                print("child", status_of(pid), flush=True)
                print("app", await svc.f(2), flush=True)

        trio.run(app)
    """
    it = ran(project, script)
    assert (it.status, it.err) == (0, "")
    assert it.out.splitlines() == ["reload-start", "watch-paths", "reload-success", "Idle", "child 3", "app 3"]


ASYNC_STREAM = """
async def app():
    async with lastgood.watch("async.toml") as session:
        from wrappers_async import svc
        items = svc.count()
        assert await anext(items) == 0
        pid = os.fork()
        if pid == 0:
            for call in (lambda: anext(items), lambda: anext(svc.count())):
                try:
                    await call()
                except lastgood.Forked as error:
                    print(type(error).__name__, flush=True)
            await items.aclose()
            sys.exit(3)
        print("child", status_of(pid), flush=True)
        print("app", len([item async for item in items]), await svc.f(2))
"""


@pytest.mark.parametrize("start", ["import trio; trio.run(app)", "asyncio.run(app())"], ids=["trio", "asyncio"])
def test_an_async_stream_that_was_open_at_the_fork_is_the_parents(project: Path, start: str) -> None:
    assert ran(project, ASYNC_STREAM, start) == Ran(0, "Forked\nForked\nchild 3\napp 999 3\n", "")


def test_a_child_whose_parents_threads_were_in_the_midst_of_a_swap_may_have_a_session(project: Path) -> None:
    child = """
        from lastgood.bridges import raised
        from lastgood.calls import refresh
        from lastgood.children.guardian import GUARDIAN
        import threading
        held, over = threading.Event(), threading.Event()

        def hold():  # as threads of the session may
            with refresh._applying, raised._making, GUARDIAN._lock:
                held.set()
                over.wait()

        threading.Thread(target=hold).start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            with lastgood.watch("own.toml") as own:
                from wrappers_own import svc as mine
                print("own", mine.f(5), own.reload_now(), mine.f(6), flush=True)
                try:
                    mine.fail()
                except ArithmeticError as error:
                    print(error, flush=True)
            sys.exit(3)
        over.set()
        print("child", status_of(pid), flush=True)
    """
    assert ran(project, PLAIN, child, AND_GOES_ON) == Ran(0, "own 6 True 7\nmine\nchild 3\napp 3 True 4\n", "")
