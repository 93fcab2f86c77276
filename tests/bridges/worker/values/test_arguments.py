"""Arguments arrive as instances of the types that the function's annotations name."""

from __future__ import annotations

import enum
import functools
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar

import attrs
import msgspec
import pytest

from lastgood.bridges.remote import PACK, unpacker
from lastgood.bridges.worker.calling import Refused
from lastgood.bridges.worker.performing import VALUES
from lastgood.bridges.worker.values.arguments import typed
from lastgood.bridges.worker.values.values import Values

ARGUMENTS = Values(PACK, unpacker, msgspec.msgpack.Ext, towards="to the worker", tags=True)


class Side(enum.Enum):
    BUY = 1
    SELL = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    side: Side = Side.BUY


@dataclass(frozen=True)
class Key:
    sku: str
    side: Side = Side.BUY


@dataclass(frozen=True, slots=True)
class Special(Key):
    more: int = 0


@dataclass
class Order:
    key: Key
    points: list[Point] = field(default_factory=list)
    parent: Order | None = None
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = len(self.points)


@dataclass(init=False)
class Own:
    key: Key

    def __init__(self) -> None:
        raise AssertionError("not called")


@dataclass
class Picky:
    key: Key

    def __post_init__(self) -> None:
        raise ValueError("no")


@attrs.frozen
class Attr:
    _key: Key
    n: int = attrs.field(default=0, init=False)


class Struct(msgspec.Struct, frozen=True):
    key: Key
    points: list[Point] = []


class Options(TypedDict, total=False):
    side: Side


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str
    breed: str = ""


class Outer:
    class Kind(enum.Enum):
        A = 1

    @dataclass
    class Inner:
        kind: Kind  # type: ignore[name-defined]  # noqa: F821  # found in the class around it

    @staticmethod
    def static(value: Inner, kind: Kind) -> None: ...

    @classmethod
    def of_class(cls, value: Key) -> None: ...


