"""lastgood.effects: values that print, and what undoes each."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from lastgood import effects
from lastgood.effects import (
    Action,
    Command,
    Dispose,
    FileOperation,
    MakeDirectory,
    Plan,
    Promote,
    Release,
    RemoveDirectory,
    RemoveFile,
    ReplaceFile,
    Restart,
    Rollback,
    SetAside,
    Stage,
    Swap,
    Warm,
    Watch,
    WriteFile,
)

WHOLE = Plan(8, (Stage(8), Promote(8), Warm(8, 60.0), Swap(8), Dispose(7, 10.0), Watch(8)), 10.0)


def test_a_plan_prints_its_deeds_numbered_with_what_undoes_each() -> None:
    assert str(WHOLE).splitlines() == [
        "cycle 8",
        "  1. stage    resolve the config, arm the new watches, generate every wrapper into a staging directory",
        "              undo: discard the stage",
        "  2. promote  write the wrappers that differ, remove managed ones that no longer exist",
        "              undo: restore every file as it was",
        "  3. warm     create the next bridge, init() and probe it, within 60 s",
        "              undo: dispose the half-prepared bridge",
        "  4. swap     publish the next bridge: the commit point",
        "              no undo: what comes after it can only lead to a notice",
        "  5. dispose  dispose the bridge of cycle 7 when its calls are done, or after 10 s",
        "  6. watch    commit the watched set",
    ]


@pytest.mark.parametrize(
    ("failed", "undone"),
    [
        (Stage(8), ["stage"]),
        (Promote(8), ["promote", "stage"]),
        (Warm(8, 60.0), ["warm", "promote", "stage"]),
        (Swap(8), ["warm", "promote", "stage"]),
    ],
    ids=lambda value: value.name if isinstance(value, Action) else None,
)
def test_a_failure_undoes_everything_up_to_itself_the_last_first(failed: Action, undone: list[str]) -> None:
    assert [each.effect.name for each in WHOLE.undo_through(failed)] == undone
    assert {each.timeout for each in WHOLE.undo_through(failed)} == {10.0}


@pytest.mark.parametrize(
    "action", [Swap(8), Dispose(7, 10.0), Watch(8), Release()], ids=lambda action: str(action.name)
)
def test_what_lies_at_the_commit_point_or_after_it_has_no_undo(action: Action) -> None:
    assert WHOLE.undo(action) is None


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (Rollback(Stage(8), 10.0), "discard the stage"),
        (Rollback(Promote(8), 10.0), "restore every file as it was"),
        (Rollback(Warm(8, 60.0), 10.0), "dispose the half-prepared bridge"),
        (Stage(8, undo=True), "copy the previous good generation's wrappers into a staging directory"),
        (Restart(8, 60.0), "create the bridge of cycle 8 again, init() and probe it, within 60 s"),
        (Release(), "wait for draining bridges, stop watching, release the output directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_deeds_outside_of_a_plan_print_too(action: Action, text: str) -> None:
    assert str(action) == text


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (MakeDirectory("shop"), "make   shop/"),
        (WriteFile("shop/a.py"), "write  shop/a.py"),
        (ReplaceFile("shop/a.py"), "write  shop/a.py (replaced)"),
        (RemoveFile("shop/a.py"), "remove shop/a.py"),
        (SetAside("a.py", "a.py.edited"), "keep   a.py as a.py.edited"),
        (RemoveDirectory("shop"), "remove shop/"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_file_operations_print(operation: FileOperation, text: str) -> None:
    assert str(operation) == text


def test_effects_are_frozen_comparable_hashable_values() -> None:
    assert Warm(1, 60.0) == Warm(1, 60.0)
    assert Warm(1, 60.0) != Warm(2, 60.0)
    assert len({Stage(1), Stage(1), Promote(1)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stage(1).cycle = 2  # type: ignore[misc]  # what must fail


def test_every_effect_is_exported_and_has_its_name() -> None:
    kinds = (*typing.get_args(Action), *typing.get_args(Command), *typing.get_args(FileOperation), Plan)
    assert {kind.__name__ for kind in kinds} <= {*effects.__all__}
    assert [kind.name for kind in typing.get_args(Action)] == [
        kind.__name__.lower() for kind in typing.get_args(Action)
    ]
