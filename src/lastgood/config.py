"""The config: decode ``lastgood.toml``, or ``[tool.lastgood]`` in ``pyproject.toml``, to :class:`Config`.

:func:`find_config` and :func:`load_config` read the disk; :func:`decode_config` is pure, so that a session can decode exactly
the bytes that it read for a cycle. Every problem with a config file raises a :class:`~lastgood.errors.ConfigError` that names
the file, the field, what was found and what was expected.
"""

from __future__ import annotations

import functools
import hashlib
import json
import keyword
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lastgood.bridges.worker import merges
from lastgood.errors import ConfigError, ConfigMigrationError
from lastgood.toml_tables import HINTS, Decoder, Table, fields_of, join, kind_of

__all__ = [
    "MAX_POOL",
    "MAX_THREADS",
    "CheckResults",
    "Config",
    "GeneratorConfig",
    "ModuleConfig",
    "OutputConfig",
    "ProcessConfig",
    "RuntimeConfig",
    "Style",
    "WatchConfig",
    "decode_config",
    "find_config",
    "load_config",
]

ARGUMENTS = "watch()"  # in the place of a config file's name: what was given to watch()
SERVE_ARGUMENTS = "lastgood serve"  # likewise
DIRECT_ARGUMENTS = "direct()"  # likewise
MAX_THREADS = 256
"""The largest number of calls that may run at once in a worker."""

MAX_POOL = 64
"""The largest number of workers of one bridge."""

ASYNC_BACKENDS = ("asyncio", "trio")

# The functions in wrappers: "async" ones are awaited, "sync" ones block.
Style: TypeAlias = Literal["async", "sync"]
CheckResults: TypeAlias = Literal["error", "warn", "off"]
# Seconds, with the least that a file may have. It spells no limit (math.inf) as false.
_Seconds: TypeAlias = Annotated[float, "more than 0"]
_SecondsOrNone: TypeAlias = Annotated[float, "at least 0"]


class ModuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[modules.<name>]``: the selection of a module's functions and classes that are wrapped and callable.

    ``functions`` and ``classes``, if given, are the only ones selected; ``exclude`` names functions and classes (dots pass into
    classes) to leave out; ``exclude_patterns`` excludes by glob.
    """

    functions: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()

    def wrong_field(self) -> tuple[str, str] | None:
        """Return the first invalid field and its problem (what was expected and what was found); None if all are valid."""
        for field in self.__struct_fields__:
            for index, entry in enumerate(getattr(self, field) or ()):
                if not entry.strip():
                    return f"{field}[{index}]", "is empty; expected a name."
        return None


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[output]``: ``dir`` is the directory of the wrappers, absolute. None, ``false`` in the file: there are none.

    ``style``: ``"async"`` for wrapper functions that are awaited, ``"sync"`` for functions that block. ``check_results``: a result
    of another type than its source declares raises (``"error"``), is logged and returned (``"warn"``), or is returned unchecked
    (``"off"``). ``annotated`` are the packages whose metadata in ``Annotated`` types the wrappers keep, and which they import.
    """

    dir: Path | None
    style: Style = "async"
    check_results: CheckResults = "error"
    annotated: tuple[str, ...] = ()


class WatchConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[watch]``: ``include`` are globs of files in package trees that count as sources besides what can be imported.

    A file that one of the globs ``ignore`` names starts no reload. ``poll``: read the files every so many seconds (true: every
    second), and start no watcher of the system, which reports nothing on some bind mounts and network drives.

    The others are the seconds that :func:`lastgood.watch` takes as arguments, which have precedence (None: its defaults;
    ``math.inf``, in the file ``false``: no limit).
    """

    include: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    poll: float | bool = False
    debounce: _SecondsOrNone | None = None
    max_wait: _SecondsOrNone | None = None
    warm_timeout: _Seconds | None = None
    drain_timeout: _SecondsOrNone | None = None
    stage_timeout: _Seconds | None = None
    supersede_after: _SecondsOrNone | None = None

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that the file has, by name."""
        given = {name: getattr(self, name) for name in TIMES}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def interval(self) -> float:
        """The seconds between two readings; 0 if the system notifies."""
        return float(self.poll)

    def wrong_field(self) -> tuple[str, str] | None:
        """Return the first invalid field and its problem (what was expected and what was found); None if all are valid."""
        if self.poll is not False and not 0 < self.poll < math.inf:
            return "poll", f"expected true, false or seconds, finite and more than 0, found {self.poll}."
        for field in ("include", "ignore"):
            for index, glob in enumerate(getattr(self, field)):
                if not glob.strip("/") or glob.startswith("/") or {".", ".."} & set(glob.split("/")) or "\\" in glob:
                    problem = f'expected a glob below the config\'s directory, such as "templates/**", found "{glob}".'
                    return f"{field}[{index}]", problem
        return None


