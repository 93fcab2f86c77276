"""``direct()``: wrappers without a worker, in every kind of program."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

import lastgood
from flavours import Flavour
from imported import forgotten
from lastgood import (
    BridgeError,
    ConfigError,
    Disposed,
    InProcessBridge,
    NoRuntimeBridge,
    RemoteError,
    clear_runtime_bridge,
    direct,
    get_runtime_bridge,
    set_runtime_bridge,
)
from lastgood.cli.commands import main as command
from running import program_environment

PRICING = '''
"""Prices."""
from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import NamedTuple, TypedDict


@dataclass
class Quote:
    sku: str
    price: float

    @classmethod
    def free(cls, sku: str) -> Quote:
        return cls(sku, 0.0)


class Level(enum.Enum):
    HIGH = 3

class Point(NamedTuple):
    x: int

class Options(TypedDict):
    late: bool

@dataclass
class Coupon:
    sku: str
    price: float

def every(level: Level, point: Point, options: Options) -> None: ...

def bought(kind: str) -> Quote | Coupon:
    return Quote("a", 1.0) if kind == "quote" else Coupon("a", 1.0)

def quote(sku: str, quantity: int = 1) -> Quote:
    if quantity < 0:
        raise ValueError(f"no {sku}")
    return Quote(sku, 2.5 * quantity)

def double(quote: Quote) -> Quote:
    assert type(quote) is Quote
    return Quote(quote.sku, 2 * quote.price)

async def fetch(sku: str) -> Quote:
    await asyncio.sleep(0)
    return Quote(sku, 1.0)

async def anywhere(sku: str) -> str:
    return sku

def by_a_loop_of_its_own(sku: str) -> str:
    return asyncio.run(anywhere(sku))
'''


class Project:
    """Sources, a config, and wrappers of that style, in the working directory."""

    def __init__(self, root: Path, style: str) -> None:
        self.root = root
        self.style = style
        self.save("pricing.py", PRICING)
        self.configure("pricing")
        self.generate()

    def save(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def configure(self, *modules: str, output: str = "generated") -> None:
        tables = "".join(f'[modules."{module}"]\n' for module in modules)
        self.save("lastgood.toml", f'{tables}[output]\ndir = "{output}"\nstyle = "{self.style}"\n')

    def generate(self) -> None:
        done = CliRunner().invoke(command, ["generate", str(self.root / "lastgood.toml")])
        assert done.exit_code == 0, done.output

    def wrapper(self) -> Any:
        return importlib.import_module("generated.pricing")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with forgotten(tmp_path):
        yield tmp_path


@pytest.fixture
def project(place: Path) -> Project:
    return Project(place, "sync")


@pytest.fixture
def async_project(place: Path) -> Project:
    return Project(place, "async")


def run_python(program: str, cwd: Path, **environment: str) -> str:
    variables = program_environment() | environment
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


# --- programs of every kind


def test_a_plain_program(project: Project) -> None:
    with direct("lastgood.toml"):
        pricing = project.wrapper()
        assert pricing.quote("a", quantity=2) == pricing.Quote("a", 5.0)
        assert pricing.double(pricing.Quote("a", 1.0)) == pricing.Quote("a", 2.0)
        assert pricing.Quote.free("a") == pricing.Quote("a", 0.0)
        assert pricing.fetch("a") == pricing.Quote("a", 1.0)
        assert pricing.by_a_loop_of_its_own("a") == "a"
        assert [type(pricing.bought(kind)) for kind in ("quote", "coupon")] == [pricing.Quote, pricing.Coupon]
        with pytest.raises(RemoteError) as caught:
            pricing.quote("a", -1)
        assert (caught.value.type_name, caught.value.message) == ("ValueError", "no a")
        with pytest.raises(RemoteError, match=r"quote\(\) missing 1 required positional argument: 'sku'"):
            pricing.quote()


def test_from_several_threads(project: Project) -> None:
    with direct(), ThreadPoolExecutor(4) as pool:
        pricing = project.wrapper()
        assert [*pool.map(pricing.by_a_loop_of_its_own, "abcd" * 5)] == [*"abcd" * 5]


def test_sync_wrappers_on_a_loop(project: Project, flavour: Flavour) -> None:
    async def main() -> None:
        async with direct() as session:
            pricing = project.wrapper()
            assert pricing.quote("a").price == 2.5
            with pytest.raises(BridgeError, match="Await it"):
                pricing.anywhere("a")
            assert await session.handle.call("pricing", "anywhere", ["a"]) == "a"
            assert await flavour.in_thread(lambda: pricing.anywhere("b")) == "b"

    flavour.run(main)


def test_async_wrappers(async_project: Project, flavour: Flavour) -> None:
    async def main() -> None:
        async with direct():
            pricing = async_project.wrapper()
            assert await pricing.quote("a", 2) == pricing.Quote("a", 5.0)
            assert await pricing.anywhere("a") == "a"
            async with flavour.tasks() as start:
                tasks = [start(lambda sku=sku: pricing.anywhere(sku)) for sku in "abc"]  # type: ignore[misc]  # bound at once
                assert [await task.result() for task in tasks] == [*"abc"]

    flavour.run(main)


def test_a_plain_block_around_several_loops(async_project: Project) -> None:
    with direct():
        pricing = async_project.wrapper()
        for _ in range(2):
            assert asyncio.run(pricing.fetch("a")) == pricing.Quote("a", 1.0)
            assert trio.run(pricing.anywhere, "a") == "a"


def test_where_no_block_fits(project: Project) -> None:
    session = direct().start()
    pricing = project.wrapper()
    assert session.handle.call_blocking("pricing", "anywhere", ["a"]) == "a"
    session.close()
    session.close()
    with pytest.raises(NoRuntimeBridge):
        pricing.anywhere("a")
    with pytest.raises(Disposed, match=r"direct\(\) of .* is over"):
        session.handle.call_blocking("pricing", "anywhere", ["a"])


def test_a_process_that_forks_has_it_in_its_children(project: Project) -> None:
    with direct():
        pricing = project.wrapper()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if pricing.fetch("a").price == 1.0 else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


def test_it_loads_no_event_loop_and_writes_nothing(project: Project) -> None:
    (project.root / ".lastgood").rename(project.root.parent / f"{project.root.name}-kept-elsewhere")
    before = sorted(project.root.rglob("*"))
    program = "import lastgood, sys\nwith lastgood.direct():\n    from generated import pricing\n    print(pricing.quote('a'))\n"
    out = run_python(f"{program}print(*sys.modules)", project.root, PYTHONDONTWRITEBYTECODE="1")
    result, modules = out.splitlines()
    assert result == "Quote(sku='a', price=2.5)"
    assert set(modules.split()).isdisjoint(
        ("trio", "watchfiles", "lastgood.wrappers.generate", "rich", "returns", "click", "filelock", "sqlite3")
    )
    assert sorted(project.root.rglob("*")) == before


def test_a_program_that_is_installed(place: Path) -> None:
    package = place / "lib" / "site-packages" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "pricing.py").write_text("def quote(sku: str) -> float:\n    return 2.5\n")
    (package / "lastgood.toml").write_text(
        'python_import_path = [".."]\n[modules."shop.pricing"]\n[output]\ndir = "generated"\nstyle = "sync"\n'
    )
    (package / "main.py").write_text(
        "import lastgood\nfrom pathlib import Path\nfrom shop.generated.shop import pricing\n"
        "with lastgood.direct(Path(__file__).with_name('lastgood.toml')):\n    print(pricing.quote('a'))\n"
    )
    done = CliRunner().invoke(command, ["generate", str(package / "lastgood.toml")])
    assert done.exit_code == 0, done.output
    path = os.pathsep.join([str(package.parent), program_environment()["PYTHONPATH"]])
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    assert run_python("import runpy; runpy.run_module('shop.main')", elsewhere, PYTHONPATH=path) == "2.5\n"


# --- what is called


def test_without_a_config_file_the_nearest_one_is_taken(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir("deep/down")
    session = direct()
    monkeypatch.chdir("/")
    with session:
        assert project.wrapper().quote("a").price == 2.5


def test_modules_alone_read_no_config(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "lastgood.toml").write_text("not TOML at all")
    (place / "small.py").write_text("def double(number):\n    return 2 * number\n")
    session = direct(modules=["small"])
    monkeypatch.chdir("/")
    with session:
        assert session.handle.call_blocking("small", "double", [2]) == 4


def test_their_import_path_counts_from_the_working_directory(place: Path) -> None:
    (place / "src").mkdir()
    (place / "src" / "inner.py").write_text("def double(number):\n    return 2 * number\n")
    with direct(modules=["inner"], import_path=["src"]) as session:
        assert sys.path[0] == str(place / "src")
        assert session.handle.call_blocking("inner", "double", [2]) == 4
    assert str(place / "src") not in sys.path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"config_file": "lastgood.toml", "modules": ["pricing"]}, "found both"),
        ({"config_file": "lastgood.toml", "import_path": ["src"]}, "found both"),
        ({"import_path": ["src"]}, "found it alone"),
    ],
    ids=["modules", "import path", "import path alone"],
)
def test_a_config_file_and_what_is_in_it_are_not_both_given(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        direct(**arguments)


@pytest.mark.parametrize("arguments", [{"modules": "pricing"}, {"modules": [], "import_path": "src"}], ids=repr)
def test_one_text_is_no_list(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="are lists"):
        direct(**arguments)


def test_nothing_is_touched_before_it_is_entered(place: Path) -> None:
    session = direct(place / "nowhere.toml")
    assert repr(session) == f"<lastgood.direct() of {place / 'nowhere.toml'}, new>"
    with pytest.raises(ConfigError, match=r"nowhere\.toml: the config file does not exist"):
        session.start()
    with pytest.raises(NoRuntimeBridge, match="No runtime bridge"):
        get_runtime_bridge()


@pytest.mark.parametrize("arguments", [{}, {"modules": ["pricing"]}], ids=["config", "modules"])
def test_a_source_that_raises_at_its_import_is_told_and_can_be_mended(
    project: Project, arguments: dict[str, Any]
) -> None:
    project.save("pricing.py", "1 / 0\n")
    session = direct(**arguments)
    before = [*sys.path]
    with pytest.raises(RemoteError, match="ZeroDivisionError"):
        session.start()
    assert sys.path == before
    project.save("pricing.py", PRICING)
    importlib.invalidate_caches()
    with session:
        assert project.wrapper().anywhere("a") == "a"


# --- under a session


async def test_a_session_may_run_its_generations_in_this_process(async_project: Project) -> None:
    async_project.save("parts.py", "PRICE = 1.0\n")
    async_project.save(
        "pricing.py", PRICING.replace("import asyncio\n", "import asyncio, parts\n").replace("2.5 *", "parts.PRICE *")
    )
    async with lastgood.watch(create_bridge=InProcessBridge.from_config, debounce=0.01) as session:
        sys.path.insert(0, str(async_project.root))
        pricing = async_project.wrapper()
        assert (await pricing.quote("a")).price == 1.0
        async_project.save("parts.py", "PRICE = 2.0\n")
        assert await session.reload_now()
        assert (await pricing.quote("a")).price == 2.0
        async_project.save("parts.py", "PRICE = (\n")
        assert not await session.reload_now()
        assert (await pricing.quote("a")).price == 2.0
        assert session.status.stale
    assert "parts" not in sys.modules


# --- the registry


def test_one_at_a_time_is_published(project: Project) -> None:
    with direct() as session:
        assert get_runtime_bridge().bridge is session.handle.bridge
        with pytest.raises(BridgeError, match=r"Only one bridge can be published.*or call .* by an InProcessBridge"):
            direct().start()
        with pytest.raises(BridgeError, match="entered before"):
            session.start()
        assert project.wrapper().anywhere("a") == "a"
    with pytest.raises(NoRuntimeBridge) as caught:
        get_runtime_bridge()
    assert "with lastgood.direct():" in caught.value.__notes__[0]
    with pytest.raises(BridgeError, match="entered before"):
        session.start()
    with direct():
        assert project.wrapper().anywhere("a") == "a"


@pytest.mark.usefixtures("project")
def test_it_withdraws_nothing_but_its_own() -> None:
    with direct() as session:
        other = session.handle.bridge
        set_runtime_bridge(other)
    assert get_runtime_bridge().bridge is other
    clear_runtime_bridge()


# --- wrappers and sources


def test_without_wrappers_it_says_what_to_run(project: Project) -> None:
    project.save("a/b.py", "")
    project.save("a/__init__.py", "")
    project.configure("pricing", "a", "a.b")
    with pytest.raises(ConfigError) as caught:
        direct().start()
    assert str(caught.value) == (
        f'{project.root}/lastgood.toml: field "modules.a": the wrapper {project.root}/generated/a.py does not exist '
        "(2 of 3 wrappers are missing). "
        'Write them by "lastgood generate", or name the sources by direct(modules=[...]) to do without.'
    )
    project.generate()
    with direct():
        assert project.wrapper().anywhere("a") == "a"


def test_generators_of_the_users_own_make_what_they_will(place: Path) -> None:
    (place / "small.py").write_text("def double(number):\n    return 2 * number\n")
    (place / "lastgood.toml").write_text(
        '[modules.small]\n[output]\ndir = "generated"\n[generator]\ncommand = ["true"]\nsources = ["small.py"]\nbuiltin = false\n'
    )
    with direct() as session:
        assert session.handle.call_blocking("small", "double", [2]) == 4


OTHER = "quote has other parameters"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("quantity: int = 1", "amount: int = 1", OTHER),
        ("quantity: int = 1", "quantity: int", OTHER),
        ("quantity: int = 1", "*, quantity: int = 1", OTHER),
        ("quantity: int = 1", "quantity: int = 1, **more: int", OTHER),
        ("def free(cls, sku: str)", "def free(cls, sku: str, kind: str)", "Quote.free has other parameters"),
        ("price: float\n\n    @", "price: float\n    unit: str = 'kg'\n\n    @", "Quote has other fields"),
        ("HIGH = 3", "HIGH = 3\n    LOW = 1", "Level has other fields"),
        ("x: int\n", "x: int\n    y: int = 0\n", "Point has other fields"),
        ("late: bool\n", "late: bool\n    early: bool\n", "Options has other fields"),
        ("async def fetch(", "async def get(", "fetch is gone, get is new"),
        ("def quote(", "def _quote(", "quote is gone"),
        ("quantity: int = 1", "quantity: float = 1", "quote has other types"),
        ("anywhere(sku: str) -> str", "anywhere(sku: str) -> list[str]", "anywhere has other types"),
        ("def double(", "def new(sku: str) -> str:\n    return sku\n\ndef double(", "new is new"),
    ],
)
def test_a_wrapper_that_is_older_than_its_source_is_a_warning(project: Project, old: str, new: str, told: str) -> None:
    project.save("pricing.py", PRICING.replace(old, new))
    with pytest.warns(UserWarning, match="is older than") as caught, direct():
        pass
    (warning,) = caught
    root = project.root
    assert (
        str(warning.message)
        == f'{root}/generated/pricing.py is older than {root}/pricing.py: {told}. Run "lastgood generate".'
    )
    assert warning.filename == __file__


def test_where_a_warning_is_an_error_nothing_is_left(project: Project) -> None:
    project.save("pricing.py", PRICING.replace("quantity: int = 1", "quantity: int"))
    before = [*sys.path]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="is older than"):
            direct().start()
    assert sys.path == before
    with pytest.raises(NoRuntimeBridge):
        get_runtime_bridge()


async def test_it_points_to_the_block_under_a_loop_too(project: Project) -> None:
    project.save("pricing.py", PRICING.replace("quantity: int = 1", "quantity: int"))
    with pytest.warns(UserWarning, match="is older than") as caught:
        async with direct():
            pass
    assert [warning.filename for warning in caught] == [__file__]


DECORATED = """
import contextlib, functools
import dataclasses, enum
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, overload

