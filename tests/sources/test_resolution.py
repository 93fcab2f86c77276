"""lastgood.sources.resolution: Python's own rules, on a tree that is only looked at."""

from __future__ import annotations

import importlib.machinery
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.children import child
from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig
from lastgood.errors import ConfigError, UnwatchableModule, WatchError
from lastgood.sources import resolution
from lastgood.sources.finder import Finder, Interpreter
from lastgood.sources.resolution import Resolved, refused_by_worker, resolve_modules, worker_interpreter
from lastgood.store.disk import Disk
from lastgood.store.file_system import FileSystem
from lastgood.store.memory_files import MemoryFiles
from real_project import DEADLINE


class Files(MemoryFiles):
    """A tree that is a set of file paths under ``/p``, in which ``links`` stand for others."""

    def __init__(self, files: frozenset[Path], links: Mapping[Path, Path]) -> None:
        super().__init__()
        self.files = files
        self.links = links

    def is_file(self, path: Path) -> bool:
        return self.real_path(path) in self.files

    def is_dir(self, path: Path) -> bool:
        return any(self.real_path(path) in file.parents for file in self.files)

    def scan(self, directory: str) -> dict[str, str]:
        top = self.real_path(Path(directory))
        inside = (*self.files, *self.links)
        below = {top / each.relative_to(top).parts[0] for each in inside if top in each.parents}
        return {
            path.name: "link" if path in self.links else "file" if path in self.files else "directory" for path in below
        }

    def real_path(self, path: Path) -> Path:
        for link, target in self.links.items():
            if path == link or link in path.parents:
                return target / path.relative_to(link)
        return path


def config(*names: str, import_path: tuple[str, ...] = ("/p/src",)) -> Config:
    return Config(
        path=Path("/p/lastgood.toml"),
        python_import_path=tuple(map(Path, import_path)),
        modules={name: ModuleConfig() for name in names},
        output=OutputConfig(dir=Path("/p/generated")),
    )


def resolved_in(files: FileSystem, settings: Config, interpreter: Interpreter) -> Mapping[str, Resolved]:
    return resolve_modules(settings, Finder(files, settings.python_import_path, interpreter))


def resolved_on_disk(settings: Config, interpreter: Interpreter | None = None) -> Mapping[str, Resolved]:
    return resolved_in(Disk(), settings, interpreter or Interpreter())


def resolve(
    name: str,
    *files: str,
    import_path: tuple[str, ...] = ("/p/src",),
    sys_path: tuple[str, ...] = ("/py",),
    links: Mapping[str, str] | None = None,
) -> Resolved:
    tree = Files(frozenset(map(Path, files)), {Path(link): Path(target) for link, target in (links or {}).items()})
    resolved = resolved_in(tree, config(name, import_path=import_path), Interpreter(paths(*sys_path), ("math", "sys")))
    assert list(resolved) == [name]
    assert resolved[name].name == name
    return resolved[name]


def paths(*texts: str) -> tuple[Path, ...]:
    return tuple(map(Path, texts))


TWO = ("/p/one", "/p/two")


