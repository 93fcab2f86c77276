"""The events: their tags, their fields, and that each turns into plain data for JSON."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from lastgood import watch_events
from lastgood.errors import GenerationError, ModuleFailure
from lastgood.watch_events import (
    ApiChange,
    BridgeLost,
    BridgeRestored,
    Change,
    DisposeFailed,
    EventsMissed,
    GenerationUndone,
    LeaderChanged,
    ModuleLoadedLate,
    Notice,
    PollingStarted,
    Recovered,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    RollbackFailed,
    Runaway,
    Superseded,
    WatchEvent,
    WatchPaths,
)

HERE = Path("/p/a.py")
NOTED = ValueError("bad")
NOTED.add_note("look at line 3")

EVENTS: list[tuple[Any, dict[str, Any]]] = [
    (WatchPaths((HERE,)), {"type": "watch-paths", "paths": ["/p/a.py"]}),
    (Change(HERE), {"type": "change", "path": "/p/a.py", "manual": False}),
    (Change(HERE, manual=True), {"type": "change", "path": "/p/a.py", "manual": True}),
    (
        ReloadStart(2, False, (HERE,)),
        {"type": "reload-start", "cycle": 2, "manual": False, "changed": ["/p/a.py"]},
    ),
    (
        ReloadSuccess(
            2,
            True,
            (HERE,),
            generation=1,
            written=(Path("a/b.py"), Path("c.py")),
            touched=(Path("c.py"),),
            warnings=("mind the gap",),
            timings=MappingProxyType({"stage": 0.5}),
            changes=(ApiChange("altered", "function", "a", "f", "() -> int", "() -> str", breaking=True),),
            warm="spare",
        ),
        {
            "type": "reload-success",
            "cycle": 2,
            "manual": True,
            "changed": ["/p/a.py"],
            "generation": 1,
            "written": ["a/b.py", "c.py"],
            "touched": ["c.py"],
            "warnings": ["mind the gap"],
            "timings": {"stage": 0.5},
            "changes": [
                {
                    "kind": "altered",
                    "what": "function",
                    "module": "a",
                    "name": "f",
                    "old": "() -> int",
                    "new": "() -> str",
                    "breaking": True,
                }
            ],
            "warm": "spare",
            "why_fresh": None,
        },
    ),
    (
        ReloadError(3, False, (), error=NOTED, effect="warm", live_generation=None),
        {
            "type": "reload-error",
            "cycle": 3,
            "manual": False,
            "changed": [],
            "error": {"type": "ValueError", "message": "bad", "notes": ["look at line 3"]},
            "effect": "warm",
            "live_generation": None,
        },
    ),
    (
        DisposeFailed(1, NOTED),
        {
            "type": "notice-dispose-failed",
            "generation": 1,
            "error": {"type": "ValueError", "message": "bad", "notes": ["look at line 3"]},
        },
    ),
    (
        RollbackFailed("promote", OSError("full"), None),
        {
            "type": "notice-rollback-failed",
            "effect": "promote",
            "error": {"type": "OSError", "message": "full", "notes": []},
            "cause": None,
        },
    ),
    (PollingStarted("limit"), {"type": "notice-polling-started", "reason": "limit"}),
    (
        Recovered(Path("/p/generated"), (Path("a.py"),)),
        {"type": "notice-recovered", "output": "/p/generated", "restored": ["a.py"]},
    ),
    (
        BridgeLost(2, NOTED),
        {
            "type": "notice-bridge-lost",
            "generation": 2,
            "error": {"type": "ValueError", "message": "bad", "notes": ["look at line 3"]},
            "restart_in": None,
            "blame": "code",
            "final": False,
        },
    ),
    (GenerationUndone(3, None), {"type": "notice-generation-undone", "generation": 3, "reason": None}),
    (
        ModuleLoadedLate("plugin", Path("/p/plugin.py")),
        {"type": "notice-module-loaded-late", "module": "plugin", "path": "/p/plugin.py"},
    ),
    (Superseded(3, (Path("/p/a.py"),)), {"type": "notice-superseded", "cycle": 3, "changed": ["/p/a.py"]}),
    (Runaway((Path("/p/a.log"),), 5), {"type": "notice-runaway", "files": ["/p/a.log"], "cycles": 5}),
    (
        LeaderChanged("follower", 7, responding=False),
        {"type": "notice-leader", "role": "follower", "pid": 7, "responding": False},
    ),
    (BridgeRestored(2), {"type": "notice-bridge-restored", "generation": 2}),
    (EventsMissed(7), {"type": "notice-events-missed", "count": 7}),
]


@pytest.mark.parametrize(("event", "plain"), EVENTS, ids=lambda value: getattr(value, "type", ""))
def test_an_event_is_plain_data_for_json(event: Any, plain: dict[str, Any]) -> None:
    assert event.to_dict() == plain
    assert json.loads(json.dumps(event.to_dict())) == plain
    assert next(iter(event.to_dict())) == "type"


def test_every_event_class_is_in_the_table_above_and_in_the_union() -> None:
    classes = {
        value
        for name in watch_events.__all__
        if isinstance(value := getattr(watch_events, name), type) and dataclasses.is_dataclass(value)
    } - {ApiChange}  # it is part of one
    assert {type(event) for event, _ in EVENTS} == classes == set(typing.get_args(WatchEvent))


def test_the_tags_are_all_different_and_those_of_notices_begin_so() -> None:
    tags = [event.type for event in typing.get_args(WatchEvent)]
    assert len(tags) == len(set(tags))
    assert {tag for tag in tags if tag.startswith("notice-")} == {event.type for event in typing.get_args(Notice)}


@pytest.mark.parametrize("event", [event for event, _ in EVENTS], ids=lambda event: event.type)
def test_an_event_is_frozen_and_comparable(event: Any) -> None:
    assert event == dataclasses.replace(event)
    for field in dataclasses.fields(event):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.type = "other"


def test_an_error_of_many_lines_keeps_them() -> None:
    error = GenerationError((ModuleFailure("a", HERE, 3, "boom"), ModuleFailure("b", None, None, "gone")))
    told = ReloadError(1, True, (), error=error, effect="stage", live_generation=2).to_dict()["error"]
    assert told["type"] == "GenerationError"
    assert told["message"] == str(error)
    assert len(str(error).splitlines()) == 3


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_that_has_no_text_breaks_nothing() -> None:
    told = DisposeFailed(1, Unprintable()).to_dict()["error"]
    assert told == {"type": "Unprintable", "message": "<its text cannot be had>", "notes": []}


def test_names_that_are_no_text_still_make_json() -> None:
    """A file name may hold bytes that are no UTF-8."""
    odd = Path("/p/\udcff.py")
    assert json.loads(json.dumps(Change(odd).to_dict()))["path"] == str(odd)


ADDED = ApiChange("added", "function", "m", "f", None, "() -> int", breaking=False)


def test_an_event_is_shown_to_a_person() -> None:
    paths = tuple(Path(f"/p/{name}.py") for name in "abcde")
    shown = repr(ReloadSuccess(2, False, paths[:1], 2, paths, (), (), MappingProxyType({"stage": 0.01234}), (ADDED,)))
    assert shown == (
        "ReloadSuccess(cycle=2, changed=[/p/a.py], generation=2, written=[/p/a.py, /p/b.py, /p/c.py, 2 more], "
        "timings={stage: 0.0123}, changes=[added m.f])"
    )
    assert repr(ReloadError(3, True, (), error=ValueError("no\nmore"), effect="warm", live_generation=2)) == (
        "ReloadError(cycle=3, manual=True, error=<ValueError: no …>, effect='warm', live_generation=2)"
    )
