"""Scripts for lastgood.planner.transitions: send an event, expect these effects; and a script for each phase to start from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from lastgood import effects, watch_events
from lastgood.planner import Settings, State, events, plan, states
from lastgood.planner.watch_set import Snapshot, WatchSet

SETTINGS = Settings(debounce=0.1, max_wait=2.0, warm_timeout=60.0, drain_timeout=10.0, supersede_after=math.inf)
SRC, LIB = Path("/p/src"), Path("/p/lib")
A, B = SRC / "a.py", SRC / "b.py"
WATCH = WatchSet((SRC,))
STOP = (effects.StopTimer("debounce"), effects.StopTimer("max-wait"))
STOP_ALL = (
    *STOP,
    *(effects.StopTimer(timer) for timer in ("restart", "second-look", "last-look", "idle-look", "supersede", "quiet")),
)
IDLE_LOOK = effects.SetTimer("idle-look", 2.0)
SCHEDULE = (effects.SetTimer("debounce", 0.1), effects.SetTimer("max-wait", 2.0))
ERROR = ValueError("no")


def src(a: str = "1", **more: str) -> Snapshot:
    """A reading of SRC, in which a.py has these bytes."""
    return {SRC: {A: a} | {SRC / f"{name}.py": digest for name, digest in more.items()}}


def looked(files: Snapshot) -> events.Observed:
    """A reading that began after every look so far."""
    return events.Observed(files, look=1_000_000)


def actions(cycle: int) -> tuple[effects.Action, ...]:
    """The actions of a cycle up to its swap."""
    return effects.Stage(cycle), effects.Promote(cycle), effects.Warm(cycle, 60.0), effects.Swap(cycle)


def drain(bridge: int) -> effects.SetTimer:
    return effects.SetTimer(f"drain {bridge}", 10.0)


TOO_MANY = "was cut off: it was still in flight when two later bridges had been replaced as well"
TOO_LONG = "was cut off: it had not ended 10 s after its bridge was replaced or closed"


def rollbacks(cycle: int, *names: str) -> tuple[effects.Rollback, ...]:
    undoable = {"stage": effects.Stage(cycle), "promote": effects.Promote(cycle), "warm": effects.Warm(cycle, 60.0)}
    return tuple(effects.Rollback(undoable[name], 10.0) for name in names)  # type: ignore[arg-type]  # a union of the three


class Script:
    """Events go in, effects come out."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.state = State(settings)
        self._last: tuple[effects.Effect, ...] = ()

    def send(self, event: events.Event, *expected: effects.Effect) -> None:
        """Send ``event``; exactly these effects follow."""
        assert self.give(event) == expected

    def give(self, event: events.Event) -> tuple[effects.Effect, ...]:
        step = plan(self.state, event)
        self.state = step.state
        self._last = step.effects
        return step.effects

    def last_effects(self) -> tuple[effects.Effect, ...]:
        """The effects of the last event."""
        return self._last

    def last_look(self) -> effects.Look:
        return effects.Look(self.state.looks)

    def next_look(self) -> effects.Look:
        return effects.Look(self.state.looks + 1)

    def phase(self) -> states.Phase:
        """Asked anew each time: what an assertion has shown does not hold for the next one."""
        return self.state.phase

    def staleness(self) -> states.Stale | None:
        return self.state.staleness

    def stale_since(self) -> float | None:
        return None if self.state.stale is None else self.state.stale.since

    def stage(self, cycle: int, watch: WatchSet = WATCH, read: Snapshot | None = None) -> None:
        staged = events.Staged(effects.Stage(cycle), 0.5, watch, src() if read is None else read)
        self.send(staged, effects.Promote(cycle))

    def through(
        self, cycle: int, last: str, watch: WatchSet = WATCH, live: int | None = None, *, overlap: bool = True
    ) -> Script:
        """Let the actions of ``cycle``, which has begun, succeed, until ``last`` has."""
        outcomes: dict[str, events.Event] = {
            "stage": events.Staged(effects.Stage(cycle), 0.5, watch, src(), ("careful",), overlap=overlap),
            "promote": events.Promoted(
                effects.Promote(cycle), 0.25, (Path("a.py"), Path("b.py")), (Path("a.py"),), ("kept",)
            ),
            "warm": events.Warmed(effects.Warm(cycle, 60.0), 2.0),
            "swap": events.Swapped(effects.Swap(cycle), 0.0),
        }
        if live is not None:
            outcomes["dispose"] = events.Disposed(live, 0.125)
        for name, event in {**outcomes, "watch": events.Watched(effects.Watch(cycle), 0.0)}.items():
            self.give(event)
            if name == last:
                break
        return self


