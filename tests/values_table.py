"""The table of ``docs/reference/values.md``, from real calls: ``python tests/values_table.py`` renews it.

Each type is sent to a source and back, at each place in a value, through wrappers of either style with a worker, in direct mode,
and by a plain call. The source compares what arrives with what it makes itself of the same text, and so does the caller.
"""

from __future__ import annotations

import importlib
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

import exactness
from exactness import difference
from generating import generated, importable, running
from imported import forgotten
from lastgood import BridgeError, direct, get_runtime_bridge, watch
from real_project import RealProject

__all__ = ["DOCUMENT", "NOT_HASHABLE", "REFUSED", "Found", "explored", "renewed"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "reference" / "values.md"

IMPORTS = """
from __future__ import annotations

import datetime as dt
import re
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from http import HTTPStatus
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy
import pydantic
"""
CLASSES = """
from exactness import difference

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    ODD = 2.5


class Rights(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Fraction = Fraction(1, 2)


@dataclass(frozen=True)
class Quote:
    sku: str
    colour: Colour = Colour.RED


class Options(TypedDict):
    colour: Colour


class Size(IntEnum):
    SMALL = 1


class Mood(StrEnum):
    GOOD = "good"


@dataclass(frozen=True)
class Offer(Quote):
    until: date = date(2024, 2, 29)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]


@attrs.frozen
class Box:
    size: int


class Frame(msgspec.Struct, frozen=True):
    size: int


class Order(pydantic.BaseModel, frozen=True):
    size: int


@dataclass
class Other:
    value: str
"""
OWN = (
    *(
        "Colour",
        "Rights",
        "Size",
        "Mood",
        "Point",
        "Quote",
        "Offer",
        "Page",
        "Box",
        "Frame",
        "Order",
        "Options",
        "Other",
    ),
)

ROWS: Mapping[str, tuple[str, ...]] = {
    "None": ("None",),
    "bool": ("True", "False"),
    "int": ("0", "-1", "2**70"),
    "float": ("1.5", "-0.0", "float('inf')", "float('nan')"),
    "complex": ("1j", "complex(-0.0, float('nan'))"),
    "str": ("''", "'é'", "'\\ud800'"),
    "bytes": ("b'ab'",),
    "bytearray": ("bytearray(b'ab')",),
    "list[int]": ("[]", "[1, 2]"),
    "tuple[int, str]": ("(1, 'a')",),
    "set[int]": ("set()", "{1, 2}"),
    "frozenset[int]": ("frozenset((1, 2))",),
    "dict[str, int]": ("{}", "{'b': 1, 'a': 2}"),
    "range": ("range(3)", "range(9, 2**70, -3)"),
    "deque[int]": ("deque([1, 2])", "deque([1, 2], 2)"),
    "deque[Quote]": ("deque([Quote('a')], 3)",),
    "OrderedDict[str, int]": ("OrderedDict(b=1, a=2)",),
    "OrderedDict[str, Quote]": ("OrderedDict(b=Quote('a'))",),
    "Counter[str]": ("Counter('aab')",),
    "Counter[Colour]": ("Counter([Colour.RED])",),
    "defaultdict[str, list[int]]": ("defaultdict(list, a=[1])", "defaultdict(None)"),
    "defaultdict[str, Any]": (
        *("defaultdict(list, a=1)", "defaultdict(set, a=1)", "defaultdict(dict, a=1)", "defaultdict(int, a=1)"),
        *("defaultdict(float, a=1)", "defaultdict(str, a=1)", "defaultdict(bool, a=1)", "defaultdict(tuple, a=1)"),
        *("defaultdict(bytes, a=1)", "defaultdict(complex, a=1)"),
    ),
    "datetime": (
        "datetime(2024, 2, 29, 1, 2, 3, 4)",
        "datetime(2024, 2, 29, tzinfo=timezone.utc)",
        "datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo('Europe/Berlin'), fold=1)",
    ),
    "date": ("date(2024, 2, 29)",),
    "time": ("time(1, 2, 3)", "time(1, tzinfo=timezone(timedelta(hours=1)))", "time(1, tzinfo=ZoneInfo('Asia/Tokyo'))"),
    "timedelta": ("timedelta(-1, 2, 3)",),
    "timezone": ("timezone.utc", "timezone(timedelta(hours=5, minutes=30))", "timezone(timedelta(seconds=-1), 'odd')"),
    "ZoneInfo": ("ZoneInfo('Europe/Berlin')",),
    "Decimal": ("Decimal('1.50')", "Decimal('-0')", "Decimal('sNaN')"),
    "Fraction": ("Fraction(1, 3)", "Fraction(2**70)"),
    "UUID": ("UUID(int=5)",),
    "Path": ("Path('a/b')",),
    "PurePosixPath": ("PurePosixPath('a/b')",),
    "PureWindowsPath": ("PureWindowsPath('c:/A')",),
    "re.Pattern[str]": ("re.compile('(?i)é|b', re.VERBOSE)",),
    "re.Pattern[bytes]": ("re.compile(b'a', re.DOTALL)",),
    "IPv4Address": ("IPv4Address('1.2.3.4')",),
    "IPv4Network": ("IPv4Network('1.2.0.0/16')",),
    "IPv4Interface": ("IPv4Interface('1.2.3.4/16')",),
    "IPv6Address": ("IPv6Address('::1')", "IPv6Address('fe80::1%eth0')"),
    "IPv6Network": ("IPv6Network('fe80::/64')",),
    "IPv6Interface": ("IPv6Interface('fe80::1/64')", "IPv6Interface('fe80::1%eth0/64')"),
    "Colour": ("Colour.RED", "Colour.ODD"),
    "Rights": ("Rights.READ | Rights.WRITE",),
    "Size": ("Size.SMALL",),
    "Mood": ("Mood.GOOD",),
    "HTTPStatus": ("HTTPStatus.OK",),
    "Point": ("Point(1)",),
    "Quote": ("Quote('a')",),
    "Quote, as an Offer": ("Offer('a')",),
    "Page[Quote]": ("Page((Quote('a'),))",),
    "Box": ("Box(size=1)",),
    "Frame": ("Frame(size=1)",),
    "Order": ("Order(size=1)",),
    "Options": ("{'colour': Colour.RED}",),
    "numpy.ndarray": ("numpy.arange(6.0).reshape(2, 3)", "numpy.array([1, 1j])"),
}
"""The types that may cross, as annotations, and values of each."""

REFUSED = (
    ("object()", "object"),
    ("iter([])", "list_iterator"),
    ("len", "builtin_function_or_method"),
    ("int", "type"),
    ("ValueError()", "ValueError"),
    ("memoryview(b'a')", "memoryview"),
    ("array('d')", "array.array"),
    ("re.match('', '')", "re.Match"),
    ("defaultdict(lambda: 0)", "app.<lambda>"),
    ("defaultdict(frozenset)", "frozenset"),
    ("numpy.array([...])", "dtype object"),
)
"""Values that may not cross, and what the error must name."""

PLACES = {
    "argument": ("{0}", "{0}"),
    "result": ("{0}", "{0}"),
    "dataclass field": ("Holder{1}", "Holder{1}({0})"),
    "list item": ("list[{0}]", "[{0}, {0}]"),
    "dict value": ("dict[str, {0}]", "{{'a': {0}}}"),
    "dict key": ("dict[{0}, int]", "{{{0}: 1}}"),
    "set element": ("set[{0}]", "{{{0}}}"),
    "union member": ("{0} | Other", "{0}"),
}
"""Each place in a value: the annotation and the text of the whole, for an annotation and the text of a value."""
HASHED = ("dict key", "set element")
WAYS = ("async wrapper", "sync wrapper", "direct mode")
NOT_HASHABLE = "–"


def _function(place: str, number: int) -> str:
    return f"{place.replace(' ', '_')}_{number}"


def _source() -> str:
    """Return the source of the functions that take and give each type at each place."""
    lines = [IMPORTS, CLASSES]
    for number, (row, samples) in enumerate(ROWS.items()):
        annotation = row.partition(", as ")[0]
        lines.append(f"@dataclass\nclass Holder{number}:\n    value: {annotation}\n")
        for place, (whole, _) in PLACES.items():
            type_, name = whole.format(annotation, number), _function(place, number)
            texts = [PLACES[place][1].format(sample, number) for sample in samples]
            made = f"[{', '.join(f'lambda: {text}' for text in texts)}][sample]()"
            check = f"    told = difference(value, {made})\n    assert not told, told\n"
            if place == "argument":
                lines.append(f"def {name}(value: {type_}, sample: int) -> None:\n{check}")
            elif place == "result":
                lines.append(f"def {name}(sample: int) -> {type_}:\n    return {made}\n")
            else:
                lines.append(f"def {name}(value: {type_}, sample: int) -> {type_}:\n{check}    return {made}\n")
    lines.append("def give(text: str) -> Any:\n    return eval(text, {**globals(), '__name__': 'app'})\n")
    lines.append("def take(value: Any) -> None: ...\n")
    return "\n".join(lines)


@dataclass
class Found:
    """Outcomes: "" for a value that crossed as it was, else what was wrong, or :data:`NOT_HASHABLE`."""

    cells: dict[tuple[str, str, str], str] = field(default_factory=dict)  # by row, place and way
    plain: dict[str, str] = field(default_factory=dict)  # by row: as what it arrives instead
    errors: dict[str, tuple[str, str]] = field(default_factory=dict)  # by text: as an argument, as a result


Call = Callable[..., Awaitable[Any]]


def _names(wrapper: Any) -> dict[str, Any]:
    """Return the names that the texts of values use, where ``wrapper`` has the declared classes."""
    names: dict[str, Any] = {}
    exec(IMPORTS, names)
    holders = [f"Holder{number}" for number in range(len(ROWS))]
    return {**names, **{name: getattr(wrapper, name) for name in (*OWN, *holders)}, "__name__": "app"}


async def _outcome(call: Call, names: dict[str, Any], place: str, number: int, sample: int, text: str) -> str:
    whole = PLACES[place][1].format(text, number)
    if place in HASHED:
        try:
            hash(eval(text, names))
        except TypeError:
            return NOT_HASHABLE
    arguments = [] if place == "result" else [eval(whole, names)]
    try:
        back = await call(_function(place, number), *arguments, sample)
    except BridgeError as error:
        return str(error)
    return "" if place == "argument" else difference(back, eval(whole, names))


async def _try_all(found: Found, way: str, wrapper: Any) -> None:
    async def call(name: str, *arguments: Any) -> Any:
        result = getattr(wrapper, name)(*arguments)
        return await result if inspect.isawaitable(result) else result

    names = _names(wrapper)
    for number, (row, samples) in enumerate(ROWS.items()):
        for place in PLACES:
            outcomes = {await _outcome(call, names, place, number, *sample) for sample in enumerate(samples)}
            if len(outcomes) > 1:
                outcomes -= {"", NOT_HASHABLE}
            found.cells[row, place, way] = next(iter(outcomes), "")


async def _try_plain(found: Found, wrapper: Any) -> None:
    names, bridge = _names(wrapper), get_runtime_bridge()
    for number, (row, samples) in enumerate(ROWS.items()):
        value = await bridge.call("everything", _function("result", number), [0], {})
        expected = eval(samples[0], names)
        kind = f"`{type(value).__name__}`" if type(value) is not type(expected) else "with plain data"
        found.plain[row] = kind if difference(value, expected) else ""


async def _try_refused(found: Found, wrapper: Any) -> None:
    names = _names(wrapper)
    for text, _ in REFUSED:
        told = []
        for call, given in ((wrapper.take, [0, eval(text, names)]), (wrapper.give, f"[0, {text}]")):
            try:
                await call(given)
            except BridgeError as error:
                told.append(str(error).partition(" What can:")[0])
            else:
                told.append("")
        found.errors[text] = (told[0], told[1])


@contextmanager
def _sync_project(root: Path, files: Mapping[str, str]) -> Iterator[RealProject]:
    root.mkdir()
    project = RealProject(root, dict(files))
    project.configure("everything")
    project.config_file.write_text(project.config_file.read_text() + 'style = "sync"\n')
    with forgotten(root):
        yield project


def explored(root: Path) -> Found:
    """Make every call, in projects below ``root``."""
    files = {"everything.py": _source(), "exactness.py": Path(exactness.__file__).read_text(encoding="utf-8")}
    found = Found()

    async def with_async_wrappers() -> None:
        (root / "async").mkdir()
        made = generated(root / "async", files, "everything")
        async with running(made):
            wrapper = made.load("everything")
            await _try_all(found, "async wrapper", wrapper)
            await _try_plain(found, wrapper)
            await _try_refused(found, wrapper)

    trio.run(with_async_wrappers)
    with _sync_project(root / "sync", files) as project:
        for way, session in (
            ("sync wrapper", watch(project.config_file).in_thread()),
            ("direct mode", direct(project.config_file)),
        ):
            with session, importable(project.config_file.parent, "generated"):
                trio.run(_try_all, found, way, importlib.import_module("generated.everything"))
    return found


# --- the document


def renewed(document: str, found: Found) -> str:
    """Return ``document`` with the tables of ``found`` between their marks."""
    for name, lines in (("what may cross", _crossing(found)), ("what may not", _refused(found))):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = document.partition(begin)
        _, found_end, after = rest.partition(end)
        assert found_end, f"{DOCUMENT.name} has lost one of its marks: {begin}, {end}"
        document = "\n".join([f"{before}{begin}", *lines, f"{end}{after}"])
    return document


def _crossing(found: Found) -> Iterator[str]:
    columns = (*PLACES, *WAYS)
    yield f"| annotation | {' | '.join(columns)} | plain `call` |"
    yield "|---" * (len(columns) + 2) + "|"
    for row in ROWS:
        cells = [_cell(found, row, column) for column in columns]
        yield f"| `{row}` | {' | '.join(cells)} | {found.plain[row] or '✓'} |"


def _cell(found: Found, row: str, column: str) -> str:
    """Return the sign for all calls of one place, or of one way."""
    outcomes = {cell for (of, *where), cell in found.cells.items() if of == row and column in where}
    if column in WAYS:
        outcomes -= {NOT_HASHABLE}
    return "✓" if outcomes == {""} else NOT_HASHABLE if outcomes == {NOT_HASHABLE} else "✗"


def _refused(found: Found) -> Iterator[str]:
    yield "| `[0, value]` with the value | as the first argument | as the result |"
    yield "|---|---|---|"
    for text, errors in found.errors.items():
        yield f"| `{text}` | {' | '.join(f'`{error}`' for error in errors)} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        seen = explored(Path(directory))
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8"), seen), encoding="utf-8")
