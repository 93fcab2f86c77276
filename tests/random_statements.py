"""Statements that random projects consist of: what they look at, what they change in the process, and how they reach outside.

In each, ``$N`` is a number of its own, ``$K`` a random number, ``$D`` a data file in the module's directory, ``$X`` a module
that may not be there, ``$M`` an imported local module, ``$H`` the expression for the module's own directory. Who writes one into
a module adds the imports that it needs: :func:`modules_in` names them.
"""

from __future__ import annotations

import re

__all__ = ["CHANGE", "DEFINE", "LOOK", "OTHERS", "OUTSIDE", "RARE", "modules_in"]

MODULES = """
abc asyncio atexit builtins codecs collections configparser contextvars copyreg dataclasses decimal enum faulthandler
fcntl functools gc glob importlib importlib.resources importlib.util inspect io json linecache locale logging mimetypes os pathlib
pkgutil plib plib.extra qlib random resource shutil signal socket sqlite3 subprocess sys
tempfile threading time tokenize traceback types
warnings weakref
""".split()  # noqa: SIM905 - a table
_USED = re.compile(r"(?<![\w.])(" + "|".join(sorted(map(re.escape, MODULES), key=len, reverse=True)) + r")\.(?=\w)")


def modules_in(statement: str) -> list[str]:
    """Return the installed modules that a statement uses."""
    own = set(re.findall(r"^\s*(?:import|from) (\S+)", statement, re.MULTILINE))
    return sorted(set(_USED.findall(statement)) - own)


def _statements(text: str) -> list[str]:
    return [each.strip("\n") + "\n" for each in text.split("\n---\n")]


DEFINE = _statements('''
NUMBER_$N = $K
---
ITEMS_$N = [$K, "text", {"key": ($K, None)}]
---
TYPED_$N: int = $K
---
"""A string that is no docstring $K."""
---
def function_$N(value=$K, *, other=[$K]):
    """Document it."""
    return value + $K
---
async def coroutine_$N():
    return [value async for value in other($K)]
---
class Class_$N:
    """Document it."""
    field: int = $K
    items = []

    def method(self):
        return self.field + $K

    @property
    def half(self):
        return $K
---
@dataclasses.dataclass
class Data_$N:
    first: int
    second: list = dataclasses.field(default_factory=list)
    third: "Data_$N" = None
---
class Color_$N(enum.Enum):
    RED = $K
    BLUE = "b"
---
@functools.lru_cache
def cached_$N(value):
    return value * $K

CACHED_$N = cached_$N(3)
---
@functools.singledispatch
def dispatch_$N(value): ...

@dispatch_$N.register
def _(value: int): return $K
---
class Base_$N:
    kinds = []
    def __init_subclass__(cls, **more):
        Base_$N.kinds.append((cls.__name__, more))

class Derived_$N(Base_$N, level=$K): ...
---
Pair_$N = collections.namedtuple("Pair_$N", "left right")
PAIR_$N = Pair_$N($K, [])
---
lambda_$N = lambda value, plus=$K: (lambda: value + plus)
CLOSED_$N = lambda_$N($K)
---
if $K % 2:
    ODD_$N = True
else:
    EVEN_$N = True
---
for LOOP_$N in range($K % 5):
    REGISTRY.append(("loop", LOOP_$N))
---
REGISTRY.append(("own", "$N", $K))
---
VALUE = VALUE + $K
---
try:
    FAILED_$N = [][$K]
except IndexError as error:
    FAILED_$N = repr(error)
---
GLOBAL_$N = None
def set_$N():
    global GLOBAL_$N, LATER_$N
    GLOBAL_$N, LATER_$N = $K, set_$N
set_$N()
---
assert $K >= 0, "text"
---
exec("EXECUTED_$N = $K")
---
TEMPORARY_$N = $K
del TEMPORARY_$N
---
def __getattr__(name):
    if name.startswith("dynamic"):
        return $K
    raise AttributeError(name)
---
__all__ = ["VALUE", "REGISTRY", "Thing"]
---
with io.StringIO() as buffer_$N:
    buffer_$N.write("$K")
---
WEAK_$N = weakref.WeakValueDictionary()
WEAK_$N[$K] = Thing
---
import json; SAME_LINE_$N = $K
---
class Holder_$N:
    import decimal
    kept = $K
---
if sys.version_info >= (3, $K):
    import heapq as chosen_$N
else:
    import bisect as chosen_$N
---
try:
    import $X as maybe_$N
except ImportError:
    def maybe_$N():
        return $K
---
with warnings.catch_warnings():
    warnings.simplefilter("error")
    import textwrap
---
for NAME_$N in ("string", "textwrap"):
    __import__(NAME_$N)
---
LONG_$N = """several
lines $K
"""; AFTER_$N = $K
---
BYTES_$N = b"\\x00\\xff", 1.5, 2j, ..., "\\u00e9"
''')