# The fields of [watch] that are arguments of watch() as well.
TIMES = ("debounce", "max_wait", "warm_timeout", "drain_timeout", "stage_timeout", "supersede_after")


class GeneratorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[generator]``, or one of ``[[generators]]``: a generator of the user's, in addition to or instead of the built-in one.

    Either ``command``, a program and its arguments, with placeholders; or ``use``, a Python function as ``module:function``.
    ``sources`` are the values of ``{source}`` in a command, which runs once for each: files, directories or globs, relative to
    the config file (None: the directories of ``python_import_path``). They are watched, and so are the paths in ``watch`` and
    the modules that ``use`` imports. ``into`` is the directory below the output directory for the generated files. ``builtin``
    says whether the built-in wrappers are generated too. A run may take ``timeout`` seconds. See docs/how-to/generators.md.
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
        """The generator's name in errors, such as ``protoc``, ``grpc_tools.protoc``, ``package.module:function``."""
        if self.command is None:
            return self.use or ""
        program, *rest = self.command
        return rest[1] if rest[:1] == ["-m"] and len(rest) > 1 else re.split(r"[/\\]", program)[-1].strip("{}")

    def wrong_field(self) -> tuple[str, str] | None:
        """Return the first invalid field and its problem (what was expected and what was found); None if all are valid."""
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
    """``[runtime.process]``: the workers of the default bridge, and their environment.

    - ``python``: the workers' interpreter (None: the running one). The path is made absolute, but symbolic links are kept,
      because the interpreter of a virtual environment is usually a link and is recognised by its path. A bare command name
      without a slash, such as ``python3.12``, is kept and looked up on ``PATH`` when it is used; write ``./python3.12`` for a
      file beside the config file.
    - ``virtual_env``: the directory of a virtual environment, instead of ``python``. It is activated as by its script.
    - ``env``: variables that are added to the app's environment; values are taken literally.
    - ``cwd``: the workers' working directory (None: the app's).
    - ``timeout``: seconds that a call may take, counted from when it starts to run (``math.inf``, in the file ``false``: for
      ever).
    - ``probation``: seconds after the swap in which the loss of a bridge restores the previous generation.
    - ``threads``: the number of calls that run at once in a worker. ``pool``: the number of workers.
    - ``grace``: seconds that a worker has to exit by itself.
    - ``overlap``: the next bridge is created while the live one is still there. Set it to false, with any kind of bridge, if the
      sources hold what only one process can have, such as a port, a file lock or a GPU's memory: the live bridge is then
      disposed before the next one is created, when its calls have ended or ``drain_timeout`` is over. New calls wait meanwhile,
      which does not count into their ``timeout``. If the next bridge fails, the former one is created again, from its own
      generation. An edit that fails before, such as one with a syntax error, changes nothing.
    - ``async_backend``: the event loop of ``async def`` functions in a worker, ``"asyncio"`` or, where installed, ``"trio"``.
    - ``spare``: keep a worker that runs the program ahead for the next generation, as far as an edit will probably not change
      what it does. It is used only if it equals a fresh one. There is none with ``overlap = false``.
    """

    python: Path | None = None
    virtual_env: Path | None = None
    env: dict[str, str] = {}
    cwd: Path | None = None
    timeout: _Seconds = 30.0
    probation: float = 5.0
    threads: int = 1
    pool: int = 1
    grace: float = 1.0
    async_backend: str = "asyncio"
    spare: bool = True
    overlap: bool = True

    def wrong_field(self) -> tuple[str, str] | None:
        """Return the first invalid field and its problem (what was expected and what was found); None if all are valid."""
        if self.python is not None and self.virtual_env is not None:
            return "virtual_env", "expected either python or virtual_env, found both."
        for name, value in self.env.items():
            if not name or "=" in name or "\0" in name + value:
                return "env", f'expected names without "=" and texts without NUL characters, found {name!r}.'
        if not self.timeout > 0:
            return "timeout", f"expected seconds, more than 0, found {self.timeout}."
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
    """``[runtime]``: settings of the default bridge."""

    process: ProcessConfig = ProcessConfig()


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[serve]``: what ``lastgood serve`` runs. Its options have precedence.

    ``app`` is the ASGI application, such as ``"main:app"`` (None: it is named on the command line). It is served at ``host`` and
    ``port``, or at the Unix socket ``uds``. ``probe`` is a path that must answer below 500 before a new generation is live.
    ``drain``: seconds that what a replaced generation has begun to answer has to end.
    """

    app: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    uds: Path | None = None
    probe: str | None = None
    drain: Annotated[float, "at least 0"] = 10.0

    def wrong_field(self) -> tuple[str, str] | None:
        """Return the first invalid field and its problem (what was expected and what was found); None if all are valid."""
        if self.app is not None and module_of_app(self.app) is None:
            return (
                "app",
                f'expected a module and a name in it, such as "{_app_meant(self.app)}", found {json.dumps(self.app)}.',
            )
        if not 0 <= self.port <= 65535:
            return "port", f"expected a port, from 0 to 65535, found {self.port}."
        if self.probe is not None and not self.probe.startswith("/"):
            return "probe", f'expected a path that begins with "/", found {json.dumps(self.probe)}.'
        return None


def _app_meant(app: str) -> str:
    """Return what may be meant by a path, or by a module alone, such as ``src/main.py``; an example for anything else."""
    module, _, attribute = app.partition(":")
    meant = f"{module.removesuffix('.py').removeprefix('./').replace('/', '.')}:{attribute or 'app'}"
    return "main:app" if module_of_app(meant) is None else meant


def module_of_app(app: str) -> str | None:
    """Return the module of an application such as ``"main:app"``; None if ``app`` does not name one."""
    module, _, attribute = app.partition(":")
    is_name = all(part.isidentifier() for name in (module, attribute) for part in name.split("."))
    return module if is_name else None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A config as resolved for one cycle. Its attributes mirror the file; every path is absolute and normalised.

    (One exception: ``python`` of :class:`ProcessConfig` may be a bare command name.) ``path`` is the config file itself.
    ``pinned`` is not in the file: it is the manifest of the cycle's pinned sources, which the session sets for
    ``create_bridge``.
    """

    path: Path
    python_import_path: tuple[Path, ...]
    modules: dict[str, ModuleConfig]
    output: OutputConfig
    watch: WatchConfig = WatchConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    generators: tuple[GeneratorConfig, ...] = ()
    serve: ServeConfig | None = None
    pinned: Path | None = None

    @property
    def makes_wrappers(self) -> bool:
        """True if the built-in wrappers are generated: there is a directory for them, and no generator has ``builtin = false``."""
        return self.output.dir is not None and all(generator.builtin for generator in self.generators)

    @property
    def place(self) -> Path:
        """The path that identifies the project's output, beside which its ``.lastgood/`` lies.

        It is the output directory or, without one, a name for these modules in the directory of the config, where nothing is.
        """
        if self.output.dir is not None:
            return self.output.dir
        modules = hashlib.sha256("\0".join(sorted(self.modules)).encode()).hexdigest()
        return self.path.parent / f"without-output-{modules[:16]}"

    def with_output(self, directory: Path, *, pinned: Path | None) -> Config:
        """Return the config with its wrappers, if it has any, in ``directory``, and with the manifest of pinned sources."""
        output = self.output
        if output.dir is not None:
            output = msgspec.structs.replace(output, dir=directory)
        return msgspec.structs.replace(self, output=output, pinned=pinned)


