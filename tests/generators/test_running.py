"""lastgood.generators.running: programs and functions, run into a stage, and everything that can be wrong with them."""

from __future__ import annotations

import json
import os
import py_compile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.config import Config, decode_config
from lastgood.errors import ConfigError
from lastgood.generators import running
from lastgood.generators.running import run_generators
from lastgood.wrappers import Generated
from real_project import DEADLINE, RealProject

COPY = """
import pathlib, sys
source, stage = map(pathlib.Path, sys.argv[1:])
(stage / source.name).write_bytes(source.read_bytes())
"""


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    return RealProject(tmp_path, {"words/a.txt": "alpha", "words/b.txt": "beta"})


def text_of(*tables: str) -> bytes:
    tables_text = "".join(f"[[generators]]\n{table}\n" for table in tables)
    return f'[modules]\n[output]\ndir = "generated"\n{tables_text}'.encode()


def config_of(project: RealProject, *tables: str) -> Config:
    return decode_config(text_of(*tables), project.config_file)


def stage_of(project: RealProject) -> Path:
    stage = project.root / ".lastgood" / "stage-1"
    stage.mkdir(parents=True, exist_ok=True)
    return stage


def ran(project: RealProject, *tables: str) -> Generated:
    return trio.run(run_generators, config_of(project, *tables), text_of(*tables), stage_of(project))


def failed(project: RealProject, *tables: str) -> str:
    """The one failure, as it is told; of what the generator made, nothing is left in the stage."""
    generated = ran(project, *tables)
    (failure,) = generated.failures
    assert generated.files == ()
    assert list(stage_of(project).iterdir()) == []
    return str(failure)


def command(*arguments: str, more: str = "") -> str:
    listed = ", ".join(json.dumps(argument) for argument in arguments)
    return f"command = [{listed}]\n{more}"


def python(code: str, *arguments: str, more: str = "") -> str:
    return command("{python}", "-c", code, *arguments, more=more)


# --- programs -----------------------------------------------------------------------------------------------------


def test_a_program_is_run_for_each_source(project: RealProject) -> None:
    made = ran(project, python(COPY, "{source}", "{stage}", more='sources = ["words/*.txt"]\ninto = "words"'))
    assert made == Generated(("words/a.txt", "words/b.txt"))
    assert (stage_of(project) / "words" / "a.txt").read_text() == "alpha"
    assert [path.name for path in stage_of(project).iterdir()] == ["words"]


def test_it_runs_beside_the_config_and_gets_no_shell(project: RealProject) -> None:
    code = "import os, pathlib, sys; pathlib.Path(sys.argv[1], 'x').write_text(f'{os.getcwd()} {sys.argv[2:]}')"
    made = ran(project, python(code, "{stage}", "{config}", "$HOME && ls"))
    assert made.files == ("x",)
    text = (stage_of(project) / "x").read_text()
    assert text == f"{project.root} ['{project.config_file}', '$HOME && ls']"


def test_an_empty_result_is_fine(project: RealProject) -> None:
    assert ran(project, python("pass")) == Generated(())
    assert ran(project, python(COPY, "{source}", "{stage}", more='sources = ["words/*.none"]')) == Generated(())


def test_what_a_good_run_says_is_a_warning(project: RealProject) -> None:
    code = "import sys; print('made it'); print('unused: x', file=sys.stderr)"
    (warning,) = ran(project, python(code, "{name}", more='sources = ["words/a.txt"]')).warnings
    assert warning == f"python ({project.root / 'words/a.txt'}) said: unused: x"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (python("import sys; sys.exit('bad\\nworse')"), ": it exited with status 1:\n    bad\n    worse"),
        (python("import sys; print('on stdout'); sys.exit(3)"), ": it exited with status 3:\n    on stdout"),
        (python("import sys; sys.exit(3)"), ": it exited with status 3."),
        (
            python("import time; time.sleep(100)", more="timeout = 0.01"),
            "was killed, for its timeout was over (0.01 s).",
        ),
        (
            command("./no-such-tool"),
            "no-such-tool: ./no-such-tool cannot be started: No such file or directory. Correct",
        ),
        (
            python("import os, sys; os.symlink('/etc/passwd', sys.argv[1] + '/x')", "{stage}"),
            "what it made cannot be staged: x is neither a file nor a directory",
        ),
    ],
    ids=["stderr", "stdout where there is no stderr", "silence", "timeout", "no program", "a link"],
)
def test_what_is_wrong_with_a_program(project: RealProject, table: str, says: str) -> None:
    assert says in failed(project, table)


def test_every_source_that_fails_is_named(project: RealProject) -> None:
    made = ran(project, python("import sys; sys.exit(sys.argv[1])", "{name}", more='sources = ["words/*.txt"]'))
    assert [(each.file, each.message.split()[-1]) for each in made.failures] == [
        (project.root / "words/a.txt", "a"),
        (project.root / "words/b.txt", "b"),
    ]


def test_a_source_that_is_missing_is_a_config_error(project: RealProject) -> None:
    with pytest.raises(ConfigError, match=r"generator\.sources\[0\]"):
        ran(project, python("pass", "{source}", more='sources = ["none.txt"]'))


def test_every_generator_that_fails_is_named_and_two_cannot_make_one_file(project: RealProject) -> None:
    copy = python(COPY, "{source}", "{stage}", more='sources = ["words/a.txt"]')
    made = ran(project, copy, python("raise SystemExit(3)"), copy, copy + '\ninto = "again"')
    assert [str(failure) for failure in made.failures] == [
        "python: it exited with status 3.",
        "python: it has made a.txt, and so has another generator. Give one of them an into of its own.",
    ]
    assert made.files == ("a.txt", "again/a.txt")


