"""``lastgood.toml``, or ``[tool.lastgood]`` in ``pyproject.toml``, to :class:`Config` (contract §7).

:func:`find_config` and :func:`load_config` read the disk, :func:`decode_config` is pure: a session decodes the very
bytes that it read for a cycle. Everything that can be wrong with a config file is a
:class:`~lastgood.errors.ConfigError` that names file, field, what was found and what was expected.
"""

from __future__ import annotations

import difflib
import functools
import json
import keyword
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import msgspec

from lastgood.errors import ConfigError, ConfigMigrationError

__all__ = [
    "MAX_POOL",
    "MAX_THREADS",
    "Config",
    "GeneratorConfig",
    "ModuleConfig",
    "OutputConfig",
    "ProcessConfig",
    "RuntimeConfig",
    "Style",
    "decode_config",
    "find_config",
    "load_config",
]

MAX_THREADS = 256
"""Calls that may run at once in a worker."""

MAX_POOL = 64
"""Workers behind one bridge."""

ASYNC_BACKENDS = ("asyncio", "trio")

Style: TypeAlias = Literal["async", "sync"]
"""What the functions of wrappers are: to be awaited, or plain and blocking."""


class ModuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[modules.<name>]``: what of a module is wrapped and callable.

    ``functions`` and ``classes``, when given, are the only ones taken; ``exclude`` names functions and classes (dots
    pass into classes) that are left out, ``exclude_patterns`` does so by glob.
    """

    functions: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[output]``: ``dir`` is the directory of the wrappers, absolute.

    ``style``: ``"async"`` for wrappers that are awaited, ``"sync"`` for plain functions that block.
    """

    dir: Path
    style: Style = "async"


class GeneratorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[generator]``, or one of ``[[generators]]``: what makes files besides the built-in wrappers, or instead of them.

    Either ``command``, a program and its arguments, with placeholders; or ``use``, a Python function as ``module:function``.
    ``sources`` are what ``{source}`` in a command stands for, one run for each: files, directories or globs, relative to the
    config file (None: the directories of ``python_import_path``). These are watched, and so are the paths in ``watch``, and the
    modules that ``use`` leads to. ``into`` is the directory below the output where the files go. ``builtin`` says whether the
    built-in wrappers are made as well. A run may take ``timeout`` seconds.
    """

    command: tuple[str, ...] | None = None
    use: str | None = None
    sources: tuple[str, ...] | None = None
    watch: tuple[Path, ...] = ()
    into: str = ""
    builtin: bool = True
    timeout: float = 60.0

    @property
    def label(self) -> str:
        """What it is called in errors: ``protoc``, ``grpc_tools.protoc``, ``package.module:function``."""
        if self.command is None:
            return self.use or ""
        program, *rest = self.command
        return rest[1] if rest[:1] == ["-m"] and len(rest) > 1 else re.split(r"[/\\]", program)[-1].strip("{}")

    def wrong_field(self) -> tuple[str, str] | None:
        """The first field whose value is not one, and what of it: what was expected, and what was found. None: all are fine."""
        if (self.command is None) is (self.use is None):
            found = "neither" if self.use is None else "both"
            return "command", f"expected either command or use, found {found}."
        for name, texts in (("command", self.command), ("sources", self.sources)):
            if texts is not None and (not texts or not all(texts) or "\0" in "".join(texts)):
                return name, "expected at least one text, each neither empty nor with NUL characters."
        if self.use is not None and not _FUNCTION.fullmatch(self.use):
            return "use", f'expected a function as "package.module:function", found "{self.use}".'
        if self.sources is not None and self.command is None:
            return "sources", "expected with command alone; what a function reads goes under watch."
        if self.into.startswith("/") or {"..", "."} & set(self.into.split("/")) or _ODD.search(self.into):
            return "into", f'expected a directory below the output directory, such as "messages", found "{self.into}".'
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            return "timeout", f"expected seconds, finite and more than 0, found {self.timeout}."
        return None


_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_ODD = re.compile(r"[\\:\0]|//")


class ProcessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[runtime.process]``: the workers of the default bridge, and what they run in.

    ``python`` is their interpreter (None: this one): absolute, its symbolic links kept as they are, for a virtual
    environment's interpreter is one, and is told apart by its path alone. Only a bare command name such as
    ``python3.12``, with no slash in it, stays as it is, and is looked up on ``PATH`` when it is used; write
    ``./python3.12`` for a file beside the config. Instead of it, ``virtual_env`` names the directory of a virtual
    environment, which is entered as its ``activate`` script does it. ``env`` is added to the app's environment, each value
    taken literally; ``cwd`` is their working directory (None: the app's).

    ``timeout`` is what a call may take, in seconds from when it starts to run; ``threads`` how many calls run at once in
    a worker, ``pool`` how many workers there are, ``grace`` how many seconds one is given to exit by itself.
    A bridge that is lost within ``probation`` seconds of its swap brings the generation before back.
    ``async_backend`` is the event loop for ``async def`` functions there: ``"asyncio"``, or ``"trio"`` where that is installed.
    With ``spare``, a worker for the next generation is kept that has imported what is installed and was needed. Off, because it
    imports these modules first: what local code does before it imports one (set a variable, patch another) comes too late.
    """

    python: Path | None = None
    virtual_env: Path | None = None
    env: dict[str, str] = {}
    cwd: Path | None = None
    timeout: float = 30.0
    probation: float = 5.0
    threads: int = 1
    pool: int = 1
    grace: float = 1.0
    async_backend: str = "asyncio"
    spare: bool = False

    def wrong_field(self) -> tuple[str, str] | None:
        """The first field whose value is not one, and what of it: what was expected, and what was found. None: all are fine."""
        if self.python is not None and self.virtual_env is not None:
            return "virtual_env", "expected either python or virtual_env, found both."
        for name, value in self.env.items():
            if not name or "=" in name or "\0" in name + value:
                return "env", f'expected names without "=" and texts without NUL characters, found {name!r}.'
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            return "timeout", f"expected seconds, finite and more than 0, found {self.timeout}."
        if not (self.probation >= 0 and math.isfinite(self.probation)):
            return "probation", f"expected seconds, finite and at least 0, found {self.probation}."
        if not (self.grace >= 0 and math.isfinite(self.grace)):
            return "grace", f"expected seconds, finite and at least 0, found {self.grace}."
        if not 1 <= self.threads <= MAX_THREADS:
            return "threads", f"expected calls that run at once, from 1 to {MAX_THREADS}, found {self.threads}."
        if not 1 <= self.pool <= MAX_POOL:
            return "pool", f"expected worker processes, from 1 to {MAX_POOL}, found {self.pool}."
        if self.async_backend not in ASYNC_BACKENDS:
            return "async_backend", f'expected "asyncio" or "trio", found "{self.async_backend}".'
        return None


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[runtime]``."""

    process: ProcessConfig = ProcessConfig()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A config as resolved for one cycle. Its attributes mirror the file; every path is absolute and normalised.

    ``path`` is the config file itself. (The one exception to "absolute": ``python`` of :class:`ProcessConfig`.) ``pinned`` does not
    stand in it: the manifest of the cycle's pinned generation (contract §9), which the session sets for ``create_bridge``.
    """

    path: Path
    python_import_path: tuple[Path, ...]
    modules: dict[str, ModuleConfig]
    output: OutputConfig
    runtime: RuntimeConfig = RuntimeConfig()
    generators: tuple[GeneratorConfig, ...] = ()
    pinned: Path | None = None

    @property
    def makes_wrappers(self) -> bool:
        """Whether the built-in wrappers are made: unless a generator says that they are not."""
        return all(generator.builtin for generator in self.generators)


def find_config(start: Path) -> Path:
    """The config file that a command without an argument means (contract §7), absolute.

    Looks in ``start`` and then in each directory above it for ``lastgood.toml``, else for a ``pyproject.toml`` with a
    ``[tool.lastgood]`` table. A ``pyproject.toml`` that cannot be read as TOML counts if it mentions that table, so
    that :func:`load_config` gets to say what is wrong with it. Raises :class:`ConfigError` if there is none.
    """
    start = Path(os.path.abspath(start))
    for directory in (start, *start.parents):
        own = directory / "lastgood.toml"
        if own.exists():
            return own
        shared = directory / "pyproject.toml"
        if shared.is_file() and _mentions_lastgood(shared):
            return shared
    raise ConfigError(
        f"no lastgood.toml, and no pyproject.toml with a [tool.lastgood] table, in {start} or a directory above it.",
        hint='Name the config file, or make one with "lastgood init".',
    )


