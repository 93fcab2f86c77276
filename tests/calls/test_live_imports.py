"""What is imported from an output directory while a promotion is not committed: what was there before it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from generating import importable
from lastgood.calls.live_imports import Before, LiveImports

OLD = "def which(): return 'old'\n"
NEW = "def which(): return 'new'\n"  # as long: its bytecode could be mistaken for that of the other


class Output:
    """An output directory of some session, and the imports of that."""

    def __init__(self, root: Path, *files: str, name: str = "made") -> None:
        self.path = root / name
        self.imports = LiveImports()
        for file in files:
            self.write(file, OLD)
        self.imports.follow(self.path)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def hold(self, before: Before) -> None:
        self.imports.hold(self.path, before)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Output]:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    made = Output(tmp_path, "__init__.py", "a.py", "sub/__init__.py", "sub/b.py")
    with importable(tmp_path, "made"):
        yield made
    made.imports.close()


def load(name: str) -> Any:
    return importlib.import_module(name)


def bytecode(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*.pyc"))


def test_a_file_that_is_replaced_is_imported_as_it_was(output: Output) -> None:
    output.hold({"a.py": OLD.encode()})
    output.write("a.py", NEW)
    a = load("made.a")
    assert a.which() == "old"
    assert (a.__file__, a.__spec__.origin) == (str(output.path / "a.py"),) * 2
    assert (a.__package__, a.__name__) == ("made", "made.a")
    assert not [name for name in bytecode(output.path) if name.startswith("a.")]
    output.imports.free(output.path)
    assert importlib.reload(a).which() == "new"
    assert [name for name in bytecode(output.path) if name.startswith("a.")]


def test_a_reload_gets_what_was_there(output: Output) -> None:
    a = load("made.a")
    output.hold({"a.py": OLD.encode()})
    output.write("a.py", NEW)
    assert importlib.reload(a).which() == "old"


def test_a_file_that_is_new_is_not_there(output: Output) -> None:
    output.hold({"c.py": None, "more": None, "more/__init__.py": None, "more/d.py": None})
    output.write("c.py", NEW)
    output.write("more/__init__.py", NEW)
    output.write("more/d.py", NEW)
    for name in ("made.c", "made.more", "made.more.d"):
        with pytest.raises(ModuleNotFoundError) as caught:
            load(name)
        assert caught.value.name == ".".join(name.split(".")[:2])
    with pytest.raises(ImportError, match="cannot import name 'c' from 'made'"):
        exec("from made import c")
    output.imports.free(output.path)
    assert load("made.c").which() == "new"
    assert load("made.more.d").which() == "new"


def test_a_module_that_is_new_has_no_spec(output: Output) -> None:
    output.hold({"c.py": None, "more": None, "more/__init__.py": None})
    output.write("c.py", NEW)
    output.write("more/__init__.py", NEW)
    assert importlib.util.find_spec("made.c") is None
    assert importlib.util.find_spec("made.more") is None
    assert PathFinder.find_spec("made.a", load("made").__path__) is not None
    assert sorted(each.name for each in pkgutil.iter_modules(load("made").__path__)) == ["a", "c", "more", "sub"]
    output.imports.free(output.path)
    assert importlib.util.find_spec("made.c") is not None
    assert importlib.util.find_spec("made.more") is not None


def test_a_working_directory_that_was_removed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    output = Output(tmp_path)
    try:
        output.hold({"": None, "__init__.py": None})
        output.write("__init__.py", NEW)
        assert importlib.util.find_spec("made") is None
    finally:
        output.imports.close()


@pytest.mark.parametrize("entry", [None, ""], ids=["absolute", "current-directory"])
def test_an_output_directory_that_is_new_has_no_spec(
    entry: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path) if entry is None else entry, *sys.path])
    output = Output(tmp_path)
    try:
        output.hold({"": None, "__init__.py": None})
        output.write("__init__.py", NEW)
        assert importlib.util.find_spec("made") is None
        output.imports.free(output.path)
        assert importlib.util.find_spec("made") is not None
    finally:
        output.imports.close()


def test_a_file_that_is_removed_is_still_there(output: Output) -> None:
    before: dict[str, bytes | bool | None] = {"a.py": b"def which(): return 1 / 0\n", "sub": True}
    before |= {f"sub/{name}.py": OLD.encode() for name in ("__init__", "b")}
    output.hold(before)
    for name in ("a.py", "sub/b.py", "sub/__init__.py"):
        (output.path / name).unlink()
    (output.path / "sub").rmdir()
    assert load("made.sub.b").which() == "old"
    assert load("made.sub").__path__ == [str(output.path / "sub")]
    a = load("made.a")
    assert inspect.getsource(a.which) == "def which(): return 1 / 0\n"
    with pytest.raises(ZeroDivisionError) as caught:
        a.which()
    assert "return 1 / 0" in "".join(traceback.format_exception(caught.value))
    output.imports.free(output.path)
    for name in [name for name in sys.modules if name.startswith("made")]:
        del sys.modules[name]
    with pytest.raises(ModuleNotFoundError):
        load("made.sub")


def test_a_module_that_becomes_a_package_is_still_a_module_and_the_other_way_round(output: Output) -> None:
    output.hold(
        {
            "a.py": OLD.encode(),
            "a": None,
            "a/__init__.py": None,
            "sub/b.py": OLD.encode(),
            "sub/__init__.py": OLD.encode(),
            "sub": True,
            "sub.py": None,
        }
    )
    (output.path / "a.py").rename(output.path / "gone")
    output.write("a/__init__.py", NEW)
    for name in ("b.py", "__init__.py"):
        (output.path / "sub" / name).unlink()
    output.write("sub.py", NEW)
    assert load("made.a").which() == "old"
    assert not hasattr(load("made.a"), "__path__")
    assert load("made.sub").which() == "old"
    assert load("made.sub.b").which() == "old"


def test_what_a_promotion_does_not_touch_is_imported_as_ever(output: Output) -> None:
    output.hold({"a.py": OLD.encode()})
    assert load("made.sub.b").which() == "old"
    assert any(name.startswith("b.") for name in bytecode(output.path))


def test_a_package_without_an_init_keeps_the_parts_that_it_had(tmp_path: Path) -> None:
    output = Output(tmp_path, "a.py", "sub/b.py")
    elsewhere = tmp_path / "elsewhere" / "made" / "c.py"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text(OLD)
    try:
        with importable(tmp_path / "elsewhere", "made"), importable(tmp_path, "made"):
            before: dict[str, bytes | bool | None] = {
                "__init__.py": None,
                "sub/__init__.py": None,
                "sub/b.py": OLD.encode(),
            }
            output.hold(before)
            output.write("__init__.py", "raise LookupError\n")
            output.write("sub/__init__.py", "raise LookupError\n")
            output.write("sub/b.py", NEW)
            assert load("made.sub.b").which() == "old"
            assert load("made.a").which() == "old"
            assert load("made.c").which() == "old"
    finally:
        output.imports.close()


@pytest.mark.parametrize("way", ["link-to-it", "link-above-it", "relative", "current-directory", "inside"])
def test_whichever_way_sys_path_leads_there(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    output = Output(root, "__init__.py", "only_here.py")
    links = tmp_path / "links"
    links.mkdir()
    (links / "linked").symlink_to(output.path)
    (tmp_path / "above").symlink_to(root)
    monkeypatch.chdir(root if way == "current-directory" else tmp_path)
    entry, package = {
        "link-to-it": (str(links), "linked"),
        "link-above-it": (str(tmp_path / "above"), "made"),
        "relative": ("root", "made"),
        "current-directory": ("", "made"),
        "inside": (str(output.path), ""),
    }[way]
    monkeypatch.syspath_prepend(entry)
    name = f"{package}.only_here".strip(".")
    try:
        output.hold({"only_here.py": OLD.encode()})
        output.write("only_here.py", NEW)
        assert load(name).which() == "old"
        output.imports.free(output.path)
        assert importlib.reload(load(name)).which() == "new"
    finally:
        output.imports.close()
        for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] in ("linked", "made", "only_here")]:
            del sys.modules[loaded]


def test_an_earlier_entry_of_the_path_wins_as_ever(output: Output, tmp_path: Path) -> None:
    other = tmp_path / "other" / "made" / "__init__.py"
    other.parent.mkdir(parents=True)
    other.write_text("mine = True\n")
    output.hold({"__init__.py": OLD.encode()})
    with importable(tmp_path / "other", "made"):
        assert load("made").mine


def test_each_session_has_its_own(tmp_path: Path) -> None:
    one, inner = Output(tmp_path, "__init__.py", "a.py"), Output(tmp_path / "made", "__init__.py", "a.py", name="inner")
    try:
        with importable(tmp_path, "made"):
            for output in (one, inner):
                output.hold({"a.py": OLD.encode()})
                output.write("a.py", NEW)
            one.imports.close()
            assert load("made.a").which() == "new"
            assert load("made.inner.a").which() == "old"
    finally:
        one.imports.close()
        inner.imports.close()


def at_the_next_read(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object], *, after: bool) -> None:
    """Do something just before, or just after, the file of that name is read by an import."""
    read = SourceFileLoader.get_data
    todo = [act]

    def get_data(self: SourceFileLoader, path: str) -> bytes:
        mine = os.path.basename(path) == name and bool(todo)
        if mine and not after:
            todo.pop()()
        data = read(self, path)
        if mine and after:
            todo.pop()()
        return data

    monkeypatch.setattr(SourceFileLoader, "get_data", get_data)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("vanishes", [False, True])
def test_an_import_that_is_on_its_way_when_a_promotion_begins_gets_the_live_text(
    output: Output, monkeypatch: pytest.MonkeyPatch, after: bool, vanishes: bool
) -> None:
    def begin() -> None:
        output.hold({"a.py": OLD.encode()})
        if vanishes:
            (output.path / "a.py").unlink()
        else:
            output.write("a.py", NEW)

    at_the_next_read(monkeypatch, "a.py", begin, after=after)
    assert load("made.a").which() == "old"
    assert not [name for name in bytecode(output.path) if name.startswith("a.")]


def test_one_that_is_on_its_way_when_a_promotion_begins_and_ends_gets_what_is_live_then(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def promote() -> None:
        output.hold({"a.py": OLD.encode()})
        output.write("a.py", NEW)
        output.imports.follow(output.path)

    at_the_next_read(monkeypatch, "a.py", promote, after=True)
    assert load("made.a").which() == "new"
    monkeypatch.undo()
    del sys.modules["made.a"]
    assert load("made.a").which() == "new"  # nor did it leave bytecode of the old one


def test_what_is_wrong_with_a_file_is_raised_as_it_is(output: Output) -> None:
    output.write("a.py", "1 1\n")
    with pytest.raises(SyntaxError):
        load("made.a")
    output.hold({"sub/b.py": b"2 2\n"})
    with pytest.raises(SyntaxError, match=r"b\.py, line 1"):
        load("made.sub.b")


def test_other_modules_are_not_looked_at(output: Output) -> None:
    output.hold({"a.py": OLD.encode()})
    finder: Any = sys.meta_path[0]
    assert finder.find_spec("json", None) is None
    assert finder.find_spec("json.decoder", importlib.import_module("json").__path__) is None
    assert isinstance(importlib.import_module("json.tool"), ModuleType)


def test_nothing_is_left_of_it(output: Output) -> None:
    before, finder = list(sys.meta_path), pkgutil.get_importer(str(output.path))
    output.hold({"c.py": None})
    assert importlib.util.find_spec("made.c") is None
    assert pkgutil.get_importer(str(output.path)) is not finder
    output.imports.close()
    assert pkgutil.get_importer(str(output.path)) is finder
    assert len(sys.meta_path) == len(before) - 2
    output.imports.close()
    assert load("made.a").which() == "old"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_that_is_forked_has_none(output: Output) -> None:
    output.hold({"a.py": OLD.encode()})
    output.write("a.py", NEW)
    child = os.fork()
    if not child:
        os._exit(0 if load("made.a").which() == "new" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert load("made.a").which() == "old"


def test_one_that_is_looking_for_a_file_when_a_promotion_makes_it_does_not_find_it(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("made")
    find, todo = PathFinder.find_spec, ["c.py"]

    def find_spec(*arguments: Any) -> Any:
        if todo:
            output.hold({todo[0]: None})
            output.write(todo.pop(), NEW)
        return find(*arguments)

    monkeypatch.setattr(PathFinder, "find_spec", find_spec)
    with pytest.raises(ModuleNotFoundError):
        load("made.c")
    assert not todo


def test_what_was_found_in_an_earlier_generation_is_not_loaded_from_one_that_may_fail(output: Output) -> None:
    spec = importlib.util.find_spec("made.a")
    assert spec is not None
    assert spec.loader is not None
    (output.path / "a.py").unlink()
    output.imports.follow(output.path)
    output.hold({"a.py": None})
    output.write("a.py", NEW)
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'made\.a'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
