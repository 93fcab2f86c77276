"""Exceptions of a source arrive as what they were, whatever they do to be no ordinary ones."""

from __future__ import annotations

import builtins
import copy
import linecache
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import pytest
import trio

from flavours import FLAVOURS, Flavour
from imported import forgotten
from lastgood import InProcessBridge, ProcessBridge, RemoteError, clear_runtime_bridge, set_runtime_bridge
from lastgood.bridges.raised import leave, made
from lastgood.bridges.worker.failures import describe
from lastgood.runtime import get_runtime_bridge
from process_bridges import DEADLINE
from raised_here import DUMPS, remote

ALL = sorted(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__name__ == name
)
BARE = (
    "BaseException",
    "BaseExceptionGroup",
    "GeneratorExit",
    "KeyboardInterrupt",
    "StopAsyncIteration",
    "StopIteration",
    "SystemExit",
)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "UnicodeDecodeError": ("utf-8", b"a\xff", 1, 2, "invalid"),
    "UnicodeEncodeError": ("ascii", "a\xe9", 1, 2, "no ascii"),
    "UnicodeTranslateError": ("\xe9", 0, 1, "untranslatable"),
    "ExceptionGroup": ("several", [ValueError("a"), KeyError("b")]),
    "BaseExceptionGroup": ("several", [ValueError("a"), KeyboardInterrupt()]),
    **dict.fromkeys(
        ("IndentationError", "SyntaxError", "TabError", "_IncompleteInputError"),
        ("bad", ("file.py", 3, 5, "a b c", 3, 6)),
    ),
    "OSError": (28, "full", "file.txt"),
    "BlockingIOError": (11, "later", 7),
    "ImportError": ("no module",),
}


def attributes(error: BaseException) -> dict[str, Any]:
    names = (
        *("errno", "strerror", "filename", "filename2", "characters_written", "name", "path", "msg", "obj", "lineno"),
        *("offset", "text", "end_lineno", "encoding", "object", "start", "end", "reason"),
    )
    return {name: getattr(error, name) for name in names if hasattr(error, name)}


@pytest.mark.parametrize("name", ALL)
def test_every_builtin_class_is_itself(name: str) -> None:
    kind = getattr(builtins, name)
    error = kind(*ARGUMENTS.get(name, ("some text", 3)))
    got = remote(error)
    assert (got.type_name, got.message) == (name, str(error))
    if name in BARE:
        assert type(got) is RemoteError
        again: Any = pickle.loads(pickle.dumps(got))
        assert (repr(again), str(again), again.attributes) == (repr(got), str(got), got.attributes)
        return
    assert isinstance(got, kind)
    assert type(got).__name__ == name
    assert str(got) == str(error)
    assert repr(got) == repr(error)
    assert attributes(got) == attributes(error)
    if not isinstance(error, ExceptionGroup):
        assert got.args == error.args
    for again in (copy.copy(got), pickle.loads(pickle.dumps(got))):
        assert type(again) is type(got)
        assert (repr(again), str(again), again.traceback) == (repr(error), str(error), got.traceback)
        assert attributes(again) == attributes(error)


def test_attributes_are_those_that_can_be_sent() -> None:
    error = LookupError("a", object(), [1, 2])
    vars(error).update(sku="apple", count=3, where=Path("x"), lock=threading.Lock(), message="mine", args="no")
    got: Any = remote(error)
    assert (got.sku, got.count, got.where, got.message) == ("apple", 3, Path("x"), str(error))
    assert got.attributes == {"sku": "apple", "count": 3, "where": Path("x"), "message": "mine", "args": "no"}
    assert got.args[0] == "a"
    assert got.args[1].startswith("<object object at")
    assert got.args[2] == [1, 2]
    with pytest.raises(AttributeError, match=r"'lock' of this LookupError stayed in the worker: lock: .*_thread.lock"):
        got.lock  # noqa: B018  # it raises
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        got.other  # noqa: B018  # it raises