def load_config(path: str | os.PathLike[str], read: Callable[[Path], bytes] | None = None) -> Config:
    """Read, by ``read`` if that is given, and decode a config file.

    Raises :class:`ConfigError`: what :func:`decode_config` raises, and if the file is missing, cannot be read, or is
    no file.
    """
    file = Path(os.path.abspath(path))
    try:
        mode = os.stat(file).st_mode
        if stat.S_ISDIR(mode):
            inside = (file / name for name in ("lastgood.toml", "pyproject.toml"))
            found = next((path for path in inside if path.is_file()), None)
            hint = "" if found is None else f"Did you mean {found}?"
            raise ConfigError("is a directory; expected a config file.", file=file, hint=hint)
        if not stat.S_ISREG(mode):  # reading a FIFO would never end
            raise ConfigError("is not a regular file; expected a config file.", file=file)
        data = file.read_bytes() if read is None else read(file)
    except (FileNotFoundError, NotADirectoryError):
        hint = 'Make one with "lastgood init".' if file.name == "lastgood.toml" else "Check the path."
        raise ConfigError("the config file does not exist.", file=file, hint=hint) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the config file cannot be read: {reason}.", file=file) from error
    return decode_config(data, file)


def decode_config(data: bytes, path: Path) -> Config:
    """Decode the bytes of a config file. Pure: nothing is read, whether a path in it exists is not looked at.

    ``path`` is where the bytes come from, absolute; relative paths in them are relative to its directory, and its name
    says where the settings stand: under ``[tool.lastgood]`` in a ``pyproject.toml``, at the top in any other file.
    Raises :class:`ConfigError`, and :class:`ConfigMigrationError` for the two fields of the past, before anything else.
    """
    root = _parse(data, path)
    if path.name == "pyproject.toml":
        root = _lastgood_table(root, path)
    _refuse_legacy(root, path)
    decoder = _Decoder(path)
    decoder.check_fields(root, _Root, "")
    modules = decoder.convert(root["modules"], dict[str, Any], "modules")
    decoder.check_module_names(modules)
    decoder.check_style(root["output"])
    output = decoder.convert(root["output"], OutputConfig, "output", decoder.resolve)
    if output.dir == path.parent or output.dir in path.parent.parents:
        raise ConfigError(
            f"{output.dir} holds the config file itself; expected a directory for the wrappers alone.",
            file=path,
            field="output.dir",
            hint='Write, for example, dir = "generated".',
        )
    runtime = decoder.runtime(root.get("runtime", {}))
    return Config(
        path=path,
        python_import_path=decoder.convert(
            root.get("python_import_path", ["."]), _PATHS, "python_import_path", decoder.resolve
        ),
        modules={name: decoder.module(name, table) for name, table in modules.items()},
        output=output,
        runtime=runtime,
        generators=decoder.generators(root),
    )


# --- the TOML document --------------------------------------------------------------------------------------

Table: TypeAlias = Mapping[str, Any]

# What tomllib says of where: "… (at line 3, column 7)" or "… (at end of document)".
_TOML_WHERE = re.compile(r"^(.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL)


def _parse(data: bytes, path: Path) -> dict[str, Any]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8: byte 0x{data[error.start]:02x}; a TOML file is always UTF-8.",
            file=path,
            line=data.count(b"\n", 0, error.start) + 1,
            hint="Save it with that encoding.",
        ) from error
    try:
        return tomllib.loads(text)
    except RecursionError:  # its traceback is as long as the nesting is deep
        raise ConfigError("is nested too deeply to be read.", file=path) from None
    except ValueError as error:  # TOMLDecodeError is one; so is what int() says of too many digits
        problem, column = str(error), ""
        line: int | None = None
        if found := _TOML_WHERE.match(problem):
            problem = found[1]
            line = int(found["line"]) if found["line"] else text.count("\n") + 1
            column = f" at column {found['column']}" if found["column"] else " at the end of the file"
        raise ConfigError(f"is not valid TOML: {problem}{column}.", file=path, line=line) from error


def _lastgood_table(document: Table, path: Path) -> dict[str, Any]:
    tool = document.get("tool", {})
    table = tool.get("lastgood") if isinstance(tool, dict) else None
    if table is None:
        raise ConfigError("has no [tool.lastgood] table.", file=path, hint="Add it, or name a lastgood.toml.")
    if not isinstance(table, dict):
        raise ConfigError(f"expected a table, found {_found(table)}.", file=path, field="tool.lastgood")
    return table


def _mentions_lastgood(pyproject: Path) -> bool:
    try:
        data = pyproject.read_bytes()
    except OSError:
        return False
    try:
        document = _parse(data, pyproject)
    except ConfigError:
        return b"tool.lastgood" in data
    tool = document.get("tool")
    return isinstance(tool, dict) and "lastgood" in tool


