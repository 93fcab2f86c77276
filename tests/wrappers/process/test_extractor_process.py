"""lastgood.wrappers.process.extractor_process: the same as in one's own process, and no harm from what befalls the other."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lastgood.children.guard import open_exit
from lastgood.errors import GenerationError
from lastgood.sources.import_statements import Imports, imports_of
from lastgood.store.file_system import digest_of
from lastgood.wrappers import ModuleSource, Wrapped
from lastgood.wrappers.process import extractor_process
from lastgood.wrappers.process.extractor import HereExtractor, NotStarted
from lastgood.wrappers.process.extractor_process import ExtractorProcess
from real_project import DEADLINE
from wrapping import source

pytestmark = pytest.mark.apart

MODELS = "from dataclasses import dataclass\n@dataclass\nclass Price:\n    amount: {}\n"
DESK = "from models import Price\ndef price(sku: str) -> Price: ...\n"


def modules(**texts: str) -> Mapping[str, ModuleSource]:
    made = {}
    for name, text in texts.items():
        module = source(name, text)
        made[name] = ModuleSource(name, module.path, module.data, False, digest=module.state)
    return made


class _StartedWhenNeeded(ExtractorProcess):
    """An extractor that is started as a stage does it."""

    def imports_of(self, data: bytes) -> Imports:
        with suppress(NotStarted):
            return super().imports_of(data)
        self.start()
        return super().imports_of(data)

    def wrap(self, *args: Any) -> Wrapped:
        with suppress(NotStarted):
            return super().wrap(*args)
        self.start()
        return super().wrap(*args)


@pytest.fixture
def extractor() -> Iterator[ExtractorProcess]:
    extractor = _StartedWhenNeeded()
    yield extractor
    extractor.end()


@pytest.fixture
def not_started() -> Iterator[ExtractorProcess]:
    extractor = ExtractorProcess()
    yield extractor
    extractor.end()


def pid_of(extractor: ExtractorProcess) -> int:
    extractor.start()
    assert extractor._child is not None
    return extractor._child.pid


def test_it_gives_what_is_given_here(extractor: ExtractorProcess) -> None:
    here = HereExtractor()
    steps = [
        modules(models=MODELS.format("int"), desk=DESK),
        modules(models=MODELS.format("float"), desk=DESK),
        modules(models=MODELS.format("float"), desk=DESK, other="X = 1\ndef f(): ..."),
        modules(models="def broken(:", desk=DESK),
        modules(models=MODELS.format("float"), other="def f(): yield"),
        {},
    ]
    for found in steps:
        for named in (list(found.values()), list(found.values())[:1]):
            assert extractor.wrap(named, found, "sync") == here.wrap(named, found, "sync")


def test_other_packages_in_annotated_are_other_wrappers(extractor: ExtractorProcess) -> None:
    text = "from typing import Annotated\nfrom msgspec import Meta\ndef f(x: Annotated[int, Meta(gt=0)]): ..."
    found = modules(desk=text)
    here = HereExtractor()
    for annotated in ((), ("msgspec",), ("msgspec",), ()):
        made = extractor.wrap([*found.values()], found, "sync", annotated)
        assert made == here.wrap([*found.values()], found, "sync", annotated)
        assert (b"Meta(gt=0)" in made.files["desk.py"]) is bool(annotated)


def test_what_is_kept_has_to_be_installed_in_the_app(extractor: ExtractorProcess) -> None:
    text = "from typing import Annotated\nfrom not_installed import Meta\ndef f(x: Annotated[int, Meta(gt=0)]): ..."
    found = modules(desk=text)
    (failure,) = extractor.wrap([*found.values()], found, "sync", ("not_installed",)).failures
    assert (failure.module, "No module named 'not_installed'" in failure.message) == ("desk", True)


def test_it_reads_import_statements(extractor: ExtractorProcess) -> None:
    for text in (b"import a.b\nfrom . import c", b"from x import (", b"\xff", b""):
        assert extractor.imports_of(text) == imports_of(text)


def test_where_none_can_be_started_it_works_here(
    extractor: ExtractorProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    extractor.start()
    found = modules(models=MODELS.format("int"), desk=DESK)
    wrapped = extractor.wrap([found["desk"]], found, "async")
    assert wrapped == HereExtractor().wrap([found["desk"]], found, "async")
    assert extractor.imports_of(b"import os") == imports_of(b"import os")
    assert [record.levelname for record in caplog.records] == ["WARNING"], "it is told once"
    monkeypatch.undo()
    extractor.end()
    assert pid_of(extractor), "the next session tries again"


def test_where_no_descriptors_can_be_passed_on_it_works_here(
    extractor: ExtractorProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(extractor_process, "_CAN_PASS_DESCRIPTORS", False)
    extractor.start()
    found = modules(models=MODELS.format("int"), desk=DESK)
    for _ in range(2):
        assert extractor.wrap([found["desk"]], found, "async") == HereExtractor().wrap([found["desk"]], found, "async")
        extractor.end()
    assert (extractor._child, caplog.records) == (None, [])


def test_the_same_process_serves_until_the_end(extractor: ExtractorProcess) -> None:
    pid = pid_of(extractor)
    extractor.imports_of(b"import a")
    assert pid_of(extractor) == pid
    extractor.end()
    assert subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode != 0
    assert extractor.imports_of(b"import a") == imports_of(b"import a")  # from another


@pytest.mark.usefixtures("many_open")
def test_it_serves_an_app_that_has_more_than_1024_descriptors_open(extractor: ExtractorProcess) -> None:
    found = modules(models=MODELS.format("int"))
    assert extractor.wrap(list(found.values()), found, "async").files


def test_one_that_was_killed_is_replaced(extractor: ExtractorProcess) -> None:
    found = modules(models=MODELS.format("int"))
    first = extractor.wrap(list(found.values()), found, "async")
    os.kill(pid_of(extractor), signal.SIGKILL)
    assert extractor._child is not None
    assert extractor._child.has_exited(DEADLINE)
    assert extractor.wrap(list(found.values()), found, "async") == first


# --- what befalls it --------------------------------------------------------------------------------------------


@pytest.fixture
def doing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the process do that, whenever it looks into a module."""

    def do(what: str) -> None:
        head, main = extractor_process._PROGRAM.rsplit("\n", 1)
        imports = "from contextlib import suppress\nimport os, signal, lastgood.wrappers.generate as generate"
        program = f"{head}\n{imports}\ndef extract(*_):\n    {what}\ngenerate.extract = extract\n{main}"
        monkeypatch.setattr(extractor_process, "_PROGRAM", program)

    return do


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("os._exit(3)", "ended with status 3"),
        (
            "for fd in range(3, 1024):\n        with suppress(OSError): os.write(fd, b'x' * 100)",
            "was killed by SIGKILL",
        ),
    ],
    ids=["a crash", "an exit", "rubbish on the wire"],
)
def test_its_end_is_told_with_the_module_that_it_looked_into(
    what: str, told: str, extractor: ExtractorProcess, doing: Callable[[str], None]
) -> None:
    found = modules(models=MODELS.format("int"))
    doing(what)
    with pytest.raises(GenerationError) as caught:
        extractor.wrap(list(found.values()), found, "async")
    (failure,) = caught.value.failures
    assert (failure.module, failure.file) == ("models", Path("/project/models.py"))
    assert failure.message.startswith(f"the process that reads it {told}")


