"""Warnings are summed up by cause, and neither they nor their summary depend on any order."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from collections.abc import Callable, Iterable

from lastgood.wrappers import wrap_modules
from lastgood.wrappers.ir import ANY
from lastgood.wrappers.types.warning_texts import about_annotation, summed_up
from wrapping import source, wrap

SHOP = """
from contextlib import contextmanager
from ssl import SSLContext
from typing import Callable, Iterable
import elsewhere

class Session:
    def send(self): ...
class Adapter:
    def __init__(self): ...

def get(url: str, by: Session | None = None) -> Session: ...
def put(url: str, by: Session) -> Session | Adapter: ...
def made(many: dict[str, Iterable[Adapter]]) -> Adapter: ...
def secure(by: SSLContext, other: elsewhere.Thing, then: Callable[[], int]) -> type: ...
@contextmanager
def opened(): ...
@contextmanager
def closed(): ...
"""
SUMMARY = (
    "3 parameters typed Any (2 in part): plain class (e.g. Session, Adapter)",
    "3 results typed Any: plain class (e.g. Session, Adapter)",
    "2 left out: it offers no static or class method, and instances cannot cross to the worker (e.g. Adapter, Session)",
    (
        "2 left out: it returns a context manager, which cannot leave the worker. Offer a function that does the whole work "
        "(e.g. closed, opened)"
    ),
    "pricing.secure: the annotation of parameter 'by', SSLContext, became Any. It is a type of the standard library.",
    "pricing.secure: the annotation of parameter 'other', elsewhere.Thing, became Any. It is a type of another package.",
    "pricing.secure: the annotation of parameter 'then', Callable[[], int], became Any. It is a function.",
    "pricing.secure: the annotation of the result, type, became Any. It is a class object.",
)


def test_warnings_are_summed_up_by_cause() -> None:
    warnings = wrap(SHOP).warnings
    assert len(warnings) == 14
    assert summed_up(warnings) == SUMMARY


def test_a_summary_does_not_depend_on_the_order_of_its_warnings() -> None:
    warnings = list(wrap(SHOP).warnings)
    for seed in range(20):
        random.Random(seed).shuffle(warnings)
        assert summed_up([*warnings, *warnings[:3]]) == SUMMARY


def test_what_is_particular_to_a_warning_makes_no_cause() -> None:
    warnings = [
        "a.f: left out: it is imported from 'x.y', whose source is not a local file. (a.py:3)",
        "a.b.g: left out: it is imported from 'z', whose source is not a local file. (a/b.py:14)",
        "a.C: it is declared by its fields. Left out: what needs an instance in the worker (x).",
        "a.D: it is declared by its fields. Left out: what needs an instance in the worker (y, z).",
        "a.h: it is defined with different signatures at lines 3, 7, so it takes (*args, **kwargs).",
        "a.i: it is defined with different signatures at lines 1, 2, 3, so it takes (*args, **kwargs).",
    ]
    assert summed_up(warnings) == (
        "2 left out: it is imported from …, whose source is not a local file (e.g. g, f)",
        "2 times: it is declared by its fields. Left out: what needs an instance in the worker (e.g. C, D)",
        "2 times: it is defined with different signatures at lines …, so it takes (*args, **kwargs) (e.g. h, i)",
    )


def test_what_no_wrapper_says_stays_as_it_is() -> None:
    texts = ("generated/pricing.py was edited: {kept} aside", "the generator's own words", "f: one", "x: two {y}")
    assert set(summed_up(texts)) == set(texts)


MODULES = {f"m{number}": SHOP.replace("secure", f"secure{number}") for number in range(5)}
SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:]
from wrappers.types.test_warning_texts import in_order
print("\\n".join(in_order(sorted)))
"""


def in_order(order: Callable[[Iterable[str]], Iterable[str]]) -> tuple[str, ...]:
    return wrap_modules([source(name, MODULES[name]) for name in order(MODULES)]).warnings


def test_warnings_do_not_depend_on_the_order_of_files_or_on_hash_seeds() -> None:
    expected = in_order(sorted)
    assert len(expected) == 14 * len(MODULES)
    assert in_order(lambda names: sorted(names, reverse=True)) == expected
    for seed in ("1", "2"):
        run = [sys.executable, "-c", SCRIPT, *sys.path]
        done = subprocess.run(run, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        assert tuple(done.stdout.splitlines()) == expected


def test_what_is_said_of_the_whole_annotation_comes_first() -> None:
    parts = ("X is a plain class", "dict[X] is a type with arguments that do not fit")
    annotation = ast.parse("dict[X]", mode="eval").body
    said = "It is a type with arguments that do not fit; X is a plain class."
    assert list(about_annotation("the result", annotation, ANY, parts)) == [
        f"the annotation of the result, dict[X], became Any. {said}"
    ]
