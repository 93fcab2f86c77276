"""A bridge to workers elsewhere does what one to workers here does."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from lastgood.bridges.late import EDITED_MODULES, LoadedLate
from lastgood.errors import BridgeError, CallTimeout, ConfigError, RemoteError, WorkerDied
from lastgood.remote import CommandPlace, RemoteBridge
from lastgood.remote.link import Link
from places import Elsewhere, config_of
from process_bridges import Gate, interpreter, is_alive, script, until
from staged_project import StagedProject, run

pytestmark = pytest.mark.usefixtures("nothing_is_left")


# --- what runs there


async def test_the_pinned_bytes_run_there_whatever_happens_to_the_sources(
    staged: StagedProject, elsewhere: Elsewhere
) -> None:
    for path in staged.files():
        path.write_text("raise SystemExit('nobody reads this')")
    async with elsewhere.running(staged) as bridge:
        versions = await bridge.call("svc", "versions", [], {})
    assert set(versions.values()) == {"pinned"}


async def test_no_path_of_this_side_is_read_there(staged: StagedProject, elsewhere: Elsewhere) -> None:
    async with elsewhere.running(staged) as bridge:
        file, _, _, _ = await bridge.call("svc", "attributes", ["shop.prices"], {})
        path = await run(bridge, "import sys; result = sys.path")
    assert file == str(next(elsewhere.cache.glob("trees/*")) / "project/src/shop/prices.py")
    assert not [entry for entry in path if entry.startswith(str(staged.top))]


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.13"])
async def test_another_python_there_runs_the_host_and_the_worker(
    staged: StagedProject, elsewhere: Elsewhere, version: str
) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    elsewhere.python = str(python)
    async with elsewhere.running(staged) as bridge:
        found = await run(bridge, "import sys; result = list(sys.version_info[:2])")
        assert [item async for item in bridge.stream("svc", "run", ["result = iter([1, 2])"])] == [1, 2]
    assert ".".join(map(str, found)) == version


async def test_env_is_added_to_the_environment_there_and_cwd_is_a_directory_there(
    staged: StagedProject, elsewhere: Elsewhere
) -> None:
    code = "import os; result = [os.getcwd(), os.environ.get('THERE'), os.environ.get('GIVEN')]"
    async with elsewhere.running(staged, {"env": {"GIVEN": "too"}}) as bridge:
        cwd, there, given = await run(bridge, code)
    assert (Path(cwd).parents[1], Path(cwd).name, there, given) == (elsewhere.cache / "trees", "project", "yes", "too")
    async with elsewhere.running(staged, {"cwd": staged.src}) as bridge:
        assert Path((await run(bridge, code))[0]).parts[-2:] == ("project", "src")
    with pytest.raises(WorkerDied, match=r"There is no directory /nowhere on the other side") as failed:
        async with elsewhere.running(staged, {"cwd": Path("/nowhere")}):
            pass
    assert failed.value.blame == "place"


async def test_declared_files_are_there_as_they_are_here(staged: StagedProject, elsewhere: Elsewhere) -> None:
    for name in ("data/rates.csv", "data/deep/more.bin", "src/shop/table.txt"):
        (staged.top / name).parent.mkdir(parents=True, exist_ok=True)
        (staged.top / name).write_text(f"the text of {name}")
    (staged.top / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (staged.top / "run.sh").chmod(0o755)
    code = (
        "import shop, subprocess\nfrom pathlib import Path\n"
        "result = [Path('data/rates.csv').read_text(), Path('data/deep/more.bin').read_text(),"
        " Path(shop.__file__).with_name('table.txt').read_text(), subprocess.check_output(['./run.sh'], text=True)]"
    )
    files = ["data", "src/**/*.txt", "run.sh"]
    async with elsewhere.running(staged, files=files) as bridge:
        found = await run(bridge, code)
        await run(bridge, "open('data/rates.csv', 'w').write('what the program writes')")
    expected = [f"the text of {name}" for name in ("data/rates.csv", "data/deep/more.bin", "src/shop/table.txt")]
    assert found == [*expected, "ran\n"]
    async with elsewhere.running(staged, files=files) as bridge:
        assert await run(bridge, code) == [*expected, "ran\n"]
    assert (staged.top / "data/rates.csv").read_text() == expected[0]


async def test_what_only_a_dynamic_import_reaches_runs_there_if_it_is_declared(
    staged: StagedProject, elsewhere: Elsewhere
) -> None:
    late: list[LoadedLate] = []
    code = "import importlib; result = importlib.import_module('dynamic').VERSION"
    async with elsewhere.running(staged) as bridge:
        with pytest.raises(ModuleNotFoundError, match="dynamic"):
            await run(bridge, code)
    bridge = elsewhere.bridge(config_of(staged, pool=2), files=["src/dynamic.py"])
    bridge.on_loaded_late = late.append
    await bridge.init()
    first, second = bridge.pids
    assert await run(bridge, code) == "pinned"
    assert [(each.name, each.path, each.source) for each in late] == [
        ("dynamic", staged.src / "dynamic.py", b"VERSION = 'pinned'\n")
    ]
    # The other worker uses the bytes that the first has read, whatever the file there has become.
    next(elsewhere.cache.glob("trees/*/project/src/dynamic.py")).write_text("VERSION = 'edited'\n")
    os.kill(await run(bridge, "import os; result = os.getpid()"), signal.SIGKILL)
    await until(lambda: len(bridge.pids) == 1)
    assert await run(bridge, code) == "pinned"
    await bridge.dispose()
    assert len({first, second}) == 2


# --- calls


async def test_calls_streams_and_errors_are_as_from_a_worker_here(staged: StagedProject, elsewhere: Elsewhere) -> None:
    async with elsewhere.running(staged) as bridge:
        assert await bridge.call("svc", "run", ["result = {'a': [1, 2.5, b'x']}"], {}) == {"a": [1, 2.5, b"x"]}
        with pytest.raises(ValueError, match=r"^here$") as raised:
            await bridge.call("svc", "fail", [], {})
        assert isinstance(raised.value, RemoteError)
        with pytest.raises(BridgeError, match="os"):
            await bridge.call("svc", "os.system", ["true"], {})
        stream = bridge.stream("svc", "run", ["result = (n for n in range(10**9))"])
        assert [await anext(stream) for _ in range(1000)] == list(range(1000))
        await stream.aclose()
        with pytest.raises(ZeroDivisionError):
            _ = [item async for item in bridge.stream("svc", "run", ["result = (1 // n for n in (1, 0))"])]
        assert await bridge.interface([("svc", "fail")], ["svc"])


async def test_tracebacks_name_the_files_of_this_side(staged: StagedProject, elsewhere: Elsewhere) -> None:
    async with elsewhere.running(staged) as bridge:
        with pytest.raises(ValueError, match="here") as raised:
            await bridge.call("svc", "fail", [], {})
    text = "".join(traceback.format_exception(raised.value))
    assert f'File "{staged.src}/helper.py", line 4, in fail' in text
    assert isinstance(raised.value, RemoteError)
    assert f'File "{staged.src}/helper.py", line 4, in fail' in raised.value.traceback
    assert str(elsewhere.cache) not in text


async def test_large_values_cross_both_ways(staged: StagedProject, elsewhere: Elsewhere) -> None:
    numpy = pytest.importorskip("numpy")
    data = numpy.arange(2_000_000, dtype="float64")
    async with elsewhere.running(staged) as bridge:
        code = "import numpy; result = numpy.arange(2_000_000, dtype='float64')"
        assert numpy.array_equal(await run(bridge, code), data)
        assert await bridge.call("svc", "run", ["result = " + repr("x" * 3_000_000)], {}) == "x" * 3_000_000


async def test_what_is_printed_and_logged_there_comes_here(
    staged: StagedProject, elsewhere: Elsewhere, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with elsewhere.running(staged) as bridge:
        await run(bridge, "print('printed')")
        await run(bridge, "import logging; logging.getLogger('svc').warning('logged')")
        assert ("svc", logging.WARNING, "logged") in caplog.record_tuples
    assert "printed\n" in capfd.readouterr().err


async def test_much_output_comes_whole(
    staged: StagedProject, elsewhere: Elsewhere, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = ""
    async with elsewhere.running(staged) as bridge:
        await run(bridge, "for number in range(50_000): print('line', number)")
        while not shown.endswith("line 49999\n"):  # it comes while nobody calls
            await trio.sleep(0.01)
            shown += capfd.readouterr().err
    assert shown == "".join(f"line {number}\n" for number in range(50_000))


async def test_a_call_that_is_late_or_cancelled_is_interrupted_there(
    staged: StagedProject, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    hold = f"open({str(tmp_path / 'gate')!r}).read()"
    async with elsewhere.running(staged, {"timeout": 0.2}) as bridge:
        with pytest.raises(CallTimeout):
            await run(bridge, "import time\nwhile True: time.sleep(0.01)")
        assert await run(bridge, "result = 1") == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, bridge, f"import contextlib\nwith contextlib.suppress(OSError): {hold}")
            await gate.reached()
            nursery.cancel_scope.cancel()
        assert await run(bridge, "result = 2") == 2
        gate.open()


async def test_calls_go_to_the_least_busy_of_several_workers(
    staged: StagedProject, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    async with elsewhere.running(staged, workers=3) as bridge, trio.open_nursery() as nursery:
        assert len(set(bridge.pids)) == 3
        assert len(bridge.places) == 3
        nursery.start_soon(run, bridge, f"open({gate.path!r}).read()")
        await gate.reached()
        assert await run(bridge, "result = 1") == 1
        gate.open()


# --- losses


async def test_a_worker_that_is_killed_there_is_the_places_fault_and_its_status_is_known(
    staged: StagedProject, elsewhere: Elsewhere
) -> None:
    async with elsewhere.running(staged) as bridge:
        with pytest.raises(WorkerDied, match="killed by signal 9") as died:
            await run(bridge, "import os; os.kill(os.getpid(), 9)")
        lost = await bridge.lost()
    assert (died.value.status, died.value.blame) == (-9, "place")
    assert isinstance(lost, WorkerDied)
    assert elsewhere.lost == []  # the place itself is good


async def test_a_worker_that_exits_there_says_why(staged: StagedProject, elsewhere: Elsewhere) -> None:
    async with elsewhere.running(staged) as bridge:
        with pytest.raises(WorkerDied, match="exited with status 3") as died:
            await run(bridge, "import os, sys; print('last words', file=sys.stderr, flush=True); os._exit(3)")
    assert (died.value.status, died.value.blame, died.value.stderr) == (3, "code", "last words")


async def test_what_a_worker_has_started_there_ends_with_it(staged: StagedProject, elsewhere: Elsewhere) -> None:
    start = "import subprocess; result = subprocess.Popen(['sleep', '1000']).pid"
    async with elsewhere.running(staged) as bridge:
        sleeper = await run(bridge, start)
        with pytest.raises(WorkerDied):
            await run(bridge, "import os; os._exit(0)")
        assert not is_alive(sleeper)
    async with elsewhere.running(staged) as bridge:
        sleeper = await run(bridge, start)
    assert not is_alive(sleeper)


async def test_a_host_that_is_killed_is_the_places_fault_and_nothing_of_it_is_left(
    staged: StagedProject, elsewhere: Elsewhere
) -> None:
    async with elsewhere.running(staged) as bridge:
        sleeper = await run(bridge, "import subprocess; result = subprocess.Popen(['sleep', '1000']).pid")
        worker, host = bridge.pids[0], await run(bridge, "import os; result = os.getppid()")
        os.kill(host, signal.SIGKILL)
        with pytest.raises(WorkerDied, match=r"ended with its place \(a place here: .* was killed by SIGKILL") as died:
            await run(bridge, "import time; time.sleep(1000)")
        assert (died.value.status, died.value.blame) == (None, "place")
        assert elsewhere.lost == elsewhere.made
        await until(lambda: not (is_alive(worker) or is_alive(sleeper)))


@pytest.mark.torture  # under load, a host that runs may be silent for as long
async def test_a_frozen_host_is_noticed_and_the_places_fault(staged: StagedProject, elsewhere: Elsewhere) -> None:
    async with elsewhere.running(staged, heartbeat=0.05, lost_after=0.3) as bridge:
        host = await run(bridge, "import os; result = os.getppid()")
        worker = bridge.pids[0]
        os.kill(host, signal.SIGSTOP)
        with pytest.raises(WorkerDied, match=r"a place here: it has been silent for 0\.3 s") as died:
            await run(bridge, "import time; time.sleep(1000)")
        assert died.value.blame == "place"
        assert elsewhere.lost == elsewhere.made
        await until(lambda: not (is_alive(worker) or is_alive(host)))


@pytest.mark.torture  # likewise
async def test_an_app_that_blocks_its_loop_does_not_take_a_host_for_frozen(
    staged: StagedProject, elsewhere: Elsewhere
) -> None:
    import time

    async with elsewhere.running(staged, heartbeat=0.05, lost_after=0.3) as bridge:
        for _ in range(3):
            time.sleep(0.5)  # noqa: ASYNC251 - the app's own fault
            await trio.lowlevel.checkpoint()
        assert await run(bridge, "result = 1") == 1


async def test_nothing_is_left_there_if_an_import_fails(staged: StagedProject, elsewhere: Elsewhere) -> None:
    (staged.src / "helper.py").write_text("import os, sys\nprint('pid', os.getpid())\nraise OSError('no')\n")
    staged.stage()
    with pytest.raises(RemoteError, match="OSError: no"):
        async with elsewhere.running(staged, workers=2):
            pass


async def test_an_edited_module_has_to_compile_there_too(staged: StagedProject, elsewhere: Elsewhere) -> None:
    (staged.src / "late.py").write_text("def broken(:\n")
    staged.stage()
    EDITED_MODULES.set([("late", str(staged.src / "late.py"), "")])
    with pytest.raises(RemoteError, match=r"late\.py") as raised:
        async with elsewhere.running(staged):
            pass
    assert raised.value.type_name == "SyntaxError"
    assert f'File "{staged.src / "late.py"}", line 1' in raised.value.traceback


async def test_a_cancelled_start_leaves_nothing(staged: StagedProject, elsewhere: Elsewhere, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    (staged.src / "helper.py").write_text(f"open({gate.path!r}).read()\n")
    staged.stage()
    bridge = elsewhere.bridge(config_of(staged))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.init)
        await gate.reached()
        nursery.cancel_scope.cancel()
    gate.open()


# --- started ahead


async def test_the_next_bridge_takes_the_worker_that_was_started_ahead(
    staged: StagedProject, elsewhere: Elsewhere
) -> None:
    async with elsewhere.running(staged) as bridge:
        first = bridge.bytes_shipped
        await bridge.prepare_spare()
        await bridge.prepare_spare()
        assert len(elsewhere.made) == 2
        (staged.src / "helper.py").write_text("VERSION = 'edited'\n")
        staged.stage()
        async with elsewhere.running(staged) as following:
            assert len(elsewhere.made) == 2
            assert following.bytes_shipped < first / 4
            assert (await run(following, "import helper; result = helper.VERSION")) == "edited"
            await bridge.dispose()
            assert await run(following, "result = 1") == 1


async def test_a_worker_whose_start_ahead_is_cancelled_keeps_no_place(
    staged: StagedProject, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with elsewhere.running(staged) as bridge:
        shipping, removed = trio.Event(), list[CommandPlace]()
        remove = CommandPlace.remove

        async def ship(*_: object) -> None:
            shipping.set()
            await trio.sleep_forever()

        async def note(place: CommandPlace) -> None:
            removed.append(place)
            await remove(place)

        monkeypatch.setattr(Link, "ship", ship)
        monkeypatch.setattr(CommandPlace, "remove", note)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.prepare_spare)
            await shipping.wait()
            nursery.cancel_scope.cancel()
        assert removed == elsewhere.made[1:]


@pytest.mark.parametrize("change", ["env", "files", "ahead"])
async def test_a_worker_ahead_that_would_have_started_otherwise_is_left_alone(
    staged: StagedProject, elsewhere: Elsewhere, change: str
) -> None:
    (staged.top / "table").write_text("data")
    process = {"env": {"A": "1"}} if change == "env" else {}
    changes: dict[str, dict[str, Any]] = {"files": {"files": ["table"]}, "ahead": {"ahead": "another"}}
    options = changes.get(change, {})
    async with elsewhere.running(staged) as bridge:
        await bridge.prepare_spare()
        async with elsewhere.running(staged, process, **options):
            assert len(elsewhere.made) == 3


@pytest.mark.parametrize("is_frozen", [False, pytest.param(True, marks=pytest.mark.torture)])
async def test_a_worker_ahead_whose_place_is_lost_is_passed_over(
    staged: StagedProject, elsewhere: Elsewhere, is_frozen: bool
) -> None:
    times = {"heartbeat": 0.1, "lost_after": 0.5} if is_frozen else {}
    async with elsewhere.running(staged, **times) as bridge:
        await bridge.prepare_spare()
        (_, ahead) = hosts(elsewhere)
        os.kill(ahead, signal.SIGSTOP if is_frozen else signal.SIGKILL)  # which nobody has noticed yet
        async with elsewhere.running(staged, **times) as following:
            assert await run(following, "result = 1") == 1
            assert len(elsewhere.made) == 3


async def test_a_worker_ahead_that_is_silent_is_ended_for_another_may_need_its_place(
    staged: StagedProject, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with elsewhere.running(staged) as bridge:
        await bridge.prepare_spare()
        (_, ahead) = hosts(elsewhere)
        monkeypatch.setattr(Link, "is_quiet", lambda _: True)
        os.kill(ahead, signal.SIGSTOP)
        async with elsewhere.running(staged):
            assert len(elsewhere.made) == 3
            assert not Path(f"/proc/{ahead}").exists()  # noqa: ASYNC240 - it waits for nothing


def hosts(elsewhere: Elsewhere) -> list[int]:
    """The processes that run hosts, in the order of their places."""
    return [place._child.pid for place in elsewhere.made if place._child is not None]


async def test_a_disk_that_is_full_there_is_named(staged: StagedProject, elsewhere: Elsewhere, tmp_path: Path) -> None:
    # As a limit for the size of files does.
    elsewhere.python = str(script(tmp_path / "limited", f'#!/bin/bash\nulimit -f 4\nexec {sys.executable} "$@"\n'))
    with pytest.raises(BridgeError, match=r"The host has failed: File too large") as failed:
        async with elsewhere.running(staged):
            pass
    assert failed.value.blame == "place"


# --- misuse


def test_what_cannot_be_is_refused(staged: StagedProject, elsewhere: Elsewhere) -> None:
    config = config_of(staged)
    for options, text in (
        ({"workers": 0}, "workers: expected worker processes, from 1 to 64, found 0"),
        ({"heartbeat": 0.0}, "heartbeat: expected seconds"),
        ({"heartbeat": 3.0}, "at least two heartbeats"),
        ({"lost_after": float("inf")}, "lost_after: expected seconds, finite"),
    ):
        with pytest.raises(ValueError, match=text):
            RemoteBridge(config, elsewhere.place, **options)


async def test_files_that_do_not_exist_are_a_config_error(staged: StagedProject, elsewhere: Elsewhere) -> None:
    for pattern, text in (("nothing/**", "matches no file"), ("../up", "expected files below"), ("/etc", "expected")):
        with pytest.raises(ConfigError, match=text):
            async with elsewhere.running(staged, files=[pattern]):
                pass
    with pytest.raises(TypeError, match="files is a sequence"):
        async with elsewhere.running(staged, files="data"):
            pass