def _refuse_legacy(root: Table, path: Path) -> None:
    if "development" in root:
        raise ConfigMigrationError(
            'Legacy config field "development" is no longer supported. '
            "Use watch() or create_bridge_reloader() from lastgood instead.",
            file=path,
            field="development",
        )
    modules = root.get("modules")
    for name, table in modules.items() if isinstance(modules, dict) else ():
        if isinstance(table, dict) and "watch" in table:
            raise ConfigMigrationError(  # <module> stands in the text as it is: the contract gives it literally
                'Legacy config field "modules.<module>.watch" is no longer supported. '
                "Use watch() from lastgood instead.",
                file=path,
                field=f"{_join('modules', name)}.watch",
            )


# --- from tables to the types above -------------------------------------------------------------------------


# msgspec resolves a struct's annotations when it first meets it: here, before anything (pyfakefs, say) exchanges Path.
_PATHS = tuple[Path, ...]
msgspec.json.Decoder(tuple[OutputConfig, RuntimeConfig, GeneratorConfig])


class _Root(msgspec.Struct):
    """The fields of the file's top, for their names alone."""

    modules: dict[str, Any]
    output: OutputConfig
    python_import_path: tuple[Path, ...] = ()
    runtime: RuntimeConfig = RuntimeConfig()
    generator: GeneratorConfig = GeneratorConfig()
    generators: tuple[Any, ...] = ()


T = TypeVar("T")

_fields_of = functools.cache(msgspec.structs.fields)  # it reads annotations anew each time

# Where msgspec found it: "Expected `str`, got `int` - at `$.functions[0]`". Its names are Python's or JSON's.
_MSGSPEC_ERROR = re.compile(r"^Expected `(?P<expected>[^`]*)`, got `(?P<got>[^`]*)`(?: - at `\$(?P<at>[^`]*)`)?$")
_EXPECTED = {
    "str": "a string",
    "bool": "a boolean",
    "int": "an integer",
    "float": "a number",
    "object": "a table",
    "array": "an array of strings",
}
_HINTS = {
    "modules": "Add one table for each module, such as [modules.pricing]; an empty [modules] is valid, too.",
    "output": 'Add [output] with dir = "generated".',
    "output.dir": 'Write, for example, dir = "generated".',
}


