"""Processes that are forked from one with a session: they have none, end at once, and leave the session as it is."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

from lastgood.errors import Forked
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
        try:
            lastgood.watch("sync.toml", set_as_global=False).start()
        except lastgood.AlreadyWatched as error:
            print("AlreadyWatched", error.pid == os.getpid())
    """
    assert ran(project, PLAIN, child) == Ran(0, "AlreadyWatched True\n", "")


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
