"""A process that generating waits for, and that hangs, is ended after ``stage_timeout``, and named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from bounded_time import LATE, Time, failure
from lastgood.config import Config
from lastgood.errors import GenerationError
from lastgood.interpreters.project import Project
from lastgood.session.watch import WatchProgram
from lastgood.wrappers import Generated
from lastgood.wrappers.process import extractor_process
from real_project import DEADLINE, MORE, QUOTE, RealProject, Told


class Notes:
    """What stages were at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._names: list[str] = []
        self._more = threading.Condition()
        note = Project.note

        def noted(project: Project, name: str, file: Path | None = None) -> None:
            note(project, name, file)
            with self._more:
                self._names.append(name)
                self._more.notify()

        monkeypatch.setattr(Project, "note", noted)

    def clear(self) -> None:
        self._names.clear()

    async def last_is(self, name: str) -> None:
        def wait() -> bool:
            with self._more:
                return self._more.wait_for(lambda: self._names[-1:] == [name], DEADLINE)

        assert await trio.to_thread.run_sync(wait)


class Fifo:
    """Where a process tells that it has come to a point: it opens the file for writing."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.hang = f"open({str(path)!r}, 'w').close(); import signal; signal.pause()"

    async def reached(self) -> None:
        with trio.fail_after(DEADLINE):
            await trio.Path(self.path).read_text()


@pytest.fixture
def fifo(tmp_path_factory: pytest.TempPathFactory) -> Fifo:
    return Fifo(tmp_path_factory.mktemp("fifo") / "reached")


@pytest.mark.apart
async def test_a_stopped_extractor_is_an_error_and_is_replaced(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes(monkeypatch)
    async with start() as session:
        await told.success()
        extractor = session._project.extractor
        assert isinstance(extractor, extractor_process.ExtractorProcess)
        stopped = extractor._child
        assert stopped is not None
        stopped.signal(signal.SIGSTOP)
        notes.clear()
        project.save("pricing.py", MORE)
        await notes.last_is("pricing")  # and now it asks the extractor
        time.is_over()
        assert (await failure(told))[:2] == ("pricing", project.root / "pricing.py")
        assert session.status.stale
        project.save("pricing.py", QUOTE)
        await told.success()
        assert stopped.status == -signal.SIGKILL


@pytest.mark.apart
async def test_an_extractor_that_hangs_names_the_module_it_is_at(
    project: RealProject,
    start: Callable[..., WatchProgram],
    time: Time,
    fifo: Fifo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes(monkeypatch)
    head, main = extractor_process._PROGRAM.rsplit("\n", 1)
    hang = (
        "import lastgood.wrappers.generate as generate\nextract = generate.extract\n"
        f"def hang(project, models, at):\n    if at.source.name == 'shop': {fifo.hang}\n    return extract(project, models, at)\n"
        "generate.extract = hang"
    )
    project.configure("pricing", "shop", "stock")
    for name in ("shop.py", "stock.py"):
        project.save(name, QUOTE)
    with monkeypatch.context() as patched:
        patched.setattr(extractor_process, "_PROGRAM", f"{head}\n{hang}\n{main}")
        async with trio.open_nursery() as nursery:

            async def end_time() -> None:
                await fifo.reached()
                await notes.last_is("shop")  # it has said so before
                time.is_over()

            nursery.start_soon(end_time)
            with pytest.raises(GenerationError, match=r"shop \(.*shop\.py\): the stage was not done within 60 s"):
                async with start():
                    pytest.fail("it started")
    async with start() as session:
        assert session.generation == 1


@pytest.mark.parametrize("last", ["signal.pause()", "os.kill(os.getpid(), signal.SIGSTOP)"], ids=["hanging", "stopped"])
async def test_a_generator_that_does_not_end_is_named(
    last: str, project: RealProject, start: Callable[..., WatchProgram], told: Told, time: Time, fifo: Fifo
) -> None:
    project.configure("pricing")
    table = f'[generator]\ncommand = ["{sys.executable}", "-m", "tool"]\nwatch = ["tool.py"]\n'
    project.save("lastgood.toml", f"{project.config_file.read_text()}{table}")
    project.save("tool.py", "")
    async with start():
        await told.success()
        project.save("tool.py", f"import os, signal\nopen({str(fifo.path)!r}, 'w').close()\n{last}\n")
        await fifo.reached()
        time.is_over()
        assert await failure(told) == ("tool", None, LATE)
        project.save("tool.py", "")
        await told.success()


async def test_a_wrapper_that_hangs_when_it_is_imported_is_named(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, time: Time, fifo: Fifo
) -> None:
    texts = {"a.py": "X = 1\n", "b.py": "def f(): ...\n", "c.py": "def f(): ...\n"}

    def generate(_: Config, stage: Path) -> Generated:
        for name, text in texts.items():
            (stage / name).write_text(text)
        return Generated(tuple(texts))

    async with start(generate=generate):
        await told.success()
        texts["b.py"] = f"def f(): ...\n{fifo.hang}"
        project.save("pricing.py", MORE)
        await fifo.reached()
        time.is_over()
        assert await failure(told) == ("b", None, LATE)
        texts["b.py"] = ""
        project.save("pricing.py", QUOTE)
        await told.success()


def test_ctrl_c_ends_a_command_whose_extractor_hangs(project: RealProject, fifo: Fifo) -> None:
    command = (
        "from lastgood.wrappers.process import extractor_process; from lastgood.cli.commands import main\n"
        f"extractor_process._PROGRAM = {fifo.hang!r}\nmain(['generate', {str(project.config_file)!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.PIPE) as generate:
        try:
            fifo.path.read_text()  # the process has opened it
            generate.send_signal(signal.SIGINT)
            _, err = generate.communicate(timeout=DEADLINE)
        finally:
            generate.kill()
    assert (generate.returncode, err) == (130, b"Stopped.\n")
    assert not project.output.exists()
    assert project.leftovers() == []
