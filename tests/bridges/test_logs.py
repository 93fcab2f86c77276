"""Log records of the worker are handled in the app, under their own logger names."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.errors import RemoteError, WorkerDied
from process_bridges import DEADLINE, interpreter, running, until

pytestmark = pytest.mark.usefixtures("nothing_is_left")

LOGGING = """
import logging, os, signal, sys, threading

log = logging.getLogger("shop.pricing")

def say(level, message, *args):
    getattr(log, level)(message, *args)
    return os.getpid()

def say_more():
    try:
        raise KeyError("sku")
    except KeyError:
        log.warning("lost %(sku)s", {"sku": "a"}, exc_info=True, stack_info=True,
                    extra={"order": 7, "basket": ["a", "b"], "size": 2**80})

async def say_on_the_loop():
    log.warning("from the loop")

def say_it_late(path):
    def work():
        with open(path) as gate:
            gate.read()
        log.warning("nobody calls")
    threading.Thread(target=work, daemon=True).start()

def flood(number, text):
    for each in range(number):
        log.warning("%d %s", each, text)
    return number

def wrong():
    log.warning("%d", "no number")
    return "went on"

def die(how):
    log.error("last words")
    os.kill(os.getpid(), signal.SIGKILL) if how == "kill" else os._exit(3)

def fork():
    child = os.fork()
    if not child:
        log.warning("from the child")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def configure():
    logging.basicConfig(force=True, stream=sys.stderr, format="own: %(message)s")
    log.warning("not for the app")

def loaded():
    return "logging" in sys.modules

def enabled(level):
    return log.isEnabledFor(level)

def set_level(level):
    log.setLevel(level)
"""


class Records(logging.Handler):
    """What the app's root logger was given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records if record.name != "lastgood.bridges.logs"]


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logging.root.addHandler(handler)
    yield handler
    logging.root.removeHandler(handler)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(LOGGING)
    return tmp_path