@pytest.mark.parametrize(
    ("name", "files", "import_path", "file", "roots"),
    [
        ("m", ["/p/src/m.py"], ("/p/src",), "/p/src/m.py", []),
        ("m", ["/p/two/m.py"], TWO, "/p/two/m.py", []),
        ("m", ["/p/one/m.py", "/p/two/m.py"], TWO, "/p/one/m.py", []),
        ("m", ["/p/src/m/__init__.py"], ("/p/src",), "/p/src/m/__init__.py", ["/p/src/m"]),
        ("m", ["/p/src/m.py", "/p/src/m/__init__.py"], ("/p/src",), "/p/src/m/__init__.py", ["/p/src/m"]),
        ("m", ["/p/src/m.py", "/p/src/m/x.py"], ("/p/src",), "/p/src/m.py", []),
        ("m", ["/p/one/m/x.py", "/p/two/m.py"], TWO, "/p/two/m.py", []),
        ("m", ["/p/one/m/x.py", "/p/two/m/y.py"], TWO, None, ["/p/one/m", "/p/two/m"]),
        ("m", ["/p/one/m/x.py", "/p/two/m/__init__.py"], TWO, "/p/two/m/__init__.py", ["/p/one/m", "/p/two/m"]),
        ("m", ["/p/one/m/__init__.py", "/p/two/m/x.py"], TWO, "/p/one/m/__init__.py", ["/p/one/m", "/p/two/m"]),
        ("m", ["/py/m.py"], TWO, "/py/m.py", []),
        ("m", ["/py/m/__init__.py"], TWO, "/py/m/__init__.py", ["/py/m"]),
        ("m", ["/py/m/x.py"], TWO, None, ["/py/m"]),
        ("m", ["/p/one/m.py", "/py/m.py"], TWO, "/p/one/m.py", []),
        ("m", ["/p/one/m/x.py", "/py/m.py"], TWO, "/py/m.py", []),
        ("m", ["/p/one/m/x.py", "/py/m/y.py"], TWO, None, ["/p/one/m"]),
        ("a.b", ["/p/src/a/__init__.py", "/p/src/a/b.py"], ("/p/src",), "/p/src/a/b.py", []),
        ("a.b", ["/p/src/a/b.py"], ("/p/src",), "/p/src/a/b.py", []),
        ("a.b", ["/p/one/a/x.py", "/p/two/a/b.py"], TWO, "/p/two/a/b.py", []),
        ("a.b", ["/p/one/a/x.py", "/py/a/b.py"], TWO, "/py/a/b.py", []),
        ("a.b", ["/p/one/a/b/x.py", "/p/two/a/b/y.py"], TWO, None, ["/p/one/a/b", "/p/two/a/b"]),
    ],
    ids=[
        "module", "module on a later entry", "first entry wins", "package", "package before module",
        "module before bare directory", "module further down before bare directory", "namespace",
        "package further down before bare directory", "package and a further root", "module of the interpreter",
        "package of the interpreter", "namespace of the interpreter", "local first",
        "module of the interpreter before bare directory", "namespace on both", "submodule", "submodule of a namespace",
        "submodule in a later portion", "submodule in the interpreter's portion", "nested namespace",
    ],
)  # fmt: skip
def test_where_a_module_lies(
    name: str, files: list[str], import_path: tuple[str, ...], file: str | None, roots: list[str]
) -> None:
    resolved = resolve(name, *files, import_path=import_path)
    assert resolved.file == (None if file is None else Path(file))
    assert resolved.roots == paths(*roots)
    assert resolved.is_package == bool(roots)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("math", []),
        ("math", ["/p/src/math/data.txt"]),
        ("_frozen_importlib", []),
        ("m", ["/p/src/m" + importlib.machinery.EXTENSION_SUFFIXES[0]]),
        ("m", ["/p/src/m.so", "/p/src/m.py"]),
        ("m", ["/p/src/m.pyc"]),
        ("m", ["/py/m.pyd"]),
        ("m", ["/p/src/m/__init__.so", "/p/src/m/__init__.py"]),
        ("a.b", ["/p/src/a/__init__.py", "/p/src/a/b.so"]),
    ],
    ids=["builtin", "builtin before bare directory", "frozen", "extension", "extension before source", "bytecode alone",
         "extension of the interpreter", "extension package", "submodule"],
)  # fmt: skip
def test_a_module_without_source_cannot_be_watched(name: str, files: list[str]) -> None:
    with pytest.raises(UnwatchableModule) as caught:
        resolve(name, *files)
    assert str(caught.value) == (
        f'Module "{name}" is not backed by a local Python source file or package directory and cannot be watched'
    )
    assert caught.value.file == Path("/p/lastgood.toml")
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, WatchError)


