"""Sessions that read sources and make wrappers in a process of its own, as every app's do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from lastgood.cli.commands import main
from lastgood.config import Config
from lastgood.errors import GenerationError
from lastgood.session.watch import WatchProgram
from lastgood.store.user_key import cache_directory
from lastgood.wrappers import Generated
from lastgood.wrappers.process import extractor_process
from real_project import BROKEN, DEADLINE, QUOTE, RealProject, Told

CHANGED = QUOTE.replace("sku: str", "sku: str, quantity: int")


def extractors() -> list[int]:
    """The extractor processes that this one has started and that run."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, check=False
    )
    return [int(line.split()[0]) for line in listed.stdout.decode().splitlines() if "extractor_main" in line]


@pytest.mark.apart
async def test_a_session_has_one_until_it_is_closed(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start():
        await told.success()
        (first,) = extractors()
        project.save("pricing.py", CHANGED)
        await told.success()
        assert b"quantity: int" in project.tree()["pricing.py"]
        project.save("pricing.py", BROKEN)
        assert isinstance((await told.failure()).error, GenerationError)
        project.save("pricing.py", QUOTE)
        await told.success()
        assert extractors() == [first]
    assert extractors() == []


@pytest.mark.apart
async def test_a_stub_beside_a_source_is_watched_and_a_broken_one_keeps_the_last_good(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.save("pricing.py", "def total(items): return sum(items)\n")
    with trio.fail_after(DEADLINE):
        async with start():
            await told.success()
            stub = project.save("pricing.pyi", "def total(items: list[int]) -> int: ...\n")
            await told.success()
            assert b"def total(items: list[int]) -> int" in project.tree()["pricing.py"]
            project.save("pricing.pyi", "def total(items: list[int]) -> int: ...\ndef (\n")
            error = (await told.failure()).error
            assert isinstance(error, GenerationError)
            (failure,) = error.failures
            assert (failure.module, failure.file, failure.line) == ("pricing", stub, 2)
            assert b"def total(items: list[int]) -> int" in project.tree()["pricing.py"]
            stub.unlink()
            await told.success()
            assert b"def total(items: Any) -> Any" in project.tree()["pricing.py"]


@pytest.mark.apart
async def test_one_that_crashes_fails_a_cycle_and_the_next_has_another(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = "import os, lastgood.wrappers.generate as g\ng.extract = lambda *_: os.kill(os.getpid(), 11)"
    head, last = extractor_process._PROGRAM.rsplit("\n", 1)
    async with start() as session:
        await told.success()
        before = project.exact_tree()
        with monkeypatch.context() as patch:
            patch.setattr(extractor_process, "_PROGRAM", f"{head}\n{crash}\n{last}")
            session._project.extractor.end()
            project.save("pricing.py", CHANGED)
            failed = await told.failure()
        assert failed.effect == "stage"
        assert "pricing" in str(failed.error)
        assert "was killed by SIGSEGV" in str(failed.error)
        assert project.exact_tree() == before
        assert await session.reload_now()
        assert b"quantity: int" in project.tree()["pricing.py"]


@pytest.mark.apart
async def test_a_close_does_not_wait_for_what_it_is_reading(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    fifo = tmp_path_factory.mktemp("fifo") / "hangs"
    os.mkfifo(fifo)
    hang = f"open({str(fifo)!r}, 'w').close(); import signal; signal.pause()"
    head, last = extractor_process._PROGRAM.rsplit("\n", 1)
    with trio.fail_after(DEADLINE):
        async with start() as session:
            await told.success()
            before = project.exact_tree()
            patched = f"import lastgood.wrappers.generate as g\ndef extract(*_):\n    {hang}\ng.extract = extract"
            monkeypatch.setattr(extractor_process, "_PROGRAM", f"{head}\n{patched}\n{last}")
            session._project.extractor.end()
            project.save("pricing.py", CHANGED)
            await trio.to_thread.run_sync(fifo.read_text)
            await session.close()
        assert project.exact_tree() == before
        assert project.leftovers() == []
        assert extractors() == []


@pytest.mark.apart
def test_the_command_has_one_too(project: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    runner = CliRunner()
    assert runner.invoke(main, ["generate"]).exit_code == 0
    kept = cache_directory(project.root / ".lastgood/generated")
    assert kept is not None
    assert (kept / "cache").is_file()
    assert not (project.root / ".lastgood/generated/cache").exists()
    assert runner.invoke(main, ["generate", "--check"]).exit_code == 0
    project.save("pricing.py", CHANGED)
    assert runner.invoke(main, ["generate", "--check"]).exit_code == 3
    assert extractors() == []


# --- before a promote -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told_as", "line"),
    [
        ("X = 1\ndef f(:\n", "pricing.py was staged, but is no Python: invalid syntax.", 2),
        (
            "X = 1\n\0",
            "source code string cannot contain null bytes.",
            None,
        ),
        ("X = 1\nimport no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'", 2),
        ("from . import shop\nfrom .shop import missing\n", "cannot import name 'missing' from 'generated.shop'", 2),
        ("import sys\nsys.exit(3)\n", "pricing.py was staged, but cannot be imported: SystemExit: 3", 2),
        ("import os; os._exit(3)\n", "the process that imported the wrappers exited with status 3", None),
    ],
    ids=["syntax", "NUL", "import", "each other", "an exit", "the end"],
)
async def test_a_wrapper_that_does_not_import_never_reaches_the_output(
    text: str, told_as: str, line: int | None, project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    wrappers = {"__init__.py": "", "shop.py": "from __future__ import annotations\nX = 1\n", "pricing.py": "X = 1\n"}

    def generate(_: Config, stage: Path) -> Generated:
        for name, content in wrappers.items():
            (stage / name).write_text(content)
        return Generated(tuple(wrappers))

    async with start(generate=generate) as session:
        await told.success()
        before = project.exact_tree()
        wrappers["pricing.py"] = text
        assert not await session.reload_now()
        failed = await told.failure()
        assert isinstance(failed.error, GenerationError)
        assert failed.effect == "stage"
        (failure,) = failed.error.failures
        assert told_as in failure.message
        assert failure.line == line
        assert project.exact_tree() == before
        wrappers["pricing.py"] = "X = 2\n"
        assert await session.reload_now()


async def test_what_only_its_place_can_tell_is_not_judged(start: Callable[..., WatchProgram], told: Told) -> None:
    def generate(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text("from ..app import settings\n")
        (stage / "note.py").write_text("nothing_that_is_there")
        (stage / "notes.txt").write_text("def f(:")
        return Generated(("pricing.py", "note.py", "notes.txt"))

    async with start(generate=generate):
        await told.success()


async def test_what_another_generator_made_must_compile_and_no_more(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    make = "import pathlib\ndef made(config, stage):\n    (stage / 'made.py').write_text(pathlib.Path('text').read_text())\n"
    project.save("make.py", make)
    project.save("text", "import found_elsewhere\n")
    generator = '[[generators]]\nuse = "make:made"\nwatch = ["text"]\n'
    project.save("lastgood.toml", f'[modules.pricing]\n[output]\ndir = "generated"\n{generator}')
    async with start():
        await told.success()
        project.save("text", "def f(:\n")
        failed = await told.failure()
        assert "made: made.py was staged, but is no Python" in str(failed.error)
        assert project.tree()["made.py"] == b"import found_elsewhere\n"


async def test_the_same_files_are_not_looked_at_again(
    start: Callable[..., WatchProgram], told: Told, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = tmp_path_factory.mktemp("seen") / "imports"

    def generate(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text(f"import os\nopen({str(seen)!r}, 'a').write('x')\n")
        return Generated(("pricing.py",))

    async with start(generate=generate) as session:
        await told.success()
        assert await session.reload_now()
        assert seen.read_text() == "x"


def test_a_wrapper_of_ours_is_imported_before_it_is_promoted(project: RealProject) -> None:
    """With a fault put into the text that is rendered."""
    fault = "import lastgood.wrappers.generate as g\nrender = g.render\ng.render = lambda *a, **k: render(*a, **k) + 'boom()\\n'"
    head, last = extractor_process._PROGRAM.rsplit("\n", 1)
    program = (
        "import sys, lastgood.wrappers.process.extractor_process as e; from lastgood.cli.commands import main\n"
        f"e._PROGRAM = {f'{head}{chr(10)}{fault}{chr(10)}{last}'!r}\nmain(['generate'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "its wrapper cannot be imported: NameError at line" in done.stderr
    assert "name 'boom' is not defined. This is a defect of lastgood" in " ".join(done.stderr.split())
    assert not project.output.exists()