def unstarted() -> Script:
    return Script()


def first_cycle() -> Script:
    """Running, nothing done yet."""
    script = Script()
    script.send(events.Started(0), effects.Emit(watch_events.ReloadStart(1, True, ())), effects.Stage(1), IDLE_LOOK)
    return script


def idle() -> Script:
    """Generation 1 is live."""
    return first_cycle().through(1, "watch")


def scheduled() -> Script:
    script = idle()
    script.send(events.Observed(src("2")), effects.Emit(watch_events.Change(A)), *SCHEDULE)
    return script


def looking() -> Script:
    """Because of an edit."""
    script = scheduled()
    script.send(events.TimerElapsed("debounce"), *STOP, script.next_look())
    return script


def asked() -> Script:
    """Because of a reload_now() that holds ticket 5."""
    script = idle()
    script.send(events.ReloadRequested(5), script.next_look())
    return script


def second_cycle() -> Script:
    """Running, because of an edit of a.py; nothing is done yet."""
    script = looking()
    script.send(
        looked(src("2")),
        effects.Emit(watch_events.ReloadStart(2, False, (A,))),
        effects.Stage(2),
    )
    return script


def swapped() -> Script:
    """The second cycle has passed its commit point."""
    return second_cycle().through(2, "swap")


def interrupted() -> Script:
    """The second cycle runs, and a close has come."""
    script = second_cycle()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Interrupt())
    return script


def rolling_back() -> Script:
    """The stage of the second cycle has failed."""
    script = second_cycle()
    script.send(events.Failed(effects.Stage(2), 0.5, ERROR, at=1000.0), *rollbacks(2, "stage"))
    return script


MAKE_WAY = effects.Dispose(1, 10.0, in_background=True, makes_way=True)


def making_way() -> Script:
    """The bridge of generation 1 goes before that of the second cycle is warmed; it still has calls."""
    script = second_cycle().through(2, "promote", overlap=False)
    script.give(events.Draining(1, 0.0))
    return script


def restoring() -> Script:
    """The second cycle has failed, and the bridge of generation 1 had made way for it."""
    script = second_cycle().through(2, "promote", overlap=False)
    script.give(events.Disposed(1, 0.5))
    script.give(events.Failed(effects.Warm(2, 60.0), 0.5, ERROR, at=1000.0))
    for rollback in rollbacks(2, "warm", "promote"):
        script.send(events.RolledBack(rollback))
    [stage] = rollbacks(2, "stage")
    script.send(events.RolledBack(stage), RESTART)
    return script


RESTART = effects.Restart(1, 60.0)


def lost() -> Script:
    """The bridge of generation 1 broke down."""
    script = idle()
    script.send(
        events.Lost(1, ERROR, 1000.0),
        effects.Emit(watch_events.BridgeLost(1, ERROR, 0.0)),
        effects.SetTimer("restart", 0.0),
    )
    return script


def restarting() -> Script:
    script = lost()
    script.send(events.TimerElapsed("restart"), RESTART)
    return script


def closing() -> Script:
    script = idle()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Dispose(1, 10.0), effects.Release())
    return script


def closed() -> Script:
    script = closing()
    script.send(events.Released())
    return script


PHASES: dict[str, Callable[[], Script]] = {
    "unstarted": unstarted,
    "idle": idle,
    "scheduled": scheduled,
    "looking": looking,
    "asked": asked,
    "running": second_cycle,
    "swapped": swapped,
    "interrupted": interrupted,
    "rolling back": rolling_back,
    "making way": making_way,
    "restoring": restoring,
    "lost": lost,
    "restarting": restarting,
    "closing": closing,
    "closed": closed,
}


def name_of(effect: effects.Effect) -> str:
    match effect:
        case effects.Emit(event):
            return event.type
        case _:
            return getattr(effect, "name", type(effect).__name__)
