"""A small model of what lies outside of lastgood.planner.

The model knows what is on disk, which bytes each stage read, which bridges stand, and who waits for what. It does the actions
one at a time, and says of each what it likes. What must hold in every history is asserted where it happens, or after each step.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lastgood import effects, watch_events
from lastgood.interpreters.driver import Driver
from lastgood.planner import State, events, states
from lastgood.planner.brake import RESTART_WAITS
from lastgood.planner.phases import IDLE_LOOK, LAST_LOOK, RESTART, SECOND_LOOK
from lastgood.planner.watch_set import Snapshot, WatchSet
from planner_model_parts import ERROR, FILES, LIB, MEANWHILE, PLUGIN, SRC, VERSIONS, CycleModel, Settling, look_at


class Outside(RuleBasedStateMachine):
    """Rules are what can happen outside of ``plan()``; ``tell`` is how it hears of it."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(State(), self.follow)
        self.disk: dict[Path, str | None] = dict.fromkeys(FILES, "0")
        self.unread: set[Path] = set()
        self.armed: tuple[Path, ...] = ()
        self.reading: tuple[Snapshot, int] | None = None
        self.asked = self.began = 0
        """The last look that was asked for, and the last that a reading began after."""
        self.timers: set[str] = set()
        self.action: effects.Action | None = None
        self.cycles: list[CycleModel] = []
        self.bridges: dict[int, str] = {}
        self.cut_off: set[int] = set()
        self.waiting: dict[int, int] = {}
        self.settling = Settling()
        self.answers: Counter[int] = Counter()
        self.close_asked = False
        self.succeeded = 0
        self.telling_late = 0
        self.pins: list[int] = []
        """The bridges whose late modules are not stored yet, once for each report."""
        self.prepared = 0
        self.clock = 0.0
        self.overlap = True
        """What the config says that the next stage reads."""
        self.calls_wait = False
        self.sticky = self.stuck = self.returning = False
        """The next stage that fails is to leave a thread behind; it has; the planner is to be told when it returns."""

    # --- what comes from plan()

    def follow(self, command: effects.Command) -> None:
        match command:
            case effects.Emit(event):
                assert not self.close_asked, f"{event.type} after a close was asked for"
                self.emitted(event)
            case effects.Answer(tickets, succeeded):
                for ticket in tickets:
                    if self.settling.answered(ticket, succeeded and not self.close_asked, self.driver.state.attempted):
                        continue
                    self.answers[ticket] += 1
                    asked_in = self.waiting.pop(ticket)
                    assert not succeeded or self.succeeded > asked_in, "a cycle that started before the request"
                    assert not succeeded or not self.close_asked, "close() wins"
            case effects.SetTimer(timer, _):
                self.timers.add(timer)
            case effects.StopTimer(timer):
                self.timers.discard(timer)
            case effects.Look(number):
                assert number == self.asked + 1
                self.asked = number
            case effects.CutOff(bridge, _):
                assert self.bridges[bridge] == "draining"
                self.cut_off.add(bridge)
            case effects.Refuse(error):
                live = self.driver.state.live
                assert live is not None
                assert self.bridges[live.cycle] == "gone", "there is a bridge to call"
                assert error is ERROR
                self.calls_wait = False
            case effects.Unpublish():
                assert self.close_asked
                self.calls_wait = False
            case effects.Arm(paths):
                self.armed = tuple(sorted({*self.armed, *paths}))
            case effects.Pin(bridge):
                assert bridge == self.telling_late, "only what was told can be kept"
                self.telling_late = 0
                self.pins.append(bridge)
            case effects.Prepare(bridge):
                state = self.driver.state
                assert self.bridges[bridge] == "live"
                assert isinstance(state.phase, states.Idle | states.Scheduled), "it would compete with a cycle"
                assert state.lost is None
                self.prepared = bridge
            case effects.Interrupt():
                assert self.action is not None, "only what runs can be interrupted"

    def emitted(self, event: object) -> None:
        match event:
            case watch_events.ReloadStart(number, manual, changed):
                assert number == len(self.cycles) + 1
                assert all(cycle.over for cycle in self.cycles), "two cycles overlap"
                phase = self.driver.state.phase
                assert isinstance(phase, states.Running)
                undoes = phase.cycle.undoes
                assert manual == bool(self.waiting) or (undoes is not None and undoes.reason is ERROR)
                assert manual or changed or undoes, "failed bytes are not tried again by themselves"
                told = self.driver.state.observed
                start = {path: told.get(root, {}).get(path) for path, root in FILES.items()}
                self.cycles.append(CycleModel(number, start, undoes=undoes is not None))
                self.prepared = 0
            case watch_events.ReloadSuccess():
                assert self.driver.state.live is not None
                assert event.cycle == self.driver.state.live.cycle == self.cycle.number
                assert event.generation == len(
                    [c for c in self.cycles if effects.Swap(c.number) in c.reached and not c.undone]
                )
            case watch_events.Superseded(number):
                assert number == self.cycle.number
                assert not self.cycle.undoes
                assert effects.Swap(number) not in self.cycle.reached or self.cycle.undone
                self.cycle.superseded = True
            case watch_events.ReloadError():
                live = self.driver.state.live
                assert event.live_generation == (None if live is None else live.number)
            case _:
                pass

    @property
    def cycle(self) -> CycleModel:
        return self.cycles[-1]

    def tell(self, event: events.Event) -> None:
        before = self.driver.state
        self.driver.handle(event)
        after = self.driver.state
        if before.live is not None and not self.close_asked:
            assert after.live is not None, "the last good is lost"
            assert after.live.number >= before.live.number

    # --- what happens outside

    @initialize(well=st.sampled_from([True, True, True, False]))
    def start(self, well: bool) -> None:
        self.waiting[0] = 0
        self.tell(events.Started(0))
        if well:
            self.settle()

    @rule(path=st.sampled_from([*FILES]), version=VERSIONS)
    def save(self, path: Path, version: str | None) -> None:
        """An edit, which the watcher notices at once."""
        self.edit(path, version)
        if self.armed and self.reading is None:
            self.begin_reading()
            self.end_reading()

    @rule(path=st.sampled_from([*FILES]), version=VERSIONS)
    def edit(self, path: Path, version: str | None) -> None:
        if self.disk[path] == version:
            return
        # Of bytes that came and went between two readings while a stage read them nobody can know.
        if self.cycles and not self.cycle.over and path in self.unread:
            return
        self.disk[path] = version
        self.unread.add(path)
        self.settling.edited(path)

    @precondition(lambda self: self.armed and self.reading is None)
    @rule()
    def begin_reading(self) -> None:
        self.reading = (look_at(self.disk, self.armed), self.asked)
        self.began = self.asked
        self.unread -= {path for path, root in FILES.items() if root in self.armed}

    @precondition(lambda self: self.reading is not None)
    @rule()
    def end_reading(self) -> None:
        assert self.reading is not None
        files, look = self.reading
        self.reading = None
        self.tell(events.Observed(files, look))

    @precondition(lambda self: self.armed)
    @rule()
    def hint(self) -> None:
        self.tell(events.Hinted())

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def timer(self, data: st.DataObject) -> None:
        timer = data.draw(st.sampled_from(sorted(self.timers)))
        self.timers.discard(timer)
        self.tell(events.TimerElapsed(timer))

    @rule(kind=st.sampled_from([events.ReloadRequested, events.UndoRequested]))
    def request(self, kind: type[events.ReloadRequested | events.UndoRequested]) -> None:
        ticket = len(self.waiting) + self.answers.total()
        self.waiting[ticket] = self.driver.state.cycle
        self.tell(kind(ticket))

    @rule()
    def request_settle(self) -> None:
        ticket = self.settling.begin(self.disk)
        self.tell(events.SettleRequested(ticket))

    @rule(after=st.sampled_from([0.5, 10.0, 100.0]))
    def lose(self, after: float) -> None:
        """The live bridge breaks down."""
        self.clock += after
        live = self.driver.state.live
        if live is not None:
            self.tell(events.Lost(live.cycle, ERROR, self.clock))

    @rule()
    def change_overlap(self) -> None:
        """An edit of the config, which the next stage finds."""
        self.overlap = not self.overlap

    @rule()
    def load_late(self) -> None:
        """The live bridge imports what no import statement leads to; it takes a while until that is stored."""
        live = self.driver.state.live
        if live is not None and self.bridges[live.cycle] in ("live", "draining"):
            self.telling_late = live.cycle
            self.tell(events.LoadedLate(live.cycle, (events.Late("plugin", PLUGIN, "0"),)))
            assert not self.telling_late, "a restart would read it from the disk"

    @precondition(lambda self: self.pins)
    @rule()
    def end_pin(self) -> None:
        self.tell(events.Pinned(self.pins.pop(0)))

    @rule(really=st.integers(0, 15).map(lambda drawn: drawn == 7))
    def close(self, really: bool) -> None:
        if really:
            self.close_asked = True
            self.tell(events.CloseRequested())

    @precondition(lambda self: not self.close_asked)
    @rule()
    def rest(self) -> None:
        """Nothing happens for a while, and everything goes well."""
        self.settle()

    # --- actions

    @precondition(lambda self: self.action is None)
    @rule(lib=st.booleans())
    def begin_deed(self, lib: bool) -> None:
        self.action = self.driver.take()
        match self.action:
            case None:
                waits = not isinstance(
                    self.driver.state.phase,
                    states.Unstarted | states.Idle | states.Scheduled | states.Looking | states.Closed,
                )
                may_wait = self.pins or (self.driver.state.is_waiting and not self.is_alone())
                assert not waits or may_wait, "for ever"
            case effects.Stage() | effects.Promote() | effects.Warm() | effects.Swap() | effects.Watch():
                assert self.action.cycle == self.cycle.number
                self.cycle.reached.append(self.action)
                if self.driver.interrupted:
                    self.finish(ok=False)
                else:
                    self.begin(self.action, lib)
            case effects.Dispose():
                live = self.driver.state.live
                assert self.bridges[self.action.bridge] in ("live", "retired")
                assert self.action.bridge not in self.pins, "something late is unpinned at a dispose"
                is_last_good = live is not None and self.action.bridge == live.cycle
                assert self.action.makes_way or not is_last_good, "the last good one is disposed"
                self.calls_wait = self.calls_wait or (self.action.makes_way and not self.close_asked)
            case effects.Restart():
                live = self.driver.state.live
                assert live is not None
                assert live.overlap or self.is_alone() or not self.driver.state.away, "two bridges at once"
                assert self.bridges[self.action.bridge] == ("gone" if self.driver.state.away else "live")
                assert not self.pins, "something late is unpinned at a restart"
                self.prepared = 0
                if self.driver.interrupted:
                    self.finish(ok=False)
            case effects.Rollback(effect):
                assert effect not in self.cycle.undone, "undone twice"
                self.returning = self.returning or (self.cycle.waits and isinstance(effect, effects.Stage))
                self.cycle.undone.append(effect)
            case effects.Release():
                assert "live" not in self.bridges.values()

    def begin(
        self, action: effects.Stage | effects.Promote | effects.Warm | effects.Swap | effects.Watch, lib: bool
    ) -> None:
        match action:
            case effects.Stage() if self.stuck:
                self.cycle.waits = True
            case effects.Stage():
                if self.reading is not None:
                    self.end_reading()  # arming waits for it
                self.cycle.watch = WatchSet(self.armed if self.cycle.undoes else (LIB, SRC) if lib else (SRC,))
                self.armed = tuple(sorted({*self.armed, *self.cycle.watch.roots}))
                self.cycle.read = look_at(self.disk, self.armed)
                self.cycle.overlap = self.overlap
                self.unread.clear()
            case effects.Warm(number):
                assert self.cycle.overlap or self.is_alone(), "two bridges at once"
                self.bridges[number] = "half"
            case _:
                pass

    @rule(
        script=st.lists(
            st.tuples(st.lists(MEANWHILE, max_size=2), st.sampled_from([True, True, True, True, False])),
            min_size=3,
            max_size=8,
        ),
        lib=st.booleans(),
    )
    def work(self, script: list[tuple[list[tuple[str, Path, str | None]], bool]], lib: bool) -> None:
        """A few actions, one after another, each with what happens in the midst of it, and whether it ends well."""
        if isinstance(self.driver.state.phase, states.Idle):
            self.request(events.ReloadRequested)
        while self.wait():
            pass
        for meanwhile, ok in script:
            if self.action is None:
                self.begin_deed(lib)
            for what, path, version in meanwhile:
                self.happen(what, path, version)
            if self.action is None:
                return
            self.end_deed(ok)

    def happen(self, what: str, path: Path, version: str | None) -> None:
        match what:
            case "save":
                self.save(path, version)
            case "edit":
                self.edit(path, version)
            case "read" if isinstance(self.action, effects.Stage):
                self.stage_reads(path)
            case "request":
                self.request(events.ReloadRequested)
            case "undo":
                self.request(events.UndoRequested)
            case "late":
                self.load_late()
            case "lose":
                self.lose(0.5 if version == "0" else 100.0)
            case "store" if self.pins:
                self.end_pin()
            case "stick":
                self.sticky = True
            case "alone":
                self.overlap = not self.overlap
            case "drained" if "draining" in self.bridges.values():
                self.end_drain(ok=version != "0")
            case "return":
                self.return_thread()
            case "flip":
                # Saved, read by a stage, and taken back.
                was = self.disk[path]
                self.save(path, "1" if was == "0" else "0")
                if isinstance(self.action, effects.Stage):
                    self.stage_reads(path)
                self.save(path, was)
            case "close":
                self.close(really=version == "0")

    @precondition(lambda self: isinstance(self.action, effects.Stage))
    @rule(path=st.sampled_from([*FILES]))
    def stage_reads(self, path: Path) -> None:
        self.cycle.used.setdefault(path, self.disk[path])

    @precondition(lambda self: self.action is not None)
    @rule(ok=st.sampled_from([True, True, True, False]))
    def end_deed(self, ok: bool) -> None:
        self.finish(ok=ok)

    def finish(self, *, ok: bool) -> None:
        action = self.action
        assert action is not None
        if isinstance(action, effects.Release):
            self.end_drains()
        self.action = None
        self.driver.finish(self.outcome(action, ok))
        if self.cycles and not self.cycle.over:
            phase = self.driver.state.phase
            self.cycle.over = not isinstance(phase, states.Running | states.RollingBack | states.Restoring)
            if self.cycle.over:
                self.check_undone(self.cycle)

    def outcome(self, action: effects.Action, ok: bool) -> events.Event:
        match action:
            case effects.Watch(number):
                if self.reading is not None:
                    self.end_reading()
                self.armed = self.cycle.watch.roots
                self.succeeded = number
                return events.Watched(action, 0.0)
            case effects.Dispose(bridge):
                if ok:
                    self.bridges[bridge] = "draining"
                    return events.Draining(bridge, 0.0)
                self.bridges[bridge] = "gone"
                return events.DisposeFailed(bridge, 0.0, ERROR)
            case effects.Rollback(effect):
                if isinstance(effect, effects.Warm):
                    self.bridges[effect.cycle] = "gone"
                return events.RolledBack(action) if ok else events.RollbackFailed(action, ERROR)
            case effects.Release():
                return events.Released()
            case effects.Restart() if not ok:
                return events.RestartFailed(action, 0.0, ERROR, self.clock)
            case effects.Restart():
                assert action.broken not in self.bridges
                self.bridges[action.broken] = "gone" if self.driver.state.away else "retired"
                self.bridges[action.bridge] = "live"
                self.calls_wait = False
                return events.Restarted(action, 0.0)
            case effects.Stage() if self.cycle.waits:
                return events.Failed(action, 0.0, ERROR, 1.0, only_waited=True)
            case _ if not ok:
                if isinstance(action, effects.Stage):
                    self.sticky, self.stuck = False, self.sticky
                return events.Failed(
                    action, 0.0, ERROR, 1.0, self.cycle.read if isinstance(action, effects.Stage) else {}
                )
            case effects.Stage():
                self.cycle.used = {**self.disk, **self.cycle.used}
                return events.Staged(
                    *(action, 0.0, self.cycle.watch, self.cycle.read),
                    previous=True,
                    probation=5.0,
                    overlap=self.cycle.overlap,
                )
            case effects.Promote():
                return events.Promoted(action, 0.0, (), ())
            case effects.Warm():
                return events.Warmed(action, 0.0)
            case effects.Swap(number):
                for bridge, how in self.bridges.items():
                    if how == "live":
                        self.bridges[bridge] = "retired"
                self.bridges[number] = "live"
                self.calls_wait = False
                return events.Swapped(action, 0.0, self.clock)

    def check_undone(self, cycle: CycleModel) -> None:
        """Exactly what was done is undone, in reverse; nothing of a cycle that came through."""
        undoable = [
            action for action in cycle.reached if isinstance(action, effects.Stage | effects.Promote | effects.Warm)
        ]
        swapped = (
            self.bridges.get(cycle.number) in ("live", "retired", "draining")
            or effects.Watch(cycle.number) in cycle.reached
        )
        assert cycle.undone == ([] if swapped else [*reversed(undoable)])

    def return_thread(self) -> bool:
        """Let the thread of an earlier stage return. Gives whether anybody waits for that."""
        self.stuck = False
        told, self.returning = self.returning, False
        if told:
            self.tell(events.StageReturned())
        return told

    @precondition(lambda self: "draining" in self.bridges.values())
    @rule(ok=st.booleans())
    def end_drain(self, ok: bool) -> None:
        bridge = next(number for number, how in self.bridges.items() if how == "draining")
        self.bridges[bridge] = "gone"
        self.cut_off.discard(bridge)
        self.tell(events.Disposed(bridge, 0.0) if ok else events.DisposeFailed(bridge, 0.0, ERROR))

    def end_drains(self) -> None:
        while "draining" in self.bridges.values():
            self.end_drain(ok=True)

    # --- what always holds

    @invariant()
    def bridges_are_accounted_for(self) -> None:
        state = self.driver.state
        assert [number for number, how in self.bridges.items() if how == "live"] == (
            [state.live.cycle]
            if state.live is not None and not state.away
            else [each.cycle for each in state.retired if self.is_live(each.cycle)]
        )
        retired = {number for number, how in self.bridges.items() if how in ("retired", "draining")}
        assert retired == {each.cycle for each in state.retired if not self.is_live(each.cycle)}
        half = [number for number, how in self.bridges.items() if how == "half"]
        assert half == [] or (half == [self.cycle.number] and not self.cycle.over), "a bridge leaks"

    def is_live(self, cycle: int) -> bool:
        return self.bridges[cycle] == "live"

    def is_alone(self) -> bool:
        """Whether there is no bridge, but for a half-prepared one."""
        return {*self.bridges.values()} <= {"gone", "half"}

    @invariant()
    def calls_wait_for_something(self) -> None:
        state = self.driver.state
        if self.calls_wait:
            assert state.away
            is_idle = isinstance(state.phase, states.Idle | states.Scheduled)
            assert not is_idle or (state.lost is not None and len(state.losses) <= len(RESTART_WAITS)), "for ever"

    @invariant()
    def at_most_two_drain(self) -> None:
        draining = {number for number, how in self.bridges.items() if how == "draining"}
        assert len(draining - self.cut_off) <= 2

    @invariant()
    def everything_that_waits_waits_for_something(self) -> None:
        if isinstance(self.driver.state.phase, states.Idle | states.Scheduled | states.Looking):
            superseded = bool(self.cycles) and self.cycle.superseded
            assert self.driver.state.live is not None or superseded, "a start that fails ends the session"
        match self.driver.state.phase:
            case states.Scheduled():
                assert self.timers - {RESTART, SECOND_LOOK, LAST_LOOK, IDLE_LOOK}
                assert self.driver.state.edits
            case states.Looking():
                look = self.driver.state.phase.look
                assert self.began < self.asked or (self.reading is not None and self.reading[1] >= look), "for ever"
            case states.Idle() | states.Closing() | states.Closed():
                assert not self.waiting or self.action is not None
        state = self.driver.state
        if isinstance(state.phase, states.Idle) and state.lost is not None:
            assert RESTART in self.timers or len(state.losses) > len(RESTART_WAITS), "nobody brings the bridge back"
        elif isinstance(state.phase, states.Idle) and state.live is not None:
            assert self.prepared == state.live.cycle, "the next cycle will find nothing prepared"

    @invariant()
    def no_edit_is_forgotten(self) -> None:
        """With nothing under way and everything read, what is live, or what failed, was made of what is on disk."""
        unread = {path for path in self.unread if FILES[path] in self.armed}
        if not isinstance(self.driver.state.phase, states.Idle) or unread or self.reading is not None:
            return
        if self.driver.state.blocked:
            assert self.returning, "nobody will say that the thread is back"
            return
        assert self.driver.state.edits == ()
        attempt = next(cycle for cycle in reversed(self.cycles) if not cycle.undoes and not cycle.waits)
        for path, root in FILES.items():
            # A file that came and went is not looked for.
            lasting = self.disk[path] is not None or attempt.start[path] is not None
            if root in self.armed and lasting and path in attempt.used:
                assert attempt.used[path] == self.disk[path], f"{path.name} was edited"

    def teardown(self) -> None:
        """Let everything come to its end, then close: whoever waits is answered, and no bridge is left."""
        self.settle()
        if isinstance(self.driver.state.phase, states.Idle):
            self.no_edit_is_forgotten()
        self.close_asked = True
        self.tell(events.CloseRequested())
        self.settle()
        assert self.driver.state.phase == states.Closed()
        assert (self.waiting, self.settling) == ({}, {})
        assert {*self.answers.values()} == {1}, "answered exactly once"
        assert {*self.bridges.values()} <= {"gone"}
        assert self.timers == set()

    def settle(self) -> None:
        for _ in range(1000):
            if self.action is not None:
                self.finish(ok=True)
            elif self.pins:
                self.end_pin()
            elif self.driver.state.vacating and "draining" in self.bridges.values():
                self.end_drain(ok=True)
            elif not self.wait() and not self.return_thread():
                self.begin_deed(lib=False)
                if self.action is None:
                    return
        raise AssertionError(f"this never comes to rest: {self.driver.state}")

    def wait(self) -> bool:
        """Whether something comes without an action: a reading, a timer."""
        if self.reading is not None:
            self.end_reading()
        elif self.armed and (self.asked > self.began or any(FILES[path] in self.armed for path in self.unread)):
            self.begin_reading()
        elif self.timers - {IDLE_LOOK}:  # that one starts itself again
            timer = min(self.timers - {IDLE_LOOK})
            self.timers.discard(timer)
            self.tell(events.TimerElapsed(timer))
        else:
            return False
        return True
