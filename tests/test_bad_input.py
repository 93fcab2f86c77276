"""Bad input of every kind: a clear error that names file, field or module, and nothing is lost.

Each row is given to a running session that has a good generation. That stays live, byte for byte, while the status says why
it is stale; and when the input is mended, the session goes on by itself.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from lastgood.config import Config, load_config
from lastgood.errors import (
    ConfigError,
    GenerationError,
    LastgoodError,
    PromotionError,
    UnmanagedFile,
    UnwatchableModule,
)
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Project
from lastgood.session.watch import WatchProgram, watch
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.wrappers import Generated
from real_project import BROKEN, DEADLINE, QUOTE, FakeFactory, RealProject, Told

Start = Callable[..., WatchProgram]


@dataclass(frozen=True)
class Bad:
    """``spoil`` makes the input bad; ``mend`` makes it good again (None: save the file that it is about anew).

    The error is an ``error``, its text ends up containing all of ``says``, in which ``{root}`` is the project's directory.
    """

    id: str
    error: type[LastgoodError]
    says: tuple[str, ...]
    spoil: Callable[[RealProject], object]
    mend: Callable[[RealProject], object]


def in_place_of(path: str, put: Callable[[Path], object]) -> Callable[[RealProject], None]:
    """Remove what is at ``path``, and put something else there."""

    def spoil(project: RealProject) -> None:
        remove(project.root / path)
        put(project.root / path)

    return spoil


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            remove(each)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def mended(path: str, text: str) -> Callable[[RealProject], None]:
    def mend(project: RealProject) -> None:
        remove(project.root / path)
        project.save(path, text)

    return mend


def listening(path: Path) -> None:
    """A socket stays in the file system when it is closed."""
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/{path.name}")  # its own path may be too long for a socket's
        finally:
            os.close(here)


def cyclic(path: Path) -> None:
    path.symlink_to(path.name)


def bytes_of(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


# --- sources ------------------------------------------------------------------------------------------------------


def source(id: str, data: bytes, *says: str) -> Bad:  # noqa: A002  # pytest.param names it so
    put = in_place_of("pricing.py", bytes_of(data))
    where = ("Generation failed for 1 module(s):", "pricing ({root}/pricing.py")
    return Bad(id, GenerationError, (*where, *says), put, mended("pricing.py", QUOTE))


def no_source(id: str, put: Callable[[Path], object]) -> Bad:  # noqa: A002  # pytest.param names it so
    says = ('Module "pricing" could not be resolved for watching',)
    return Bad(id, UnwatchableModule, says, in_place_of("pricing.py", put), mended("pricing.py", QUOTE))


NESTED = "nested too deeply"

SOURCES = [
    source("broken", BROKEN.encode(), "pricing.py:1): "),
    source("not UTF-8", QUOTE.encode() + b"name = '\xe9'\n", "pricing.py:3): byte 0xe9 is not utf-8"),
    source("UTF-16", QUOTE.encode("utf-16"), "pricing.py:1): ", "UTF-8"),
    source("an encoding that nobody knows", b"# coding: klingon\n", "pricing.py:1): unknown encoding", "klingon"),
    source("NUL bytes", QUOTE.encode() + b"\0\n", "pricing.py:3): it contains NUL bytes"),
    source("brackets in brackets", b"x = " + b"(" * 5_000 + b")" * 5_000, "too many nested parentheses"),
    source("a sum of 100,000 terms", b"x = 1" + b" + 1" * 100_000, NESTED),
    source("100,000 attributes", b"x = a" + b".a" * 100_000, NESTED),
    source("100,000 signs", b"x = " + b"-" * 100_000 + b"1", NESTED),
    source("blocks in blocks", b"".join(b" " * n + b"if 1:\n" for n in range(120)), "indentation"),
    source("5 MB", b"import os\n" + b"x = 1\n" * 833_334, "too large", "5.0 MB, of at most 4 MB"),
    source("50 MB", b"import os\n" + b"x = 1\n" * 8_333_334, "too large", "50.0 MB, of at most 4 MB"),
    no_source("nothing", lambda _: None),
    no_source("a directory named like a file", Path.mkdir),
    no_source("a FIFO", os.mkfifo),
    no_source("a socket", listening),
    no_source("a link to nowhere", lambda path: path.symlink_to("nowhere.py")),
    no_source("a link to itself", cyclic),
]

# --- the config ---------------------------------------------------------------------------------------------------

GOOD_CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'


def config(id: str, put: Callable[[Path], object], *says: str) -> Bad:  # noqa: A002  # pytest.param names it so
    spoil = in_place_of("lastgood.toml", put)
    return Bad(id, ConfigError, ("{root}/lastgood.toml", *says), spoil, mended("lastgood.toml", GOOD_CONFIG))


def field(text: str, field: str, *says: str) -> Bad:
    return config(f"{field}: {text}"[:60], bytes_of(text.encode()), f'field "{field}"', *says)


OUTPUT = '\n[output]\ndir = "generated"\n'
BOTH = "[modules.pricing]" + OUTPUT

CONFIGS = [
    config("removed", lambda _: None, "the config file does not exist"),
    config("empty", bytes_of(b""), 'field "modules": is missing'),
    config("a directory", Path.mkdir, "is a directory; expected a config file"),
    config("a FIFO", os.mkfifo, "is not a regular file"),
    config("a socket", listening, "is not a regular file"),
    config("cyclic through a link", cyclic, "cannot be read", "symbolic links"),
    config("a link to nowhere", lambda path: path.symlink_to("nowhere.toml"), "does not exist"),
    config("no TOML", bytes_of(b"[modules\n"), "is not valid TOML"),
    config("not UTF-8", bytes_of(b"[modules]\n# \xff\n"), ":2", "is not UTF-8"),
    config("NUL bytes", bytes_of(b"[modules]\n\0\n"), "is not valid TOML"),
    config("nested too deeply", bytes_of(b"x = " + b"[" * 100_000), "nested too deeply"),
    config("numbers too long", bytes_of(b"x = " + b"1" * 5_000), "is not valid TOML"),
    field(f"modules = 3{OUTPUT}", "modules", "a table", "an integer"),
    field(f"[modules]\npricing = 3{OUTPUT}", "modules.pricing", "a table"),
    field(f'[modules."a b"]{OUTPUT}', 'modules."a b"', "is not a module name"),
    field(f'[modules.pricing]\nfunctions = "quote"{OUTPUT}', "modules.pricing.functions", "an array of strings"),
    field(f"[modules.pricing]\nfunctions = [1]{OUTPUT}", "modules.pricing.functions[0]", "a string"),
    field(f'[modules.pricing]\nfunctions = [""]{OUTPUT}', "modules.pricing.functions[0]", "is empty"),
    field(f"[modules.pricing]\nclasses = true{OUTPUT}", "modules.pricing.classes", "an array of strings"),
    field(f"[modules.pricing]\nexclude = {{}}{OUTPUT}", "modules.pricing.exclude", "an array of strings"),
    field(f"[modules.pricing]\nexclude_patterns = [[]]{OUTPUT}", "modules.pricing.exclude_patterns[0]", "a string"),
    field(f"[modules.pricing]\nfunction = []{OUTPUT}", "modules.pricing.function", 'Did you mean "functions"?'),
    field("output = 3\n[modules]\n", "output", "a table"),
    field("[modules]\n[output]\n", "output.dir", "is missing"),
    field("[modules]\n[output]\ndir = 3\n", "output.dir", "a string", "an integer"),
    field('[modules]\n[output]\ndir = ""\n', "output.dir", "is empty"),
    field('[modules]\n[output]\ndir = "a\\u0000b"\n', "output.dir", "NUL"),
    field('[modules]\n[output]\ndir = "x"\ndirs = 3\n', "output.dirs", "unknown field"),
    field(f'python_import_path = "src"\n{BOTH}', "python_import_path", "an array of strings"),
    field(f"python_import_path = [3]\n{BOTH}", "python_import_path[0]", "a string"),
    field(f"runtime = 3\n{BOTH}", "runtime", "a table"),
    field(f"[runtime]\nprocess = 3\n{BOTH}", "runtime.process", "a table"),
    field(f"[runtime.process]\npython = 3\n{BOTH}", "runtime.process.python", "a string"),
    field(f'[runtime.process]\ntimeout = "1"\n{BOTH}', "runtime.process.timeout", "a number", "a string"),
    field(f"[runtime.process]\ntimeout = true\n{BOTH}", "runtime.process.timeout", "a number", "a boolean"),
    field(f"[runtime.process]\ntimeout = 0\n{BOTH}", "runtime.process.timeout", "more than 0"),
    field(f"[runtime.process]\ntimeout = nan\n{BOTH}", "runtime.process.timeout", "finite"),
    field(f"[runtime.process]\nretries = 3\n{BOTH}", "runtime.process.retries", "unknown field"),
    field(f"colour = 3\n{BOTH}", "colour", "unknown field"),
]

# --- the output directory -----------------------------------------------------------------------------------------


def output(
    id: str,  # noqa: A002  # pytest.param names it so
    error: type[LastgoodError],
    name: str,
    *says: str,
    put: Callable[[Path], object] | None = None,
) -> Bad:
    """``[output] dir`` is set to ``name``, after something was put there."""

    def spoil(project: RealProject) -> None:
        if put is not None:
            put(project.root / name)
        modules = ("pricing", "stocks") if put is a_package else ("pricing",)
        project.configure(*modules, output=name)

    return Bad(id, error, says, spoil, lambda project: project.save("lastgood.toml", GOOD_CONFIG))


def a_package(path: Path) -> None:
    path.mkdir()
    (path / "__init__.py").write_text(QUOTE)


def wrapper(id: str, put: Callable[[Path], object]) -> Bad:  # noqa: A002  # pytest.param names it so
    """Something that is not ours comes to where the wrapper of a new module belongs."""

    def spoil(project: RealProject) -> None:
        put(project.output / "stock.py")
        project.save("stock.py", QUOTE)
        project.configure("pricing", "stock")

    def mend(project: RealProject) -> None:
        remove(project.output / "stock.py")
        project.configure("pricing", "stock", head="# again")

    return Bad(id, UnmanagedFile, ("{root}/generated/stock.py", "lastgood did not write"), spoil, mend)


OUTPUTS = [
    output("is a file", PromotionError, "taken", "{root}/taken", "not a directory", put=Path.touch),
    output("is a FIFO", PromotionError, "taken", "{root}/taken", "not a directory", put=os.mkfifo),
    output("is a source", ConfigError, "stocks", 'field "output.dir"', "{root}/stocks is a source", put=a_package),
    output("is below a file", PromotionError, "pricing.py/out", "{root}/pricing.py", "cannot be prepared"),
    output("is a link to itself", PromotionError, "taken", "{root}/taken", "not a directory", put=cyclic),
    output("is the project", ConfigError, ".", 'field "output.dir"', "holds the config file itself"),
    output("is above the project", ConfigError, "..", 'field "output.dir"', "holds the config file itself"),
    output("has a name that is too long", PromotionError, "x" * 300, "name too long"),
    wrapper("a file of somebody else", lambda path: path.write_text("mine\n")),
    wrapper("a directory", Path.mkdir),
    wrapper("a FIFO", os.mkfifo),
    wrapper("a link", lambda path: path.symlink_to("pricing.py")),
]

ROWS = [
    pytest.param(row, id=f"{kind}-{row.id}", marks=[pytest.mark.torture] * (row.id == "50 MB"))
    for kind, rows in (("source", SOURCES), ("config", CONFIGS), ("output", OUTPUTS))
    for row in rows
]


@pytest.mark.parametrize("row", ROWS)
async def test_bad_input_is_a_clear_error_and_nothing_is_lost(
    row: Bad, project: RealProject, start: Start, factory: FakeFactory, told: Told
) -> None:
    await try_row(row, project, start, factory, told)


async def try_row(row: Bad, project: RealProject, start: Start, factory: FakeFactory, told: Told) -> None:
    async with start() as session:
        await told.success()
        row.spoil(project)
        good = project.exact_tree()
        failure = await told.failure()
        assert type(failure.error) is row.error
        for part in row.says:
            assert part.format(root=project.root) in str(failure.error)
        assert project.exact_tree() == good
        assert "pricing.py" in good
        status = session.status
        assert status.stale
        assert status.error is failure.error
        assert not factory.latest.disposed
        assert await session.handle.call("pricing", "quote", [], {}) == 1
        row.mend(project)
        while (await told.end()).type != "reload-success":
            pass
        assert not session.status.stale
    assert project.leftovers() == []


# --- what is odd, and not bad -------------------------------------------------------------------------------------


def of_bytes(directory: Path, name: bytes) -> Path:
    return directory / os.fsdecode(name)


def nest(path: Path) -> None:
    """A tree as deep as a path may be long."""
    for _ in range(200):
        path /= "deeper"
        path.mkdir()


ODD = {
    "an empty file": lambda shop: (shop / "empty.py").touch(),
    "a FIFO": lambda shop: os.mkfifo(shop / "pipe.py"),
    "a socket": lambda shop: listening(shop / "socket.py"),
    "a link to nowhere": lambda shop: (shop / "lost.py").symlink_to("nowhere.py"),
    "a link to itself": lambda shop: cyclic(shop / "circle.py"),
    "a link to the tree it is in": lambda shop: (shop / "again").symlink_to("."),
    "a link to a directory elsewhere": lambda shop: (shop / "tmp").symlink_to(shop.parent / "generated"),
    "a deep tree": nest,
    "a name with newlines": lambda shop: (shop / "a\nb\n.py").write_text(QUOTE),
    "a name that is no UTF-8": lambda shop: of_bytes(shop, b"caf\xe9.py").write_text(QUOTE),
    "a directory whose name is no UTF-8": lambda shop: of_bytes(shop, b"caf\xe9").mkdir(),
    "50 MB of data": lambda shop: (shop / "data.bin").write_bytes(b"0" * 50_000_000),
    "no output directory": lambda shop: remove(shop.parent / "generated"),
    "nothing that lastgood remembers": lambda shop: remove(shop.parent / ".lastgood"),
}


@pytest.mark.parametrize("put", ODD.values(), ids=ODD)
async def test_what_is_odd_stops_nothing(
    put: Callable[[Path], object], project: RealProject, start: Start, told: Told
) -> None:
    project.save("shop/__init__.py", QUOTE)
    project.configure("pricing", "shop")
    async with start() as session:
        await told.success()
        put(project.root / "shop")
        project.save("shop/__init__.py", QUOTE.replace("1.0", "2.0").replace("sku", "name"))
        while "name" not in project.tree().get("shop.py", b"").decode():
            await told.success()
        assert not session.status.stale
        assert set(project.tree()) == {"__init__.py", "pricing.py", "shop.py"}
    assert project.leftovers() == []


async def test_a_package_that_is_moved_away_with_its_wrappers_comes_back(
    project: RealProject, start: Start, told: Told
) -> None:
    project.save("shop/__init__.py", QUOTE)
    project.configure("shop", output="shop/generated")
    async with start() as session:
        await told.success()
        (project.root / "shop").rename(project.root / "away")
        assert type((await told.failure()).error) is UnwatchableModule
        assert not (project.root / "shop").exists()
        (project.root / "away").rename(project.root / "shop")
        await told.success()
        assert not session.status.stale


async def test_a_project_can_lie_where_no_name_is_utf_8(tmp_path: Path, factory: FakeFactory, told: Told) -> None:
    place = of_bytes(tmp_path, b"caf\xe9\n")
    place.mkdir()
    project = RealProject(place)
    async with watch(project.config_file, create_bridge=factory.create_bridge, on_event=told, debounce=0.01):
        await told.success()
        project.save("pricing.py", QUOTE.replace("sku", "name"))
        success = await told.success()
    assert b"name" in project.tree()["pricing.py"]
    assert json.loads(json.dumps(success.to_dict()))["changed"] == [str(project.root / "pricing.py")]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/etc/passwd", "not a path inside the stage"),
        ("../climbs.py", "not a path inside the stage"),
        ("a/../../climbs.py", "not a path inside the stage"),
        ("", "not a path inside the stage"),
        ("missing.py", "no such file"),
        ("directory", "no such file"),
        ("link.py", "no such file"),
        ("elsewhere/pricing.py", "leads through a symbolic link"),
        (os.fsdecode(b"caf\xe9.py"), "cannot be encoded in UTF-8"),
    ],
)
async def test_a_generator_that_writes_elsewhere_is_refused(
    name: str, says: str, project: RealProject, start: Start
) -> None:
    names = ["good\nname.py"]

    def generate(_config: Config, stage: Path) -> Generated:
        (stage / "good\nname.py").write_text("x = 1\n")
        (stage / "directory").mkdir()
        (stage / "link.py").symlink_to(project.root / "pricing.py")
        (stage / "elsewhere").symlink_to(project.root)
        of_bytes(stage, b"caf\xe9.py").touch()
        return Generated(tuple(names), (), ())

    async with start(generate=generate) as session:
        good = project.exact_tree()
        assert list(good) == names
        names.append(name)
        assert not await session.reload_now()
        assert type(session.status.error) is PromotionError
        assert says in str(session.status.error)
        str(session.status.error).encode()
        assert project.exact_tree() == good
        names.pop()
        assert await session.reload_now()
    assert (project.root / "pricing.py").read_text() == QUOTE
    assert project.leftovers() == []


async def test_a_copy_of_a_wrapper_under_a_name_that_is_no_utf_8_is_left_alone(
    project: RealProject, start: Start
) -> None:
    async with start() as session:
        copy = of_bytes(project.output, b"caf\xe9.py")
        copy.write_bytes((project.output / "pricing.py").read_bytes())
        project.save("pricing.py", QUOTE.replace("sku", "name"))
        assert await session.reload_now(), session.status
        assert copy.exists()


# --- what may not be touched --------------------------------------------------------------------------------------


def forbid(path: str, mode: int, error: type[LastgoodError], *says: str) -> Bad:
    """``path`` gets ``mode``, and an edit makes it matter; mended, it gets its own back."""
    was: list[int] = []

    def spoil(project: RealProject) -> None:
        was.append((project.root / path).stat().st_mode)
        project.save("pricing.py", QUOTE.replace("sku", "name"))
        (project.root / path).chmod(mode)

    def mend(project: RealProject) -> None:
        (project.root / path).chmod(was.pop())
        project.save("pricing.py", QUOTE.replace("sku", "code"))

    return Bad(f"{path}, {mode:o}", error, says, spoil, mend)


DENIED = "Permission denied"
FORBIDDEN = [
    forbid("pricing.py", 0, GenerationError, "pricing ({root}/pricing.py): the source cannot be read", DENIED),
    forbid("shop/__init__.py", 0, GenerationError, "shop ({root}/shop/__init__.py): the source cannot be read", DENIED),
    forbid("shop", 0, UnwatchableModule, 'Module "shop"', "{root}/shop", DENIED),
    forbid("lastgood.toml", 0, ConfigError, "{root}/lastgood.toml: the config file cannot be read", DENIED),
    forbid("generated", 0o555, PromotionError, "{root}/generated/pricing.py", "could not be promoted", DENIED),
    forbid(".lastgood/generated", 0o555, PromotionError, "{root}/.lastgood", "cannot be prepared", DENIED),
]


@pytest.fixture
def bound(tmp_path: Path) -> None:
    """Skips for those whom permissions do not bind."""
    (tmp_path / "probe").touch(0)
    if os.access(tmp_path / "probe", os.R_OK):
        pytest.skip("permissions do not bind root; see test_the_same_for_root")


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("row", FORBIDDEN, ids=lambda row: row.id)
async def test_what_permissions_forbid_is_a_clear_error_and_nothing_is_lost(
    row: Bad, project: RealProject, start: Start, factory: FakeFactory, told: Told
) -> None:
    project.save("shop/__init__.py", QUOTE)
    project.configure("pricing", "shop")
    await try_row(row, project, start, factory, told)


@pytest.mark.usefixtures("bound")
async def test_what_permissions_hide_inside_a_package_stops_nothing(
    project: RealProject, start: Start, told: Told
) -> None:
    project.save("shop/__init__.py", QUOTE)
    project.save("shop/hidden/secret.py", QUOTE)
    project.configure("shop")
    (project.root / "shop" / "hidden").chmod(0)
    async with start() as session:
        await told.success()
        project.save("shop/__init__.py", QUOTE.replace("sku", "name"))
        await told.success()
        assert not session.status.stale


WITHOUT_OVERRIDE = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
        sys.exit("the capabilities cannot be dropped")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_the_same_for_root(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not sys.platform.startswith("linux") or os.geteuid():
        pytest.skip("only root is not bound by permissions")
    pytest_ = [
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'inner'}",
        "-k",
        "permissions",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OVERRIDE, *pytest_, str(Path(__file__))],
        cwd=request.config.rootpath,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(FORBIDDEN) + 1} passed" in done.stdout


# --- a full disk --------------------------------------------------------------------------------------------------


def a_cycle(files: Project, number: int) -> PromotionError | None:
    """What a session does to files in a cycle; the error for which it was undone."""
    work = CycleFiles(files, number)
    try:
        work.resolve()
        work.claim()
        work.accept(work.generate())
        work.keep()
        work.promote()
        work.commit()
        with suppress(OSError):  # after the commit it is only logged
            work.settle(0.0)
    except PromotionError as error:
        work.restore()
        work.discard()
        return error
    return None


def test_a_full_disk_at_each_write_is_a_clear_error_and_nothing_is_lost(
    project: RealProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.configure("pricing", "stock", "goes")
    for name in ("pricing", "stock", "goes"):
        project.save(f"{name}.py", QUOTE)
    files = Project(Disk(), project.config_file, (), load_config, worker_interpreter, os.getpid())
    assert a_cycle(files, 1) is None
    good = project.exact_tree()
    project.configure("pricing", "stock", "new.module")
    project.save("pricing.py", QUOTE.replace("sku", "name"))
    project.save("new/module.py", QUOTE)
    everything = sorted(project.root.rglob("*"))
    home = project.root / ".lastgood" / "generated"
    full: set[str] = set()
    refused: list[Path] = []
    space = free = 0

    def write(descriptor: int, data: bytes, real_write: Callable[[int, bytes], int] = os.write) -> int:
        """What does not fit is written as far as it does, and the next call fails."""
        nonlocal free
        if data and not free:
            refused.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
            full.add(refused[-1].relative_to(home).parts[0])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real_write(descriptor, data[:free])
        free -= written
        return written

    monkeypatch.setattr(os, "write", write)
    while error := a_cycle(files, 2):
        assert "No space left on device" in str(error)
        assert error.path in refused
        assert project.exact_tree() == good
        assert sorted(project.root.rglob("*")) == everything
        space += 100
        free = space
    assert sorted(project.tree()) == ["__init__.py", "new/__init__.py", "new/module.py", "pricing.py", "stock.py"]
    assert b"name" in project.tree()["pricing.py"]
    # Whatever is written was once what did not fit.
    assert full == {"stage-2", "generations", "journal.new", "manifest.json.new"}
    files.release()