def find_config(start: Path) -> Path:
    """Find the config file of a project, for a command without an argument. The result is absolute.

    Looks in ``start`` and then in each directory above it for ``lastgood.toml``, or else for a ``pyproject.toml`` with a
    ``[tool.lastgood]`` table. A ``pyproject.toml`` with invalid TOML counts if it mentions that table, so that
    :func:`load_config` can report the problem. Raises :class:`ConfigError` if there is no config file.
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
    """Read a config file, with ``read`` if that is given, and decode it.

    Raises :class:`ConfigError` if the file does not exist, is not a regular file, or cannot be read, and as
    :func:`decode_config` does.
    """
    file = Path(os.path.abspath(path))
    try:
        mode = os.stat(file).st_mode
        if stat.S_ISDIR(mode):
            inside = (file / name for name in ("lastgood.toml", "pyproject.toml"))
            found = next((path for path in inside if path.is_file()), None)
            hint = "" if found is None else f"Did you mean {found}?"
            raise ConfigError("is a directory; expected a config file.", file=file, hint=hint)
        if not stat.S_ISREG(mode):  # reading a FIFO would block
            raise ConfigError("is not a regular file; expected a config file.", file=file)
        data = file.read_bytes() if read is None else read(file)
    except (FileNotFoundError, NotADirectoryError):
        hint = 'Make one with "lastgood init".' if file.name == "lastgood.toml" else "Check the path."
        raise ConfigError("the config file does not exist.", file=file, hint=hint) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the config file cannot be read: {reason}.", file=file) from error
    return decode_config(data, file)


@functools.lru_cache(maxsize=4)  # a config is immutable, and to decode one with thousands of modules takes a while
def decode_config(data: bytes, path: Path) -> Config:
    """Decode the bytes of a config file, or JSON in its place. Pure: it does not check whether paths in the config exist.

    ``path`` is the absolute path of the file. Relative paths in the config are relative to its directory. In a
    ``pyproject.toml`` the settings are those under ``[tool.lastgood]``, in any other file those at the top level.
    Raises :class:`ConfigError`; for the two fields that are no longer supported, which are checked first,
    :class:`ConfigMigrationError`.
    """
    root = json.loads(data) if path.name in (ARGUMENTS, SERVE_ARGUMENTS, DIRECT_ARGUMENTS) else _parse(data, path)
    if path.name == "pyproject.toml":
        root = _lastgood_table(root, path)
    _refuse_legacy(root, path)
    if "serve" in root:  # a project that is only served has neither
        root = {"modules": {}, "output": {"dir": False}, **root}
    decoder = Decoder(path)
    decoded: _Root = decoder.decode(root, _Root, "")
    output = decoded.output.dir
    if output in (path.parent, *path.parent.parents):
        what = "is or holds the working directory" if path.name == ARGUMENTS else "holds the config file itself"
        raise ConfigError(
            f"{output} {what}; expected a directory for the wrappers alone.",
            file=path,
            field="output.dir",
            hint='Write, for example, dir = "generated".',
        )
    for place, name in enumerate(decoded.output.annotated):
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ConfigError(
                f"expected the name under which a package is imported, found {name!r}.",
                file=path,
                field=f"output.annotated[{place}]",
                hint='Write, for example, annotated = ["pydantic"].',
            )
    if "generator" in root and "generators" in root:
        problem = "expected either [generator] or [[generators]], found both."
        raise ConfigError(problem, file=path, field="generators")
    if output is None and ("generator" in root or "generators" in root):
        problem = "is false, but generators write into the output directory; expected a directory."
        raise ConfigError(problem, file=path, field="output.dir", hint=HINTS["output.dir"])
    import_path = decoded.python_import_path
    return Config(
        path=path,
        python_import_path=(decoder.path(".", ""),) if import_path is None else import_path,
        modules=decoded.modules,
        output=decoded.output,
        watch=decoded.watch,
        runtime=decoded.runtime,
        generators=decoded.generators if decoded.generator is None else (decoded.generator,),
        serve=decoded.serve,
    )


# --- the TOML document --------------------------------------------------------------------------------------

# The position in tomllib's messages: "… (at line 3, column 7)" or "… (at end of document)".
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
    except RecursionError:  # not chained: its traceback has one entry for each level of nesting
        raise ConfigError("is nested too deeply to be read.", file=path) from None
    except ValueError as error:  # TOMLDecodeError is a ValueError; int() raises one, too, for too many digits
        line = merges.line_of_merge_markers(text)
        problem, column = str(error) if line is None else merges.MERGE_MARKERS, ""
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
        raise ConfigError(f"expected a table, found {kind_of(table)}.", file=path, field="tool.lastgood")
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
            raise ConfigMigrationError(  # "<module>" is literal in this text, not a placeholder
                'Legacy config field "modules.<module>.watch" is no longer supported. '
                "Use watch() from lastgood instead.",
                file=path,
                field=f"{join('modules', name)}.watch",
            )


class _Root(msgspec.Struct):
    """The top level of the file."""

    modules: dict[str, ModuleConfig]
    output: OutputConfig
    python_import_path: tuple[Path, ...] | None = None
    watch: WatchConfig = WatchConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    generator: GeneratorConfig | None = None
    generators: tuple[GeneratorConfig, ...] = ()
    serve: ServeConfig | None = None


for _struct in (
    _Root,
    ModuleConfig,
    OutputConfig,
    WatchConfig,
    GeneratorConfig,
    RuntimeConfig,
    ProcessConfig,
    ServeConfig,
):
    fields_of(_struct)  # evaluates their annotations now, before a library such as pyfakefs replaces Path