@pytest.mark.parametrize(
    ("name", "files", "where"),
    [
        ("math", ["/p/src/math.py"], "/p/src/math.py"),
        ("math", ["/p/src/math/__init__.py"], "/p/src/math"),
        ("math.deep", ["/p/src/math/__init__.py", "/p/src/math/deep.py"], "/p/src/math"),
    ],
    ids=["module", "package", "submodule"],
)
def test_a_local_module_that_a_built_in_one_hides_is_refused(name: str, files: list[str], where: str) -> None:
    with pytest.raises(UnwatchableModule) as caught:
        resolve(name, *files)
    assert str(caught.value).startswith(
        f'/p/lastgood.toml: Module "{name}" cannot be watched: a worker would not import it'
    )
    assert f"from {where}, since" in str(caught.value)
    assert "Rename yours" in str(caught.value)
    assert caught.value.field == f"modules.{name}"


def test_a_submodule_may_have_a_built_in_ones_name() -> None:
    assert resolve("a.math", "/p/src/a/__init__.py", "/p/src/a/math.py").file == Path("/p/src/a/math.py")


@pytest.mark.parametrize("own", [True, False], ids=["this interpreter", "another"])
def test_what_is_refused_is_what_a_worker_would_not_import(tmp_path: Path, own: bool) -> None:
    """Of what an interpreter has loaded by itself, or frozen; the rest of the standard library may be hidden in its turn."""
    process = ProcessConfig() if own else ProcessConfig(env={"PYTHONPATH": ""})
    hidden = {"time", "sys", "os", "abc", "codecs", "io", "zipimport", "runpy", "encodings", "site"}
    free = {"json", "colorsys", "pricing", "decimal"}
    refused = set()
    interpreter = worker_interpreter(process)
    for name in hidden | free:
        (tmp_path / f"{name}.py").write_text("def who() -> str:\n    return 'local'\n")
        try:
            resolved_on_disk(config(name, import_path=(str(tmp_path),)), interpreter)
        except UnwatchableModule:
            refused.add(name)
    assert refused == hidden
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += f"print([n for n in {sorted(hidden | free)} if not hasattr(__import__(n), 'who')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == repr(sorted(hidden))


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("x", []),
        ("x", ["/elsewhere/x.py"]),
        ("a.x", []),
        ("a.x", ["/p/src/a/__init__.py", "/p/two/a/x.py"]),
        ("a.x", ["/p/src/a.py", "/p/src/a/x.py"]),
        ("math.x", []),
    ],
    ids=["nowhere", "not on the path", "no parent", "not in the parent", "parent is no package", "parent is builtin"],
)
def test_a_missing_module_could_not_be_resolved(name: str, files: list[str]) -> None:
    with pytest.raises(UnwatchableModule) as caught:
        resolve(name, *files)
    assert str(caught.value) == f'Module "{name}" could not be resolved for watching'
    assert caught.value.module == name


def test_every_module_that_cannot_be_watched_is_named_at_once() -> None:
    tree = Files(frozenset([Path("/p/src/there.py")]), {})
    settings = config("x", "there", "math", "y", import_path=("/p/src",))
    with pytest.raises(UnwatchableModule) as caught:
        resolved_in(tree, settings, Interpreter((), ("math",)))
    assert [each.module for each in (caught.value, *caught.value.others)] == ["x", "math", "y"]
    assert caught.value.__notes__[1:] == [str(other) for other in caught.value.others]
    assert 'Module "y" could not be resolved for watching' in caught.value.__notes__


