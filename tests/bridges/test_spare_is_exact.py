"""A spare is taken over only if it is what a fresh worker would be, and then it runs nothing twice and nothing too early.

Each test stages a program, has a spare run it ahead, edits something, stages that, and starts the next bridge.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from lastgood.bridges.late import LAST_EDIT
from lastgood.bridges.process import ProcessBridge
from lastgood.errors import RemoteError
from process_bridges import interpreter
from staged_project import DEADLINE, StagedProject, run

SVC = '''"""The service."""
import os
import colorsys
import helper

VALUE = helper.VALUE

def run(code):
    scope = {}
    exec(code, scope)
    return scope.get("result")
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StagedProject:
    monkeypatch.setenv("TOP", str(tmp_path))
    made = StagedProject(tmp_path, ("svc",))
    made.import_path[1].mkdir()
    made.write({"svc.py": SVC, "helper.py": "VALUE = 1\n", "data.txt": "data"})
    return made


@asynccontextmanager
async def reloaded(
    project: StagedProject, edits: Mapping[str, str], focus: str = "svc.py"
) -> AsyncIterator[ProcessBridge]:
    """The bridge of the generation after ``edits``, to which the one before has prepared a spare."""
    LAST_EDIT.set((project.src / focus,))
    project.stage()
    async with project.running() as before:
        project.age_bytecode()
        await before.prepare_spare()
        project.write(edits)
        project.stage()
        async with project.running() as bridge:
            yield bridge


async def why_fresh(project: StagedProject, edits: Mapping[str, str], focus: str = "svc.py") -> str | None:
    async with reloaded(project, edits, focus) as bridge:
        return bridge.why_fresh


# --- what a spare has run


async def test_an_edit_below_the_imports_is_warm(project: StagedProject) -> None:
    async with reloaded(project, {"svc.py": SVC.replace("helper.VALUE", "helper.VALUE + 1")}) as bridge:
        assert (bridge.warm, bridge.why_fresh) == ("spare", None)
        assert await run(bridge, "import svc; result = svc.VALUE") == 2
        assert await run(bridge, "import svc; result = svc.__doc__") == "The service."


@pytest.mark.parametrize(
    "edits",
    [
        {"svc.py": f"{SVC}# A comment.\n"},
        {"svc.py": SVC.replace("VALUE =", "import json\nVALUE =")},
        {"unused.py": "# new"},
        {"new.py": "", "more/__init__.py": "", "new.txt": "data"},
    ],
    ids=["nothing that counts", "another import below", "nothing", "new files"],
)
async def test_what_else_is_warm(project: StagedProject, edits: Mapping[str, str]) -> None:
    project.write({"unused.py": ""})
    assert await why_fresh(project, edits) is None


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"svc.py": SVC.replace("import os", "import os, json")}, "the imports of {src}/svc.py have changed"),
        ({"svc.py": SVC.replace("import os\n", "")}, "the imports of {src}/svc.py have changed"),
        ({"svc.py": "# coding: latin-1\n" + SVC}, "the imports of {src}/svc.py have changed"),
        ({"svc.py": "\n" + SVC}, "the imports of {src}/svc.py have changed"),
        ({"helper.py": "VALUE = 2\n"}, "{src}/helper.py has changed, and the spare had run it"),
        ({"helper.py": "\nVALUE = 1\n"}, "{src}/helper.py has changed, and the spare had run it"),
        ({"helper/__init__.py": "VALUE = 1\n"}, "another module is found for helper"),
        ({"colorsys.py": "VALUE = 1\n"}, "another module is found for colorsys"),
    ],
    ids=["more", "less", "encoding", "lines", "a helper", "its lines", "a package", "a namesake"],
)
async def test_what_the_spare_had_run_must_be_the_same(
    project: StagedProject, edits: Mapping[str, str], why: str
) -> None:
    async with reloaded(project, edits) as bridge:
        assert bridge.warm == "fresh"
        assert str(bridge.why_fresh).startswith(why.format(src=project.src))
        assert isinstance(await run(bridge, "import svc; result = svc.VALUE"), int)


@pytest.mark.parametrize(
    ("reads", "edits", "why"),
    [
        ("open(TOP + '/src/data.txt').read()", {"data.txt": "datum"}, "{src}/data.txt has changed since"),
        ("os.listdir(TOP + '/src/..')", {"../more.txt": ""}, "{top} has other files than when"),
        ("[*os.scandir(TOP)]", {"../more.txt": ""}, "{top} has other files than when"),
        ("os.path.exists(TOP + '/src/more.txt')", {"more.txt": ""}, "{src}/more.txt is not what it was"),
        ("__import__('pathlib').Path(TOP, 'src/d/more').is_file()", {"d/more": ""}, "{src}/d/more is not what it was"),
        ("__import__('glob').glob(TOP + '/src/more.txt')", {"more.txt": ""}, "{src}/more.txt is not what it was"),
        ("os.path.getsize(TOP + '/src/data.txt')", {"data.txt": "datum"}, "{src}/data.txt is not what it was"),
        ("os.stat(TOP + '/src/svc.py').st_mtime", {"svc.py": f"{SVC}#"}, "{src}/svc.py is not what it was"),
        ("os.access(TOP + '/src/more.txt', os.R_OK)", {"more.txt": ""}, "{src}/more.txt is not what it was"),
        ("open(TOP + '/src/unused.py').read()", {"unused.py": "#"}, "{src}/unused.py has changed since"),
        ("__import__('inspect').getsource(sys.modules['svc'])", {"svc.py": f"{SVC}#"}, "{src}/svc.py has changed"),
        (
            "__import__('pkgutil').get_data('svc', 'data.txt')",
            {"data.txt": "datum"},
            "{src}/data.txt has changed since",
        ),
        (
            "__import__('installed')",
            {"../site-packages/installed.py": "# changed"},
            "{top}/site-packages/installed.py has",
        ),
        ("__import__('installed')", {"../site-packages/installed/__init__.py": ""}, "{top}/site-packages has other"),
    ],
)
async def test_what_the_spare_had_read_must_be_the_same(
    project: StagedProject, monkeypatch: pytest.MonkeyPatch, reads: str, edits: Mapping[str, str], why: str
) -> None:
    project.write({"../site-packages/installed.py": "", "unused.py": ""})
    monkeypatch.setenv("PYTHONPATH", str(project.top / "site-packages"))
    project.write({"helper.py": f"import os, sys\nTOP = os.environ['TOP']\nREAD = {reads}\nVALUE = 1\n"})
    found = await why_fresh(project, edits)
    assert str(found).startswith(why.format(src=project.src, top=project.top))


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ("import _thread, time; _thread.start_new_thread(time.sleep, (60,))", "a thread of the program was running"),
        ("import signal; signal.setitimer(signal.ITIMER_REAL, 60)", "a timer of the program was running"),
        ("import builtins; builtins.len = lambda each, old=len: old(each)", "the program replaces the builtin len"),
        ("import os; os.listdir(os.open('/', os.O_RDONLY))", "the program reads a directory by its descriptor"),
        ("import os; os.close(os.open('.', os.O_RDONLY))", "the program may open a file by the descriptor"),
        ("from os import stat", "the program keeps or replaces one of os.access, os.lstat, os.readlink, os.stat"),
        (
            "import os; KEPT = os.stat; os.stat = lambda *_, **__: None",
            "the program keeps or replaces one of os.access",
        ),
        ("import os\ntry: os.stat('missing')\nexcept OSError: pass", "the program has seen an error of os.stat"),
        (
            "import os; 1 / (os.environ['TOP'] + '/once' in open(os.environ['TOP'] + '/seen').read())",
            "the program raised",
        ),
    ],
    ids=[
        "a thread",
        "a timer",
        "a builtin",
        "a descriptor",
        "a directory",
        "a function kept",
        "a function replaced",
        "an error seen",
        "an error",
    ],
)
async def test_what_runs_or_fails_beside_it_makes_a_spare_useless(project: StagedProject, runs: str, why: str) -> None:
    project.write({"../seen": f"{project.top}/once", "helper.py": f"{runs}\nVALUE = 1\n"})
    LAST_EDIT.set((project.src / "svc.py",))
    project.stage()
    async with project.running() as before:
        if "seen" in runs:
            project.write({"../seen": ""})
        await before.prepare_spare()
        project.write({"../seen": f"{project.top}/once"})
        async with project.running() as bridge:
            expected = (
                "spare" if "_thread" in runs and bridge.warm == "spare" else "fresh"
            )  # it waited before the thread
            assert bridge.warm == expected
            if expected == "fresh":
                assert str(bridge.why_fresh).startswith(why)


@pytest.mark.parametrize("broken", ["def (", "x = 0x", "x = '\0'"], ids=["the grammar", "a number", "a null byte"])
async def test_a_source_that_cannot_be_compiled_uses_up_no_spare(project: StagedProject, broken: str) -> None:
    LAST_EDIT.set((project.src / "svc.py",))
    project.stage()
    async with project.running() as before:
        await before.prepare_spare()
        project.write({"svc.py": f"{SVC}{broken}\n"})
        project.stage()
        with pytest.raises(RemoteError):  # a SyntaxError, or a ValueError for null bytes before Python 3.12
            async with project.running():
                pass
        await before.prepare_spare()
        project.write({"svc.py": f"{SVC}# mended\n"})
        project.stage()
        async with project.running() as bridge:
            assert (bridge.warm, bridge.why_fresh) == ("spare", None)


async def test_a_program_may_guard_a_source_that_cannot_be_compiled(project: StagedProject) -> None:
    guarded = "try:\n    import optional\nexcept SyntaxError:\n    pass\n"
    project.write({"svc.py": f"{SVC}{guarded}", "optional.py": ""})
    async with reloaded(project, {"optional.py": "def ("}) as bridge:
        assert str(bridge.why_fresh).startswith(f"{project.src}/optional.py cannot be compiled: ")


# --- what reaches outside

OUTSIDE = {
    "write": "open(TOP + '/log', 'a').write('x')",
    "low-level write": "os.write(os.open(TOP + '/log', os.O_APPEND | os.O_CREAT | os.O_WRONLY), b'x')",
    "path": "__import__('pathlib').Path(TOP, 'log').open('a').write('x')",
    "directory": "os.mkdir(TOP + '/made'); os.rmdir(TOP + '/made'); open(TOP + '/log', 'a').write('x')",
    "process": "__import__('subprocess').run(['sh', '-c', 'printf x >> $TOP/log'], check=True)",
    "fork": "pid = os.fork()\nif not pid:\n    open(TOP + '/log', 'a').write('x').real\n    os._exit(0)\nos.waitpid(pid, 0)",
    "system": "os.system('printf x >> $TOP/log')",
    "thread": "import threading\nthread = threading.Thread(target=lambda: open(TOP + '/log', 'a').write('x'))\n"
    "thread.start()\nthread.join()",
    "database": "import sqlite3\nbase = sqlite3.connect(TOP + '/base')\nopen(TOP + '/log', 'a').write('x')\nbase.close()",
    "spawn": "import multiprocessing, time\nprocess = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(0,))\n"
    "process.start()\nprocess.join()\nopen(TOP + '/log', 'a').write(f'{process.pid != os.getpid():d}')",
    "audit hook": "import sys\nE = []\nsys.addaudithook(lambda event, _: E.append(event) if event == 'open' else None)\n"
    "open(TOP + '/log', 'a').write(str(len(E)))",
    "link": "os.symlink('x', TOP + '/link'); os.unlink(TOP + '/link'); open(TOP + '/log', 'a').write('x')",
}


@pytest.mark.parametrize("does", OUTSIDE.values(), ids=OUTSIDE)
async def test_nothing_that_reaches_outside_is_done_ahead_or_twice(project: StagedProject, does: str) -> None:
    project.write({"helper.py": f"import os\nTOP = os.environ['TOP']\n{does}\nVALUE = 1\n"})
    LAST_EDIT.set((project.src / "svc.py",))
    project.stage()
    log = project.top / "log"
    async with project.running() as before:
        await before.prepare_spare()
        once = log.read_text()
        assert len(once) == 1
        async with project.running() as bridge:
            assert bridge.why_fresh is None
            assert log.read_text() == 2 * once


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no names in the file system here")
async def test_no_shared_memory_is_made_ahead(project: StagedProject) -> None:
    name = f"lastgood-{os.getpid()}"
    makes = f"memory = SharedMemory({name!r}, create=True, size=1)\nmemory.close()\nmemory.unlink()\n"
    project.write({"helper.py": f"from multiprocessing.shared_memory import SharedMemory\n{makes}VALUE = 1\n"})
    LAST_EDIT.set((project.src / "svc.py",))
    project.stage()
    async with project.running() as before:
        await before.prepare_spare()
        assert name not in os.listdir("/dev/shm")
        async with project.running() as bridge:
            assert bridge.why_fresh is None


async def test_what_it_prints_and_logs_is_shown_once_it_is_taken(
    project: StagedProject, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    project.write({"helper.py": "import logging\nprint('printed')\nlogging.warning('logged')\nVALUE = 1\n"})
    LAST_EDIT.set((project.src / "svc.py",))
    project.stage()
    async with project.running() as before:
        await before.prepare_spare()
        assert await run(before, "result = 1") == 1
        assert (capfd.readouterr().err.count("printed"), caplog.messages.count("logged")) == (1, 1)
        async with project.running() as bridge:
            assert bridge.why_fresh is None
            assert await run(bridge, "result = 1") == 1
    assert (capfd.readouterr().err.count("printed"), caplog.messages.count("logged")) == (1, 2)


async def test_one_that_is_not_taken_shows_and_runs_nothing(
    project: StagedProject, capfd: pytest.CaptureFixture[str]
) -> None:
    at_exit = (
        "import atexit, os\natexit.register(open(os.devnull).close)\natexit.register(print, 'at exit', os.getpid())\n"
    )
    project.write({"helper.py": f"{at_exit}print('printed')\nVALUE = 1\n"})
    LAST_EDIT.set((project.src / "svc.py",))
    project.stage()
    async with project.running() as before:
        await before.prepare_spare()
        project.write({"helper.py": "VALUE = 2\n"})
        project.stage()
        async with project.running() as bridge:
            assert bridge.warm == "fresh"
    shown = capfd.readouterr().err
    assert shown.count("printed") == 1
    assert shown.count("at exit") <= 1


async def test_a_module_that_no_import_statement_names_is_told_of_when_it_is_taken(project: StagedProject) -> None:
    project.write({"dynamic.py": "VALUE = 1\n", "helper.py": "VALUE = __import__('dyna' + 'mic').VALUE\n"})
    async with reloaded(project, {"svc.py": f"{SVC}#"}) as bridge:
        assert bridge.why_fresh is None
        assert [late.name for late in bridge.loaded_late] == ["dynamic"]
    project.write({"dynamic.py": "VALUE = 2\n"})


async def test_a_module_that_is_imported_by_its_name_must_be_the_same_too(project: StagedProject) -> None:
    project.write({"dynamic.py": "VALUE = 1\n", "helper.py": "VALUE = __import__('dyna' + 'mic').VALUE\n"})
    found = await why_fresh(project, {"dynamic.py": "VALUE = 2\n"})
    assert str(found).startswith(f"{project.src}/dynamic.py has changed")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"])
async def test_on_other_pythons(project: StagedProject, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    asks = "glob.glob('*'), os.path.exists('x'), pathlib.Path('x').exists(), shutil.disk_usage, asyncio, dataclasses"
    project.write({"helper.py": f"import asyncio, dataclasses, glob, os, pathlib, shutil\nVALUE = len([{asks}])\n"})
    project.stage()
    LAST_EDIT.set((project.src / "svc.py",))
    async with project.running(python=python) as before:
        await before.prepare_spare()
        project.write({"svc.py": SVC.replace("helper.VALUE", "helper.VALUE + 1")})
        project.stage()
        async with project.running(python=python) as bridge:
            assert bridge.why_fresh is None
            assert await run(bridge, "import svc; result = svc.VALUE") == 7
            kept = (
                "import gc, os; result = [type(each).__name__ for each in (os.stat, os.lstat, os.access, os.readlink)]"
            )
            assert await run(bridge, kept) == ["builtin_function_or_method"] * 4
            found = "import pathlib; result = [pathlib.Path('/').exists(), pathlib.Path('/none').exists()]"
            assert await run(bridge, found) == [True, False]


async def test_that_a_file_exists_is_all_that_counts_if_no_more_was_asked_for(project: StagedProject) -> None:
    asks = "os.path.exists(TOP + '/src/data.txt'), pathlib.Path(TOP, 'src/svc.py').resolve(), shutil.disk_usage"
    project.write({"helper.py": f"import os, pathlib, shutil\nTOP = os.environ['TOP']\nVALUE = bool([{asks}])\n"})
    async with reloaded(project, {"svc.py": f"{SVC}#", "data.txt": "more data"}) as bridge:
        assert bridge.why_fresh is None
        assert await run(bridge, "import os, posix; result = [os.stat is posix.stat, len(os.supports_fd)]") == [
            True,
            len(os.supports_fd),
        ]


async def test_an_error_that_importlib_metadata_drops_is_not_seen(project: StagedProject) -> None:
    finds = "PackageNotFoundError, version\n\ntry:\n    version('none-of-this-name')\nexcept PackageNotFoundError:\n    VALUE = 1\n"
    project.write({"helper.py": f"import sys\nsys.path.append('/none')\nfrom importlib.metadata import {finds}"})
    async with reloaded(project, {"svc.py": f"{SVC}#"}) as bridge:
        assert bridge.why_fresh is None


async def test_installed_modules_that_come_later_are_read_ahead_but_not_run(
    project: StagedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = project.top / "site-packages" / "later.py"
    project.write({"../site-packages/later.py": "import os\nPID = os.getpid()\nVALUE = 1\n"})
    os.utime(later, (1e9, 1e9))
    monkeypatch.setenv("PYTHONPATH", str(later.parent))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    service = f"{SVC}\nif VALUE:\n    import later\n"
    project.write({"svc.py": service})
    async with reloaded(project, {"svc.py": f"{service}#"}) as bridge:
        assert bridge.why_fresh is None
        assert await run(bridge, "import later; result = [later.PID, later.VALUE]") == [bridge.pid, 1]
        loader = "import importlib.machinery as m; result = 'get_code' in vars(m.SourceFileLoader)"
        assert not await run(bridge, loader)
    project.write({"svc.py": service})
    async with reloaded(project, {"svc.py": f"{service}#", "../site-packages/later.py": "VALUE = 2\n"}) as bridge:
        assert bridge.why_fresh is None, "it was not run"
        assert await run(bridge, "import later; result = later.VALUE") == 2


async def test_a_file_of_data_that_was_edited_last_is_waited_for(project: StagedProject) -> None:
    project.write({"helper.py": "import os\nVALUE = len(open(os.environ['TOP'] + '/src/data.txt').read())\n"})
    async with reloaded(project, {"data.txt": "more data"}, focus="data.txt") as bridge:
        assert bridge.why_fresh is None
        assert await run(bridge, "import svc; result = svc.VALUE") == 9


async def test_what_is_raised_after_it_was_taken_is_the_generations_error(project: StagedProject) -> None:
    with pytest.raises(RemoteError, match="mine") as caught:
        await why_fresh(project, {"svc.py": f"{SVC}raise LookupError('mine')\n"})
    assert f'{project.src}/svc.py", line 12' in caught.value.traceback


async def test_a_spare_on_its_way_is_taken_too(project: StagedProject) -> None:
    project.write({"helper.py": "import time\ntime.sleep(0.2)\nVALUE = 1\n"})
    LAST_EDIT.set((project.src / "svc.py",))
    project.stage()
    async with project.running() as before, trio.open_nursery() as nursery:
        nursery.start_soon(before.prepare_spare)
        while not before._spares:
            await trio.to_thread.run_sync(os.sched_yield)
        with trio.fail_after(DEADLINE):
            async with project.running() as bridge:
                assert bridge.why_fresh is None
        nursery.cancel_scope.cancel()


async def test_where_a_child_process_finds_its_modules_does_not_show_in_the_environment(project: StagedProject) -> None:
    project.write({"helper.py": "import os\nVALUE = 1\nBEFORE = dict(os.environ)\n"})
    async with reloaded(project, {"svc.py": f"{SVC}#"}) as bridge:
        assert bridge.why_fresh is None
        found = await run(bridge, "import helper, os; result = [helper.BEFORE == dict(os.environ), str(helper.BEFORE)]")
    assert found[0]
    assert ".lastgood" not in found[1]