LOOK = _statements("""
EXISTS_$N = os.path.exists(os.path.join($H, "$D"))
---
try:
    with open(os.path.join($H, "$D"), encoding="utf-8") as file_$N:
        TEXT_$N = file_$N.read()
except OSError as error:
    TEXT_$N = type(error).__name__
---
IS_FILE_$N = os.path.isfile($H + "/$D"), os.path.isdir($H + "/data")
---
try:
    LISTED_$N = sorted(os.listdir($H + "/data"))
except OSError:
    LISTED_$N = None
---
HERE_$N = sorted(name for name in os.listdir($H) if not name.startswith((".", "__pycache__", "out", "generated")))
---
GLOBBED_$N = sorted(glob.glob($H + "/data/*.txt"))
---
PATH_$N = pathlib.Path($H, "$D")
READ_$N = PATH_$N.read_text() if PATH_$N.exists() else None
---
ITERATED_$N = sorted(each.name for each in pathlib.Path($H).glob("data/*"))
---
WALKED_$N = sorted(name for _, _, names in os.walk($H + "/data") for name in names)
---
SCANNED_$N = sorted(entry.name for entry in os.scandir($H) if entry.name.startswith("d"))
---
try:
    SIZE_$N = os.stat($H + "/$D").st_size, os.path.getmtime($H + "/$D")
except OSError:
    SIZE_$N = None
---
LINKS_$N = os.path.islink($H + "/$D"), os.path.lexists($H + "/$D"), os.path.isdir($H + "/data")
---
try:
    os.stat($H + "/$D")
except OSError:
    TRACE_$N = traceback.format_exc()
---
ACCESS_$N = os.access($H + "/$D", os.R_OK)
---
if os.path.exists($H + "/flag"):
    FLAG_$N = True
---
try:
    DATA_$N = pkgutil.get_data(__name__, "$D")
except (OSError, ImportError):
    DATA_$N = None
---
MODULES_$N = sorted(each.name for each in pkgutil.iter_modules([$H]))
---
try:
    SPEC_$N = importlib.util.find_spec("$X") is not None
except (ImportError, ValueError) as error:
    SPEC_$N = str(error)
---
try:
    import $X as optional_$N
except ImportError:
    optional_$N = None
---
try:
    optional_$N = importlib.import_module("$X")
except ImportError as error:
    optional_$N = str(error)
---
with open(__file__, "rb") as file_$N:
    OWN_$N = len(file_$N.read())
---
GIVEN_$N = __loader__.get_data($H + "/data.txt")
---
SOURCE_$N = hash(__loader__.get_source(__name__)), linecache.getline(__file__, 2)
---
LINES_$N = inspect.getsource(Thing)
---
try:
    RESOURCE_$N = importlib.resources.files(__package__).joinpath("$D").read_text()
except Exception as error:
    RESOURCE_$N = type(error).__name__
---
try:
    with open($H + "/conf.json") as file_$N:
        CONFIG_$N = json.load(file_$N)
except OSError:
    CONFIG_$N = {}
---
PARSER_$N = configparser.ConfigParser()
PARSED_$N = [os.path.basename(each) for each in PARSER_$N.read([$H + "/conf.ini", $H + "/more.ini"])]
---
descriptor_$N = os.open($H + "/data.txt", os.O_RDONLY)
RAW_$N = os.read(descriptor_$N, 100)
os.close(descriptor_$N)
---
RELATIVE_$N = os.path.exists("$D"), os.path.exists("data/$K.txt")
---
ENVIRONMENT_$N = os.environ.get("SETTING"), os.environ.get("OTHER", "none"), os.getenv("LEVEL")
---
VARIABLES_$N = dict(os.environ)
---
LOADED_$N = list(sys.modules)
---
SEARCHED_$N = list(sys.path), len(sys.meta_path), len(sys.path_importer_cache)
---
STACK_$N = traceback.format_stack()
---
DEPTH_$N = len(inspect.stack(0))
---
FRAME_$N = sys._getframe().f_lineno, sys._getframe().f_code.co_name, sys._getframe().f_code.co_firstlineno
---
CALLER_$N = sys._getframe(1).f_code.co_filename, sys._getframe(1).f_code.co_name
---
NAMES_$N = list(globals()), __doc__
---
THREADS_$N = [thread.name for thread in threading.enumerate()], threading.current_thread().name
---
SETTINGS_$N = plib.settings.get("mode"), plib.READ, list(plib.registered), qlib.order
---
LEVEL_$N = logging.getLogger("app").getEffectiveLevel(), len(logging.getLogger().handlers)
---
FILTERS_$N = [(each[0], each[2].__name__) for each in warnings.filters]
---
PRECISION_$N = decimal.getcontext().prec, str(decimal.Decimal(1) / decimal.Decimal(7))
---
IS_LOADED_$N = "json" in sys.modules, "decimal" in sys.modules, "plib" in sys.modules
---
DIRECTORY_$N = os.getcwd()
---
SPECS_$N = repr(__spec__), __name__, __package__, __file__
---
EXTRA_$N = plib.extra.VALUE
---
STREAMS_$N = type(sys.stdout).__name__, sys.stdout.line_buffering, sys.argv
---
MODIFIED_$N = os.stat(__file__).st_size, os.path.getmtime(__file__) > 0
---
try:
    with open("settings.txt") as file_$N:
        RELATIVE_TEXT_$N = file_$N.read()
except FileNotFoundError:
    RELATIVE_TEXT_$N = os.path.basename(os.getcwd())
---
GIVEN_ENVIRONMENT_$N = os.environ.get("APP"), os.environ.get("LEVEL")
---
LATE_$N = importlib.import_module("late_mod").VALUE if $H + "/extra" in sys.path else None
---
EXTENDED_$N = importlib.util.find_spec("plib.extra").origin, importlib.util.find_spec("late_mod") is not None
---
CODE_$N = compile(open(__file__, encoding="latin-1").read()[:0], "text", "exec").co_filename
---
ENTRIES_$N = [name for name in os.listdir($H + "/data")] if os.path.isdir($H + "/data") else []
---
ANNOTATED_$N = dict(globals().get("__annotations__", {}))
---
RANDOM_$N = random.Random($K).random()
""")