async def test_cancelled_it_leaves_no_process(project: RealProject) -> None:
    code = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(100)"
    config = config_of(project, python(code))
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_generators, config, b"", stage_of(project))
            while not (project.root / "begun").exists():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def test_what_may_block_does_so_in_another_thread(project: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            threads.add(threading.get_ident())
            return function(*arguments)

        return noted

    for name in ("expand_sources", "written", "collect"):
        monkeypatch.setattr(running, name, noting(getattr(running, name)))
    await run_generators(config_of(project, python("pass")), b"", stage_of(project))
    assert threads
    assert threading.get_ident() not in threads


# --- functions ------------------------------------------------------------------------------------------------------

MAKE = """
from pathlib import Path
from lastgood import Generated, ModuleFailure
import words_of

def made(config, stage_dir):
    assert config.output.dir.name == "generated"
    (stage_dir / "x.py").write_text(words_of.TEXT)
    (stage_dir / "deep").mkdir()
    (stage_dir / "deep" / "y.py").write_text("")

def named(config, stage_dir):
    made(config, stage_dir)
    print("on stdout")
    yield "x.py"
    yield stage_dir / "deep" / "y.py"

def told(config, stage_dir):
    made(config, stage_dir)
    return Generated(("x.py",), ("careful",))

def failing(config, stage_dir):
    return Generated((), (), (ModuleFailure("a", None, None, "no"), ModuleFailure("b", Path("/b"), 3, "nor")))

class Tools:
    @staticmethod
    def made(config, stage_dir):
        return []

def raises(config, stage_dir):
    words_of.fail()

def leaves(config, stage_dir):
    raise SystemExit(4)

def vanishes(config, stage_dir):
    import os
    os._exit(0)

def wrong(config, stage_dir):
    return "x.py"

def elsewhere(config, stage_dir):
    return ["../x.py"]

def nowhere(config, stage_dir):
    return ["none.py"]

async def later(config, stage_dir): ...

constant = 3

def letters(config, stage_dir):
    return Generated("x.py")
"""
WORDS = 'TEXT = "first"\ndef fail():\n    raise LookupError("mine")\n'


@pytest.fixture
def functions(project: RealProject) -> RealProject:
    project.save("make.py", MAKE)
    project.save("words_of.py", WORDS)
    return project


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("made", Generated(("deep/y.py", "x.py"))),
        ("named", Generated(("deep/y.py", "x.py"))),
        ("told", Generated(("x.py",), ("careful",))),
        ("Tools.made", Generated(())),
    ],
    ids=["None: what lies there", "paths", "Generated", "a static method, nothing"],
)
def test_what_a_function_may_return(functions: RealProject, function: str, expected: Generated) -> None:
    assert ran(functions, f'use = "make:{function}"') == expected


def test_a_functions_own_failures_are_told_as_they_are(functions: RealProject) -> None:
    made = ran(functions, 'use = "make:failing"')
    assert [str(failure) for failure in made.failures] == ["a: no", "b (/b:3): nor"]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("leaves", "it exited with status 4."),
        ("vanishes", "it ended its process before it returned."),
        ("wrong", "TypeError: it returned str; expected lastgood.Generated, an iterable of paths, or None."),
        ("letters", "TypeError: it returned files that are str; expected a tuple."),
        ("elsewhere", 'it says that it made "../x.py", but there is no such file in its stage.'),
        ("nowhere", 'it says that it made "none.py", but there is no such file in its stage.'),
        ("later", "TypeError: it returned coroutine; expected"),
        ("constant", "TypeError: make:constant is a int; expected a function."),
        ("none", "AttributeError: module 'make' has no attribute 'none'"),
    ],
)
def test_what_is_wrong_with_a_function(functions: RealProject, function: str, says: str) -> None:
    assert says in failed(functions, f'use = "make:{function}"')


def test_what_a_function_raises_is_told_with_where_and_its_traceback(functions: RealProject) -> None:
    told = failed(functions, 'use = "make:raises"')
    where = functions.root / "words_of.py"
    assert told.startswith(f"make:raises ({where}:3): LookupError: mine\n      File ")
    assert 'raise LookupError("mine")' in told
    assert "function.py" not in told, "what is lastgood's own is of no interest"


def test_a_module_that_cannot_be_parsed_is_told_with_its_line(functions: RealProject) -> None:
    functions.save("words_of.py", "TEXT = (\n")
    assert f"({functions.root / 'words_of.py'}:1): " in failed(functions, 'use = "make:made"')


def test_one_with_merge_markers_is_told_with_their_line(functions: RealProject) -> None:
    functions.save("words_of.py", "A = 1\n<<<<<<< HEAD\nB = 1\n=======\nB = 2\n>>>>>>> main\n")
    told = failed(functions, 'use = "make:made"')
    assert f"({functions.root / 'words_of.py'}:2): " in told
    assert "it has merge markers" in told


def test_it_is_never_stale(functions: RealProject) -> None:
    """An edit of the same size within the same second, beside a bytecode file that still matches."""
    path = functions.root / "words_of.py"
    os.utime(path, (1_000_000, 1_000_000))
    py_compile.compile(str(path))
    functions.save("words_of.py", WORDS.replace("first", "again"))
    os.utime(path, (1_000_000, 1_000_000))
    ran(functions, 'use = "make:made"')
    assert (stage_of(functions) / "x.py").read_text() == "again"
    assert not (functions.root / "__pycache__" / "make.cpython-311.pyc").exists()