def test_a_defect_of_ours_is_told_with_its_traceback(
    extractor: ExtractorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, main = extractor_process._PROGRAM.rsplit("\n", 1)
    patch = "import lastgood.wrappers.generate as generate\ngenerate.in_signatures = None"
    found = modules(models=MODELS.format("int"))
    with monkeypatch.context() as patched:
        patched.setattr(extractor_process, "_PROGRAM", f"{head}\n{patch}\n{main}")
        with pytest.raises(GenerationError, match="met a defect of lastgood:\nTraceback"):
            extractor.wrap(list(found.values()), found, "async")
    assert extractor.wrap(list(found.values()), found, "async").files


def test_a_source_that_kills_it_costs_the_others_nothing_afterwards(
    extractor: ExtractorProcess, doing: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = modules(models=MODELS.format("int"))
    with monkeypatch.context():
        doing("os._exit(3)")
        with pytest.raises(GenerationError):
            extractor.wrap(list(found.values()), found, "async")
    monkeypatch.undo()
    assert extractor.wrap(list(found.values()), found, "async").files


def test_what_reading_kills_is_guessed_at(extractor: ExtractorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor_process, "_PROGRAM", "import os; os._exit(1)")
    assert extractor.imports_of(b"import a.b\n").statements == ((0, "a.b", ()),)


def test_it_is_stopped_from_another_thread(
    extractor: ExtractorProcess, doing: Callable[[str], None], tmp_path: Path
) -> None:
    found = modules(models=MODELS.format("int"))
    os.mkfifo(tmp_path / "hangs")
    doing(f"open({str(tmp_path / 'hangs')!r}, 'w').close(); signal.pause()")
    raised: list[GenerationError] = []

    def wrap() -> None:
        try:
            extractor.wrap(list(found.values()), found, "async")
        except GenerationError as error:
            raised.append(error)

    extractor.start()
    thread = threading.Thread(target=wrap)
    thread.start()
    (tmp_path / "hangs").read_text()  # it has opened it
    extractor.stop()
    thread.join(30)
    assert len(raised) == 1


def test_one_that_was_stopped_is_replaced_only_by_a_start(extractor: ExtractorProcess) -> None:
    found = modules(models=MODELS.format("int"))
    first = pid_of(extractor)
    extractor.stop()
    with pytest.raises(GenerationError, match=r"was stopped|was killed"):
        extractor.imports_of(b"import a")
    with pytest.raises(GenerationError, match="was stopped"):  # or a thread that nobody waits for would own the new one
        extractor.wrap(list(found.values()), found, "async")
    assert pid_of(extractor) != first
    assert extractor.wrap(list(found.values()), found, "async").files


def test_only_a_start_starts_it(not_started: ExtractorProcess) -> None:
    found = modules(models=MODELS.format("int"))
    for ask in (
        partial(not_started.imports_of, b"import a"),
        partial(not_started.wrap, list(found.values()), found, "async"),
    ):
        with pytest.raises(NotStarted):  # or a thread, with which it would end, would own it
            ask()
    assert not not_started.has_started


def test_what_the_cache_has_needs_no_process(not_started: ExtractorProcess, tmp_path: Path) -> None:
    not_started.use(tmp_path, read_only=False)
    not_started.start()
    found = not_started.imports_of(b"import a.b")
    not_started.end()
    assert not_started.imports_of(b"import a.b") == found == imports_of(b"import a.b")
    with pytest.raises(NotStarted):
        not_started.imports_of(b"import a.c")
    thread = threading.Thread(target=not_started.imports_of, args=(b"import a.b",))  # stages have threads of their own
    thread.start()
    thread.join()
    not_started.use(tmp_path / "other", read_only=False)
    with pytest.raises(NotStarted):
        not_started.imports_of(b"import a.b")


def test_one_that_was_killed_while_idle_has_to_be_started_again(extractor: ExtractorProcess) -> None:
    first = pid_of(extractor)
    extractor.imports_of(b"import a")
    assert extractor._child is not None
    extractor._child.signal(signal.SIGKILL)
    assert extractor._child.has_exited(DEADLINE)
    assert extractor.imports_of(b"import a") == imports_of(b"import a")
    assert pid_of(extractor) != first


def test_one_that_cannot_start_is_an_error_and_is_not_started_for_ever(
    not_started: ExtractorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor_process, "_PROGRAM", "raise SystemExit(3)")
    found = modules(models=MODELS.format("int"))
    not_started.start()
    assert not_started._child is not None
    assert not_started._child.has_exited(DEADLINE)
    with pytest.raises(GenerationError, match="ended with status 3"):
        not_started.wrap(list(found.values()), found, "async")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("os.write(1, b'abc')", "abc"),
        ("os.write(2, b'abc')", "abc"),
        ("os.write(1, b'x' * 100_000)", "x" * 100_000),
        ("os.write(2, b'x' * 100_000)", "x" * 100_000),
        ("print('hello')", "hello\n"),
        ("sys.stdin.read()", ""),
        ("sys.stdout.close()", ""),
    ],
    ids=["three bytes", "on stderr", "much", "much on stderr", "a line", "reads", "closes"],
)
def test_what_sitecustomize_does_with_the_standard_streams_is_off_the_wire(
    text: str,
    printed: str,
    extractor: ExtractorProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        extractor_process, "_END", DEADLINE
    )  # what it printed to a buffer comes when it exits by itself
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys\n{text}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = modules(models=MODELS.format("int"), desk=DESK)
    assert extractor.wrap(list(found.values()), found, "async") == HereExtractor().wrap(
        list(found.values()), found, "async"
    )
    extractor.end()
    assert capfd.readouterr() == ("", printed), "it is the app's stderr that tells of it"