@pytest.mark.parametrize(
    ("name", "missing", "where"),
    [
        ("x", "x", ["/p/src", "/p/gone (does not exist)", "/py"]),
        ("x.y", "x", ["/p/src", "/p/gone (does not exist)", "/py"]),
        ("a.x", "a.x", ["/p/src/a"]),
        ("a.x.y", "a.x", ["/p/src/a"]),
    ],
)
def test_a_missing_module_is_told_with_the_places_where_it_was_looked_for(
    name: str, missing: str, where: list[str]
) -> None:
    with pytest.raises(UnwatchableModule) as caught:
        resolve(
            name,
            "/p/src/a/__init__.py",
            "/py/os.py",
            import_path=("/p/src", "/p/gone"),
            sys_path=("/py/python311.zip", "/p/src", "/py"),
        )
    (note,) = caught.value.__notes__
    first, *places = note.splitlines()
    assert first == f'"{missing}" was looked for in:'
    assert places[: len(where)] == [f"  {each}" for each in where]
    remedy = [] if "." in missing else ["Add its directory to python_import_path, or correct the name."]
    assert places[len(where) :] == remedy


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("a.x", '"a" is not a package, but /p/src/a.py.'),
        ("math.x", '"math" is not a package, but a module of the interpreter.'),
    ],
)
def test_a_missing_module_of_what_is_no_package_is_told_with_what_that_is(name: str, note: str) -> None:
    with pytest.raises(UnwatchableModule) as caught:
        resolve(name, "/p/src/a.py")
    assert caught.value.__notes__ == [note]


def test_of_several_the_first_in_the_configs_order_is_told() -> None:
    with pytest.raises(UnwatchableModule, match='"second"'):
        resolved_in(Files(frozenset(paths("/p/src/first.py")), {}), config("first", "second", "third"), Interpreter())


def test_candidates_are_what_could_change_the_answer() -> None:
    resolved = resolve("a.b", "/p/two/a/b.py", import_path=TWO)
    assert resolved.candidates == paths(
        "/p/one/a.py", "/p/one/a/__init__.py", "/p/one/a/b.py", "/p/one/a/b/__init__.py",
        "/p/two/a.py", "/p/two/a/__init__.py", "/p/two/a/b.py", "/p/two/a/b/__init__.py",
    )  # fmt: skip


def test_candidates_of_a_package_are_its_directories_too() -> None:
    assert resolve("m", "/p/two/m/x.py", import_path=TWO).candidates == paths(
        "/p/one/m.py", "/p/one/m/__init__.py", "/p/one/m", "/p/two/m.py", "/p/two/m/__init__.py", "/p/two/m"
    )


def test_links_are_resolved_and_aliases_are_one() -> None:
    resolved = resolve(
        "m", "/real/m/__init__.py", import_path=("/p/src", "/p/alias"), links={"/p/alias": "/real", "/p/src": "/real"}
    )
    assert resolved.file == Path("/real/m/__init__.py")
    assert resolved.roots == paths("/real/m")
    assert resolved.candidates == paths("/real/m.py", "/real/m/__init__.py", "/real/m")


def test_a_link_is_a_candidate_in_its_own_place() -> None:
    resolved = resolve("m", "/real/other.py", "/p/src/x", links={"/p/src/m.py": "/real/other.py"})
    assert resolved.file == Path("/real/other.py")
    assert Path("/p/src/m.py") in resolved.candidates


# --- against Python itself, on a real disk -----------------------------------------------------------------------

ENTRIES = ("one", "two")
NAMES = ("m.py", "m/__init__.py", "m/s.py", "m/s/__init__.py", "m/s/t.py", "m.so", "m/x.txt")


def python_finds(name: str, path: list[str]) -> tuple[str | None, bool] | None:
    """``origin`` and "is a package", as Python's path finder has them; None: it finds nothing."""
    spec = None
    for part in name.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    assert spec is not None
    return spec.origin, spec.submodule_search_locations is not None


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(st.sampled_from(ENTRIES), st.sampled_from(NAMES))), st.sampled_from(["m", "m.s", "m.s.t"]))
def test_python_agrees(tmp_path_factory: pytest.TempPathFactory, layout: set[tuple[str, str]], name: str) -> None:
    top = tmp_path_factory.mktemp("tree")
    for entry, file in layout:
        target = top / entry / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    entries = [top / entry for entry in ENTRIES]
    wanted = config(name, import_path=tuple(map(str, entries)))
    found = python_finds(name, [str(entry) for entry in entries])
    if found is None:
        with pytest.raises(UnwatchableModule, match="could not be resolved"):
            resolved_on_disk(wanted)
    elif (found[0] or "").endswith(".so"):
        with pytest.raises(UnwatchableModule, match="not backed by"):
            resolved_on_disk(wanted)
    else:
        resolved = resolved_on_disk(wanted)[name]
        assert (None if resolved.file is None else str(resolved.file), resolved.is_package) == found
        roots = [root for entry in entries if (root := entry.joinpath(*name.split("."))).is_dir()]
        assert list(resolved.roots) == (roots if resolved.is_package else [])


