"""lastgood.config: what is read, and how every mistake in it is told."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood import config
from lastgood.config import (
    Config,
    GeneratorConfig,
    ModuleConfig,
    OutputConfig,
    ProcessConfig,
    decode_config,
    find_config,
    load_config,
)
from lastgood.errors import ConfigError, ConfigMigrationError

FILE = Path("/project/lastgood.toml")
MINIMAL = '[modules]\n[output]\ndir = "generated"\n'


def decode(text: str, path: Path = FILE) -> Config:
    return decode_config(text.encode(), path)


def failure(text: str, path: Path = FILE) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        decode(text, path)
    assert caught.value.file == path
    return caught.value


# --- what is valid ------------------------------------------------------------------------------------------


def test_the_least_that_is_valid_has_the_defaults() -> None:
    assert decode(MINIMAL) == Config(
        path=FILE,
        python_import_path=(Path("/project"),),
        modules={},
        output=OutputConfig(dir=Path("/project/generated")),
    )


def test_attributes_mirror_the_file() -> None:
    config = decode(
        """
        python_import_path = ["src", "../lib", "/opt/./x"]
        [modules.pricing]
        functions = ["quote"]
        [modules."a.b"]
        classes = ["Desk"]
        exclude = ["Desk.close"]
        exclude_patterns = ["test_*"]
        [output]
        dir = "build/../generated"
        style = "sync"
        [runtime.process]
        python = ".venv/bin/python"
        env = { LANG = "C", EMPTY = "", HOME = "~/$X" }
        cwd = "run"
        timeout = 5
        threads = 4
        pool = 2
        grace = 0
        """
    )
    assert config.python_import_path == (Path("/project/src"), Path("/lib"), Path("/opt/x"))
    assert config.modules == {
        "pricing": ModuleConfig(functions=("quote",)),
        "a.b": ModuleConfig(classes=("Desk",), exclude=("Desk.close",), exclude_patterns=("test_*",)),
    }
    assert config.output == OutputConfig(dir=Path("/project/generated"), style="sync")
    assert config.runtime.process == ProcessConfig(
        python=Path("/project/.venv/bin/python"),
        env={"LANG": "C", "EMPTY": "", "HOME": "~/$X"},
        cwd=Path("/project/run"),
        timeout=5.0,
        threads=4,
        pool=2,
        grace=0.0,
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("poll = false", 0), ("poll = true", 1), ("poll = 3", 3), ("poll = 0.25", 0.25)]
)
def test_how_often_files_are_read_where_the_system_is_not_asked(text: str, seconds: float) -> None:
    assert decode(f"{MINIMAL}[watch]\n{text}").watch.interval == seconds


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("", ()),
        ('[generator]\ncommand = ["protoc", "{source}"]', (GeneratorConfig(command=("protoc", "{source}")),)),
        (
            (
                '[[generators]]\nuse = "a.b:c.d"\nwatch = ["x"]\ninto = "y/z"\nbuiltin = false\ntimeout = 1\n'
                '[[generators]]\ncommand = ["t"]\nsources = ["*.proto"]'
            ),
            (
                GeneratorConfig(use="a.b:c.d", watch=(Path("/project/x"),), into="y/z", builtin=False, timeout=1.0),
                GeneratorConfig(command=("t",), sources=("*.proto",)),
            ),
        ),
    ],
    ids=["none", "one", "several"],
)
def test_generators(tables: str, expected: tuple[GeneratorConfig, ...]) -> None:
    config = decode(MINIMAL + tables)
    assert config.generators == expected
    assert config.makes_wrappers is all(each.builtin for each in expected)


@pytest.mark.parametrize(
    ("generator", "label"),
    [
        (GeneratorConfig(command=("tools/gen.sh", "-m")), "gen.sh"),
        (GeneratorConfig(command=("{python}", "-m", "grpc_tools.protoc", "x")), "grpc_tools.protoc"),
        (GeneratorConfig(command=("{python}", "gen.py")), "python"),
        (GeneratorConfig(use="a.b:c"), "a.b:c"),
    ],
    ids=["a program", "a module", "a script", "a function"],
)
def test_what_a_generator_is_called(generator: GeneratorConfig, label: str) -> None:
    assert generator.label == label


@pytest.mark.parametrize(("text", "seconds"), [("false", math.inf), ("0.5", 0.5), ("3", 3.0)])
@pytest.mark.parametrize("field", config.TIMES)
def test_the_seconds_of_a_session(field: str, text: str, seconds: float) -> None:
    assert decode(f"{MINIMAL}[watch]\n{field} = {text}").watch.seconds == {field: seconds}


@pytest.mark.parametrize("field", ["debounce", "max_wait", "drain_timeout", "supersede_after"])
def test_some_of_them_may_be_none(field: str) -> None:
    assert decode(f"{MINIMAL}[watch]\n{field} = 0").watch.seconds == {field: 0.0}


def test_a_call_may_take_for_ever() -> None:
    assert decode(f"{MINIMAL}[runtime.process]\ntimeout = false").runtime.process.timeout == math.inf


def test_modules_keep_their_order() -> None:
    assert list(decode("[modules.z]\n[modules.a]\n[modules.m]\n[output]\ndir='g'").modules) == ["z", "a", "m"]


@pytest.mark.parametrize(
    ("written", "python"),
    [("python3.12", "python3.12"), ("./python3.12", "/project/python3.12"), ("/usr/bin/python3", "/usr/bin/python3")],
    ids=["a bare name is left to PATH", "a slash makes it a file", "absolute"],
)
def test_the_interpreter_is_a_file_or_a_bare_command(written: str, python: str) -> None:
    config = decode(MINIMAL + f'[runtime.process]\npython = "{written}"')
    assert config.runtime.process.python == Path(python)


def test_pyproject_keeps_it_under_tool_lastgood() -> None:
    text = '[project]\nname = "x"\n[tool.lastgood.modules.pricing]\n[tool.lastgood.output]\ndir = "g"\n'
    config = decode(text, Path("/project/pyproject.toml"))
    assert list(config.modules) == ["pricing"]
    assert config.output.dir == Path("/project/g")


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert decode_config(b"\xef\xbb\xbf" + MINIMAL.encode(), FILE) == decode(MINIMAL)


# --- what is not ----------------------------------------------------------------------------------------------

GENERATOR = MINIMAL + '[generator]\ncommand = ["t"]\n'
OUTPUT = '[output]\ndir = "generated"\n'


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("", "modules", "is missing. Add one table for each module, such as [modules.pricing]; an empty"),
        ("[modules]", "output", 'is missing. Add [output] with dir = "generated"'),
        ("[modules]\n[output]", "output.dir", "is missing"),
        ("modules = 3\n" + OUTPUT, "modules", "expected a table, found an integer"),
        ("[modules]\npricing = 3\n" + OUTPUT, "modules.pricing", "expected a table, found an integer"),
        ('output = "g"\n[modules]', "output", "expected a table, found a string"),
        ("[modules]\n[output]\ndir = 3", "output.dir", "expected a string, found an integer"),
        ('[modules]\n[output]\ndir = ""', "output.dir", "is empty; expected a path"),
        ('[modules]\n[output]\ndir = "a\\u0000"', "output.dir", "contains a NUL character"),
        ('[modules]\n[output]\ndir = "."', "output.dir", "holds the config file itself"),
        ('[modules]\n[output]\ndir = "/project/"', "output.dir", "holds the config file itself"),
        ('[modules]\n[output]\ndir = ".."', "output.dir", "holds the config file itself"),
        (MINIMAL + 'style = "both"', "output.style", 'expected "async" or "sync", found "both"'),
        (
            MINIMAL + "check_results = true",
            "output.check_results",
            'expected "error" or "warn" or "off", found a boolean',
        ),
        (MINIMAL + 'annotated = "pydantic"', "output.annotated", "expected an array of strings, found a string"),
        (
            MINIMAL + 'annotated = ["attrs", "pydantic.fields"]',
            "output.annotated[1]",
            "expected the name under which a package is imported, found 'pydantic.fields'",
        ),
        (MINIMAL + "style = ['sync']", "output.style", 'expected "async" or "sync", found an array'),
        (
            'python_import_path = "src"\n' + MINIMAL,
            "python_import_path",
            "expected an array of strings, found a string",
        ),
        ('python_import_path = ["src", 3]\n' + MINIMAL, "python_import_path[1]", "expected a string, found an integer"),
        ('python_import_path = [""]\n' + MINIMAL, "python_import_path[0]", "is empty"),
        ('[modules.p]\nfunctions = "f"\n' + OUTPUT, "modules.p.functions", "expected an array of strings, found a str"),
        (
            '[modules."a.b"]\nexclude = [1]\n' + OUTPUT,
            'modules."a.b".exclude[0]',
            "expected a string, found an integer",
        ),
        ('[modules.p]\nfunctions = ["f", ""]\n' + OUTPUT, "modules.p.functions[1]", "is empty; expected a name"),
        ('[modules.p]\nexclude_patterns = [" "]\n' + OUTPUT, "modules.p.exclude_patterns[0]", "is empty"),
        (MINIMAL + "[generator]", "generator.command", "expected either command or use, found neither"),
        (GENERATOR + 'use = "a:b"', "generator.command", "expected either command or use, found both"),
        (MINIMAL + "[generator]\ncommand = []", "generator.command", "expected at least one text"),
        (MINIMAL + '[generator]\ncommand = "t x"', "generator.command", "expected an array of strings, found a string"),
        (MINIMAL + '[generator]\ncommand = ["t", 3]', "generator.command[1]", "expected a string, found an integer"),
        (MINIMAL + '[generator]\nuse = "a.b"', "generator.use", 'a function as "package.module:function", found "a.b"'),
        (MINIMAL + '[generator]\nuse = "a:b c"', "generator.use", 'found "a:b c"'),
        (MINIMAL + '[generator]\nuse = "a:b"\nsources = ["x"]', "generator.sources", "expected with command alone"),
        (GENERATOR + 'sources = ["x", ""]', "generator.sources", "expected at least one text"),
        (MINIMAL + '[watch]\nignore = ["/tmp/x"]', "watch.ignore[0]", "a glob below the config's directory"),
        (MINIMAL + '[watch]\ninclude = ["a", "../b"]', "watch.include[1]", "a glob below the config's directory"),
        (MINIMAL + '[watch]\ninclude = [""]', "watch.include[0]", "a glob below the config's directory"),
        (MINIMAL + '[watch]\ninclude = "a"', "watch.include", "expected"),
        (
            MINIMAL + "[watch]\npoll = 0",
            "watch.poll",
            "expected true, false or seconds, finite and more than 0, found 0",
        ),
        (MINIMAL + "[watch]\ndebounce = -1", "watch.debounce", "finite and at least 0, found -1"),
        (MINIMAL + "[watch]\ndebounce = inf", "watch.debounce", "Write false for no limit"),
        (MINIMAL + "[watch]\ndebounce = true", "watch.debounce", "expected a number, found a boolean"),
        (MINIMAL + '[watch]\nmax_wait = "2 s"', "watch.max_wait", "expected a number, found a string"),
        (MINIMAL + "[watch]\nwarm_timeout = 0", "watch.warm_timeout", "finite and more than 0, found 0"),
        (MINIMAL + "[watch]\nstage_timeout = nan", "watch.stage_timeout", "finite and more than 0, found nan"),
        (MINIMAL + "[watch]\ndrain_time = 1", "watch.drain_time", 'Did you mean "drain_timeout"?'),
        (MINIMAL + "[watch]\npoll = inf", "watch.poll", "finite and more than 0, found inf"),
        (MINIMAL + "[watch]\npoll = -1", "watch.poll", "finite and more than 0, found -1"),
        (MINIMAL + '[watch]\npoll = "1 s"', "watch.poll", "expected true, false or a number, found a string"),
        (GENERATOR + 'into = "../x"', "generator.into", "a directory below the output directory"),
        (GENERATOR + 'into = "./x"', "generator.into", "a directory below the output directory"),
        (GENERATOR + 'into = "x//y"', "generator.into", "a directory below the output directory"),
        (GENERATOR + "into = 'x\\y'", "generator.into", "a directory below the output directory"),
        (GENERATOR + 'into = "/x"', "generator.into", "a directory below the output directory"),
        (GENERATOR + "timeout = 0", "generator.timeout", "more than 0, found 0"),
        (GENERATOR + 'builtin = "no"', "generator.builtin", "found a string"),
        (
            GENERATOR + '[[generators]]\nuse = "a:b"',
            "generators",
            "expected either [generator] or [[generators]], found",
        ),
        (MINIMAL + "[generators]", "generators", "expected an array of tables, found a table"),
        (MINIMAL + "[[generators]]\nuse = 'a:b'\n[[generators]]\nuses = 'a:b'", "generators[1].uses", "unknown field"),
        (MINIMAL + "[runtime]\nprocess = []", "runtime.process", "expected a table, found an array"),
        (
            MINIMAL + "[runtime.process]\npython = 1979-05-27",
            "runtime.process.python",
            "expected a string, found a date",
        ),
        (
            MINIMAL + "[runtime.process]\ntimeout = true",
            "runtime.process.timeout",
            "expected a number, found a boolean",
        ),
        (MINIMAL + '[runtime.process]\ntimeout = "1"', "runtime.process.timeout", "expected a number, found a string"),
        (MINIMAL + "[runtime.process]\noverlap = 0", "runtime.process.overlap", "expected a boolean, found an integer"),
        (MINIMAL + '[runtime.process]\nspare = "no"', "runtime.process.spare", "expected a boolean, found a string"),
        (MINIMAL + "[runtime.process]\ntimeout = 0", "runtime.process.timeout", "more than 0, found 0"),
        (MINIMAL + "[runtime.process]\ntimeout = -1.5", "runtime.process.timeout", "more than 0, found -1.5"),
        (MINIMAL + "[runtime.process]\ntimeout = inf", "runtime.process.timeout", "finite and more than 0, found inf"),
        (MINIMAL + "[runtime.process]\ntimeout = nan", "runtime.process.timeout", "finite and more than 0, found nan"),
        (MINIMAL + f"[runtime.process]\ntimeout = 1{'0' * 400}", "runtime.process.timeout", "out of range"),
        (MINIMAL + "[runtime.process]\ngrace = -1", "runtime.process.grace", "finite and at least 0, found -1"),
        (MINIMAL + "[runtime.process]\ngrace = nan", "runtime.process.grace", "finite and at least 0, found nan"),
        (MINIMAL + "[runtime.process]\ngrace = inf", "runtime.process.grace", "finite and at least 0, found inf"),
        (MINIMAL + "[runtime.process]\nprobation = -1", "runtime.process.probation", "at least 0, found -1"),
        (
            MINIMAL + "[runtime.process]\nprobation = inf",
            "runtime.process.probation",
            "finite and at least 0, found inf",
        ),
        (
            MINIMAL + '[runtime.process]\nasync_backend = "curio"',
            "runtime.process.async_backend",
            'expected "asyncio" or "trio", found "curio"',
        ),
        (MINIMAL + "[runtime.process]\nthreads = 0", "runtime.process.threads", "from 1 to 256, found 0"),
        (MINIMAL + "[runtime.process]\nthreads = 257", "runtime.process.threads", "from 1 to 256, found 257"),
        (MINIMAL + "[runtime.process]\nthreads = true", "runtime.process.threads", "an integer, found a boolean"),
        (MINIMAL + "[runtime.process]\nthreads = 1.5", "runtime.process.threads", "an integer, found a float"),
        (MINIMAL + "[runtime.process]\npool = 0", "runtime.process.pool", "from 1 to 64, found 0"),
        (MINIMAL + "[runtime.process]\npool = 65", "runtime.process.pool", "from 1 to 64, found 65"),
        (
            MINIMAL + '[runtime.process]\npool = "2"',
            "runtime.process.pool",
            "expected an integer, found a string",
        ),
        (MINIMAL + "[runtime.process]\nenv = []", "runtime.process.env", "expected a table, found an array"),
        (MINIMAL + "[runtime.process]\nenv.X = 3", "runtime.process.env.X", "expected a string, found an integer"),
        (
            MINIMAL + '[runtime.process]\nenv."A B" = true',
            'runtime.process.env."A B"',
            "expected a string, found a boolean",
        ),
        (MINIMAL + '[runtime.process]\nenv."A=B" = "x"', "runtime.process.env", "found 'A=B'"),
        (MINIMAL + '[runtime.process]\nenv.A = "\\u0000"', "runtime.process.env", "found 'A'"),
        (MINIMAL + '[runtime.process]\ncwd = ""', "runtime.process.cwd", "is empty; expected a path"),
        (MINIMAL + "[runtime.process]\nvirtual_env = []", "runtime.process.virtual_env", "expected a string"),
        (
            MINIMAL + '[runtime.process]\npython = "python3"\nvirtual_env = ".venv"',
            "runtime.process.virtual_env",
            "expected either python or virtual_env, found both",
        ),
    ],
)
def test_a_wrong_value_is_told_with_field_and_expectation(text: str, field: str, says: str) -> None:
    error = failure(text)
    assert error.field == field
    assert str(error).startswith(f'{FILE}: field "{field}": ')
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("ouput = 3\n" + MINIMAL, "ouput", 'Did you mean "output"?'),
        ("[modules.pricing]\nfunctons = []\n" + OUTPUT, "modules.pricing.functons", 'Did you mean "functions"?'),
        ('[modules."a.b"]\nclass = []\n' + OUTPUT, 'modules."a.b".class', 'Did you mean "classes"?'),
        (MINIMAL + "[runtime.process]\ntime_out = 3", "runtime.process.time_out", 'Did you mean "timeout"?'),
        (MINIMAL + "[runtime.thread]", "runtime.thread", "expected in [runtime]: process."),
        (
            "xyz = 3\n" + MINIMAL,
            "xyz",
            "expected in the config: generator, generators, modules, output, python_import_path, runtime, serve, watch.",
        ),
        ("[modules.a.b]\nfunctions = []\n" + OUTPUT, "modules.a.b", 'quote the dotted name: [modules."a.b"].'),
    ],
)
def test_an_unknown_field_is_told_with_its_near_miss_or_the_known_ones(text: str, field: str, says: str) -> None:
    error = failure(text)
    assert error.field == field
    assert "unknown field" in str(error)
    assert says in str(error)


@pytest.mark.parametrize(
    "name", ["", ".pricing", "a..b", "a.", "../x", "src/x", "a-b", "class", "a.import", "1a", "a b"]
)
def test_a_module_is_named_as_after_import(name: str) -> None:
    assert "is not a module name" in str(failure(f'[modules."{name}"]\n' + OUTPUT))


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b"a = 1\nb = \n", 2, "is not valid TOML: Invalid value at column 5."),
        (b"a = [\n\n", 3, "is not valid TOML: Invalid value at the end of the file."),
        (b"a = 1\na = 2\n", 2, "is not valid TOML: Cannot overwrite a value"),
        (b"a = 1\nb = '\xff'\n", 2, "is not UTF-8: byte 0xff"),
        (b"a = " + b"[" * 5000, None, "is nested too deeply"),
        (b"a = " + b"1" * 5000, None, "is not valid TOML: Exceeds the limit"),
    ],
    ids=["syntax", "end of file", "twice", "encoding", "depth", "digits"],
)
def test_what_is_no_toml_is_told_with_its_line(data: bytes, line: int | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_config(data, FILE)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{FILE}:{line}: " if line else f"{FILE}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "[tool.black]", "tool = 3"])
def test_a_pyproject_needs_the_table(text: str) -> None:
    assert "has no [tool.lastgood] table" in str(failure(text, Path("/project/pyproject.toml")))


def test_a_pyproject_needs_it_to_be_a_table() -> None:
    error = failure("[tool]\nlastgood = 3", Path("/project/pyproject.toml"))
    assert (error.field, error.problem) == ("tool.lastgood", "expected a table, found an integer.")


@settings(max_examples=50)
@given(st.dictionaries(st.text(), st.lists(st.text(), unique=True), min_size=1))
def test_no_key_breaks_the_telling(tables: dict[str, list[str]]) -> None:
    text = OUTPUT
    for name, keys in tables.items():
        text += f"[modules.{escaped(name)}]\n" + "".join(f"{escaped(key)} = []\n" for key in keys)
    assert str(failure(text + "[modules.last]\nunknown = 1"))


def escaped(key: str) -> str:
    return '"' + "".join(f"\\U{ord(char):08x}" for char in key) + '"'


# --- fields of the past -----------------------------------------------------------------------------------------

DEVELOPMENT = (
    'Legacy config field "development" is no longer supported. '
    "Use watch() or create_bridge_reloader() from lastgood instead."
)
WATCH = 'Legacy config field "modules.<module>.watch" is no longer supported. Use watch() from lastgood instead.'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[development]\nwatch = true\n" + MINIMAL, DEVELOPMENT),
        ("development = 3", DEVELOPMENT),
        ("[modules.pricing]\nwatch = true\n" + OUTPUT, WATCH),
        ('[modules.pricing]\n[modules."a.b"]\nwatch = []', WATCH),
        ("nonsense = 1\n[modules.pricing]\nnonsense = 1\nwatch = 1", WATCH),
    ],
    ids=["table", "any value", "watch", "in any module", "before other errors"],
)
def test_legacy_fields_have_their_own_error_word_for_word(text: str, says: str) -> None:
    error = failure(text)
    assert isinstance(error, ConfigMigrationError)
    assert str(error) == says


def test_legacy_fields_in_a_pyproject_too() -> None:
    error = failure("[tool.lastgood.development]", Path("/project/pyproject.toml"))
    assert str(error) == DEVELOPMENT


# --- files ------------------------------------------------------------------------------------------------------


def test_loading_resolves_against_the_files_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lastgood.toml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    config = load_config("lastgood.toml")
    assert config.path == tmp_path / "lastgood.toml"
    assert config.output.dir == tmp_path / "generated"


def test_a_link_to_an_interpreter_stays_one(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to("/bin/sh")
    (tmp_path / "lastgood.toml").write_text(MINIMAL + '[runtime.process]\npython = "./python"')
    assert load_config(tmp_path / "lastgood.toml").runtime.process.python == tmp_path / "python"


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = ("lastgood.toml", "no/lastgood.toml", "other.toml", "file/lastgood.toml")
    for path in map(tmp_path.joinpath, inside):
        with pytest.raises(ConfigError, match="does not exist") as caught:
            load_config(path)
        assert str(path) in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="is not a regular file"):
        load_config(tmp_path / "fifo")
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    with pytest.raises(ConfigError, match="cannot be read: Too many levels of symbolic links"):
        load_config(tmp_path / "loop.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: .*embedded null"):
        load_config("a\0b")


def test_finding_prefers_the_nearest_directory_and_then_lastgood_toml(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "lastgood.toml").write_text(MINIMAL)
    assert find_config(deep) == tmp_path / "lastgood.toml"
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.black]\n")
    assert find_config(deep) == tmp_path / "lastgood.toml", "a pyproject.toml without the table is none of ours"
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.lastgood]\n")
    assert find_config(deep) == tmp_path / "a" / "pyproject.toml"
    (tmp_path / "a" / "lastgood.toml").write_text(MINIMAL)
    assert find_config(deep) == tmp_path / "a" / "lastgood.toml"
    (deep / "lastgood.toml").mkdir()
    assert find_config(deep) == deep / "lastgood.toml", "the error of reading it names it"


@pytest.mark.parametrize(("text", "ours"), [("[tool.lastgood]\noutput =", True), ("[tool.black]\nx =", False)])
def test_a_broken_pyproject_counts_if_it_speaks_of_us(tmp_path: Path, text: str, ours: bool) -> None:
    (tmp_path / "lastgood.toml").write_text(MINIMAL)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").write_text(text)
    assert find_config(tmp_path / "a") == tmp_path / ("a/pyproject.toml" if ours else "lastgood.toml")


def test_a_pyproject_that_cannot_be_read_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "lastgood.toml").write_text(MINIMAL)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").touch()
    (tmp_path / "a" / "b").mkdir()
    os.mkfifo(tmp_path / "a" / "b" / "pyproject.toml")
    assert find_config(tmp_path / "a" / "b") == tmp_path / "lastgood.toml", "reading a FIFO would not end"
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert find_config(tmp_path / "a") == tmp_path / "lastgood.toml"
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_config(tmp_path / "lastgood.toml")


def test_finding_none_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no lastgood\.toml") as caught:
        find_config(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_config_is_decoded_where_a_library_has_replaced_the_class_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(type(FILE)):  # type: ignore[misc]  # the class for this system is only known when it runs
        pass

    spec = importlib.util.spec_from_file_location("fresh_config", config.__file__)
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, fresh)
    spec.loader.exec_module(fresh)
    monkeypatch.setattr(fresh, "Path", Replaced)  # as pyfakefs does
    assert fresh.decode_config(MINIMAL.encode(), FILE).output.dir == Path("/project/generated")