def test_groups_causes_contexts_and_notes() -> None:
    inner = ExceptionGroup("inner", [KeyError("k"), StopIteration(1)])
    error = ExceptionGroup("outer", [ValueError("v"), inner])
    error.add_note("a note")
    error.__cause__ = cause = OSError(2, "no")
    cause.__context__ = error  # a cycle
    got: Any = remote(error)
    met: list[Any] = []
    values, other = got.exceptions
    keys, stopped = other.exceptions
    assert isinstance(values, ValueError)
    assert isinstance(keys, KeyError)
    assert keys.args == ("k",)
    assert type(stopped) is RemoteError
    assert stopped.type_name == "StopIteration"
    assert all(isinstance(each, RemoteError) for each in (got, values, other, keys))
    assert (got.message, got.attributes["message"]) == (str(error), "outer")
    assert got.__notes__ == ["a note"]
    assert isinstance(got.__cause__, FileNotFoundError)
    assert got.__cause__.__context__ is got
    assert remote(error).__suppress_context__
    try:
        raise cast("Exception", got)
    except* ValueError as group:
        met += group.exceptions
    except* KeyError as group:
        met += group.exceptions
    except* RemoteError as group:
        met += group.exceptions
    assert met[0] is values
    assert [type(each).__name__ for each in met] == ["ValueError", "ExceptionGroup", "ExceptionGroup"]


def test_long_chains_and_large_groups_are_bounded() -> None:
    chain: BaseException = ValueError(0)
    for number in range(2000):
        outer = ValueError(number)
        outer.__context__ = chain
        chain = outer
    got = remote(chain)
    length = 0
    while got.__context__ is not None:
        assert isinstance(got.__context__, ValueError)
        got, length = got.__context__, length + 1  # type: ignore[assignment]  # each is a RemoteError, too
    assert length == 100
    many: Any = remote(ExceptionGroup("many", [ValueError(number) for number in range(2000)]))
    assert len(many.exceptions) == 101
    assert "1900 more members" in str(many.exceptions[-1])


def test_what_is_printed_are_the_frames_of_the_source_then() -> None:
    def call() -> None:
        error = remote_of_a_source()
        try:
            raise error
        except RemoteError as caught:
            leave(caught)
            raise

    def remote_of_a_source() -> RemoteError:
        space: dict[str, Any] = {}
        exec(compile("def quote(sku):\n    raise KeyError(sku)\n", "/there/shop.py", "exec"), space)
        try:
            space["quote"]("apple")
        except KeyError as error:
            described = describe(error, DUMPS)
        described[3]["frames"][-1][3] = "    raise KeyError(sku)"  # as where the file is
        return made(described)

    with pytest.raises(KeyError) as caught:
        call()
    lines = traceback.format_exception(caught.value)
    assert lines[-2:] == ['  File "/there/shop.py", line 2, in quote\n    raise KeyError(sku)\n', "KeyError: 'apple'\n"]
    assert "in call" not in "".join(lines)  # as the wrapper's own frames are left out
    assert "RemoteError" not in "".join(lines)


def test_a_line_that_was_edited_since_is_shown_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text("def quote():\n    raise KeyError('old')\n")
    text = file.read_text()
    linecache.cache[str(file)] = (len(text), None, text.splitlines(keepends=True), str(file))  # as of pinned sources
    space: dict[str, Any] = {}
    exec(compile(text, str(file), "exec"), space)

    def shown() -> str:
        try:
            space["quote"]()
        except KeyError as error:
            described = describe(error, DUMPS)
        return traceback.format_exception(made(described))[-2]

    end = "line 2, in quote\n    raise KeyError('old')\n"
    assert shown().startswith(f'  File "{file}", {end}')
    file.write_text("# another first line\ndef quote():\n    raise KeyError('old')\n")
    edited = f'  File "{file} (before an edit)", {end}'
    assert shown().startswith(edited)
    file.write_text("def quote(:\n    raise KeyError('old')\n")
    assert shown().startswith(edited)
    assert linecache.getlines(f"{file} (before an edit)") == text.splitlines(keepends=True)
    file.write_text(text)
    assert shown().startswith(f'  File "{file}", {end}')
    file.unlink()
    assert shown().startswith(f'  File "{file}", {end}')


# --- hostile ones