@contextmanager
def level(name: str, value: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(value)
    yield
    logger.setLevel(before)


async def test_a_record_is_there_when_its_call_returns(source: Path, records: Records) -> None:
    async with running(source) as bridge:
        for number in range(50):
            await bridge.call("svc", "say", ["warning", "no %s", number], {})
            assert records.messages[-1] == f"no {number}"
        await bridge.call("svc", "say_on_the_loop", [], {})
        assert records.messages[50:] == ["from the loop"]


async def test_a_record_keeps_what_it_says(source: Path, records: Records) -> None:
    async with running(source) as bridge:
        pid = await bridge.call("svc", "say", ["error", "%d items", 3], {})
        await bridge.call("svc", "say_more", [], {})
    first, second = records.records
    line = 1 + LOGGING.splitlines().index("    getattr(log, level)(message, *args)")
    assert (first.name, first.levelno, first.levelname, first.msg) == ("shop.pricing", 40, "ERROR", "3 items")
    assert (first.pathname, first.lineno, first.funcName) == (str(source / "svc.py"), line, "say")
    assert (first.process, first.threadName) == (pid, "MainThread")
    assert first.module == "svc"
    assert first.created <= second.created
    assert second.getMessage() == "lost a"
    formatted = logging.Formatter("%(message)s %(order)d %(basket)s %(size)s").format(second)
    assert formatted.startswith(f"lost a 7 ['a', 'b'] {2**80}\nTraceback (most recent call last):\n")
    assert f'File "{source}/svc.py"' in formatted
    assert "KeyError: 'sku'" in formatted
    assert "Stack (most recent call last):" in formatted


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
async def test_workers_of_other_pythons_log_too(source: Path, records: Records, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    async with running(source, python=python) as bridge:
        await bridge.call("svc", "say_more", [], {})
        assert records.messages == ["lost a"]


async def test_the_apps_levels_decide(source: Path, records: Records) -> None:
    async with running(source) as bridge:
        await bridge.call("svc", "say", ["info", "not wanted"], {})
    with level("", logging.INFO):
        async with running(source) as bridge:
            await bridge.call("svc", "say", ["info", "wanted"], {})
            await bridge.call("svc", "say", ["debug", "not wanted"], {})
            with level("shop", logging.ERROR):
                await bridge.call("svc", "say", ["warning", "dropped in the app"], {})
    with level("shop", logging.DEBUG):
        async with running(source) as bridge:
            await bridge.call("svc", "say", ["debug", "the logger is asked for more"], {})
    assert records.messages == ["wanted", "the logger is asked for more"]


async def test_a_level_that_changes_reaches_the_worker_with_the_next_call(source: Path, records: Records) -> None:
    async with running(source, pool=2) as bridge:

        async def enabled(value: int) -> bool:
            answers = []

            async def ask() -> None:
                answers.append(await bridge.call("svc", "enabled", [value], {}))

            async with trio.open_nursery() as nursery:  # of both workers
                nursery.start_soon(ask)
                nursery.start_soon(ask)
            assert answers[0] == answers[1]
            return bool(answers[0])

        assert not await enabled(logging.INFO)
        with level("shop", logging.DEBUG):
            assert await enabled(logging.DEBUG)
            await bridge.call("svc", "say", ["debug", "wanted"], {})
            logging.disable(logging.CRITICAL)
            await bridge.call("svc", "say", ["critical", "disabled"], {})
            logging.disable(logging.NOTSET)
        assert not await enabled(logging.INFO)
        with level("", logging.INFO):
            assert await enabled(logging.INFO)
            assert not await enabled(logging.DEBUG)
        assert not await enabled(logging.INFO)
    assert records.messages == ["wanted"]


async def test_a_level_that_the_source_has_set_stays(source: Path) -> None:
    async with running(source) as bridge:
        await bridge.call("svc", "set_level", [logging.ERROR], {})
        with level("shop.pricing", logging.DEBUG):
            assert not await bridge.call("svc", "enabled", [logging.WARNING], {})


async def test_a_handler_that_calls_the_source_as_it_handles_a_record_holds_nobody_up(source: Path) -> None:
    async with running(source) as bridge:
        handled: list[str] = []

        class Calls(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.name == "app":
                    trio.from_thread.run(bridge.call, "svc", "say", ["warning", "from the call"], {})
                handled.append(record.getMessage())

        handler = Calls()
        logging.root.addHandler(handler)
        try:
            with trio.fail_after(DEADLINE):
                await trio.to_thread.run_sync(logging.getLogger("app").warning, "from the app")
                await until(lambda: len(handled) == 2)
        finally:
            logging.root.removeHandler(handler)
        assert handled == ["from the app", "from the call"]


async def test_what_the_imports_log_arrives(source: Path, records: Records) -> None:
    (source / "svc.py").write_text(LOGGING + "log.warning('imported')\nlog.info('in detail')")
    with level("", logging.INFO):
        async with running(source):
            assert records.messages == ["imported", "in detail"]


async def test_so_it_does_if_they_fail(source: Path, records: Records) -> None:
    (source / "svc.py").write_text(LOGGING + "log.warning('imported')\n1 / 0")
    with pytest.raises(RemoteError, match="division by zero"):
        async with running(source):
            pass
    assert records.messages == ["imported"]


async def test_handlers_that_the_imports_set_up_keep_the_records(
    source: Path, records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    own = "logging.basicConfig(format='own: %(message)s')\n"
    (source / "svc.py").write_text(LOGGING + own)
    with level("", logging.INFO):
        async with running(source) as bridge:
            await bridge.call("svc", "say", ["warning", "here"], {})
            await bridge.call("svc", "say", ["info", "less than its own level"], {})
    assert records.messages == []
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith("own")] == ["own: here"]


async def test_what_logging_sets_up_by_itself_is_no_handler_of_the_imports(
    source: Path, records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    (source / "svc.py").write_text(LOGGING + "logging.warning('imported')\n")
    async with running(source) as bridge:
        await bridge.call("svc", "say", ["warning", "called"], {})
    assert records.messages == ["imported", "called"]
    assert "imported" not in capfd.readouterr().err
    (source / "svc.py").write_text(LOGGING + "logging.warning('imported')\nlogging.basicConfig()\n")
    async with running(source) as bridge:
        await bridge.call("svc", "say", ["warning", "called"], {})
    assert records.messages == ["imported", "called", "imported"]
    assert "WARNING:shop.pricing:called" in capfd.readouterr().err


async def test_handlers_that_a_call_sets_up_take_over(
    source: Path, records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(source) as bridge:
        await bridge.call("svc", "configure", [], {})
    assert records.messages == []
    assert "own: not for the app" in capfd.readouterr().err


async def test_logging_is_imported_by_nobody_else(source: Path, records: Records) -> None:
    plain = "import sys\ndef loaded():\n    return 'logging' in sys.modules\n"
    late = "def late():\n    import logging\n    logging.getLogger('late').warning('at last')\n"
    (source / "svc.py").write_text(plain + late)
    async with running(source) as bridge:
        assert await bridge.call("svc", "loaded", [], {}) is False
        await bridge.call("svc", "late", [], {})
        assert records.messages == ["at last"]
        assert records.records[0].name == "late"


async def test_a_module_of_the_users_that_is_called_logging_is_left_alone(source: Path) -> None:
    (source / "logging.py").write_text("def mine():\n    return 'mine'\n")
    (source / "svc.py").write_text("import logging\ndef mine():\n    return logging.mine()\n")
    async with running(source) as bridge:
        assert await bridge.call("svc", "mine", [], {}) == "mine"


async def test_a_record_that_no_call_made_arrives_by_itself(source: Path, records: Records, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with running(source) as bridge:
        await bridge.call("svc", "say_it_late", [str(gate)], {})
        await trio.to_thread.run_sync(gate.write_text, "")
        await until(lambda: bool(records.records))
    assert records.messages == ["nobody calls"]


@pytest.mark.parametrize(("how", "status"), [("exit", 3), ("kill", -signal.SIGKILL)])
async def test_the_last_words_of_a_worker_arrive(source: Path, records: Records, how: str, status: int) -> None:
    async with running(source) as bridge:
        with pytest.raises(WorkerDied) as died:
            await bridge.call("svc", "die", [how], {})
        assert died.value.status == status
        assert records.messages == ["last words"]


async def test_a_flood_holds_nobody_up_and_says_what_it_lost(source: Path, records: Records) -> None:
    number, text = 3000, "x" * 2000
    async with running(source) as bridge:
        assert await bridge.call("svc", "flood", [number, text], {}) == number
        await until(lambda: bool(records.messages) and records.messages[-1].startswith(f"{number - 1} "))
    dropped = [record for record in records.records if record.name == "lastgood.bridges.logs"]
    assert sum(record.args[0] for record in dropped) + len(records.messages) == number  # type: ignore[index,misc]  # a tuple of one number
    order = [int(message.split()[0]) for message in records.messages]
    assert order == sorted(set(order))


async def test_a_record_that_cannot_be_made_harms_no_call(
    source: Path, records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(source) as bridge:
        assert await bridge.call("svc", "wrong", [], {}) == "went on"
    assert records.messages == []
    assert "--- Logging error ---" in capfd.readouterr().err


async def test_a_filter_of_the_apps_that_raises_harms_no_call(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: logging.LogRecord) -> bool:
        raise ValueError("the app's own")

    logger = logging.getLogger("shop.pricing")
    logger.addFilter(broken)
    async with running(source) as bridge:
        assert await bridge.call("svc", "say", ["warning", "x"], {}) == bridge.pid
    logger.removeFilter(broken)
    assert "the app's own" in capsys.readouterr().err


async def test_a_forked_child_of_the_worker_logs_to_stderr(
    source: Path, records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(source) as bridge:
        assert await bridge.call("svc", "fork", [], {}) == 0
    assert records.messages == []
    assert "from the child" in capfd.readouterr().err


async def test_every_worker_of_a_pool_logs(source: Path, records: Records) -> None:
    (source / "svc.py").write_text(LOGGING + "log.warning('imported')")
    async with running(source, pool=2) as bridge:
        assert {record.process for record in records.records} == set(bridge.pids)


@pytest.mark.parametrize("sent", [{}, [], "text", {"name": 1}], ids=repr)
async def test_what_can_be_no_record_ends_the_worker(source: Path, sent: Any) -> None:
    (source / "svc.py").write_text(
        LOGGING + "def send(sent):\n    log.root.handlers[0]._pipe.put(sent)\n    threading.Event().wait()\n"
    )
    async with running(source) as bridge:
        with pytest.raises(Exception, match="a log record that cannot be read"):
            await bridge.call("svc", "send", [sent], {})
        await until(lambda: not bridge.pids or bridge._workers[0].has_exited())