CHANGE = _statements("""
os.environ["SETTING"] = "$K"
---
os.environ["$N"] = "$K"
---
os.environ.pop("LEVEL", None)
---
os.environ["PLIB_MODE"] = "mode $K"
---
warnings.simplefilter("ignore", DeprecationWarning)
---
warnings.filterwarnings("always", message="text $K")
---
warnings.warn("warned $K", UserWarning, stacklevel=2)
---
print("printed $N $K")
---
sys.stdout.write("no end $N ")
---
print("complained $N", file=sys.stderr)
---
os.write(2, b"raw $N $K\\n")
---
logging.getLogger("app").setLevel($K)
---
logging.getLogger("app.part$N").addHandler(logging.NullHandler())
---
logging.basicConfig(level=logging.ERROR)
---
logging.disable($K % 30)
---
decimal.getcontext().prec = 5 + $K % 20
---
VARIABLE_$N = contextvars.ContextVar("variable_$N", default=0)
VARIABLE_$N.set($K)
---
random.seed($K)
SEEDED = random.random()
---
os.chdir($H)
---
sys.path.insert(0, os.path.join($H, "extra"))
---
sys.path.append($H + "/data")
---
sys.modules["stub_$N"] = types.ModuleType("stub_$N", "A stub $K.")
---
sys.modules["optional"] = types.SimpleNamespace(VALUE=$K)
---
sys.setrecursionlimit(1000 + $K)
---
gc.set_threshold(500 + $K)
---
os.umask(0o22)
---
locale.setlocale(locale.LC_NUMERIC, "C")
---
signal.signal(signal.SIGUSR1, lambda number, frame: $K)
---
atexit.register(print, "at exit $N $K")
---
sys.excepthook = lambda kind, value, trace: None
---
builtins.extra_$N = [$K]
---
socket.setdefaulttimeout(1 + $K)
---
codecs.register_error("handler_$N", lambda error: ("", error.end))
---
mimetypes.add_type("text/x-$K", ".x$K")
---
copyreg.pickle(Thing, lambda thing: (Thing, ()))
---
@abc.ABCMeta.register.__get__(collections.abc.Sized)
class Sized_$N: ...
---
original_$N = os.path.exists
os.path.exists = lambda path: original_$N(path)
---
json.JSONEncoder.default = lambda self, value: $K
---
json.loads.__doc__ = "patched $K"
---
logging.Logger.shout = lambda self, text: $K
---
faulthandler.enable()
---
weakref.finalize(Thing, print, "finalized $N").atexit = False
---
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
---
plib.settings["mode"] = "mode $K"
---
plib.register("$N")
---
plib.Options.level = $K
---
qlib.count($K)
---
qlib.order.append("$N")
---
importlib.invalidate_caches()
---
linecache.checkcache()
---
sys.path_importer_cache.clear()
---
sys.modules[__name__].__class__ = type("Special_$N", (types.ModuleType,), {"special": $K})
---
pipe_$N = os.pipe()
---
KEPT_$N = open(os.devnull)
---
sys.dont_write_bytecode = True
---
sys.path.insert(0, $H + "/extra")
try:
    import late_mod
except ImportError:
    pass
---
__path__ = [*globals().get("__path__", []), $H + "/extra"]
---
sys.tracebacklimit = $K
---
gc.callbacks.append(lambda phase, info: None)
---
asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy()) if sys.version_info < (3, 14) else None
---
warnings.showwarning = lambda *args: print("shown $N", args[0])
""")