def arrived(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function gets: its only argument, or all."""
    before = VALUES.last_tagged
    loaded = VALUES.loads(ARGUMENTS.dumps([list(args), kwargs]))
    assert VALUES.last_tagged is not before
    made_args, made_kwargs = typed(function, *loaded)
    return made_args[0] if len(made_args) == 1 and not made_kwargs else (made_args, made_kwargs)


def takes(annotation: Any) -> Callable[..., Any]:
    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": annotation}
    return function


T = TypeVar("T", bound=Key)
KEY = Key("a", Side.SELL)
ORDER = Order(KEY, [Point(1), Point(2, Side.SELL)], Order(Key("b")))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Side, Side.SELL),
        ("Side", Side.SELL),
        (Rights, Rights.READ | Rights.WRITE),
        (Key, KEY),
        (Order, ORDER),
        ("Optional[Order]", ORDER),
        (Order | None, ORDER),
        (Annotated[Order, 1], ORDER),
        (NewType("Name", Key), KEY),
        (T, KEY),
        (Literal[Side.SELL], Side.SELL),
        (Point, Point(3, Side.SELL)),
        (list[Key], [KEY]),
        (Sequence[Key | None], [KEY, None]),
        (tuple[Key, ...], (KEY, KEY)),
        (tuple[int, Key, Side], (1, KEY, Side.BUY)),
        (set[Key], {KEY}),
        (frozenset[Point], frozenset({Point(1)})),
        (dict[Key, list[Side]], {KEY: [Side.BUY]}),
        (Mapping[str, Point], {"a": Point(1)}),
        (deque[Key], deque([KEY], 3)),
        (Sequence[Point], deque([Point(1)])),
        (OrderedDict[Key, Side], OrderedDict({KEY: Side.BUY})),
        (dict[str, Side], OrderedDict(a=Side.BUY)),
        (Counter[Side], Counter({Side.BUY: 2})),
        (defaultdict[Side, list[Key]], defaultdict(list, {Side.BUY: [KEY]})),
        (Mapping[str, Side], defaultdict(None, a=Side.BUY)),
        (list[int] | dict[str, list[Side]], {"a": [Side.BUY]}),
        (Options, {"side": Side.BUY}),
        (Cat | Dog, Dog("x")),
        (Dog | Cat, Cat("x")),
        (Key, Special("a", more=3)),
        (Attr, Attr(KEY)),
        (Struct, Struct(KEY, [Point(1)])),
        (Outer.Inner, Outer.Inner(Outer.Kind.A)),
        ("Missing | Side", Side.BUY),
        ("list[Missing] | list[Side | None]", [Side.BUY]),
        ("dict[str, 'Missing | list[Side]']", {"a": [Side.BUY]}),
        ("Annotated[list[Side | Missing], 1]", [Side.BUY]),
    ],
)
def test_a_value_arrives_as_its_annotated_type(annotation: Any, value: Any) -> None:
    made = arrived(takes(annotation), value)
    assert made == value
    assert repr(made) == repr(value)


@pytest.mark.parametrize(
    ("annotation", "value", "plain"),
    [
        (Any, KEY, {"sku": "a", "side": 2}),
        ("Missing", ORDER.points, [(1, 1), (2, 2)]),
        ("not a type", Side.BUY, 1),
        (dict, KEY, {"sku": "a", "side": 2}),
        (dict[str, Any], Attr(KEY), {"_key": {"sku": "a", "side": 2}, "n": 0}),
        (int, Side.BUY, 1),
        (list, [Side.BUY], [1]),
        (tuple, Point(1), (1, 1)),
        (str, {"a": (Side.BUY,)}, {"a": (1,)}),
        (Cat, Side.BUY, 1),
        (Any, {Side.BUY: {Side.SELL}}, {1: {2}}),
        (Any, [deque([Side.BUY], 2), Counter([Side.SELL])], [deque([1], 2), Counter([2])]),
    ],
)
def test_where_no_annotation_tells_it_arrives_as_plain_data(annotation: Any, value: Any, plain: Any) -> None:
    made = arrived(takes(annotation), value)
    assert made == plain
    assert type(made) is type(plain)


def test_a_type_of_the_apps_own_is_made_the_one_with_its_fields() -> None:
    @dataclass
    class Copy:
        name: str
        breed: str

    class Sides(enum.Enum):
        Sell = 2

    assert arrived(takes(Cat | Dog), Copy("x", "y")) == Dog("x", "y")
    assert arrived(takes(Side), Sides.Sell) is Side.SELL


def test_every_parameter_has_its_own_type() -> None:
    def function(a: Side, /, b: Key, *rest: Point, c: Side, **more: Key) -> None: ...

    sent = ((Side.BUY, KEY, Point(1), Point(2)), {"c": Side.SELL, "d": KEY, "a": KEY})
    assert arrived(function, *sent[0], **sent[1]) == (list(sent[0]), sent[1])


def test_whatever_can_be_called_is_asked_for_its_annotations() -> None:
    def function(value: Key, other: Any = None) -> None: ...

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    class Tally:
        def __call__(self, value: Key) -> None: ...

    for each in (
        wrapper,
        functools.lru_cache(function),
        functools.partial(function, other=1),
        Tally(),
        Outer.of_class,
    ):
        assert arrived(each, KEY) == KEY
    inner = Outer.Inner(Outer.Kind.A)
    assert arrived(Outer.static, inner, kind=Outer.Kind.A) == ([inner], {"kind": Outer.Kind.A})
    assert arrived(print, KEY, KEY)[0][0] == {"sku": "a", "side": 2}


# Annotations are evaluated when they are asked for from Python 3.14 on, and may be names that are not there.
FOR_CHECKERS = (
    ("" if sys.version_info >= (3, 14) else "from __future__ import annotations\n")
    + """
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Optional, TypedDict
from models import Key, Side
if TYPE_CHECKING:
    from elsewhere import Missing

def only_missing(value: Missing) -> Missing: ...
def beside(value: Key, other: Missing, *rest: Missing, side: Side, **more: Missing) -> None: ...
def union(value: Key | Missing): ...
def optional(value: Optional[Missing | Key] = None): ...
def nested(value: list[Key | Missing]): ...
def mapping(value: dict[Side, Missing]): ...
cached = functools.lru_cache(union)
@functools.wraps(union)
def wrapped(*args, **kwargs): ...
@dataclass
class Record:
    other: Missing
    key: Key
class Named(NamedTuple):
    other: Missing
    key: Key
class Table(TypedDict):
    other: Missing
    key: Key
def record(value: Record): ...
def named(value: Named): ...
def table(value: Table): ...
class Desk:
    @staticmethod
    def static(value: Key, other: Missing = 0): ...
    @classmethod
    def of_class(cls, value: Key, other: Missing = 0): ...
    def __call__(self, value: Key, other: Missing = 0): ...
"""
)


@pytest.fixture
def for_checkers(monkeypatch: pytest.MonkeyPatch) -> Any:
    models, made = ModuleType("models"), ModuleType("for_checkers")
    vars(models).update(Key=Key, Side=Side)
    for module in (models, made):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(FOR_CHECKERS, "for_checkers.py", "exec", dont_inherit=True), vars(made))
    return made


def test_a_name_that_only_type_checkers_import_leaves_the_others_their_types(for_checkers: Any) -> None:
    assert arrived(for_checkers.only_missing, KEY) == {"sku": "a", "side": 2}
    plain = {"sku": "a", "side": 2}
    assert arrived(for_checkers.beside, KEY, KEY, KEY, side=Side.BUY, more=KEY) == (
        [KEY, plain, plain],
        {"side": Side.BUY, "more": plain},
    )
    desk = for_checkers.Desk
    for each in (desk.static, desk.of_class, desk()):
        assert arrived(each, KEY, KEY)[0] == [KEY, plain]


@pytest.mark.parametrize("function", ["union", "optional", "cached", "wrapped"])
def test_of_a_union_with_such_a_name_the_rest_counts(for_checkers: Any, function: str) -> None:
    assert arrived(getattr(for_checkers, function), KEY) == KEY


def test_such_a_name_within_a_type(for_checkers: Any) -> None:
    assert arrived(for_checkers.nested, [KEY]) == [KEY]
    assert arrived(for_checkers.mapping, {Side.BUY: KEY}) == {Side.BUY: {"sku": "a", "side": 2}}


def test_such_a_name_among_fields(for_checkers: Any) -> None:
    made = arrived(for_checkers.record, for_checkers.Record(1, KEY))
    assert made == for_checkers.Record(1, KEY)
    assert arrived(for_checkers.named, for_checkers.Named(1, KEY)) == for_checkers.Named(1, KEY)
    assert arrived(for_checkers.table, {"other": 1, "key": KEY}) == {"other": 1, "key": KEY}


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated where they stand")
def test_annotations_that_cannot_be_evaluated_are_as_none() -> None:
    made: dict[str, Any] = {"Key": Key}
    exec(compile("def function(value: Key, other: 1 / 0): ...", "<test>", "exec", dont_inherit=True), made)
    assert arrived(made["function"], KEY, 1) == ([{"sku": "a", "side": 2}, 1], {})


def test_fields_that_only_the_constructor_sets_are_set_by_it() -> None:
    sent = Order(KEY, [Point(1)])
    del sent.count
    assert arrived(takes(Order), sent).count == 1
    sent.count = 7
    assert arrived(takes(Order), sent).count == 7


@pytest.mark.parametrize("decorate", [dataclass, dataclass(slots=True), attrs.define], ids=["plain", "slots", "attrs"])
def test_a_field_that_there_is_no_more_is_refused(decorate: Callable[[type], type]) -> None:
    class Item:
        code: str = "default"
        n: int = 1

    renamed = decorate(Item)
    earlier = make_dataclass("Item", [("sku", str), ("n", int)])("apple", 5)
    with pytest.raises(Refused, match=r"Item cannot be made .*unexpected keyword argument 'sku'"):
        arrived(takes(renamed), earlier)


def test_a_class_without_an_init_of_its_fields_is_filled() -> None:
    own = Own.__new__(Own)
    own.key = KEY
    assert arrived(takes(Own), own).key == KEY


def pydantic_2() -> Any:
    """What pydantic's models look like from outside."""

    class Model:
        key: Key
        n: int

        def __init__(self, key: Key, n: int = 0) -> None:
            self.key = key
            self.n = n

        @classmethod
        def model_validate(cls, values: dict[str, Any]) -> Model:
            return cls(values["k"], values["n"])

    fields = {"key": SimpleNamespace(validation_alias="k"), "n": SimpleNamespace(alias=None)}
    Model.__pydantic_fields__ = fields  # type: ignore[attr-defined]  # as pydantic does it
    return Model


def pydantic_1() -> Any:
    class Model:
        key: Key
        n: int

        def __init__(self, **values: Any) -> None:
            self.key = values["k"]
            self.n = values["n"]

    Model.__fields__ = {"key": SimpleNamespace(alias="k"), "n": SimpleNamespace(alias="n")}  # type: ignore[attr-defined]  # likewise
    return Model


def test_models_of_pydantic_are_made_by_their_aliases() -> None:
    second, first = pydantic_2(), pydantic_1()
    made = arrived(takes(second), second(KEY, 3))
    assert (type(made), made.key, made.n) == (second, KEY, 3)
    made = arrived(takes(first), first(k=KEY, n=3))
    assert (type(made), made.key, made.n) == (first, KEY, 3)


@pytest.mark.parametrize("value", [Attr(KEY), Struct(KEY), pydantic_2()(KEY)], ids=["attrs", "msgspec", "pydantic"])
def test_of_a_result_they_are_a_dict_of_their_fields(value: Any) -> None:
    assert {"sku": "a", "side": 2} in VALUES.loads(VALUES.dumps(value)).values()


def test_what_cannot_be_made_names_argument_and_type() -> None:
    with pytest.raises(Refused, match=r"^argument value\[1\]: Picky cannot be made of what was sent: ValueError: no$"):
        picky = Picky.__new__(Picky)
        picky.key = KEY
        arrived(takes(list[Picky]), [None, picky])
    with pytest.raises(Refused, match=r"^argument value\.side: Side has no member 'OTHER'\.$"):

        class Other(enum.Enum):
            OTHER = 9

        arrived(takes(Key), Key("a", Other.OTHER))  # type: ignore[arg-type]  # that is the point
    with pytest.raises(Refused, match=r"^argument value: .*unhashable type: 'dict'\)?, so it can be neither a key"):
        arrived(takes(Any), {KEY})
    for collapsing in ({Side.BUY: 1, 1: 2}, {(Side.BUY,), (1,)}):
        with pytest.raises(Refused, match=r"^argument value: two keys of a dict or elements of a set became equal"):
            arrived(takes(Any), collapsing)


def test_plain_values_beside_tagged_ones_are_passed_on_as_they_came() -> None:
    loaded, _ = VALUES.loads(ARGUMENTS.dumps([[KEY, [1.5, 2], {"a": None}, {b"x"}], {}]))
    made, _ = typed(takes(Any), loaded, {})
    assert all(one is other for one, other in zip(made[1:], loaded[1:], strict=True))


def test_calls_without_tagged_values_are_not_looked_at() -> None:
    before = VALUES.last_tagged
    assert VALUES.loads(ARGUMENTS.dumps([[1, {"a": [(1,)]}], {}])) == [[1, {"a": [(1,)]}], {}]
    assert VALUES.last_tagged is before


def test_optional_is_what_the_oldest_python_writes() -> None:
    assert arrived(takes(Optional["Key"]), KEY) == KEY  # that is the point