def plain(function: Any) -> Any:
    def changed(*args, **kwargs): return function(*args, **kwargs)
    return changed

def given(function: Any) -> Any:
    @functools.wraps(function)
    def changed(*args, **kwargs): return function("given", *args, **kwargs)
    return changed

@plain
def one(a: int) -> int: return a

@given
def two(a: str, b: int) -> int: return b

@functools.lru_cache
def three(a: int, /, b: int = 2, *c: int, d: int, **e: int) -> int: return a

@overload
def four(a: int) -> int: ...
@overload
def four(a: str) -> str: ...
def four(a: Any) -> Any: return a

if three:
    def five(a: int) -> int: return a
else:
    def five(b: int) -> int: return b

@contextlib.contextmanager
def six() -> Iterator[int]: yield 1

def seven() -> Iterator[int]: yield 1

def eight() -> Iterator[int]: return iter([])

def twelve() -> Callable[[], int]: return lambda: 1

Alias = Callable[[], int]

def thirteen() -> Alias: return lambda: 1

if three is None:
    def fourteen() -> int: return 1

nine = three
ten = functools.partial(three, 1)
eleven = lambda a: a

class Desk:
    def __init__(self, of: int) -> None: ...
    def method(self) -> int: return 1
    @staticmethod
    def quote(__sku: str) -> str: return __sku
    class Inner:
        @classmethod
        def name(cls, *, short: bool = False) -> str: return ""