HOSTILE = """
class Text(Exception):
    def __str__(self): raise ValueError("no text")

class Exits(Exception):
    def __str__(self): raise SystemExit(3)

class Repr(Exception):
    def __repr__(self): raise KeyboardInterrupt

class Number(Exception):
    def __str__(self): return 3

class Str(str):
    def __getitem__(self, key): raise ValueError
    def __len__(self): raise ValueError
    def __str__(self): raise ValueError

class StrText(Exception):
    def __str__(self): return Str("text")

class Endless(Exception):
    def __str__(self): return str(self)

class Itself(Exception):
    def __init__(self):
        super().__init__(self)
        self.itself = self

class Colliding(Exception):
    def __init__(self):
        super().__init__("text")
        vars(self).update(message=1, traceback=2, type_name=3, attributes=4, args=5, with_traceback=6, add_note=7,
                          __notes__=8, __cause__=9, __class__=10, __dict__=11, _lastgood_origin=12)

class Args(Exception):
    @property
    def args(self): raise ValueError("no args")

class Huge(Exception):
    def __init__(self):
        super().__init__("x" * 5_000_000)
        self.data = b"x" * 50_000_000

class Reduce(Exception):
    def __reduce__(self): raise ValueError
    __reduce_ex__ = __getstate__ = __reduce__

class Slots(Exception):
    __slots__ = ("a", "b", "__c")
    def __init__(self): self.a = 1

class GetAttr(Exception):
    def __getattr__(self, name): raise ValueError(name)

class GetAttribute(Exception):
    def __getattribute__(self, name): raise SystemExit(name)

class Lies(Exception):
    __class__ = property(lambda self: SystemExit)

class Meta(type):
    def __getattribute__(cls, name): raise ValueError(name)
    def __eq__(cls, other): raise ValueError
    def __hash__(cls): raise ValueError

class OfMeta(Exception, metaclass=Meta):
    pass

class Module(Exception):
    __module__ = 3

class Builtin(Exception):
    __module__ = "builtins"
    __qualname__ = "KeyboardInterrupt"

class Dict(dict):
    def items(self): raise ValueError
    def get(self, *_): raise ValueError
    def __iter__(self): raise ValueError

class OfDict(Exception):
    def __init__(self): self.__dict__ = Dict(a=1)

class Value:
    def __getattr__(self, name): raise SystemExit(name)
    def __iter__(self): raise SystemExit
    def __repr__(self): raise SystemExit

class Values(Exception):
    def __init__(self):
        super().__init__(Value(), "b")
        self.value = Value()

class Notes(Exception):
    def __init__(self): self.__notes__ = [Str("a note"), 3, Value(), *["more"] * 5000]

class NotesProperty(Exception):
    @property
    def __notes__(self): raise SystemExit

class Surrogate(Exception):
    def __init__(self): super().__init__("\\ud800"); setattr(self, "\\udfff", 1); self.fine = "\\udfff"

class Cyclic(Exception):
    def __init__(self): self.__cause__ = self; self.__context__ = self

class Both(SystemExit, ValueError):
    pass

class Group(ExceptionGroup):
    exceptions = property(lambda self: 1 / 0)
    message = property(lambda self: 1 / 0)

class Syntax(SyntaxError):
    def __init__(self): super().__init__("bad", ("f", 1, 1, "x"))
    lineno = property(lambda self: 1 / 0)

class Deep(Exception):
    def __init__(self):
        self.deep = []
        for _ in range(100_000): self.deep = [self.deep]

class Keys(Exception):
    def __init__(self): vars(self)[3] = 4; vars(self)[Str("key")] = 5

KINDS = {name: kind for name, kind in list(globals().items())
         if issubclass(type(kind), type) and issubclass(kind, BaseException)}

def fail(name):
    if name == "Group":
        raise Group("several", [ValueError("a"), Text()])
    raise KINDS[name]()

def kinds():
    return sorted(KINDS)

def give(value):
    return value
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("src")
    (directory / "hostile.py").write_text(HOSTILE)
    with forgotten(directory):
        yield directory


@pytest.mark.parametrize("make", [ProcessBridge, InProcessBridge])
async def test_hostile_exceptions_arrive_with_their_texts_and_the_worker_lives_on(
    hostile: Path, make: Callable[..., Any]
) -> None:
    bridge = make(import_path=[hostile], modules=["hostile"])
    await bridge.init()
    try:
        with trio.fail_after(DEADLINE):
            kinds = await bridge.call("hostile", "kinds", [], {})
            assert len(kinds) >= 25
            for kind in kinds:
                with pytest.raises(RemoteError) as caught:
                    await bridge.call("hostile", "fail", [kind], {})
                error = caught.value
                assert type(error.type_name) is type(error.traceback) is str
                if kind not in ("Module", "Builtin"):
                    assert error.type_name == f"hostile.{kind}"
                assert "in fail" in error.traceback
                assert len(error.traceback) < 400_000
                assert isinstance(error.__traceback__, TracebackType)
                leave(error)
                assert kind == "Both" or [*traceback.walk_tb(error.__traceback__)][-1][0].f_code.co_name == "fail"
                assert "".join(traceback.format_exception(error))
                assert (type(error) is RemoteError) is (kind == "Both")
                assert await bridge.call("hostile", "give", [1], {}) == 1
    finally:
        await bridge.dispose()


# --- in every way of calling

WAYS = """
async def now(n):
    raise KeyError(n)

