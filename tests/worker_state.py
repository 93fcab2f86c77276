"""What can be seen of the state of a process, as text: a line for each fact. Workers of any Python run it after their imports.

Two processes in the same state give the same text. Objects are numbered in the order in which they are reached, so that two
names for one object are told from two objects that are equal. The hash seed must be fixed (PYTHONHASHSEED), or sets differ.
Before the modules have been described, nothing is imported.
"""

from __future__ import annotations

import builtins
import sys

TYPE_CHECKING = False  # typing must not be loaded by this file
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import CodeType
    from typing import Any

Function, Code, Module = type(lambda: 0), type((lambda: 0).__code__), type(sys)
SIMPLE = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range, slice})
# Their text says everything about them, and nothing about where they are.
TEXTS = frozenset(
    {
        "_decimal.Decimal", "decimal.Decimal", "fractions.Fraction", "datetime.date", "datetime.timedelta", "re.Pattern",
        "pathlib.PosixPath", "pathlib._local.PosixPath", "collections.Counter", "decimal.Context", "_contextvars.ContextVar",
        "signal.Signals", "signal.Handlers",
    }
)  # fmt: skip
WORKER = "_lastgood_worker"
# Code, lines and the like: seen elsewhere, or different in each process.
SKIPPED = frozenset(
    {
        "__builtins__",
        "__cached__",
        "__loader__",
        "__spec__",
        "__weakref__",
        "__dict__",
        "__static_attributes__",
        "_native_id",
    }
)
ADDRESSES = 1 << 32  # an integer from here on may be one
LEVELS = 12  # of objects in objects