def _private() -> None: ...

@dataclasses.dataclass
class Base:
    a: int
    _b: int = 0
    of: ClassVar[int] = 3
    c: int = dataclasses.field(init=False)
    d: dataclasses.InitVar[int] = 0

@dataclasses.dataclass
class Derived(Base):
    e: int = dataclasses.field(default=0, kw_only=True)

class Code(str, enum.Enum):
    ONE = "one"
    UNO = "one"
    @property
    def label(self) -> str: return self.value

Pair = namedtuple("Pair", "x y")

class Grown(Pair):
    pass

exec("def fifteen(a: int) -> int: return a")

def sixteen(a: int) -> int: return a
sixteen.__signature__ = __import__("inspect").Signature()

class Access(enum.Flag):
    READ = 1
    BOTH = READ | 2

def all_of(derived: Derived, code: Code, pair: Pair, grown: Grown, access: Access) -> None: ...
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PRICING, PRICING.replace("2.5 *", "3.5 *")),
        (PRICING, PRICING.replace("quantity: int = 1", "quantity: int = 2")),
        (PRICING, PRICING.replace('"""Prices."""', '"""Other words."""')),
        (DECORATED, DECORATED),
    ],
    ids=["body", "default", "docstring", "decorated"],
)
def test_what_leaves_its_declarations_as_they_are_is_none(project: Project, before: str, after: str) -> None:
    project.save("pricing.py", before)
    project.generate()
    project.save("pricing.py", after)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with direct():
            pass


def test_it_is_exported() -> None:
    assert isinstance(lastgood.direct(modules=[]), lastgood.DirectSession)
