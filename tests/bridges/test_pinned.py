"""Workers of pinned generations: what is on disk by now is not what they run.

They are real ones, and wait on events, never on the clock.
"""

from __future__ import annotations

import marshal
import os
import py_compile
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.worker.manifest import digest_of, object_path
from lastgood.config import Config, OutputConfig
from lastgood.errors import BridgeError, RemoteError
from lastgood.store.user_key import cache_directory
from process_bridges import interpreter
from staged_project import DEADLINE, SOURCES, StagedProject, edit, run

PINNED = dict.fromkeys(
    ("svc", "helper", "shop.prices", "shop.stock", "ns.near", "late", "shop.deep.cellar", "ns.far", "shop.unused"),
    "pinned",
)


# --- what was staged is what runs


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
    staged: StagedProject, mishap: Callable[[Path], None], when: str
) -> None:
    if when == "before-the-start":
        for path in staged.files():
            mishap(path)
    async with staged.running() as bridge:
        if when == "after-it":
            for path in staged.files():
                mishap(path)
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        assert not bridge.loaded_late


async def test_also_when_every_directory_is_gone(staged: StagedProject) -> None:
    for root in staged.import_path:
        shutil.rmtree(root)
    async with staged.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"])
async def test_on_other_pythons(staged: StagedProject, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    for path in staged.files():
        break_syntax(path)
    async with staged.running(python=python) as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        with pytest.raises(RemoteError, match=r"^here$") as caught:
            await bridge.call("svc", "fail", [], {})
        assert "raise ValueError('here')  # pinned\n" in caught.value.traceback
        assert "    raise ValueError('here')  # pinned\n" in traceback.format_exception(caught.value)[-2]
        assert await run(bridge, SHOW_SOURCE) == "class Thing:\n    x = 'pinned'\n"
        assert await run(bridge, IN_A_CHILD.format(method="spawn")) == ["pinned", "pinned"]
        assert await run(bridge, FILES_BESIDE) == "data"


async def test_no_bytecode_is_read_or_written(staged: StagedProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    async with staged.running() as bridge:
        await bridge.call("svc", "versions", [], {})
        assert not list(staged.top.rglob("*.pyc"))
    helper = staged.src / "helper.py"
    edit_unnoticed(helper)
    py_compile.compile(str(helper))
    async with staged.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED


async def test_a_module_is_compiled_once_for_all_workers(staged: StagedProject) -> None:
    """So that the code which the first has kept is what the second runs; here it was exchanged for another one."""
    helper = staged.src / "helper.py"
    digest = digest_of(helper.read_bytes())
    async with staged.running():
        pass
    caches = cache_directory(staged.top / ".lastgood")
    assert caches is not None
    (kept,) = (caches / "code").glob(f"{digest}-*")
    exchanged = marshal.dumps(compile("VERSION = 'exchanged'", str(helper), "exec"))
    kept.write_bytes(digest_of(exchanged).encode() + exchanged)
    async with staged.running() as bridge:
        assert await run(bridge, "import helper\nresult = helper.VERSION") == "exchanged"
    kept.write_bytes(b"damaged")
    async with staged.running() as bridge:
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
    staged: StagedProject, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    dynamic, code = staged.src / "dynamic.py", BY_PATH.format(path=str(staged.src / "dynamic.py"))
    manifest = staged.manifest if pinned else None
    for version in ("pinned", "edited"):
        async with staged.running(pinned=manifest) as bridge:
            assert await run(bridge, code) == [version] * 2
            assert [late.path for late in bridge.loaded_late] == ([dynamic] if pinned else [])
            edit_unnoticed(dynamic)
            assert not pinned or await run(bridge, code) == [version] * 2
    async with staged.running() as bridge:
        edit(staged.src / "helper.py")
        assert await run(bridge, BY_PATH.format(path=str(staged.src / "helper.py"))) == ["pinned"] * 2
    assert not list(staged.top.rglob("*.pyc"))


async def test_reloading_a_module_runs_the_same_bytes(staged: StagedProject) -> None:
    async with staged.running() as bridge:
        edit(staged.src / "helper.py")
        assert await run(bridge, "import helper, importlib\nresult = importlib.reload(helper).VERSION") == "pinned"


# --- files that came after the staging


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
async def test_what_came_later_is_not_imported_instead(staged: StagedProject, intruder: str) -> None:
    (staged.src / "helper.py").write_text(
        SOURCES["helper.py"] + "def colours():\n    import colorsys\n    return colorsys.__file__\n"
    )
    staged.stage()
    async with staged.running() as bridge:
        staged.write({intruder: "VERSION = 'new'\n"})
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        assert not (await run(bridge, "import helper\nresult = helper.colours()")).startswith(str(staged.src))


async def test_a_local_module_has_its_name_to_itself_though_the_worker_has_loaded_another(
    staged: StagedProject,
) -> None:
    staged.write(
        {"queue.py": "VERSION = 'pinned'\n", "threading/__init__.py": "", "threading/more.py": "VERSION = 'pinned'\n"}
    )
    staged.write(
        {"helper.py": SOURCES["helper.py"] + "import queue\nfrom threading import more\nfound = [queue, more]\n"}
    )
    staged.stage()
    async with staged.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED
        assert await run(bridge, "import helper\nresult = [each.VERSION for each in helper.found]") == ["pinned"] * 2
        with trio.move_on_after(0):
            await bridge.call("svc", "versions", [], {})
        assert await bridge.call("svc", "versions", [], {}) == PINNED


# --- the user's paths


@pytest.mark.parametrize(
    ("name", "file", "package"),
    [
        ("helper", "helper.py", ""),
        ("shop", "shop/__init__.py", "shop"),
        ("shop.prices", "shop/prices.py", "shop"),
        ("ns.near", "ns/near.py", "ns"),
    ],
)
async def test_attributes_name_the_users_files(staged: StagedProject, name: str, file: str, package: str) -> None:
    async with staged.running() as bridge:
        path = staged.src / file
        search = [str(path.parent)] if path.name == "__init__.py" else []
        assert await bridge.call("svc", "attributes", [name], {}) == [str(path), str(path), search, package]


async def test_a_namespace_package_has_all_its_directories(staged: StagedProject) -> None:
    async with staged.running() as bridge:
        directories = [str(root / "ns") for root in staged.import_path]
        assert await bridge.call("svc", "attributes", ["ns"], {}) == [None, None, directories, "ns"]


SHOW_SOURCE = "import inspect, helper\nresult = inspect.getsource(helper.Thing)"
FILES_BESIDE = """
import importlib.resources, os, shop
with open(os.path.join(os.path.dirname(shop.__file__), "data.txt"), "w") as file:
    file.write("data")
result = (importlib.resources.files("shop") / "data.txt").read_text()
"""


async def test_tracebacks_have_the_pinned_lines_at_the_users_paths(staged: StagedProject) -> None:
    async with staged.running() as bridge:
        for path in staged.files():
            path.write_text("# other\n" * 50)
        with pytest.raises(RemoteError) as caught:
            await bridge.call("svc", "fail", [], {})
    file = staged.src / "helper.py"
    assert f"File \"{file}\", line 4, in fail\n    raise ValueError('here')  # pinned\n" in caught.value.traceback
    assert "# other" not in caught.value.traceback


async def test_a_syntax_error_in_a_pinned_module_is_shown_as_it_was(staged: StagedProject) -> None:
    staged.write({"helper.py": "x = 1\ny = = 'pinned'\n"})
    staged.stage()
    staged.write({"helper.py": "x = 1\n# mended\n"})
    bridge = ProcessBridge(import_path=staged.import_path, modules=["svc"], pinned=staged.manifest)
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError) as caught:
        await bridge.init()
    assert caught.value.type_name == "SyntaxError"
    assert f"File \"{staged.src / 'helper.py'}\", line 2\n    y = = 'pinned'\n" in caught.value.traceback


CAUGHT = """
import traceback
try:
    import late
except SyntaxError:
    result = traceback.format_exc()
"""


async def test_a_syntax_error_that_a_function_meets_shows_the_users_frames_alone(staged: StagedProject) -> None:
    staged.write({"late.py": "y = = 'pinned'\n"})
    staged.stage()
    async with staged.running() as bridge:
        told = str(await run(bridge, CAUGHT))
    files = [line.split('"')[1] for line in told.splitlines() if line.startswith("  File")]
    assert files == ["<string>", str(staged.src / "late.py")]


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
    staged: StagedProject, code: str, head: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with staged.running() as bridge:
        (staged.src / "helper.py").write_text("# other\n" * 50)
        await run(bridge, code)
    printed = capfd.readouterr().err + caplog.text
    assert head in printed
    assert "raise ValueError('here')  # pinned" in printed
    assert "# other" not in printed


@pytest.mark.parametrize("mishap", [edit, Path.unlink], ids=["edited", "deleted"])
async def test_inspect_shows_the_pinned_source(staged: StagedProject, mishap: Callable[[Path], None]) -> None:
    async with staged.running() as bridge:
        mishap(staged.src / "helper.py")
        assert await run(bridge, SHOW_SOURCE) == "class Thing:\n    x = 'pinned'\n"
        lines = "import linecache, pathlib, svc\nresult = linecache.getline(svc.__file__, 2)"
        assert await run(bridge, lines) == '"""The service."""\n'


async def test_files_beside_a_module_come_from_the_disk(staged: StagedProject) -> None:
    staged.write({"shop/data.txt": "as it is now", "ns/data.txt": "there"})
    async with staged.running() as bridge:
        text = "import importlib.resources as r\nresult = (r.files({name!r}) / 'data.txt').read_text()"
        assert await run(bridge, text.format(name="shop")) == "as it is now"
        assert await run(bridge, text.format(name="ns")) == "there"
        listing = "import pkgutil, shop\nresult = sorted(each.name for each in pkgutil.iter_modules(shop.__path__))"
        assert await run(bridge, listing) == ["prices", "stock", "unused"]
        for text in ("once", "and again"):
            staged.write({"shop/data.txt": text})
            assert await run(bridge, "import pkgutil\nresult = pkgutil.get_data('shop', 'data.txt')") == text.encode()


# --- other processes


async def test_pickle_works(staged: StagedProject) -> None:
    async with staged.running() as bridge:
        edit(staged.src / "helper.py")
        code = "import helper, pickle\nresult = pickle.loads(pickle.dumps(helper.Thing())).x"
        assert await run(bridge, code) == "pinned"


IN_A_CHILD = """
import multiprocessing, svc
with multiprocessing.get_context({method!r}).Pool(1) as pool:
    result = [pool.apply(svc.thing).x, pool.apply(svc.late_version)]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_children_of_multiprocessing_have_the_same_pins(staged: StagedProject, method: str) -> None:
    async with staged.running() as bridge:
        for path in staged.files():
            break_syntax(path)
        assert await run(bridge, IN_A_CHILD.format(method=method)) == ["pinned", "pinned"]


# --- damage


async def test_a_lost_object_is_taken_from_the_users_file_while_that_is_the_same(staged: StagedProject) -> None:
    shutil.rmtree(staged.manifest.parent.parent / "objects")
    async with staged.running() as bridge:
        assert await bridge.call("svc", "versions", [], {}) == PINNED


async def test_a_lost_object_is_an_import_error_that_says_so(staged: StagedProject) -> None:
    lost = trio.Path(object_path(str(staged.manifest), digest_of(SOURCES["late.py"].encode())))
    async with staged.running() as bridge:
        await lost.write_bytes(b"VERSION = 'bad'")
        edit(staged.src / "late.py")
        with pytest.raises(RemoteError) as caught:
            await bridge.call("svc", "versions", [], {})
    assert caught.value.type_name == "ImportError"
    assert "The pinned source of late is damaged" in caught.value.message
    assert "its bytes are not those that its name stands for" in caught.value.message


@pytest.mark.parametrize(("data", "told"), [(b"", "is damaged"), (None, "cannot be read")], ids=["damaged", "gone"])
async def test_a_lost_manifest_is_an_error_of_the_bridge(staged: StagedProject, data: bytes | None, told: str) -> None:
    staged.manifest.unlink()
    if data is not None:
        staged.manifest.write_bytes(data)
    with (
        trio.fail_after(DEADLINE),
        pytest.raises(BridgeError, match=f"^The pinned generation cannot be run. .* {told}"),
    ):
        await ProcessBridge(modules=["svc"], pinned=staged.manifest).init()


# --- the app's side


def test_the_manifest_comes_with_the_config(tmp_path: Path) -> None:
    config = Config(
        path=tmp_path / "lastgood.toml",
        python_import_path=(),
        modules={},
        output=OutputConfig(dir=tmp_path / "generated"),
        pinned=tmp_path / "manifest",
    )
    assert vars(ProcessBridge.from_config(config))["_pinned"] == str(tmp_path / "manifest")
