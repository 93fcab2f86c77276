"""lastgood.effects: values that print, and what undoes each."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from lastgood import effects

WHOLE = effects.Plan(
    8,
    (
        effects.Stage(8),
        effects.Promote(8),
        effects.Warm(8, 60.0),
        effects.Swap(8),
        effects.Dispose(7, 10.0),
        effects.Watch(8),
    ),
    10.0,
)


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
        (effects.Stage(8), ["stage"]),
        (effects.Promote(8), ["promote", "stage"]),
        (effects.Warm(8, 60.0), ["warm", "promote", "stage"]),
        (effects.Swap(8), ["warm", "promote", "stage"]),
    ],
    ids=lambda value: value.name if isinstance(value, effects.Action) else None,
)
def test_a_failure_undoes_everything_up_to_itself_the_last_first(failed: effects.Action, undone: list[str]) -> None:
    assert [each.effect.name for each in WHOLE.undo_through(failed)] == undone
    assert {each.timeout for each in WHOLE.undo_through(failed)} == {10.0}


@pytest.mark.parametrize(
    "action",
    [effects.Swap(8), effects.Dispose(7, 10.0), effects.Watch(8), effects.Release()],
    ids=lambda action: str(action.name),
)
def test_what_lies_at_the_commit_point_or_after_it_has_no_undo(action: effects.Action) -> None:
    assert WHOLE.undo(action) is None


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (effects.Rollback(effects.Stage(8), 10.0), "discard the stage"),
        (effects.Rollback(effects.Promote(8), 10.0), "restore every file as it was"),
        (effects.Rollback(effects.Warm(8, 60.0), 10.0), "dispose the half-prepared bridge"),
        (effects.Stage(8, undo=True), "copy the previous good generation's wrappers into a staging directory"),
        (effects.Restart(8, 60.0), "create the bridge of cycle 8 again, init() and probe it, within 60 s"),
        (effects.Release(), "wait for draining bridges, stop watching, release the output directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_deeds_outside_of_a_plan_print_too(action: effects.Action, text: str) -> None:
    assert str(action) == text


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (effects.MakeDirectory("shop"), "make   shop/"),
        (effects.WriteFile("shop/a.py"), "write  shop/a.py"),
        (effects.ReplaceFile("shop/a.py"), "write  shop/a.py (replaced)"),
        (effects.RemoveFile("shop/a.py"), "remove shop/a.py"),
        (effects.SetAside("a.py", "a.py.edited"), "keep   a.py as a.py.edited"),
        (effects.KeepCopy("a.py", ".lastgood/out/kept/1/a.py"), "copy   a.py to .lastgood/out/kept/1/a.py"),
        (effects.RemoveDirectory("shop"), "remove shop/"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_file_operations_print(operation: effects.FileOperation, text: str) -> None:
    assert str(operation) == text


def test_effects_are_frozen_comparable_hashable_values() -> None:
    assert effects.Warm(1, 60.0) == effects.Warm(1, 60.0)
    assert effects.Warm(1, 60.0) != effects.Warm(2, 60.0)
    assert len({effects.Stage(1), effects.Stage(1), effects.Promote(1)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        effects.Stage(1).cycle = 2  # type: ignore[misc]  # what must fail


def test_every_effect_is_exported_and_has_its_name() -> None:
    kinds = (
        *typing.get_args(effects.Action),
        *typing.get_args(effects.Command),
        *typing.get_args(effects.FileOperation),
        effects.Plan,
    )
    assert {kind.__name__ for kind in kinds} <= {*effects.__all__}
    assert [kind.name for kind in typing.get_args(effects.Action)] == [
        kind.__name__.lower() for kind in typing.get_args(effects.Action)
    ]