# What sees the worker itself at work, or keeps a spare from being taken.
RARE = _statements("""
KEPT_$N = os.stat, os.lstat, os.access
---
from os import stat as stat_$N
---
class Finder_$N:
    @staticmethod
    def find_spec(name, path=None, target=None):
        LOOKED_$N.append(name)
LOOKED_$N = []
sys.meta_path.insert($K % 3, Finder_$N)
---
sys.addaudithook(lambda event, args: AUDITED_$N.append(event) if event in ("os.listdir", "import", "open") else None)
AUDITED_$N = []
---
COUNTED_$N = []
original_$N = os.listdir
os.listdir = lambda *args: COUNTED_$N.append(1) or original_$N(*args)
---
COUNTED_$N = []
original_$N = os.stat
os.stat = lambda *args, **more: COUNTED_$N.append(1) or original_$N(*args, **more)
---
COUNTED_$N = []
original_$N = builtins.__import__
builtins.__import__ = lambda *args, **more: COUNTED_$N.append(1) or original_$N(*args, **more)
---
COUNTED_$N = []
original_$N = os.path.realpath
os.path.realpath = lambda *args, **more: COUNTED_$N.append(1) or original_$N(*args, **more)
---
COUNTED_$N = []
original_$N = builtins.open
builtins.open = lambda *args, **more: COUNTED_$N.append(1) or original_$N(*args, **more)
---
sys.stdout.reconfigure(line_buffering=False)
---
time.monotonic = lambda: $K
---
signal.setitimer(signal.ITIMER_REAL, 5000)
""")

