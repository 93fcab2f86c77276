from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from generating import importable
from lastgood.store.header import has_header
from lastgood.wrappers import ModuleSource, Wrapped, wrap_modules
from lastgood.wrappers.generate import Pipeline
from lastgood.wrappers.read.extract import Extract, extract
from lastgood.wrappers.read.outline import Outline
from lastgood.wrappers.read.project import Project
from lastgood.wrappers.types.models import Models
from wrapping import source

F = "def f(x: int = 1) -> int: ..."


@pytest.mark.parametrize(
    ("names", "files"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["a"], ["__init__.py", "a.py"], id="module"),
        pytest.param(["a.b"], ["__init__.py", "a/__init__.py", "a/b.py"], id="in-a-package"),
        pytest.param(["a", "a.b"], ["__init__.py", "a/__init__.py", "a/b.py"], id="package-and-module"),
        pytest.param(
            ["a.b.c", "a.d"], ["__init__.py", "a/__init__.py", "a/b/__init__.py", "a/b/c.py", "a/d.py"], id="deep"
        ),
        pytest.param(["a", "ab"], ["__init__.py", "a.py", "ab.py"], id="no-prefix-of-a-name"),
    ],
)
def test_each_module_lies_where_it_is_imported_from(names: list[str], files: list[str]) -> None:
    wrapped = wrap_modules([source(name, F) for name in names])
    assert list(wrapped.files) == files
    assert wrapped.failures == ()
    assert all(map(has_header, wrapped.files.values()))
    assert all(b"\r" not in data for data in wrapped.files.values())


def test_an_edit_changes_the_lines_of_what_was_edited_and_no_others() -> None:
    """Two branches that edit different functions merge."""
    more = "\n\ndef g(b: str) -> str:\n    return b\n"
    before, after = (
        wrap_modules([source("a", f"def f(a: {kind}) -> int:\n    return 1\n{more}")])
        .files["a.py"]
        .decode()
        .split("\n")
        for kind in ("int", "float")
    )
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [
        ("async def f(a: int) -> int: ...", "async def f(a: float) -> int: ...")
    ]


def test_a_package_with_a_wrapped_module_below_holds_its_own_functions() -> None:
    wrapped = wrap_modules([source("a", "def g(): ...", is_package=True), source("a.b", F)])
    assert b'@remote("a", "g")' in wrapped.files["a/__init__.py"]
    assert b'@remote("a.b", "f")' in wrapped.files["a/b.py"]


def test_a_namespace_package_has_an_empty_wrapper() -> None:
    wrapped = wrap_modules([ModuleSource("space", None, b"", True)])
    assert b"__all__: list[str] = []" in wrapped.files["space.py"]


def test_the_order_of_the_sources_does_not_matter() -> None:
    sources = [source("b", F), source("a", "def f(x: Desk): ..."), source("c", "def"), source("a.b", "def g(): yield")]
    assert wrap_modules(sources) == wrap_modules(sources[::-1])


def test_a_module_is_found_once_and_only_if_needed() -> None:
    asked: list[str] = []

    def find(name: str) -> ModuleSource | None:
        asked.append(name)
        return source(name, "def f(): ...\ndef g(): ...")

    wrap_modules([source("a", "import os\nfrom impl import f as f, g as g\nfrom other import h")], find=find)
    assert asked == ["impl", "impl-stub"]


def test_a_bug_of_ours_takes_no_other_module_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(project: Project, models: Models, at: Outline) -> Extract:
        if at.source.name == "a":
            raise ValueError("planned")
        return extract(project, models, at)

    monkeypatch.setattr("lastgood.wrappers.generate.extract", faulty)
    wrapped = wrap_modules([source("a", F), source("b", F)])
    assert [str(failure) for failure in wrapped.failures] == [
        "a (/project/a.py): it could not be wrapped: ValueError: planned"
    ]
    assert "b.py" in wrapped.files


STDLIB = [
    *("json", "json.decoder", "textwrap", "statistics", "fractions", "inspect", "asyncio", "asyncio.tasks", "typing"),
    *("functools", "shutil", "tempfile", "urllib.parse", "email.message", "enum", "dataclasses", "calendar", "ast"),
]


def stdlib(name: str) -> ModuleSource | None:
    file = Path(sysconfig.get_path("stdlib"), *name.split("."))
    for path in (file / "__init__.py", file.with_suffix(".py")):
        if path.is_file():
            return ModuleSource(name, path, path.read_bytes(), path.name == "__init__.py")
    return None


def wrap_stdlib() -> Wrapped:
    return wrap_modules([found for name in STDLIB if (found := stdlib(name)) is not None], find=stdlib)