def test_nothing_of_the_users_is_imported(tmp_path: Path) -> None:
    package = tmp_path / "loud_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "part.py").write_text("raise RuntimeError('imported')")
    names = ("loud_package", "loud_package.part")
    assert set(resolved_on_disk(config(*names, import_path=(str(tmp_path),)))) == set(names)
    assert not any(name in sys.modules for name in names)


# --- the worker's interpreter ----------------------------------------------------------------------------------


def test_this_interpreter_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "Child", None)
    monkeypatch.setattr(sys, "path", ["", "/first", "relative"])
    found = worker_interpreter(ProcessConfig())
    assert found.sys_path == (Path("/first"), Path.cwd() / "relative")
    assert found.version == sys.version_info[:2]
    assert "sys" in found.builtin_modules


@pytest.fixture
def unasked() -> Iterator[None]:
    resolution._ask.cache_clear()
    yield
    resolution._ask.cache_clear()


@pytest.mark.usefixtures("unasked")
def test_what_this_interpreter_preloads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import json")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("json", "subprocess"):  # this process has both
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / "__init__.py").touch()
    import_path = (str(tmp_path / "src"),)
    interpreter = worker_interpreter(ProcessConfig())
    with pytest.raises(UnwatchableModule, match=r"would not import it from .*/src/json"):
        resolved_on_disk(config("json", import_path=import_path), interpreter)
    assert "subprocess" in resolved_on_disk(config("subprocess", import_path=import_path), interpreter)


@pytest.mark.usefixtures("unasked")
def test_this_interpreter_is_not_asked_of_what_this_process_has_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "Child", None)
    interpreter = worker_interpreter(ProcessConfig())
    names = ("pricing_that_is_new", "pricing_that_is_here")
    for name in names:
        (tmp_path / f"{name}.py").touch()
    here = ModuleType(names[1])
    here.__file__ = str(tmp_path / f"{names[1]}.py")
    monkeypatch.setitem(sys.modules, names[1], here)
    assert resolved_on_disk(config(*names, import_path=(str(tmp_path),)), interpreter).keys() == {*names}


def test_another_interpreter_tells_its_own_path_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "extra"))
    found = worker_interpreter(ProcessConfig(python=python))
    assert found.sys_path[0] == tmp_path / "extra"
    assert all(entry.is_absolute() for entry in found.sys_path)
    assert found.version == sys.version_info[:2]
    assert {*sys.builtin_module_names, "os", "encodings"} <= set(found.builtin_modules)
    assert "json" not in found.builtin_modules
    monkeypatch.setattr(child, "Child", None)
    assert worker_interpreter(ProcessConfig(python=python)) == found


