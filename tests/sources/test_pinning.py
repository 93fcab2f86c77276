"""lastgood.sources.pinning: what one reading of the sources takes in."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lastgood.config import Config, ModuleConfig, OutputConfig
from lastgood.sources.contents import Contents
from lastgood.sources.finder import Finder, Interpreter
from lastgood.sources.import_statements import Imports, imports_of
from lastgood.sources.pinning import Pinned, PinnedModule, Pinner
from lastgood.sources.resolution import resolve_modules
from lastgood.store.disk import Disk
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.memory_files import MemoryFiles

Tree = Mapping[str, str]
SRC = ("/p/src",)


def config(*names: str, import_path: Sequence[str] = SRC, output: str = "/p/generated") -> Config:
    return Config(
        path=Path("/p/lastgood.toml"),
        python_import_path=tuple(map(Path, import_path)),
        modules={name: ModuleConfig() for name in names},
        output=OutputConfig(dir=Path(output)),
    )


def memory(tree: Tree) -> MemoryFiles:
    files = MemoryFiles()
    for path, text in tree.items():
        files.put(Path("/p/src", path), text.encode())
    return files


def pin_in(
    files: FileSystem, settings: Config, *, sys_path: Sequence[str] = ("/py",), pinner: Pinner | None = None
) -> Pinned:
    interpreter = Interpreter(tuple(map(Path, sys_path)), ("sys", "time"))
    finder = Finder(files, settings.python_import_path, interpreter)
    return (pinner or Pinner(Contents(files))).pin(settings, resolve_modules(settings, finder), finder)


def pin(tree: Tree, *names: str, import_path: Sequence[str] = SRC, sys_path: Sequence[str] = ("/py",)) -> Pinned:
    return pin_in(memory(tree), config(*names, import_path=import_path), sys_path=sys_path)


def names(pinned: Pinned) -> set[str]:
    return {module.name for module in pinned.modules}


def paths(texts: str, top: str = "/p/src") -> tuple[Path, ...]:
    return tuple(Path(top, text) for text in texts.split())


# What import statements reach.

LIBRARY = {
    "a.py": "",
    "b.py": "",
    "lib/__init__.py": "attribute = 1",
    "lib/one.py": "",
    "lib/two/__init__.py": "",
    "lib/two/deep.py": "",
    "other.py": "",
}


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        ("import a", "a"),
        ("import a, b as c", "a b"),
        ("import lib.two.deep", "lib lib.two lib.two.deep"),
        ("from lib import one", "lib lib.one"),
        ("from lib import attribute, two", "lib lib.two"),
        ("from lib.two.deep import x", "lib lib.two lib.two.deep"),
        ("from lib import *", "lib"),
        ("def f():\n    async def g():\n        import a", "a"),
        ("class C:\n    def m(self):\n        from lib import one", "lib lib.one"),
        ("if TYPE_CHECKING:\n    import a\nelif x:\n    import b\nelse:\n    import lib", "a b lib"),
        (
            "try:\n    import a\nexcept ImportError:\n    import b\nelse:\n    import lib\nfinally:\n    import other",
            "a b lib other",
        ),
        ("try:\n    pass\nexcept* OSError:\n    import a", "a"),
        (
            "with x:\n    import a\nfor x in y:\n    import b\nelse:\n    import lib\nwhile x:\n    import other",
            "a b lib other",
        ),
        ("async def f():\n    async with x:\n        import a\n    async for x in y:\n        import b", "a b"),
        ("match x:\n    case 1:\n        import a\n    case _:\n        import b", "a b"),
        ("import os, sys, json.decoder, numpy\nfrom time import sleep", ""),
        ("import missing.deep\nfrom lib.one import nothing\nfrom lib.one.two import nothing", "lib lib.one"),
        ("from . import a\nfrom .. import b", ""),
        ("x = 'import a'", ""),
    ],
    ids=lambda value: value.replace("\n", " ")[:60] or "nothing",
)
def test_every_import_statement_is_followed(source: str, reached: str) -> None:
    tree = {**LIBRARY, "svc.py": source, "../../py/numpy/__init__.py": ""}
    assert names(pin(tree, "svc")) == {"svc", *reached.split()}


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        ("from . import side", "pkg.side"),
        ("from .side import x", "pkg.side"),
        ("from .. import top", "top"),
        ("from ..pkg.inner import deep", "pkg.inner pkg.inner.deep"),
        ("from .inner.deep import x", "pkg.inner pkg.inner.deep"),
        ("from ... import beyond", ""),
        ("from ...beyond import x", ""),
    ],
)
def test_relative_imports_are_followed_from_where_they_stand(source: str, reached: str) -> None:
    tree = {
        "app/__init__.py": "",
        "app/top.py": "",
        "app/pkg/__init__.py": "",
        "app/pkg/svc.py": source,
        "app/pkg/side.py": "",
        "app/pkg/inner/__init__.py": "",
        "app/pkg/inner/deep.py": "",
        "beyond.py": "",
    }
    expected = {f"app.{name}" for name in reached.split()}
    assert names(pin(tree, "app.pkg.svc")) == {"app", "app.pkg", "app.pkg.svc", *expected}


def test_at_any_depth_and_in_circles() -> None:
    chain = {f"m{number}.py": f"import m{number + 1}" for number in range(500)}
    tree = {**chain, "m500.py": "import m0\nfrom other import back\n", "other.py": "def f(): import m0\n"}
    assert len(names(pin(tree, "m0"))) == 502


def test_a_star_reaches_what_all_lists() -> None:
    tree = {"svc.py": "from lib import *", **LIBRARY, "lib/__init__.py": "__all__ = ['one']\n__all__ += ['x']\n"}
    assert names(pin(tree, "svc")) == {"svc", "lib", "lib.one"}


def test_the_tree_of_a_named_package_is_pinned_whole() -> None:
    tree = {
        "shop/__init__.py": "",
        "shop/unused.py": "",
        "shop/0001_first.py": "",
        "shop/deep/er/mod.py": "",
        "shop/__pycache__/unused.cpython-311.py": "",
        "shop/.venv/lib/mod.py": "",
        "shop/vendor/site-packages/numpy.py": "",
        "shop/not.a.module.py": "",
        "shop/data.txt": "",
        "shop/stub.pyi": "",
        "shopping.py": "",
    }
    pinned = pin(tree, "shop")
    assert names(pinned) == {"shop", "shop.unused", "shop.0001_first", "shop.deep.er.mod"}
    assert pinned.namespaces == {"shop.deep": paths("shop/deep"), "shop.deep.er": paths("shop/deep/er")}
    assert [module.is_package for module in pinned.modules] == [True, False, False, False]


def test_of_a_module_that_is_no_package_its_neighbours_are_not_pinned() -> None:
    assert names(pin({"pkg/__init__.py": "", "pkg/a.py": "", "pkg/b.py": ""}, "pkg.a")) == {"pkg", "pkg.a"}


def test_everything_is_told_of_a_module() -> None:
    pinned = pin({"svc.py": "x = 1"}, "svc")
    path = Path("/p/src/svc.py")
    assert pinned.modules == (PinnedModule("svc", path, path, is_package=False, digest=digest_of(b"x = 1")),)
    assert pinned.sources == {path: b"x = 1"}
    assert pinned.roots == (Path("/p/src"),)
    assert pinned.find("svc") is pinned.modules[0]
    assert pinned.find("other") is None
    assert pinned.read(path) == b"x = 1"
    with pytest.raises(FileNotFoundError):
        pinned.read(Path("/p/src/other.py"))


def test_a_file_with_two_names_is_read_once_and_pinned_by_both() -> None:
    tree = {"svc.py": "import lib.one, one", "lib/one.py": "from . import x", "lib/x.py": ""}
    pinned = pin(tree, "svc", import_path=("/p/src", "/p/src/lib"))
    assert [module.name for module in pinned.modules] == ["lib.one", "lib.x", "one", "svc"]
    assert len(pinned.sources) == 3


# What is local.


@pytest.mark.parametrize(
    ("import_path", "sys_path"),
    [
        (["/p/src", "/venv/lib/site-packages/mine"], ["/venv/lib/site-packages"]),
        (["/p/src", "/venv/lib/site-packages"], ["/venv/lib/site-packages"]),
        (["/p/src"], ["/p/src/.venv/lib/site-packages"]),
        (["/p/src", "/python/lib"], ["/python/lib"]),
        (["/p/src", "/python/lib/idlelib"], ["/python/lib"]),
    ],
    ids=["inside-site-packages", "site-packages", "site-packages-inside", "stdlib", "inside-stdlib"],
)
def test_what_is_installed_is_not_local_wherever_it_lies(import_path: list[str], sys_path: list[str]) -> None:
    installed = {
        f"{entry}/{name}.py": ""
        for entry in {*import_path, *sys_path} - {"/p/src"}
        for name in ("helper", "os", "site")
    }
    pinned = pin(
        {"svc.py": "import helper", **installed, "/python/lib/os.py": "", "/python/lib/site.py": ""},
        "svc",
        import_path=import_path,
        sys_path=sys_path,
    )
    assert names(pinned) == {"svc"}
    assert pinned.elsewhere == ("helper",)
    assert pinned.roots == paths("/p/src")


def test_a_named_module_is_pinned_wherever_it_lies() -> None:
    tree = {"/py/named/__init__.py": "from . import part\nimport beside", "/py/named/part.py": "", "/py/beside.py": ""}
    assert names(pin(tree, "named")) == {"named", "named.part"}


def test_the_interpreters_own_modules_go_before_local_namespace_packages() -> None:
    tree = {"svc.py": "import json.x, numpy.x, plain.x", "json/x.py": "", "numpy/x.py": "", "plain/x.py": ""}
    pinned = pin({**tree, "/py/numpy/__init__.py": ""}, "svc")
    assert names(pinned) == {"svc", "plain.x"}
    assert pinned.elsewhere == ("json", "numpy")


def test_an_extension_module_goes_before_its_source() -> None:
    tree = {
        "svc.py": "import fast",
        "fast.py": "",
        "fast.so": "",
        "pkg/__init__.py": "",
        "pkg/c.py": "",
        "pkg/c.so": "",
    }
    assert names(pin(tree, "svc", "pkg")) == {"svc", "pkg"}


def test_the_wrappers_are_no_sources() -> None:
    tree = {
        "pkg/__init__.py": "from pkg.generated import old",
        "pkg/generated/old.py": "",
        "pkg/generated/__init__.py": "",
    }
    pinned = pin_in(memory(tree), config("pkg", output="/p/src/pkg/generated"))
    assert names(pinned) == {"pkg"}


@pytest.mark.parametrize("name", ["lib.one", "lib.two"], ids=["a module", "a package"])
def test_a_named_source_inside_the_output_directory_is_pinned(name: str) -> None:
    tree = {**LIBRARY, "lib/three.py": ""}
    settings = config(name, output="/p/src/lib")
    pinned = pin_in(memory(tree), settings)
    assert name in names(pinned)
    assert not {"lib", "lib.three"} & names(pinned)


NAMESPACE = {"/p/one/ns/a.py": "from ns import b", "/p/two/ns/b.py": "", "/p/two/ns/unused.py": "", "/py/ns/c.py": ""}


def test_every_root_of_a_named_namespace_package_is_pinned() -> None:
    pinned = pin(NAMESPACE, "ns", import_path=["/p/one", "/p/two"])
    assert names(pinned) >= {"ns.a", "ns.b", "ns.unused"}
    assert pinned.namespaces == {"ns": paths("/p/one/ns /p/two/ns /py/ns")}
    assert pinned.helpers == ()


def test_a_namespace_package_can_be_a_helper() -> None:
    pinned = pin({**NAMESPACE, "svc.py": "import ns.a, ns.c"}, "svc", import_path=["/p/src", "/p/one", "/p/two"])
    assert names(pinned) == {"svc", "ns.a", "ns.b"}
    assert pinned.helpers == paths("/p/one/ns/a.py /p/two/ns/b.py")


def test_every_directory_of_a_named_packages_name_is_pinned() -> None:
    tree = {"/p/one/pkg/__init__.py": "", "/p/two/pkg/more.py": ""}
    assert names(pin(tree, "pkg", import_path=["/p/one", "/p/two"])) == {"pkg", "pkg.more"}


# Helpers and candidates.


def test_helpers_are_what_no_named_module_holds() -> None:
    tree = {
        "shop/__init__.py": "",
        "shop/prices.py": "import svc, util.text",
        "svc.py": "import zeta",
        "util/__init__.py": "",
        "util/text.py": "",
        "zeta.py": "",
    }
    assert pin(tree, "shop", "svc").helpers == paths("util/__init__.py util/text.py zeta.py")


@pytest.mark.parametrize(
    ("source", "candidates"),
    [
        ("import missing", "../first/missing/__init__.py ../first/missing.py missing/__init__.py missing.py"),
        ("import a", "../first/a/__init__.py ../first/a.py a/__init__.py"),
        ("import numpy", "../first/numpy/__init__.py ../first/numpy.py numpy/__init__.py numpy.py"),
        ("import os, json.decoder, sys", ""),
        (
            "from lib import one, attribute, later",
            "../first/lib/__init__.py ../first/lib.py lib/later/__init__.py lib/later.py lib/one/__init__.py",
        ),
        ("import lib.missing.deep", "../first/lib/__init__.py ../first/lib.py lib/missing/__init__.py lib/missing.py"),
        ("import shop.prices", "../first/shop/__init__.py ../first/shop.py"),
    ],
)
def test_candidates_would_change_where_an_import_leads(source: str, candidates: str) -> None:
    tree = {**LIBRARY, "svc.py": source, "shop/__init__.py": "", "shop/prices.py": "", "../../py/numpy.py": ""}
    pinned = pin(tree, "svc", "shop", import_path=["/p/first", "/p/src"])
    own = {Path(f"/p/first/{name}") for name in ("svc.py", "svc/__init__.py", "shop.py", "shop/__init__.py")}
    own |= {Path("/p/src/svc/__init__.py")}
    expected = {Path(os.path.normpath(path)) for path in paths(candidates)}
    assert {each for each in pinned.candidates if each.suffix == ".py"} | own == expected | own
    assert list(pinned.candidates) == sorted(pinned.candidates)


@pytest.mark.parametrize(
    "source", ["import a", "import numpy", "from lib import later", "import missing", "import lib.one"]
)
def test_what_appears_at_a_candidate_is_pinned(source: str) -> None:
    tree = {**LIBRARY, "svc.py": source, "../../py/numpy.py": ""}
    for candidate in pin(tree, "svc", import_path=["/p/first", "/p/src"]).candidates:
        if "svc" not in str(candidate) and candidate.suffix == ".py":
            pinned = pin({**tree, str(candidate): ""}, "svc", import_path=["/p/first", "/p/src"])
            assert candidate in pinned.sources


# Stubs.


def stubs(pinned: Pinned) -> dict[str, str]:
    return {each.name: str(each.file) for each in pinned.stubs}


@pytest.mark.parametrize(
    ("module", "stub"),
    [
        ("svc", "/p/src/svc.pyi"),
        ("shop", "/p/src/shop/__init__.pyi"),
        ("shop.prices", "/p/src/shop/prices.pyi"),
        ("svc", "/p/src/typings/svc.pyi"),
        ("shop.prices", "/p/src/typings/shop/prices.pyi"),
        ("svc", "/py/svc-stubs/__init__.pyi"),
        ("shop", "/py/shop-stubs/__init__.pyi"),
        ("shop.prices", "/p/src/shop-stubs/prices.pyi"),
    ],
)
def test_a_stub_lies_beside_its_source_in_typings_or_in_a_package_of_stubs(module: str, stub: str) -> None:
    tree = {"svc.py": "", "shop/__init__.py": "", "shop/prices.py": ""}
    pinned = pin({**tree, stub: "import helper", "helper.py": ""}, "svc", "shop")
    assert stubs(pinned) == {module: stub}
    assert pinned.read(Path(stub)) == b"import helper"
    assert "helper" in names(pinned)  # what only a stub imports may have types
    assert Path(stub) in pinned.helpers or stub.startswith("/p/src/shop/")  # it is watched


def test_a_stub_beside_its_source_comes_first_and_is_no_module() -> None:
    tree = {"svc.py": "", "svc.pyi": "", "typings/svc.pyi": "", "/py/svc-stubs/__init__.pyi": ""}
    pinned = pin(tree, "svc")
    assert stubs(pinned) == {"svc": "/p/src/svc.pyi"}
    assert names(pinned) == {"svc"}
    assert len(list(pinned.objects())) == 1


def test_a_stub_that_appears_beside_a_source_is_noticed() -> None:
    assert Path("/p/src/svc.pyi") in pin({"svc.py": ""}, "svc").candidates
    assert Path("/p/src/svc.pyi") not in pin({"svc.py": "", "svc.pyi": ""}, "svc").candidates


# One reading.


class Counting(MemoryFiles):
    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[Path] = Counter()
        self.scans: Counter[str] = Counter()

    def read(self, path: Path) -> bytes:
        self.reads[path] += 1
        if b"unreadable" in (data := super().read(path)):
            raise PermissionError(13, "Permission denied", str(path))
        return data

    def scan(self, directory: str) -> dict[str, str]:
        self.scans[directory] += 1
        return super().scan(directory)


def test_every_file_and_directory_is_read_once() -> None:
    files = Counting()
    for path, text in {**LIBRARY, "svc.py": "import a, lib.one\nfrom lib import two", "t.py": "import svc, a"}.items():
        files.put(Path("/p/src", path), text.encode())
    pinned = pin_in(files, config("svc", "t", "lib"))
    assert files.reads == Counter(pinned.sources.keys())
    assert set(files.scans.values()) == {1}


def test_what_cannot_be_read_is_left_out_and_told() -> None:
    files = Counting()
    files.put(Path("/p/src/svc.py"), b"import a, b")
    files.put(Path("/p/src/a.py"), b"unreadable")
    files.put(Path("/p/src/b.py"), b"")
    pinned = pin_in(files, config("svc"))
    assert names(pinned) == {"svc", "b"}
    with pytest.raises(PermissionError):
        pinned.read(Path("/p/src/a.py"))


def test_only_what_changed_is_parsed_again() -> None:
    parsed: list[bytes] = []

    def parse(data: bytes) -> Imports:
        parsed.append(data)
        return imports_of(data)

    files = memory({"svc.py": "import a", "a.py": "import b", "b.py": "x = 1"})
    pinner, settings = Pinner(Contents(files), parse), config("svc")
    pin_in(files, settings, pinner=pinner)
    files.put(Path("/p/src/a.py"), b"import os")
    assert names(pin_in(files, settings, pinner=pinner)) == {"svc", "a"}
    assert parsed == [b"import a", b"import b", b"x = 1", b"import os"]


def test_what_no_source_contains_any_more_is_not_remembered() -> None:
    parsed: list[bytes] = []

    def parse(data: bytes) -> Imports:
        parsed.append(data)
        return imports_of(data)

    files = memory({"svc.py": "import os"})
    pinner, settings = Pinner(Contents(files), parse), config("svc")
    for text in (b"import os", b"import sys", b"import os"):
        files.put(Path("/p/src/svc.py"), text)
        pin_in(files, settings, pinner=pinner)
        pinner.forget_others()
    assert parsed == [b"import os", b"import sys", b"import os"]


def test_what_several_readings_found_is_remembered_until_all_have_been_repeated() -> None:
    parsed: list[bytes] = []

    def parse(data: bytes) -> Imports:
        parsed.append(data)
        return imports_of(data)

    files = memory({"svc.py": "import os", "tool.py": "import sys"})
    pinner = Pinner(Contents(files), parse)
    for _ in range(2):
        for name in ("svc", "tool"):
            pin_in(files, config(name), pinner=pinner)
        pinner.forget_others()
    assert parsed == [b"import os", b"import sys"]


# Sources that this Python cannot read.


@pytest.mark.parametrize(
    "source",
    [
        "import a, lib.one as x\nfrom lib import (\n    two,  # comment\n)\ndef f(:\n    from other import *\n",
        "import a, lib.one\nfrom lib import two, \\\n  x as y\nimport other\n\0",
        "import a;import lib.one\nimport a, lib.one; x\nfrom lib import two # x\nfrom other import x\n" + "(" * 10_000,
        "# coding: no-such-coding\nimport a, lib.one\nfrom lib import two\nimport other\n",
    ],
    ids=["syntax", "nul", "nesting", "encoding"],
)
def test_a_broken_module_is_pinned_and_what_it_seems_to_import(source: str) -> None:
    pinned = pin({**LIBRARY, "svc.py": "import broken", "broken.py": source}, "svc")
    assert names(pinned) == {"svc", "broken", "a", "lib", "lib.one", "lib.two", "other"}
    assert pinned.read(Path("/p/src/broken.py")) == source.encode()


def test_what_a_source_warns_of_is_not_said_here() -> None:
    assert names(pin({"svc.py": "import a\nx = '\\d'\ny = 1 is 1", "a.py": ""}, "svc")) == {"svc", "a"}


# On a disk.


def test_links_are_followed_and_both_paths_told(tmp_path: Path) -> None:
    real, src = tmp_path / "real", tmp_path / "src"
    (real / "pkg").mkdir(parents=True)
    src.mkdir()
    (real / "pkg" / "__init__.py").write_text("import single\n")
    (real / "pkg" / "loop").symlink_to(real / "pkg")
    (real / "else.py").write_text("")
    (src / "pkg").symlink_to(real / "pkg")
    (src / "single.py").symlink_to(real / "else.py")
    (src / "dangling.py").symlink_to(real / "nowhere.py")
    pinned = pin_in(Disk(), config("pkg", import_path=[str(src)]))
    top = Path(os.path.realpath(real))
    assert [(module.name, module.path, module.file) for module in pinned.modules] == [
        ("pkg", src / "pkg/__init__.py", top / "pkg/__init__.py"),
        ("single", src / "single.py", top / "else.py"),
    ]
    assert pinned.helpers == (top / "else.py",)
    assert set(pinned.sources) == {top / "pkg/__init__.py", top / "else.py"}


IMPORT_ALL = """
import importlib, json, sys
told = []
for top in json.loads(sys.argv[1]):
    sys.path[:0] = [top + "/one", top + "/two"]
    importlib.import_module("svc")
    here = {name: module for name, module in sys.modules.items()
            if str(getattr(module, "__file__", None) or list(getattr(module, "__path__", [""]))[0]).startswith(top)}
    told.append({name: getattr(module, "__file__", None) for name, module in here.items()})
    for name in here:
        del sys.modules[name]
    del sys.path[:2]
