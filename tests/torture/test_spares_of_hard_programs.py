"""Programs that see a spare at work, or that a spare may take for unchanged: each is as in a fresh worker after its edit.

``HEADERS``: the first part of a module whose rest is edited. ``FILES``: besides, files that change with the edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from random_projects import HOOK, Project, Source
from spare_pairs import History, pairs_of

pytestmark = pytest.mark.torture

HEADERS = {
    "frames": "import inspect\n"
    "A = [(each.filename, each.lineno, each.function) for each in inspect.stack()]\nimport json\n",
    "a stack as text": "import traceback\nA = traceback.format_stack()\nimport json\n",
    "the locals of frames": "import sys\nA = sorted(sys._getframe(1).f_locals)\nimport json\n",
    "code": "import sys\nA = sys._getframe().f_code.co_names\nimport json\n",
    "annotations": "from __future__ import annotations\nA: int = 1\nimport json\n",
    "an encoding": "# coding: latin-1\nA = '\u00e9'\nimport json\n",
    "modules": "import sys\nA = list(sys.modules)\nimport json\n",
    "the environment": "import os\nA = dict(os.environ), os.environb.copy()\nimport json\n",
    "threads": "import threading\nA = [each.name for each in threading.enumerate()]\nimport json\n",
    "an audit hook": "import sys\nE = []\nsys.addaudithook(lambda *args: E.append(args[0]))\nimport textwrap\n",
    "a finder": "import sys\nE = []\nclass F:\n    @staticmethod\n"
    "    def find_spec(name, path=None, target=None):\n        E.append(name)\n"
    "sys.meta_path.insert(0, F)\nimport textwrap\n",
    "a path hook": "import sys\nE = []\ndef hook(path):\n    E.append(path)\n    raise ImportError\n"
    "sys.path_hooks.insert(0, hook)\nsys.path_importer_cache.clear()\nimport textwrap\n",
    "collections": "import gc\nE = []\ngc.collect()\n"
    "gc.callbacks.append(lambda phase, info: E.append(phase))\nimport textwrap\n",
    "an old clock": "import time\ntime.monotonic = lambda: 1e9\nimport textwrap\n",
    "an alarm": "import signal\nsignal.alarm(1000)\nimport textwrap\n",
    "a timer": "import threading\ntimer = threading.Timer(1000, print)\n"
    "timer.daemon = True\ntimer.start()\nimport textwrap\n",
    "input": "import sys\nA = sys.stdin.read()\nimport textwrap\n",
    "a line without end": "print('x', end='')\nimport textwrap\n",
    "a buffer": "import sys, io\nsys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False))\n"
    "print('a')\nimport textwrap\nsys.stdout.flush()\n",
    "logging": "import logging\nlogging.getLogger('x').warning('hello')\nimport textwrap\n",
    "a warning": "import warnings\nwarnings.warn('hello')\nimport textwrap\n",
    "descriptors": "import os\nos.dup2(2, 1)\nimport textwrap\n",
    "another module of its name": "import sys, types\nm = types.ModuleType('main')\n"
    "sys.modules['main'] = m\nimport textwrap\n",
    "contexts": "import contextvars, decimal\nV = contextvars.ContextVar('v')\n"
    "V.set(3)\ndecimal.getcontext().prec = 5\nimport textwrap\n",
    "itself again": "import importlib, sys\nN = globals().get('N', 0) + 1\n"
    "if N < 2: importlib.reload(sys.modules['main'])\nimport json\n",
    "itself as a script": "import runpy\n"
    "A = sorted(runpy.run_path(__file__, run_name='other')) if __name__ == 'main' else 0\nimport json\n",
    "its own lines": "import linecache\nA = linecache.getline(__file__, 1)\nimport textwrap\n",
    "its own source": "A = __loader__.get_source(__name__)\nimport textwrap\n",
    "its own bytes": "import tokenize\nA = tokenize.open(__file__).read()\nimport textwrap\n",
}
# Not those that importlib's loaders call for each installed module: their code is read ahead.
COUNTED = """builtins.__import__ builtins.compile builtins.getattr builtins.hasattr builtins.isinstance builtins.len builtins.open
builtins.sorted os.close os.fsdecode os.fstat os.getpid os.listdir os.open os.path.basename
os.path.join os.path.realpath os.path.split os.path.splitext os.putenv os.stat os.write
threading.get_ident time.monotonic time.time_ns""".split()  # noqa: SIM905 - a table
COUNTING = """import builtins, os, sys, threading, time
E = []
old = {0}
def counting(*args, **options):
    E.append(1)
    return old(*args, **options)
{0} = counting
import textwrap
{0} = old
"""
FILES: dict[str, tuple[str, Mapping[str, str], Mapping[str, str]]] = {
    "a name beside": ("A = os.path.exists('src/new.txt')", {}, {"src/new.txt": "1"}),
    "a directory beside": ("A = os.path.isdir('src/new')", {}, {"src/new/a.txt": "1"}),
    "a trace of a file that is missing": (
        "import traceback\ntry:\n    os.stat('src/missing')\nexcept OSError:\n    A = traceback.format_exc()",
        {},
        {},
    ),
    "a function for the state of a file": ("from os import stat, lstat, access", {}, {}),
    "a name in a directory of data": (
        "A = os.path.exists('src/data/b')",
        {"src/data/a": ""},
        {"src/data/a": "", "src/data/b": ""},
    ),
    "a pattern without magic": ("import glob\nA = glob.glob('src/data/b')", {"src/data/a": ""}, {"src/data/b": ""}),
    "a size": ("A = os.stat('src/a').st_size", {"src/a": "1"}, {"src/a": "22"}),
    "sizes of a listing": (
        "A = [os.path.getsize('src/data/' + name) for name in os.listdir('src/data')]",
        {"src/data/a": "1"},
        {"src/data/a": "22"},
    ),
    "a link": ("A = os.path.islink('src/a')", {"src/a": "1"}, {}),
    "a path": ("import pathlib\nA = pathlib.Path('src/data/b').exists()", {"src/data/a": ""}, {"src/data/b": ""}),
    "a size by a path": ("import pathlib\nA = pathlib.Path('src/a').stat().st_size", {"src/a": "1"}, {"src/a": "22"}),
    "access": ("A = os.access('src/a', os.R_OK)", {"src/b": "1"}, {"src/a": "1"}),
    "a listing": ("A = sorted(os.listdir('src/data'))", {"src/data/a": "1"}, {"src/data/b": "1"}),
    "a listing by its descriptor": (
        "fd = os.open('src/data', os.O_RDONLY)\nA = sorted(os.listdir(fd))\nos.close(fd)",
        {"src/data/a": "1"},
        {"src/data/b": "1"},
    ),
    "a file by the descriptor of its directory": (
        "fd = os.open('src/data', os.O_RDONLY)\nA = os.read(os.open('a', os.O_RDONLY, dir_fd=fd), 9)",
        {"src/data/a": "1"},
        {"src/data/a": "22"},
    ),
    "a walk": (
        "A = [sorted(names) for *_, names, _ in os.fwalk('src/data')]",
        {"src/data/a": "1"},
        {"src/data/b": "1"},
    ),
    "a memory map": (
        "import mmap\nwith open('src/a') as file:\n    A = bytes(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))",
        {"src/a": "1"},
        {"src/a": "22"},
    ),
    "a database": ("import sqlite3\nA = sqlite3.connect(':memory:').execute('select 1').fetchall()", {}, {}),
    "a script": ("exec(open('src/script').read())", {"src/script": "Q = 1"}, {"src/script": "Q = 22"}),
    "a file of another directory": (
        "os.chdir('src')\nA = open('a').read()\nos.chdir('..')",
        {"src/a": "1"},
        {"src/a": "22"},
    ),
    "a file beside an installed module": (
        "import plib\nA = open(os.path.dirname(plib.__file__) + '/a').read()",
        {"site/plib/a": "1"},
        {"site/plib/a": "22"},
    ),
    "an installed module that appears": (
        "try:\n    import optional\nexcept ImportError:\n    pass",
        {},
        {"site/optional.py": ""},
    ),
    "an installed module that is looked for": (
        "import importlib.util\nA = importlib.util.find_spec('later') is None",
        {},
        {"site/later.py": ""},
    ),
    "a submodule that appears": (
        "import plib\ntry:\n    import plib.more\nexcept ImportError:\n    pass",
        {},
        {"site/plib/more.py": ""},
    ),
    "an installed module before one of the standard library": ("import textwrap", {}, {"site/textwrap.py": ""}),
    "a part of a namespace": (
        "import nsx.one",
        {"site/nsx/one.py": ""},
        {"site/nsx/one.py": "", "site/nsx/two.py": ""},
    ),
    "a namespace that ends": (
        "import nsl.one",
        {"src/nsl/one.py": ""},
        {"src/nsl/one.py": "", "src/nsl/__init__.py": ""},
    ),
    "a module that is imported late": (
        "sys.path.insert(0, 'src/extra')\nimport importlib\nA = importlib.import_module('late').X",
        {"src/extra/late.py": "X = 1"},
        {"src/extra/late.py": "X = 22"},
    ),
    "a late module that appears": (
        "sys.path[:0] = ['src/extra']\ntry:\n    __import__('late')\nexcept ImportError:\n    pass",
        {"src/extra/a": ""},
        {"src/extra/late.py": ""},
    ),
    "a module that is run as a script": (
        "import runpy\nA = runpy.run_path('src/helper.py')['X']\nimport helper",
        {"src/helper.py": "X = 1"},
        {"src/helper.py": "X = 22"},
    ),
    "a module that raises": (
        "import traceback\ntry:\n    import other\nexcept ValueError:\n    A = traceback.format_exc()",
        {"src/other.py": "import json\nraise ValueError(1)"},
        {"src/other.py": "import json\nX = 1\nraise ValueError(1)"},
    ),
    "a module that is imported twice": (
        "import other\ndel sys.modules['other']\nimport other",
        {"src/other.py": "X = 1"},
        {"src/other.py": "X = 2"},
    ),
}


def history_of(header: str, before: Mapping[str, str], after: Mapping[str, str], outside: str) -> History:
    """Give a program, an edit of its rest, after which a spare waits there, and another edit with its files."""
    for name, files, number in (("", before, 0), ("the first", before, 1), ("the edit", after, 2)):
        main = Source("main", blocks=[header, f"def function():\n    return {number}\nAFTER = {number}\n"])
        project = Project(outside, [main, Source("hook", blocks=[HOOK])])
        project.others = {path: text.encode() for path, text in {"site/plib/__init__.py": "", **files}.items()}
        yield name, project


def assert_exact(
    directory: Path, header: str, before: Mapping[str, str] | None = None, after: Mapping[str, str] | None = None
) -> None:
    history = history_of(header, before or {}, after or {}, f"{directory}/project/out")
    pairs = pairs_of(directory / "project", 0, 0, history)
    assert len(pairs) == 2, pairs
    assert [pair.differences for pair in pairs] == [[], []]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_looks_around(header: str, tmp_path: Path) -> None:
    assert_exact(tmp_path, HEADERS[header])


@pytest.mark.parametrize("function", COUNTED)
def test_a_function_that_the_program_replaces_is_not_called_more_often(function: str, tmp_path: Path) -> None:
    assert_exact(tmp_path, COUNTING.format(function))


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_changes_with_the_edit(what: str, tmp_path: Path) -> None:
    header, before, after = FILES[what]
    assert_exact(tmp_path, f"import os, sys\n{header}\nimport json\n", before, after)