@pytest.mark.usefixtures("many_open")
def test_an_app_that_has_more_than_1024_descriptors_open_can_ask(tmp_path: Path) -> None:
    assert worker_interpreter(ProcessConfig(python=Path(sys.executable), cwd=tmp_path)).sys_path


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "import os; os.write(1, b'abc')",
        "import os; os.write(2, b'x' * 100_000)",
        "import os; os.write(1, b'x' * 100_000)",
        "import atexit; atexit.register(print, 'bye')",
        "import sys; sys.stdin.read()",
    ],
    ids=["three bytes", "much on stderr", "much", "at its end", "reads"],
)
def test_what_sitecustomize_does_with_the_standard_streams_is_not_the_answer(text: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(text)
    process = ProcessConfig(python=Path(sys.executable), env={"PYTHONPATH": str(tmp_path)})
    found = worker_interpreter(process)
    assert found.sys_path[0] == tmp_path
    assert "sys" in found.builtin_modules


def test_what_is_printed_at_start_is_not_the_answer(tmp_path: Path) -> None:
    python = script(tmp_path / "python", f'echo \'["noise"]\'; exec "{sys.executable}" "$@"')
    assert "sys" in worker_interpreter(ProcessConfig(python=python)).builtin_modules


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo oh; echo dear. >&2; exit 3", "it ended with status 3: dear. Expected"),
        ("exit 3", "it ended with status 3. Expected"),
        ("echo hello", "it did not answer as a Python interpreter does"),
        ("true", "it did not answer as a Python interpreter does"),
    ],
    ids=["fails", "fails in silence", "no python", "silent"],
)
def test_an_interpreter_that_is_none_is_told(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        worker_interpreter(ProcessConfig(python=script(tmp_path / "python", text)))
    assert caught.value.field == "runtime.process.python"


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"def f[", (1, "'[' was never closed")), (b"\n\nreturn", (3, "'return' outside function")), (b"x = 1", None)],
)
def test_a_workers_interpreter_says_what_it_makes_of_a_source(
    data: bytes, expected: tuple[int, str] | None, tmp_path: Path
) -> None:
    found = refused_by_worker(ProcessConfig(python=script(tmp_path / "python", f'exec "{sys.executable}" "$@"')), data)
    if expected is None or found is None:
        assert found is expected
    else:
        assert found[0] == expected[0], found


@pytest.mark.parametrize(
    "text", ["true", 'echo 3 > "$3"', 'echo x > "$3"'], ids=["silent", "another answer", "no JSON"]
)
def test_one_that_does_not_say_it_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"answer|Expecting value"):
        refused_by_worker(ProcessConfig(python=script(tmp_path / "python", text)), b"x = 1")


def test_an_interpreter_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "INTERPRETER_TIMEOUT", 0.05)
    with pytest.raises(ConfigError, match=r"did not answer within 0\.05 s"):
        worker_interpreter(ProcessConfig(python=script(tmp_path / "python", "exec sleep 60")))


@pytest.mark.parametrize(("last", "timeout"), [("exit 0", DEADLINE), ("exec sleep 60", 0.05)], ids=["ends", "hangs"])
def test_what_an_interpreter_has_started_is_ended_with_it(
    last: str, timeout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    mine = os.open(fifo, os.O_WRONLY)
    monkeypatch.setattr(resolution, "INTERPRETER_TIMEOUT", timeout)
    with pytest.raises(ConfigError):
        worker_interpreter(ProcessConfig(python=script(tmp_path / "python", f"exec 9> '{fifo}'\nsleep 60 &\n{last}")))
    os.close(mine)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    assert poll.poll(DEADLINE * 1000), "nobody holds it open any more"
    os.close(end)


def test_an_interpreter_that_may_not_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("")
    with pytest.raises(ConfigError, match="cannot be run: Permission denied"):
        worker_interpreter(ProcessConfig(python=tmp_path / "python"))


def test_an_interpreter_that_vanishes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "existing_interpreter", lambda found: Path(found.python))
    with pytest.raises(ConfigError, match="it cannot be read: No such file"):
        worker_interpreter(ProcessConfig(python=tmp_path / "python"))


def test_it_is_asked_where_the_worker_runs(tmp_path: Path) -> None:
    for directory in ("cwd", "site"):
        (tmp_path / directory).mkdir()
    here = worker_interpreter(ProcessConfig(env={"PYTHONPATH": "lib"}, cwd=tmp_path / "cwd")).sys_path
    there = worker_interpreter(ProcessConfig(env={"PYTHONPATH": str(tmp_path / "site")})).sys_path
    assert here[0] == tmp_path / "cwd" / "lib"
    assert there[0] == tmp_path / "site"
    assert here[1:] == there[1:]