@pytest.mark.parametrize("closed", [(2,), (0, 1), (0, 1, 2)], ids=["no stderr", "stderr alone", "none"])
def test_it_starts_in_an_app_that_has_closed_standard_streams(closed: Sequence[int]) -> None:
    program = (
        "import os; from lastgood.wrappers.process.extractor_process import ExtractorProcess\n"
        f"out = open(os.dup(1), 'w'); [os.close(fd) for fd in {closed}]\n"
        "extractor = ExtractorProcess(); extractor.start()\n"
        "print(extractor.imports_of(b'import a.b').statements, extractor._child is not None, file=out)\n"
        "extractor.end(); out.close(); os._exit(0)"
    )
    app = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert app.stdout == "((0, 'a.b', ()),) True\n"


def test_what_it_has_started_ends_with_it(
    extractor: ExtractorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, subprocess\nsubprocess.Popen(['sleep', '1000'], pass_fds=[os.open({str(tmp_path / 'held')!r}, os.O_WRONLY)])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    extractor.imports_of(b"import a")
    poll = select.poll()
    poll.register(held, select.POLLIN)
    assert not poll.poll(0), "somebody holds it open"
    extractor.end()
    assert poll.poll(DEADLINE * 1000), "nobody does"
    os.close(held)


def test_it_ends_with_its_app() -> None:
    program = (
        "import os, sys; from lastgood.wrappers.process.extractor_process import ExtractorProcess\n"
        "extractor = ExtractorProcess(); extractor.start(); extractor.imports_of(b'import a')\n"
        "print(extractor._child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    app = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    exit_of_extractor = open_exit(int(app.stdout))
    if exit_of_extractor >= 0:  # else it has ended already
        with os.fdopen(exit_of_extractor) as file:
            assert select.select([file], [], [], DEADLINE)[0]


def test_a_path_that_is_no_unicode_crosses_as_it_is(extractor: ExtractorProcess) -> None:
    path = Path(os.fsdecode(b"/p/\xff/broken.py"))
    broken = ModuleSource("broken", path, b"def broken(:", False, digest=digest_of(b"def broken(:"))
    (failure,) = extractor.wrap([broken], {}, "async").failures
    assert failure.file == path


def test_what_it_found_out_is_kept(extractor: ExtractorProcess, tmp_path: Path) -> None:
    found = modules(models=MODELS.format("int"), desk=DESK)
    extractor.use(tmp_path, read_only=False)
    first = extractor.wrap(list(found.values()), found, "async")
    extractor.end()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    again = _StartedWhenNeeded()
    again.use(tmp_path, read_only=True)
    assert again.wrap(list(found.values()), found, "async") == first
    again.end()


def test_the_app_does_not_import_what_does_the_work() -> None:
    program = (
        "import sys; from lastgood.wrappers.process.extractor_process import ExtractorProcess\n"
        "extractor = ExtractorProcess(); extractor.start(); extractor.imports_of(b'import a'); extractor.wrap([], {}, 'async')\n"
        "extractor.end(); sys.exit('lastgood.wrappers.generate' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