def test_the_standard_library_can_be_wrapped() -> None:
    wrapped = wrap_stdlib()
    assert wrapped.failures == ()
    for path, data in wrapped.files.items():
        compile(data, path, "exec")
    assert b"async def dumps(\n    obj: Any," in wrapped.files["json/__init__.py"]
    assert (
        b"async def gather(*coros_or_futures: Any, return_exceptions: Any = False)"
        in wrapped.files["asyncio/__init__.py"]
    )


@pytest.mark.torture
def test_ten_thousand_functions_in_a_module_cost_ten_times_what_a_thousand_do() -> None:
    def seconds(count: int) -> float:
        function = 'def f{}(a: int, b: str = "x", *, c: list[int] | None = None) -> dict[str, int]:\n    """Doc."""\n'
        begin = time.process_time()
        wrapped = wrap_modules([source("pricing", "".join(map(function.format, range(count))))])
        assert wrapped.failures == ()
        assert wrapped.files["pricing.py"].count(b"async def f") == count
        return time.process_time() - begin

    assert seconds(10_000) <= 3 * 10 * min(seconds(1000) for _ in range(3))


def test_nothing_of_the_users_is_executed() -> None:
    text = "raise SystemExit('executed')\n@boom()\ndef f(x: boom() = boom()): ...\nclass C(boom()): ..."
    assert wrap_modules([source("a", text)]).failures == ()


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    script = (
        "import hashlib, sys\n"
        "from wrappers.test_generate import wrap_stdlib\n"
        "from wrappers.types.test_types import wrap_declarations\n"
        "print(hashlib.sha256(repr([wrap_stdlib(), wrap_declarations()]).encode()).hexdigest())"
    )
    seen = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        seen.add(
            subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
        )
    assert len(seen) == 1


def test_the_types_can_be_had_without_the_pipeline() -> None:
    script = "import sys, lastgood.wrappers; sys.exit('lastgood.wrappers.generate' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("", True),
        ("'A docstring.'\nimport os\ndef _f(): ...", True),
        ("class Plain: ...", True),
        ("def f(): ...", False),
        ("K = 1", False),
        ("class E(Exception): ...", False),
        ("class C:\n  @staticmethod\n  def f(): ...", False),
        ("from other import E as E", False),
    ],
)
def test_an_empty_wrapper_is_told_of_with_what_to_name_instead(text: str, is_told: bool) -> None:
    inner = {
        name: source(name, "") for name in ("shop.a", "shop.b.deep", "shop._c", "shops", "shop.d", "shop.e", "shop.b")
    }
    inner["other"] = source("other", "class E(Exception): ...")
    about = "shop: its wrapper is empty: the module offers nothing that an app can call or import."
    alone = wrap_modules([source("shop", text)], find=inner.get)
    assert [each for each in alone.warnings if "empty" in each] == ([about] if is_told else [])
    package = wrap_modules([source("shop", text, is_package=True)], find=inner.get, local=inner)
    more = " A package's wrapper has what its __init__ offers. Name its modules under [modules]: "
    more += '"shop.a", "shop.b", "shop.d" (and 1 more).'
    assert [each for each in package.warnings if "empty" in each] == ([about + more] if is_told else [])


@pytest.mark.parametrize("also", [(), ("shop.run.deep",), ("shop.run",), ("shop.other",)])
@pytest.mark.parametrize("first", ["shop", "shop.run"])
def test_a_function_is_not_replaced_by_the_module_of_its_name(
    tmp_path: Path, first: str, also: tuple[str, ...]
) -> None:
    sources = {
        "shop": source("shop", "from .run import run\nclass Fault(Exception): ...", is_package=True),
        "shop.run": source(
            "shop.run", "from shop import Fault\nclass Own(Fault): ...\ndef run() -> None: ...", is_package=True
        ),
        "shop.run.deep": source("shop.run.deep", "def f(): ..."),
        "shop.other": source("shop.other", "def f(): ..."),
    }
    files = wrap_modules(
        [sources[name] for name in ("shop", *also)], find=sources.get, local=sources, style="sync"
    ).files
    for name, data in files.items():
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with importable(tmp_path, "made"):
        importlib.import_module(f"made.{first}")
        for name in sources:
            if any(file.startswith(name.replace(".", "/")) for file in files):
                importlib.import_module(f"made.{name}")
        assert inspect.isfunction(importlib.import_module("made.shop").run)


def test_the_text_follows_when_a_module_of_that_name_is_wrapped_too() -> None:
    pipeline = Pipeline()
    package = source("shop", "def run(): ...", is_package=True)
    others = [source("shop.other", "def f(): ...")]
    line = b"from .run import __name__ as _run\n"
    assert line not in pipeline.wrap([package, *others], lambda _: None).files["shop/__init__.py"]
    others.append(source("shop.run", "def f(): ..."))
    assert line in pipeline.wrap([package, *others], lambda _: None, changed={"shop.run"}).files["shop/__init__.py"]
