"""What tests of real sessions start from."""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

import imitated
from command_line import Run
from flavours import FLAVOURS, Flavour
from lastgood.calls import registry as runtime
from lastgood.session.watch import WatchProgram, watch
from lastgood.wrappers.process.extractor import HereExtractor
from real_project import FakeFactory, RealProject, Told
from running import Ran, Running

# What fails in these is shown as it is in the tests themselves.
pytest.register_assert_rewrite(
    "bounded_time",
    "planner_model",
    "planner_model_parts",
    "planner_script",
    "process_bridges",
    "staged_project",
    "stream_histories",
    "world_scripts",
)

# How long an example takes says how busy the machine is, and a run says the same as the one before.
# "explore" is for finding what nobody thought of: pytest --hypothesis-profile=explore.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", settings.get_profile("explore"), derandomize=True)
settings.load_profile("suite")

if imitated.VARIABLE in os.environ:
    imitated.imitate(os.environ[imitated.VARIABLE])

_HOME = TemporaryDirectory(prefix="lastgood-tests-")


def pytest_sessionstart() -> None:
    """The key and the caches of the user who runs the tests are none of their business.

    A shell starts what it puts in the background with Ctrl-C ignored, and nohup what it starts with SIGHUP ignored, here and in
    every process from here on.
    """
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        os.environ[variable] = str(Path(_HOME.name, variable))
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_sessionfinish() -> None:
    _HOME.cleanup()


def pytest_collection_finish() -> None:
    """What stands by now stands to the end: a collection that looked at it each time would take a tenth of a second."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int | None:
    """None: as many as there are cores. ``coverage run`` measures this process and no other."""
    coverage = sys.modules.get("coverage")
    return None if coverage is None or coverage.Coverage.current() is None else 0


LONG = ("torture", "peers", "ray")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is known to take long has an hour."""
    for item in items:
        if any(map(item.get_closest_marker, LONG)):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if any(map(item.get_closest_marker, LONG)):
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    return RealProject(tmp_path)


@pytest.fixture
def factory() -> FakeFactory:
    return FakeFactory()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def start(project: RealProject, factory: FakeFactory, told: Told) -> Callable[..., WatchProgram]:
    """``watch()`` of the project with everything fake."""
    return partial(
        watch,
        project.config_file,
        create_bridge=factory.create_bridge,
        probe=factory.probe,
        on_event=told,
        debounce=0.01,
    )


@pytest.fixture(params=FLAVOURS, ids=lambda flavour: flavour.name)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    chosen: Flavour = request.param
    return chosen


@pytest.fixture
def processes() -> Iterator[list[Running]]:
    """Programs that are to be gone after the test."""
    started: list[Running] = []
    yield started
    for each in started:
        each.stop()


@pytest.fixture
def cleared_registry() -> Iterator[None]:
    """For tests of the registry itself, which leave in it what they like."""
    runtime.clear_runtime_bridge()
    yield
    runtime.clear_runtime_bridge()


@pytest.fixture
def many_open() -> Iterator[None]:
    """Every new descriptor is above 1023, the last one that ``select()`` takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    first = os.open(os.devnull, os.O_RDONLY)
    opened = [first, *(os.dup(first) for _ in range(first, 1024))]
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def wrappers_are_made_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for it costs each session a quarter of a second; tests that are marked ``apart`` have one all the same."""
    if request.node.get_closest_marker("apart") is None:
        monkeypatch.setattr("lastgood.session.session.ExtractorProcess", HereExtractor)
        monkeypatch.setattr("lastgood.wrappers.process.extractor_process.ExtractorProcess", HereExtractor)


@pytest.fixture(autouse=True)
def nothing_is_left_published() -> Iterator[None]:
    """What one test leaves in the registry, or in ``sys.meta_path``, must not reach the next."""
    yield
    left = runtime._published
    runtime.clear_runtime_bridge()
    assert left is None
    assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("lastgood.")]


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """A test leaves no descriptor, no thread of ours, and no process. What an earlier one has let go of may close meanwhile."""
    gc.collect()
    before = {*os.listdir("/proc/self/fd")}
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lastgood")]
    assert {*os.listdir("/proc/self/fd")} <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process."""
    from lastgood.cli.commands import main

    def run(*args: str) -> Ran:
        with pytest.raises(SystemExit) as caught:
            copy_context().run(main, args, prog_name="lastgood")  # what it sets there ends with it
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, out, err)

    return run