print(json.dumps(told))
"""


def random_tree(chance: random.Random) -> dict[str, str]:
    """Modules, packages and namespace packages of few names, that import one another in every way."""

    def statement(depth: int) -> str:
        dotted = ".".join(chance.choices("abc", k=chance.randint(1, 3)))
        dots = "." * chance.randint(0, depth)
        kinds = [
            f"import {dotted}",
            f"from {dots}{dotted} import {chance.choice('abc*')}",
            f"from . import {chance.choice('abc')}",
        ]
        return f"try:\n    {chance.choice(kinds)}\nexcept (ImportError, AttributeError):\n    pass\n"

    def source(depth: int) -> str:
        return (
            "".join(statement(depth) for _ in range(chance.randint(0, 4))) + f"__all__ = {chance.choices('abc', k=2)}\n"
        )

    places = ["a", "b", "c", "a/a", "a/b", "b/a", "b/c", "a/b/c", "b/c/a"]
    stems = [place + ending for place in places for ending in (".py", "/__init__.py")]
    tree = {f"{root}/{stem}": source(stem.count("/")) for root in ("one", "two") for stem in chance.sample(stems, 6)}
    return {**tree, "one/svc.py": "".join(statement(0) for _ in range(6))}


def test_what_python_imports_was_pinned_by_the_same_path(tmp_path: Path) -> None:
    chance, tops = random.Random(4), []
    for number in range(60):
        top = tmp_path / str(number)
        tops.append(str(top))
        for name, text in random_tree(chance).items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    command = [sys.executable, "-I", "-S", "-B", "-c", IMPORT_ALL, json.dumps(tops)]
    loaded = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert sum(map(len, loaded)) > 200
    for root, modules in zip(tops, loaded, strict=True):
        pinned = pin_in(Disk(), config("svc", import_path=[f"{root}/one", f"{root}/two"]))
        at = {(module.name, str(module.path)) for module in pinned.modules}
        for name, file in modules.items():
            assert name in pinned.namespaces if file is None else (name, file) in at, (root, name)