def plain(n):
    raise KeyError(n)

def items(n):
    yield n
    raise KeyError(n)

async def async_items(n):
    yield n
    raise KeyError(n)

def late(n):
    try:
        while True:
            yield n
    finally:
        raise KeyError(n)
"""


@pytest.mark.parametrize("make", [ProcessBridge, InProcessBridge])
async def test_what_is_printed_shows_none_of_lastgoods_frames(tmp_path: Path, make: Callable[..., Any]) -> None:
    (tmp_path / "ways.py").write_text(WAYS)
    bridge = make(import_path=[tmp_path], modules=["ways"])
    await bridge.init()
    set_runtime_bridge(bridge)
    handle: Any = get_runtime_bridge()

    def check(error: RemoteError, name: str) -> None:
        frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
        *others, last = [(Path(each.co_filename).name, each.co_name) for each in frames]
        assert last == ("ways.py", name)
        assert {file for file, _ in others} == {Path(__file__).name}

    async def read(stream: Any, *, close: bool) -> None:
        async for _ in stream:
            if close:
                break
        await stream.aclose()

    def read_plain(stream: Any, *, close: bool) -> None:
        for _ in stream:
            if close:
                break
        stream.close()

    try:
        with trio.fail_after(DEADLINE):
            for caller in (bridge, handle):
                for name in ("plain", "now"):
                    with pytest.raises(KeyError) as caught:
                        await caller.call("ways", name, [1], {})
                    check(caught.value, name)  # type: ignore[arg-type]  # it is a RemoteError, too
                for name in ("items", "async_items", "late"):
                    with pytest.raises(KeyError) as caught:
                        await read(caller.stream("ways", name, [1], {}), close=name == "late")
                    check(caught.value, name)  # type: ignore[arg-type]  # see above
                if make is InProcessBridge:
                    with pytest.raises(KeyError) as caught:
                        caller.call_blocking("ways", "plain", [1], {})
                    check(caught.value, "plain")  # type: ignore[arg-type]  # see above
                    for name in ("items", "late"):
                        with pytest.raises(KeyError) as caught:
                            read_plain(caller.stream_blocking("ways", name, [1], {}), close=name == "late")
                        check(caught.value, name)  # type: ignore[arg-type]  # see above
    finally:
        clear_runtime_bridge()
        await bridge.dispose()


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda each: each.name)
def test_every_builtin_class_is_caught_by_its_own_name(tmp_path: Path, flavour: Flavour) -> None:
    """By the handle of an in-process bridge here; by wrappers of a session in ``session/test_exceptions.py``."""
    (tmp_path / "raising.py").write_text(
        f"import builtins\nARGUMENTS = {ARGUMENTS!r}\n"
        "def fail(name):\n    raise getattr(builtins, name)(*ARGUMENTS.get(name, ('text',)))\n"
    )

    async def main() -> None:
        bridge = InProcessBridge(import_path=[tmp_path], modules=["raising"])
        await bridge.init()
        for name in ALL:
            if name == "KeyboardInterrupt" or name == "BaseExceptionGroup":
                continue  # Ctrl-C is the caller's own
            kind = RemoteError if name in BARE else getattr(builtins, name)
            with pytest.raises(kind):
                await bridge.call("raising", "fail", [name], {})
        await bridge.dispose()

    with forgotten(tmp_path):
        flavour.run(main)
