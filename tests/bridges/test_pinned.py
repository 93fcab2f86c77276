"""Workers of pinned generations: what is on disk by now is not what they run (contract §9).

They are real ones, and wait on events, never on the clock.
"""

from __future__ import annotations

import logging
import marshal
import os
import py_compile
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.bridges import process
from lastgood.bridges.process import LoadedLate, ProcessBridge
from lastgood.bridges.worker.manifest import digest_of, object_path
from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig
from lastgood.errors import BridgeError, RemoteError, WorkerDied
from lastgood.sources.finder import Finder
from lastgood.sources.pinning import Pinner
from lastgood.sources.resolution import resolve_modules, worker_interpreter
from lastgood.store.disk import Disk
from lastgood.store.generations import GenerationStore
from lastgood.store.user_key import cache_directory

DEADLINE = 60

SERVICE = r'''
"""The service."""
import helper
from shop import prices
from ns import near
VERSION = "pinned"

def versions():
    """Of everything, imported early and late."""
    import late
    from shop.deep import cellar
    import ns.far
    from shop import unused
    modules = (helper, prices, prices.stock, near, late, cellar, ns.far, unused)
    return {"svc": VERSION, **{module.__name__: module.VERSION for module in modules}}

def attributes(name):
    import importlib
    module = importlib.import_module(name)
    spec = module.__spec__
    return [getattr(module, "__file__", None), spec.origin, list(getattr(module, "__path__", [])), module.__package__]

def fail():
    helper.fail()

def late_version():
    import late
    return late.VERSION

def thing():
    return helper.Thing()

LATE = """import importlib
result = importlib.import_module('dynamic').VERSION"""

def run(code):
    """Whatever a test wants done in here."""
    scope = {}
    exec(code, scope)
    return scope.get("result")
'''

SOURCES = {
    "svc.py": SERVICE,
    "helper.py": "VERSION = 'pinned'\n\ndef fail():\n    raise ValueError('here')  # pinned\n\nclass Thing:\n    x = 'pinned'\n",
    "late.py": "import helper\nVERSION = 'pinned'\n",
    "shop/__init__.py": "VERSION = 'pinned'\n",
    "shop/prices.py": "from . import stock\nVERSION = 'pinned'\n",
    "shop/stock.py": "from . import prices\nVERSION = 'pinned'\n",
    "shop/unused.py": "VERSION = 'pinned'\n",
    "shop/deep/cellar.py": "from ..stock import VERSION\n",
    "ns/near.py": "VERSION = 'pinned'\n",
    "../more/ns/far.py": "VERSION = 'pinned'\n",
    "dynamic.py": "VERSION = 'pinned'\n",
}
PINNED = dict.fromkeys(
    ("svc", "helper", "shop.prices", "shop.stock", "ns.near", "late", "shop.deep.cellar", "ns.far", "shop.unused"),
    "pinned",
)


@dataclass
class Project:
    """Sources on the disk, and the generation that they were when it was staged."""

    top: Path
    modules: tuple[str, ...] = ("svc", "shop")
    manifest: Path = field(init=False)

    @property
    def src(self) -> Path:
        return self.top / "src"

    @property
    def import_path(self) -> tuple[Path, ...]:
        return (self.src, self.top / "more")

    def write(self, sources: Mapping[str, str]) -> None:
        for name, text in sources.items():
            path = self.src / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def stage(self) -> None:
        config = Config(
            path=self.top / "lastgood.toml",
            python_import_path=self.import_path,
            modules={name: ModuleConfig() for name in self.modules},
            output=OutputConfig(dir=self.top / "generated"),
        )
        finder = Finder(Disk(), self.import_path, worker_interpreter(ProcessConfig()))
        pinned = Pinner(Disk()).pin(config, resolve_modules(config, finder), finder)
        self.manifest = GenerationStore(Disk(), self.top / ".lastgood").put(pinned)

    def files(self) -> list[Path]:
        return [path for root in self.import_path for path in sorted(root.rglob("*.py"))]

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[ProcessBridge]:
        bridge = ProcessBridge(
            import_path=self.import_path,
            **{"modules": self.modules, "pinned": self.manifest, "timeout": DEADLINE, **options},
        )
        with trio.fail_after(DEADLINE):
            await bridge.init()
            try:
                yield bridge
            finally:
                await bridge.dispose()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write(SOURCES)
    made.stage()
    return made