# With another local module: what it has, and what is done to it.
OTHERS = _statements("""
$M.REGISTRY.append(("$N", $K))
---
SEEN_$N = list($M.REGISTRY), $M.VALUE
---
$M.VALUE += $K
---
$M.Thing.patched_$N = $K
---
$M.Thing.method = lambda self: $K
---
$M.helper = lambda: $K
---
COUNTED_$N = $M.count(), $M.count()
---
class Derived_$N($M.Thing):
    value = $K
---
RESULT_$N = $M.helper()
---
ATTRIBUTES_$N = sorted(name for name in vars($M) if not name.startswith("__"))
---
$M.new_$N = [$K]
---
del $M.REGISTRY[:1]
---
@$M.registered
def decorated_$N(): ...
---
importlib.reload($M)
---
del sys.modules[$M.__name__]
AGAIN_$N = importlib.import_module($M.__name__).VALUE
---
$M.__dict__["Thing"].__doc__ = "changed $K"
---
try:
    THING_$N = $M.Thing().method()
except TypeError as error:
    THING_$N = str(error)
""")

# $O is a directory for what is written. What a process leaves there has its process id in its name or text.
OUTSIDE = _statements("""
with open(f"$O/written-{os.getpid()}", "a") as file_$N:
    file_$N.write("$N\\n")
---
pathlib.Path(f"$O/path-{os.getpid()}").write_text("$K")
---
os.makedirs(f"$O/made-{os.getpid()}", exist_ok=True)
---
os.close(os.open(f"$O/opened-{os.getpid()}", os.O_CREAT | os.O_WRONLY))
---
thread_$N = threading.Thread(target=lambda: os.mkdir(f"$O/thread-$N-{os.getpid()}"), name="started $N")
thread_$N.start()
thread_$N.join()
---
WAITS_$N = threading.Event()
threading.Thread(target=WAITS_$N.wait, name="waits $N", daemon=True).start()
---
socket_$N = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
socket_$N.bind(f"$O/socket-$N-{os.getpid()}")
---
subprocess.run(["/bin/sh", "-c", f"echo > $O/shell-{os.getpid()}"], check=True)
---
child_$N = os.fork()
if not child_$N:
    try:
        os.mkdir(f"$O/forked-$N-{os.getppid()}")
    finally:
        os._exit(0)
os.waitpid(child_$N, 0)
del child_$N
---
base_$N = sqlite3.connect(f"$O/base-$N-{os.getpid()}")
base_$N.execute("create table things (number)")
base_$N.close()
---
os.symlink("nowhere", f"$O/link-$N-{os.getpid()}")
---
os.system(f"echo > $O/system-{os.getpid()}")
---
shutil.copyfile($H + "/data.txt", f"$O/copied-{os.getpid()}")
---
with tempfile.TemporaryFile() as file_$N:
    os.mkfifo(f"$O/fifo-$N-{os.getpid()}")
---
with open(f"$O/lock-{os.getpid()}", "w") as file_$N:
    fcntl.flock(file_$N, fcntl.LOCK_EX)
---
os.spawnlp(os.P_WAIT, "mkdir", "mkdir", f"$O/spawned-$N-{os.getpid()}")
""")