class State:
    """The description in progress. ``local`` are the directories whose modules are described in full."""

    def __init__(self, local: Iterable[str]) -> None:
        self.lines: list[str] = []
        self.local = tuple(local)
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []  # a number must not be given to two objects
        self.queue: list[tuple[Any, str, int]] = []

    def say(self, name: str, value: Any) -> None:
        self.lines.append(f"{name} = {value}")

    def number(self, value: Any) -> tuple[int, bool]:
        """Return the number of an object, and whether it is new."""
        found = self.numbers.get(id(value))
        if found is not None:
            return found, False
        self.kept.append(value)
        self.numbers[id(value)] = len(self.kept)
        return len(self.kept), True

    def modules(self) -> None:
        """Describe the modules, and what is reached from the local ones."""
        found = [(name, module) for name, module in list(sys.modules.items()) if not name.startswith(WORKER)]
        self.say("sys.modules", list(sys.modules))
        for name, module in found:
            names = getattr(module, "__dict__", {})
            if self.is_local(module):
                self.say(f"[{name}]", self.shown(module, name, 0))
            else:
                self.say(f"[{name}]", f"{type(module).__name__} {len(names)} {self.known(module, names)}")
        while self.queue:
            value, name, level = self.queue.pop(0)
            self.describe(value, name, level)

    def is_local(self, module: Any) -> bool:
        """Whether a module is of the project, or none of the standard library: whatever code has put there."""
        file = getattr(module, "__file__", None)
        if type(module) is not Module:
            return True
        if getattr(module, "__spec__", None) is None:
            return module.__name__ not in ("__main__", WORKER)
        path = [*getattr(module, "__path__", [])] if file is None else [file]
        return any(str(each).startswith(self.local) for each in path)

    def known(self, module: Any, names: Mapping[str, Any]) -> int:
        """Sum up a module of the standard library: the names in it, and whether these are what they were."""
        parts = tuple((key, self.summary(module, value)) for key, value in names.items() if key not in SKIPPED)
        return hash(repr(parts))  # before Python 3.12 the hash of None is its place

    def summary(self, module: Any, value: Any) -> Any:
        kind = type(value)
        if kind in SIMPLE:
            return "number" if kind is float or (kind is int and abs(value) >= ADDRESSES) else value
        if kind is Function:
            return value.__code__.co_firstlineno, value.__code__.co_filename, value.__name__
        if kind is type and value.__module__ == module.__name__:
            return tuple(
                (key, *(summary.__code__.co_filename, summary.__code__.co_firstlineno))
                if type(summary) is Function
                else key
                for key, summary in vars(value).items()
            )
        return getattr(kind, "__name__", "?")

    def shown(self, value: Any, name: str, level: int) -> str:
        """Return how a value is shown where it is reached; what is in it is described later."""
        kind = type(value)
        if kind in SIMPLE:
            return repr(value) if kind is not int or abs(value) < ADDRESSES else "large"
        if kind is Code:
            return self.code(value)
        number, is_new = self.number(value)
        label = f"{kind.__module__}.{kind.__qualname__} #{number}"
        if kind.__module__ + "." + kind.__qualname__ in TEXTS:
            return f"{label} {value!r}"
        if is_new and level < LEVELS:
            self.queue.append((value, name, level))
        return label

    def code(self, code: CodeType) -> str:
        """Return a code object as text: its lines and bytes, and those of the code in it."""
        inner = [
            self.code(each) if type(each) is Code else repr(each)
            for each in code.co_consts
            if type(each) is not frozenset
        ]
        lines = hash(repr(list(getattr(code, "co_lines", list)())))
        where = (
            f"{code.co_filename}:{code.co_firstlineno} {getattr(code, 'co_qualname', code.co_name)} {code.co_flags:x}"
        )
        return f"<{where} {lines} {hash(code.co_code)} {code.co_names} {code.co_varnames} {inner}>"

    def describe(self, value: Any, name: str, level: int) -> None:
        kind, inside = type(value), level + 1
        if isinstance(value, Module):
            self.module(value, name, inside)
        elif kind is Function:
            self.function(value, name, inside)
        elif isinstance(value, type):
            self.a_class(value, name, inside)
        elif isinstance(value, dict):
            self.mapping(value, name, inside)
        elif isinstance(value, (list, tuple)):
            self.sequence(value, name, inside)
        elif isinstance(value, (set, frozenset)):
            self.sequence(
                sorted(value, key=lambda each: (str(type(each)), str(each) if type(each) in SIMPLE else "")),
                name,
                inside,
            )
        elif kind in (staticmethod, classmethod) or kind.__name__ == "method":
            self.say(f"{name}.__func__", self.shown(value.__func__, f"{name}.__func__", inside))
        elif kind is property:
            self.sequence((value.fget, value.fset, value.fdel), name, inside)
        elif kind.__name__ == "module" or kind.__module__ == "builtins":
            pass
        if hasattr(value, "__dict__") and not isinstance(value, (type, Module)) and kind is not Function:
            foreign = kind.__module__ in sys.modules and not self.is_local(sys.modules[kind.__module__])
            self.mapping(vars(value), name, inside if not foreign else LEVELS)

    def module(self, module: Any, name: str, level: int) -> None:
        if not self.is_local(module):
            return
        spec, names = getattr(module, "__spec__", None), vars(module)
        if spec is not None:
            fields = [type(spec.loader).__name__, spec.name, spec.origin, spec.has_location, spec.parent, spec.cached]
            self.say(
                f"{name}.__spec__", [*fields, spec.submodule_search_locations and list(spec.submodule_search_locations)]
            )
            self.say(f"{name}.__loader__", [names.get("__loader__") is spec.loader, getattr(spec.loader, "path", None)])
            self.say(f"{name}.__spec__.names", sorted(vars(spec)))
        self.say(f"{name}.__cached__", names.get("__cached__"))
        builtin = names.get("__builtins__")
        self.say(f"{name}.__builtins__", builtin is builtins or builtin is vars(builtins))
        self.mapping(names, name, level)

    def function(self, value: Any, name: str, level: int) -> None:
        module = value.__globals__.get("__name__")
        same = value.__globals__ is getattr(sys.modules.get(module), "__dict__", None)
        self.say(f"{name}()", f"{module} {same} {value.__module__} {value.__qualname__} {self.code(value.__code__)}")
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != type(cell)()]
        details = {
            "defaults": value.__defaults__,
            "kwdefaults": value.__kwdefaults__,
            "closure": cells,
            "doc": value.__doc__,
        }
        for part, detail in {**details, "dict": vars(value)}.items():
            if detail:
                self.say(f"{name}().{part}", self.shown(detail, f"{name}().{part}", level))
        if sys.version_info < (3, 14) and value.__annotations__:
            self.say(f"{name}().annotations", self.shown(value.__annotations__, f"{name}().annotations", level))

    def a_class(self, value: Any, name: str, level: int) -> None:
        self.say(
            f"{name} mro",
            [f"{each.__module__}.{each.__qualname__}" for each in type.mro(value)] if value is not type else "",
        )
        if value.__module__ in sys.modules and not self.is_local(sys.modules[value.__module__]):
            self.say(f"{name} names", hash(tuple(vars(value))))
            return
        self.say(f"{name} subclasses", [each.__qualname__ for each in type.__subclasses__(value)])
        self.mapping(vars(value), name, level)

    def mapping(self, value: Any, name: str, level: int) -> None:
        self.say(
            f"{name} keys",
            [str(key) if type(key) in SIMPLE else type(key).__name__ for key in dict.keys(value)]
            if isinstance(value, dict)
            else list(value),
        )
        for key, each in list(value.items()):
            if key in SKIPPED:
                continue
            path = f"{name}.{key}" if type(key) is str else f"{name}[{self.shown(key, name, level)}]"
            self.say(path, self.shown(each, path, level))

    def sequence(self, value: Any, name: str, level: int) -> None:
        for index, each in enumerate(value):
            self.say(f"{name}[{index}]", self.shown(each, f"{name}[{index}]", level))
        self.say(f"{name} length", len(value))

    def interpreter(self) -> None:
        """Describe what the interpreter and the process have besides modules."""
        say, loaded = self.say, sys.modules.get
        self.say("builtins", [f"{key} {getattr(value, '__module__', '')}" for key, value in vars(builtins).items()])
        for name in (
            "path",
            "argv",
            "flags",
            "warnoptions",
            "_xoptions",
            "dont_write_bytecode",
            "platform",
            "pycache_prefix",
            "prefix",
        ):
            say(f"sys.{name}", getattr(sys, name, None))
        say("sys.path_importer_cache", list(sys.path_importer_cache))
        say("sys.meta_path", [named(each) for each in sys.meta_path])
        say("sys.path_hooks", [named(each) for each in sys.path_hooks])
        for name in ("excepthook", "displayhook", "unraisablehook", "breakpointhook"):
            say(f"sys.{name}", named(getattr(sys, name)))
        say(
            "sys limits",
            [sys.getrecursionlimit(), sys.getswitchinterval(), getattr(sys, "get_int_max_str_digits", int)()],
        )
        say("sys traces", [named(sys.gettrace()), named(sys.getprofile())])
        for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"):
            stream = getattr(sys, name)
            fields = [
                getattr(stream, field, None)
                for field in ("encoding", "errors", "line_buffering", "write_through", "closed")
            ]
            say(f"sys.{name}", [named(type(stream)), *fields])
        say("__main__", list(vars(sys.modules["__main__"])))
        if loaded("warnings"):
            warnings = sys.modules["warnings"]
            say(
                "warnings.filters",
                [
                    tuple(getattr(part, "pattern", named(part) if isinstance(part, type) else part) for part in each)
                    for each in warnings.filters
                ],
            )
            say("warnings", [named(warnings.showwarning), named(warnings.formatwarning), list(warnings.onceregistry)])
        if loaded("linecache"):
            say("linecache", list(sys.modules["linecache"].cache))
        if loaded("logging"):
            self.logging(sys.modules["logging"])
        if loaded("decimal"):
            say("decimal", sys.modules["decimal"].getcontext())
        if loaded("numpy"):
            numpy = sys.modules["numpy"]
            say("numpy", [numpy.geterr(), numpy.get_printoptions()])
        if loaded("random") and any(hasattr(module, "SEEDED") for module in list(sys.modules.values())):
            say("random", hash(repr(sys.modules["random"].getstate())))
        if loaded("contextvars"):
            variables = sys.modules["contextvars"].copy_context().items()
            say(
                "context",
                sorted(
                    f"{variable.name} {value if type(value) in SIMPLE else type(value).__name__}"
                    for variable, value in variables
                ),
            )
        if loaded("asyncio"):
            say("asyncio", named(type(sys.modules["asyncio"].events._event_loop_policy)))
        if loaded("socket"):
            say("socket", sys.modules["socket"].getdefaulttimeout())

    def logging(self, logging: Any) -> None:
        self.say(
            "logging",
            [logging.root.manager.disable, named(logging.getLoggerClass()), logging.root.level, logging.root.disabled],
        )
        for name, logger in [("root", logging.root), *logging.root.manager.loggerDict.items()]:
            if hasattr(logger, "level"):
                fields = [logger.level, logger.propagate, logger.disabled, [named(each) for each in logger.filters]]
                self.say(f"logger {name}", [*fields, [(named(type(each)), each.level) for each in logger.handlers]])
            else:
                self.say(f"logger {name}", type(logger).__name__)

    def process(self) -> None:
        """Describe the process. This part imports what it needs."""
        import atexit
        import gc
        import locale
        import os
        import resource
        import signal
        import threading

        say = self.say
        say("environment", sorted(os.environ.items()))
        say("cwd", os.getcwd())
        mask = os.umask(0o77)
        os.umask(mask)
        say("umask", mask)
        say("signals", [named(signal.getsignal(number)) for number in range(1, signal.NSIG)])
        say("blocked", sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
        say("timer", bool(signal.getitimer(signal.ITIMER_REAL)[0]))
        say("atexit", atexit._ncallbacks())
        say(
            "gc",
            [
                gc.get_threshold(),
                gc.isenabled(),
                gc.get_freeze_count(),
                gc.get_debug(),
                [named(each) for each in gc.callbacks],
            ],
        )
        say("threads", [(thread.name, thread.daemon, type(thread).__name__) for thread in threading.enumerate()])
        say("threads really", [len(sys._current_frames()), len(os.listdir("/proc/self/task"))])
        say(
            "thread hooks",
            [named(threading.excepthook), named(threading.__dict__["_trace_hook"]), threading.stack_size()],
        )
        say("locale", [locale.setlocale(which) for which in range(7)])
        say(
            "limits",
            [
                resource.getrlimit(which)
                for which in range(resource.RLIM_NLIMITS if hasattr(resource, "RLIM_NLIMITS") else 10)
            ],
        )
        say(
            "group and session",
            [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(), os.getpriority(os.PRIO_PROCESS, 0)],
        )
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                link = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            links.append(link.partition(":[")[0])
        say("descriptors", sorted(links))
        with open("/proc/self/maps") as file:
            say("libraries", sorted({line.split()[-1] for line in file if ".so" in line}))

    def lookups(self, names: Iterable[str], places: Iterable[str]) -> None:
        """Describe what is found for modules that may be imported later, and the lines that tracebacks show."""
        import importlib.util
        import linecache

        for name in names:
            try:
                spec = importlib.util.find_spec(name)
            except (ImportError, ValueError, AttributeError) as error:
                self.say(f"find_spec {name}", repr(error))
            else:
                places_of = spec and spec.submodule_search_locations and list(spec.submodule_search_locations)
                self.say(f"find_spec {name}", spec and (type(spec.loader).__name__, spec.origin, places_of))
        for place in places:
            self.say(f"lines of {place}", hash(tuple(linecache.getlines(place))))

    def late(self, names: Iterable[str]) -> None:
        """Import modules late."""
        import importlib

        for name in names:
            try:
                importlib.import_module(name)
            except BaseException as error:
                self.say(f"import {name}", f"{type(error).__name__} {error}")


def named(value: Any) -> str:
    """Return a name for a function, a class or an instance."""
    if value is None or type(value) in SIMPLE:
        return repr(value)
    owner = value if hasattr(value, "__qualname__") else type(value)
    return f"{owner.__module__}.{owner.__qualname__}"


def state(local: Iterable[str], names: Iterable[str], places: Iterable[str], late: Iterable[str], end: str) -> str:
    """Describe this process, then what it finds under ``names`` and shows of the lines of ``places``, and what it loads late.

    ``end`` is printed first.
    """
    described = State(local)
    described.modules()
    described.interpreter()
    described.process()
    import os

    os.write(2, f"\n{end}\n".encode())
    described.lookups(names, places)
    before = set(sys.modules)
    described.late(late)
    later = State(local)
    later.say("late modules", [name for name in sys.modules if name not in before])
    if late:
        later.modules()
    return "\n".join(described.lines + later.lines)