class _Decoder:
    """Checks and converts the tables of one file; each error names that file and the dotted field."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parent = str(path.parent)

    def check_fields(self, table: Any, struct: type[msgspec.Struct], at: str) -> None:
        """Refuse unknown fields, and name missing ones, in ``table`` and in the tables inside it.

        Before :func:`msgspec.convert`, whose errors know neither near misses nor the keys of a dict.
        """
        if not isinstance(table, dict):
            return  # convert says so
        fields = {field.name: field for field in _fields_of(struct)}
        for name in table:
            if name not in fields:
                raise self._unknown(name, table[name], fields, at)
        for name, field in fields.items():
            where = _join(at, name)
            if field.required and name not in table:
                raise self._error("is missing.", where, hint=_HINTS.get(where, ""))
            for inner in get_args(field.type) or (field.type,):
                if name in table and isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                    self.check_fields(table[name], inner, where)

    def convert(self, value: Any, into: type[T], at: str, hook: Callable[[type, Any], Any] | None = None) -> T:
        """:func:`msgspec.convert`, with its errors in TOML's words. ``hook`` makes the paths."""
        try:
            return msgspec.convert(value, into, dec_hook=hook)
        except msgspec.ValidationError as error:
            found = _MSGSPEC_ERROR.match(str(error))
            if found is None:
                problem, _, inside = str(error).partition(" - at `$")
                raise self._error(problem, at + inside.rstrip("`")) from error
            where = at + (found["at"] or "")
            expected = _EXPECTED.get(found["expected"].split(" | ")[0], found["expected"])
            raise self._error(f"expected {expected}, found {_found_kind(found['got'])}.", where) from error

    def module(self, name: str, table: Any) -> ModuleConfig:
        at = _join("modules", name)
        self.check_fields(table, ModuleConfig, at)
        module = self.convert(table, ModuleConfig, at)
        for field in module.__struct_fields__:
            for index, entry in enumerate(getattr(module, field) or ()):
                if not entry.strip():
                    raise self._error("is empty; expected a name.", f"{at}.{field}[{index}]")
        return module

    def check_module_names(self, names: Iterable[str]) -> None:
        for name in names:
            if not all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")):
                hint = 'Quote dotted names: [modules."package.module"].'
                problem = "is not a module name; expected one as after import, such as package.module."
                raise self._error(problem, _join("modules", name), hint)

    def check_style(self, output: Any) -> None:
        """Before :func:`msgspec.convert`, whose errors do not name the values that would be right."""
        style = output.get("style", "async") if isinstance(output, dict) else "async"
        if style not in get_args(Style):
            found = f'"{style}"' if isinstance(style, str) else _found(style)
            raise self._error(f'expected "async" or "sync", found {found}.', "output.style")

    def generators(self, root: Table) -> tuple[GeneratorConfig, ...]:
        """``[generator]``, or each of ``[[generators]]``."""
        if "generator" in root and "generators" in root:
            raise self._error("expected either [generator] or [[generators]], found both.", "generators")
        if "generator" in root:
            return (self._generator(root["generator"], "generator"),)
        tables = root.get("generators", [])
        if not isinstance(tables, list):
            raise self._error(f"expected an array of tables, found {_found(tables)}.", "generators")
        return tuple(self._generator(table, f"generators[{index}]") for index, table in enumerate(tables))

    def _generator(self, table: Any, at: str) -> GeneratorConfig:
        self.check_fields(table, GeneratorConfig, at)
        generator = self.convert(table, GeneratorConfig, at, self.resolve)
        wrong = generator.wrong_field()
        if wrong is not None:
            raise self._error(wrong[1], f"{at}.{wrong[0]}")
        return generator

    def runtime(self, table: Any) -> RuntimeConfig:
        self._check_env(table)
        runtime = self.convert(table, RuntimeConfig, "runtime", self.resolve)
        wrong = runtime.process.wrong_field()
        if wrong is not None:
            raise self._error(wrong[1], f"runtime.process.{wrong[0]}")
        written = table.get("process", {}).get("python")
        if written is None or os.path.dirname(written) or runtime.process.python != Path(self._parent, written):
            return runtime
        # A bare command name stays as it is.
        return RuntimeConfig(process=msgspec.structs.replace(runtime.process, python=Path(written)))

    def _check_env(self, runtime: Any) -> None:
        """Before :func:`msgspec.convert`, whose errors do not name the keys of a dict."""
        process = runtime.get("process") if isinstance(runtime, dict) else None
        env = process.get("env") if isinstance(process, dict) else None
        for name, value in env.items() if isinstance(env, dict) else ():
            if not isinstance(value, str):
                raise self._error(f"expected a string, found {_found(value)}.", _join("runtime.process.env", name))

    def resolve(self, _type: type, text: Any) -> Path:
        """A path of the file, absolute and normalised; symbolic links are not followed."""
        if not isinstance(text, str):
            raise TypeError(f"Expected `str`, got `{type(text).__name__}`")
        if not text.strip():
            raise ValueError("is empty; expected a path.")
        if "\0" in text:
            raise ValueError("contains a NUL character; expected a path.")
        return Path(os.path.normpath(os.path.join(self._parent, text)))

    def _unknown(self, name: str, value: Any, known: Iterable[str], at: str) -> ConfigError:
        names = sorted(known)
        table = f"[{at}]" if at else "the config"
        if isinstance(value, dict) and at.startswith("modules."):
            dotted = json.dumps(f"{at.removeprefix('modules.').strip(chr(34))}.{name}", ensure_ascii=False)
            hint = f"For a submodule, quote the dotted name: [modules.{dotted}]."
        elif near := difflib.get_close_matches(name, names, n=1):
            hint = f'Did you mean "{near[0]}"?'
        else:
            hint = ""
        return self._error(f"unknown field; expected in {table}: {', '.join(names)}.", _join(at, name), hint)

    def _error(self, problem: str, field: str, hint: str = "") -> ConfigError:
        return ConfigError(problem, file=self._path, field=field, hint=hint)


_FOUND = {
    "str": "a string",
    "bool": "a boolean",
    "int": "an integer",
    "float": "a float",
    "array": "an array",
    "list": "an array",
    "object": "a table",
    "dict": "a table",
}


def _found(value: Any) -> str:
    return _found_kind(type(value).__name__)


def _found_kind(name: str) -> str:
    return _FOUND.get(name, f"a {name}")


def _join(at: str, key: str) -> str:
    """A dotted field, its last key quoted as TOML would need it."""
    quoted = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{at}.{quoted}" if at else quoted
