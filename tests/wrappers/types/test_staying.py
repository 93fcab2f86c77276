"""Types of which nothing can cross: a union is without them, alone they are Any, and the rest of a signature is as it is."""

from __future__ import annotations

import inspect

import pytest

from wrapping import load, text_of, wrap

HEAD = """
import collections.abc as abc, io, os, types, typing as t
from typing import Callable, IO, Optional, TextIO, Union, Unpack
class Desk: ...
class Name(str): ...
class Long(Name): ...
class Table(t.Dict[str, int]): ...
class Loop1(Loop2): ...
class Loop2(Loop1): ...
Handler = Callable[[int], None]
Stream = Union[IO[str], str]
class Options(t.TypedDict, total=False):
    size: int
"""


def signature(text: str) -> tuple[str, tuple[str, ...]]:
    wrapped = wrap(HEAD + text)
    space = load(text_of(wrapped), lambda *_: None)
    of_f = tuple(warning for warning in wrapped.warnings if warning.startswith("pricing.f:"))
    return str(inspect.signature(space["f"])).replace("'", ""), of_f


@pytest.mark.parametrize(
    ("annotation", "expected", "left_out"),
    [
        ("IO[str] | str", "str", "IO[str]"),
        ("Optional[Callable[..., int]]", "None", "Callable[..., int]"),
        ("Union[str, bytes, TextIO, io.BytesIO]", "str | bytes", "TextIO, io.BytesIO"),
        ("Handler | None", "None", "Handler"),
        ("Stream | int", "str | int", "IO[str]"),
        ("type[Desk] | str", "str", "type[Desk]"),
        ("t.Annotated[Callable[[], int] | int, 'x']", "int", "Callable[[], int]"),
        ("list[types.ModuleType | str]", "list[str]", "types.ModuleType"),
        ("abc.Iterator[int] | list[int]", "list[int]", "abc.Iterator[int]"),
    ],
)
def test_a_union_is_without_what_cannot_cross(annotation: str, expected: str, left_out: str) -> None:
    found, warnings = signature(f"def f(x: {annotation}) -> {annotation}: ...")
    assert found == f"(x: {expected}) -> {expected}"
    said = f"is without what cannot cross to or from the worker: {left_out}."
    assert warnings == (
        f"pricing.f: the annotation of parameter 'x' {said}",
        f"pricing.f: the annotation of the result {said}",
    )


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("Callable[[int], str]", "a function"),
        ("TextIO", "an open file"),
        ("type[int]", "a class object"),
        ("IO[str] | Handler", "a union of what cannot cross"),
        ("Stream2", "a function"),
    ],
)
def test_alone_it_is_any_and_the_others_keep_their_types(annotation: str, kind: str) -> None:
    found, warnings = signature(f"Stream2 = Handler\ndef f(x: {annotation}, y: int) -> int: ...")
    assert found == "(x: Any, y: int) -> int"
    assert warnings == (f"pricing.f: the annotation of parameter 'x', {annotation}, became Any. It is {kind}.",)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("str | os.PathLike[str]", "str | PathLike[str]"),
        ("os.PathLike", "PathLike[Any]"),
        # Instances of such a class cross as their base.
        ("Name", "str"),
        ("list[Long]", "list[str]"),
        ("Table | None", "dict[str, int] | None"),
    ],
)
def test_what_crosses_as_something_else(annotation: str, expected: str) -> None:
    assert signature(f"def f(x: {annotation}) -> {annotation}: ...") == (f"(x: {expected}) -> {expected}", ())


def test_classes_in_a_circle_are_any() -> None:
    assert signature("def f(x: Loop1): ...")[0] == "(x: Any) -> Any"


def test_keywords_by_the_keys_of_a_typed_dict() -> None:
    assert signature("def f(**x: Unpack[Options]): ...") == ("(**x: Unpack[Options]) -> Any", ())
    assert signature("def f(**x: Unpack[Desk]): ...")[0] == "(**x: Any) -> Any"