async def run(bridge: ProcessBridge, code: str) -> Any:
    return await bridge.call("svc", "run", [code], {})


# What was staged is what runs.


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("pinned", "edited, and longer"))


def edit_unnoticed(path: Path) -> None:
    before = path.stat()
    path.write_text(path.read_text().replace("pinned", "edited"))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def break_syntax(path: Path) -> None:
    path.write_text("def f(:\n")


def make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


MISHAPS: dict[str, Callable[[Path], None]] = {
    "edited": edit,
    "same-size-and-time": edit_unnoticed,
    "broken": break_syntax,
    "deleted": Path.unlink,
    "a-directory": make_a_directory,
}


@pytest.mark.parametrize("mishap", MISHAPS.values(), ids=MISHAPS.keys())
@pytest.mark.parametrize("when", ["before-the-start", "after-it"])
async def test_whatever_became_of_the_sources_the_pinned_ones_run(
    project: Project, mishap: Callable[[Path], None], when: str
) -> None:
    if when == "before-the-start":
        for path in project.files():
            mishap(path)
    async with project.running() as bridge:
        if when == "after-it":
            for path in project.files():
                mishap(path)
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        assert not bridge.loaded_late


async def test_also_when_every_directory_is_gone(project: Project) -> None:
    for root in project.import_path:
        shutil.rmtree(root)
    async with project.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED


def interpreter(version: str) -> Path | None:
    roots = [Path("/usr/bin"), *sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin"))]
    return next((root / f"python{version}" for root in roots if (root / f"python{version}").exists()), None)


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
async def test_on_other_pythons(project: Project, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    for path in project.files():
        break_syntax(path)
    async with project.running(python=python) as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        with pytest.raises(RemoteError, match=r"raise ValueError\('here'\)  # pinned"):
            await bridge.call("svc", "fail", [], {})
        assert await run(bridge, SHOW_SOURCE) == "class Thing:\n    x = 'pinned'\n"
        assert await run(bridge, IN_A_CHILD.format(method="spawn")) == ["pinned", "pinned"]
        assert await run(bridge, FILES_BESIDE) == "data"


async def test_no_bytecode_is_read_or_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    async with project.running() as bridge:
        await bridge.call("svc", "versions", [], {})
        assert not list(project.top.rglob("*.pyc"))
    helper = project.src / "helper.py"
    edit_unnoticed(helper)
    py_compile.compile(str(helper))
    async with project.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED


async def test_a_module_is_compiled_once_for_all_workers(project: Project) -> None:
    """So that the code which the first has kept is what the second runs; here it was exchanged for another one."""
    helper = project.src / "helper.py"
    digest = digest_of(helper.read_bytes())
    async with project.running():
        pass
    caches = cache_directory(project.top / ".lastgood")
    assert caches is not None
    (kept,) = (caches / "code").glob(f"{digest}-*")
    exchanged = marshal.dumps(compile("VERSION = 'exchanged'", str(helper), "exec"))
    kept.write_bytes(digest_of(exchanged).encode() + exchanged)
    async with project.running() as bridge:
        assert await run(bridge, "import helper\nresult = helper.VERSION") == "exchanged"
    kept.write_bytes(b"damaged")
    async with project.running() as bridge:
        assert await run(bridge, "import helper\nresult = helper.VERSION") == "pinned"


BY_PATH = """
import importlib.util
def load(path):
    spec = importlib.util.spec_from_file_location("by_path", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.VERSION
result = [load({path!r}), load({path!r})]
"""


@pytest.mark.parametrize("pinned", [True, False])
async def test_a_module_that_is_loaded_by_its_path_is_never_stale_either(
    project: Project, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    dynamic, code = project.src / "dynamic.py", BY_PATH.format(path=str(project.src / "dynamic.py"))
    manifest = project.manifest if pinned else None
    for version in ("pinned", "edited"):
        async with project.running(pinned=manifest) as bridge:
            assert await run(bridge, code) == [version] * 2
            assert [late.path for late in bridge.loaded_late] == ([dynamic] if pinned else [])
            edit_unnoticed(dynamic)
            assert not pinned or await run(bridge, code) == [version] * 2
    async with project.running() as bridge:
        edit(project.src / "helper.py")
        assert await run(bridge, BY_PATH.format(path=str(project.src / "helper.py"))) == ["pinned"] * 2
    assert not list(project.top.rglob("*.pyc"))


async def test_reloading_a_module_runs_the_same_bytes(project: Project) -> None:
    async with project.running() as bridge:
        edit(project.src / "helper.py")
        assert await run(bridge, "import helper, importlib\nresult = importlib.reload(helper).VERSION") == "pinned"


# Files that came after the staging.


@pytest.mark.parametrize(
    "intruder",
    [
        "late/__init__.py",
        "shop/unused/__init__.py",
        "shop/deep/__init__.py",
        "ns/__init__.py",
        "colorsys.py",
        "ns/far.py",
    ],
)
async def test_what_came_later_is_not_imported_instead(project: Project, intruder: str) -> None:
    (project.src / "helper.py").write_text(
        SOURCES["helper.py"] + "def colours():\n    import colorsys\n    return colorsys.__file__\n"
    )
    project.stage()
    async with project.running() as bridge:
        project.write({intruder: "VERSION = 'new'\n"})
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        assert not (await run(bridge, "import helper\nresult = helper.colours()")).startswith(str(project.src))


async def test_a_local_module_has_its_name_to_itself_though_the_worker_has_loaded_another(project: Project) -> None:
    project.write(
        {"queue.py": "VERSION = 'pinned'\n", "threading/__init__.py": "", "threading/more.py": "VERSION = 'pinned'\n"}
    )
    project.write(
        {"helper.py": SOURCES["helper.py"] + "import queue\nfrom threading import more\nfound = [queue, more]\n"}
    )
    project.stage()
    async with project.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        assert await run(bridge, "import helper\nresult = [each.VERSION for each in helper.found]") == ["pinned"] * 2
        with trio.move_on_after(0):
            await bridge.call("svc", "versions", [], {})
        assert await bridge.call("svc", "versions", [], {}) == PINNED


# The user's paths.


@pytest.mark.parametrize(
    ("name", "file", "package"),
    [
        ("helper", "helper.py", ""),
        ("shop", "shop/__init__.py", "shop"),
        ("shop.prices", "shop/prices.py", "shop"),
        ("ns.near", "ns/near.py", "ns"),
    ],
)
async def test_attributes_name_the_users_files(project: Project, name: str, file: str, package: str) -> None:
    async with project.running() as bridge:
        path = project.src / file
        search = [str(path.parent)] if path.name == "__init__.py" else []
        assert await bridge.call("svc", "attributes", [name], {}) == [str(path), str(path), search, package]


async def test_a_namespace_package_has_all_its_directories(project: Project) -> None:
    async with project.running() as bridge:
        directories = [str(root / "ns") for root in project.import_path]
        assert await bridge.call("svc", "attributes", ["ns"], {}) == [None, None, directories, "ns"]


SHOW_SOURCE = "import inspect, helper\nresult = inspect.getsource(helper.Thing)"

FILES_BESIDE = """
import importlib.resources, os, shop
with open(os.path.join(os.path.dirname(shop.__file__), "data.txt"), "w") as file:
    file.write("data")
result = (importlib.resources.files("shop") / "data.txt").read_text()
"""


async def test_tracebacks_have_the_pinned_lines_at_the_users_paths(project: Project) -> None:
    async with project.running() as bridge:
        for path in project.files():
            path.write_text("# other\n" * 50)
        with pytest.raises(RemoteError) as caught:
            await bridge.call("svc", "fail", [], {})
    file = project.src / "helper.py"
    assert f"File \"{file}\", line 4, in fail\n    raise ValueError('here')  # pinned\n" in caught.value.traceback
    assert "# other" not in caught.value.traceback


async def test_a_syntax_error_in_a_pinned_module_is_shown_as_it_was(project: Project) -> None:
    project.write({"helper.py": "x = 1\ny = = 'pinned'\n"})
    project.stage()
    project.write({"helper.py": "x = 1\n# mended\n"})
    bridge = ProcessBridge(import_path=project.import_path, modules=["svc"], pinned=project.manifest)
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError) as caught:
        await bridge.init()
    assert caught.value.type_name == "SyntaxError"
    assert f"File \"{project.src / 'helper.py'}\", line 2\n    y = = 'pinned'\n" in caught.value.traceback


THREAD = """
import threading, helper
thread = threading.Thread(target=helper.fail, name="mine")
thread.start()
thread.join()
threading.Thread(target=exit).start()
"""
LOGGED = """
import helper, linecache, logging
linecache.clearcache()
try:
    helper.fail()
except ValueError:
    logging.exception("caught")
"""
HOOK = """
import helper, sys
try:
    helper.fail()
except ValueError:
    sys.excepthook(*sys.exc_info())
"""


@pytest.mark.parametrize(
    ("code", "head"),
    [(THREAD, "Exception in thread mine:\nTraceback"), (LOGGED, "caught\nTraceback"), (HOOK, "Traceback")],
    ids=["thread", "logging", "hook"],
)
async def test_what_python_prints_has_the_pinned_lines(
    project: Project, code: str, head: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with project.running() as bridge:
        (project.src / "helper.py").write_text("# other\n" * 50)
        await run(bridge, code)
    printed = capfd.readouterr().err
    assert head in printed
    assert "raise ValueError('here')  # pinned" in printed
    assert "# other" not in printed


@pytest.mark.parametrize("mishap", [edit, Path.unlink], ids=["edited", "deleted"])
async def test_inspect_shows_the_pinned_source(project: Project, mishap: Callable[[Path], None]) -> None:
    async with project.running() as bridge:
        mishap(project.src / "helper.py")
        assert await run(bridge, SHOW_SOURCE) == "class Thing:\n    x = 'pinned'\n"
        lines = "import linecache, pathlib, svc\nresult = linecache.getline(svc.__file__, 2)"
        assert await run(bridge, lines) == '"""The service."""\n'


async def test_files_beside_a_module_come_from_the_disk(project: Project) -> None:
    project.write({"shop/data.txt": "as it is now", "ns/data.txt": "there"})
    async with project.running() as bridge:
        text = "import importlib.resources as r\nresult = (r.files({name!r}) / 'data.txt').read_text()"
        assert await run(bridge, text.format(name="shop")) == "as it is now"
        assert await run(bridge, text.format(name="ns")) == "there"
        listing = "import pkgutil, shop\nresult = sorted(each.name for each in pkgutil.iter_modules(shop.__path__))"
        assert await run(bridge, listing) == ["prices", "stock", "unused"]
        for text in ("once", "and again"):
            project.write({"shop/data.txt": text})
            assert await run(bridge, "import pkgutil\nresult = pkgutil.get_data('shop', 'data.txt')") == text.encode()


# Other processes.


async def test_pickle_works(project: Project) -> None:
    async with project.running() as bridge:
        edit(project.src / "helper.py")
        code = "import helper, pickle\nresult = pickle.loads(pickle.dumps(helper.Thing())).x"
        assert await run(bridge, code) == "pinned"


IN_A_CHILD = """
import multiprocessing, svc
with multiprocessing.get_context({method!r}).Pool(1) as pool:
    result = [pool.apply(svc.thing).x, pool.apply(svc.late_version)]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_children_of_multiprocessing_have_the_same_pins(project: Project, method: str) -> None:
    async with project.running() as bridge:
        for path in project.files():
            break_syntax(path)
        assert await run(bridge, IN_A_CHILD.format(method=method)) == ["pinned", "pinned"]


# What only a dynamic import reaches.

LATE = "import importlib\nmodule = importlib.import_module('dynamic')\nresult = module.VERSION"


async def test_a_module_that_is_loaded_late_is_pinned_then_and_told_of(project: Project) -> None:
    told: list[LoadedLate] = []
    async with project.running() as bridge:
        bridge.on_loaded_late = told.append
        project.write({"dynamic.py": "VERSION = 'first'\n"})
        assert await run(bridge, LATE) == "first"
        path = project.src / "dynamic.py"
        assert told == [LoadedLate("dynamic", path, digest_of(b"VERSION = 'first'\n"))]
        assert bridge.loaded_late == tuple(told)
        project.write({"dynamic.py": "VERSION = 'again'\n"})
        assert await run(bridge, "import sys\ndel sys.modules['dynamic']\n" + LATE) == "first"
        path.unlink()
        assert await run(bridge, "import sys\ndel sys.modules['dynamic']\n" + LATE) == "first"
        assert (
            await run(bridge, "import inspect, dynamic\nresult = inspect.getsource(dynamic)") == "VERSION = 'first'\n"
        )
        assert len(told) == 1


async def test_what_is_loaded_late_at_import_is_told_with_init(project: Project) -> None:
    project.write({"helper.py": SOURCES["helper.py"] + LATE})
    project.stage()
    async with project.running() as bridge:
        assert [late.name for late in bridge.loaded_late] == ["dynamic"]


@pytest.mark.parametrize("mishap", [edit, Path.unlink], ids=["edited", "deleted"])
async def test_the_workers_of_a_pool_import_what_the_first_of_them_read(
    project: Project, mishap: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with project.running(pool=2) as bridge:
        for worker in bridge._workers:
            monkeypatch.setattr(bridge, "_least_busy", lambda worker=worker: worker)
            assert await run(bridge, LATE) == "pinned"
            if worker is bridge._workers[0]:
                mishap(project.src / "dynamic.py")
        assert [late.name for late in bridge.loaded_late] == ["dynamic"]


async def test_a_worker_has_told_of_a_module_before_it_runs_it(project: Project) -> None:
    fatal = b"import os\nos._exit(7)\n" + b"# much\n" * 100_000
    (project.src / "dynamic.py").write_bytes(fatal)
    async with project.running() as bridge:
        with pytest.raises(WorkerDied):
            await run(bridge, LATE)
        assert [late.source for late in bridge.loaded_late] == [fatal]


UNHEARD = """
import os, threading, svc
def late():
    open({fifo!r}).read()
    exec(svc.LATE, {{}})
    os._exit(7)
threading.Thread(target=late).start()
"""


async def test_what_a_worker_told_last_is_heard_though_nobody_was_listening(project: Project) -> None:
    fifo = project.top / "go"
    os.mkfifo(fifo)
    async with project.running() as bridge:
        await run(bridge, UNHEARD.format(fifo=str(fifo)))
        await trio.to_thread.run_sync(fifo.write_text, "go")
        await bridge.lost()
        assert [late.name for late in bridge.loaded_late] == ["dynamic"]


async def test_of_more_late_bytes_than_are_held_only_the_names_are_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "MAX_LATE_BYTES", 10)
    async with project.running() as bridge:
        await run(bridge, LATE)
        assert [(late.name, late.source) for late in bridge.loaded_late] == [("dynamic", None)]
    assert "reads dynamic from the disk" in caplog.text


def raise_an_error(_late: LoadedLate) -> None:
    raise RuntimeError


async def test_a_listener_that_raises_harms_no_call(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    async with project.running() as bridge:
        bridge.on_loaded_late = raise_an_error
        with caplog.at_level(logging.ERROR):
            assert await run(bridge, LATE) == "pinned"
    assert "on_loaded_late raised for dynamic" in caplog.text


async def test_a_forked_child_tells_nobody(project: Project) -> None:
    mark = project.top / "mark"
    mark.touch()
    code = """
import multiprocessing, os, svc
def child(queue):
    for _ in range(100):
        os.open(%r, os.O_WRONLY | os.O_APPEND)  # they take the numbers of the closed pipes
    scope = {}
    exec(svc.LATE, scope)
    queue.put(scope["result"])
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
process = context.Process(target=child, args=[queue])
process.start()
result = queue.get()
process.join()
"""
    async with project.running() as bridge:
        assert await run(bridge, code % str(mark)) == "pinned"
        assert not bridge.loaded_late
    assert not mark.read_bytes()


# Damage.


async def test_a_lost_object_is_taken_from_the_users_file_while_that_is_the_same(project: Project) -> None:
    shutil.rmtree(project.manifest.parent.parent / "objects")
    async with project.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED


async def test_a_lost_object_is_an_import_error_that_says_so(project: Project) -> None:
    lost = trio.Path(object_path(str(project.manifest), digest_of(SOURCES["late.py"].encode())))
    async with project.running() as bridge:
        await lost.write_bytes(b"VERSION = 'bad'")
        edit(project.src / "late.py")
        with pytest.raises(RemoteError) as caught:
            await bridge.call("svc", "versions", [], {})
    assert caught.value.type_name == "ImportError"
    assert "The pinned source of late is damaged" in caught.value.message
    assert "its bytes are not those that its name stands for" in caught.value.message


@pytest.mark.parametrize(("data", "told"), [(b"", "is damaged"), (None, "cannot be read")], ids=["damaged", "gone"])
async def test_a_lost_manifest_is_an_error_of_the_bridge(project: Project, data: bytes | None, told: str) -> None:
    project.manifest.unlink()
    if data is not None:
        project.manifest.write_bytes(data)
    with (
        trio.fail_after(DEADLINE),
        pytest.raises(BridgeError, match=f"^The pinned generation cannot be run. .* {told}"),
    ):
        await ProcessBridge(modules=["svc"], pinned=project.manifest).init()


# The app's side.


def test_the_manifest_comes_with_the_config(tmp_path: Path) -> None:
    config = Config(
        path=tmp_path / "lastgood.toml",
        python_import_path=(),
        modules={},
        output=OutputConfig(dir=tmp_path / "generated"),
        pinned=tmp_path / "manifest",
    )
    assert vars(ProcessBridge.from_config(config))["_pinned"] == str(tmp_path / "manifest")


HOSTILE = """#!{python}
import os, struct, sys
requests, answers = map(int, sys.argv[3:5])
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(requests, size - len(data))
    return data
def send(kind, number, body):
    os.write(answers, struct.pack("<IBQ", len(body), kind, number) + body)
def loaded(*fields):
    texts = (bytes([0xA0 + len(field)]) + field.encode() for field in fields)
    send(32, 0, bytes([0x90 + len(fields) + 1]) + b"".join(texts) + b"\\xc4\\x01#")
length, kind, number = struct.unpack("<IBQ", read(13))
read(length)
{misdeed}
send(16, number, b"\\xc0")
read(1)
"""


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        ("send(32, 0, b'\\xc1')", "malformed"),
        ("send(32, 0, b'\\xc0')", "iterable"),
        ("loaded('a')", "not enough values"),
        ("send(32, 0, b'\\x93\\xa1a\\xa2/b\\x7f')", "a LOADED frame without"),
        *(
            (f"loaded('a', {path!r})", "is not the path of a local module")
            for path in ("b.py", "/", "/p", "/p/x/", "/other/b.py", "/p/../b.py", "/p/\0.py")
        ),
        ("for n in range(4): loaded('a', f'/p/{n}.py')", "a report of more than 3 modules"),
    ],
)
async def test_a_worker_that_tells_nonsense_is_killed(
    tmp_path: Path, misdeed: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAX_LOADED_LATE", 3)
    fake = tmp_path / "python"
    fake.write_text(HOSTILE.format(python=sys.executable, misdeed=misdeed))
    fake.chmod(0o755)
    with trio.fail_after(DEADLINE), pytest.raises(BridgeError, match=told):
        await ProcessBridge(fake, import_path=["/p"], grace=0.05).init()


async def test_what_is_told_twice_is_heard_once(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    twice = "loaded('a', '/p/a.py'); loaded('a', '/p/a.py')"
    fake.write_text(HOSTILE.format(python=sys.executable, misdeed=twice))
    fake.chmod(0o755)
    heard: list[LoadedLate] = []
    bridge = ProcessBridge(fake, import_path=["/p"], grace=0.05)
    bridge.on_loaded_late = heard.append
    with trio.fail_after(DEADLINE):
        await bridge.init()
        await bridge.dispose()
    assert [each.path for each in heard] == [Path("/p/a.py")]
    assert bridge.loaded_late == tuple(heard)
