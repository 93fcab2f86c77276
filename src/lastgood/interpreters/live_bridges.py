"""The bridges of a session under trio: warming, monitoring the live one, restarting, draining and disposing.

A bridge is named by the cycle that warmed it. All decisions are made in :mod:`lastgood.planner`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from lastgood.bridges import Bridge, call_plain, check_bridge, result_of
from lastgood.bridges.late import EDITED_MODULES, LAST_EDIT, LATE_IMPORT_LISTENER, EditedModule, LoadedLate
from lastgood.calls.leases import Leased
from lastgood.calls.registry import Slot
from lastgood.config import Config
from lastgood.effects import Dispose, Prepare, Restart
from lastgood.errors import BridgeError
from lastgood.planner import events
from lastgood.planner.events import (
    Disposed,
    DisposeFailed,
    Draining,
    Event,
    Lost,
    Restarted,
    RestartFailed,
)
from lastgood.planner.settings import MOST_DRAINING
from lastgood.store.generations import LateModule
from lastgood.watch_events import Warmth

__all__ = ["LiveBridges", "since"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _LateImportListener:
    """A listener for the dynamic imports of a bridge. It collects them until the bridge is live, then passes them on."""

    def __init__(self) -> None:
        self._early: list[LoadedLate] = []
        self._pass_on: Callable[[LoadedLate], object] = self._early.append

    def __call__(self, late: LoadedLate) -> None:
        self._pass_on(late)

    def open(self, pass_on: Callable[[LoadedLate], object]) -> None:
        self._pass_on = pass_on
        for late in self._early:
            pass_on(late)
        self._early.clear()


class LiveBridges:
    """The bridges of a session. ``create(config)`` and ``probe(bridge)`` are the user's functions.

    ``report(event)`` passes an event to the planner; ``on_disposed(cycle)`` is called for each bridge that was disposed.
    """

    def __init__(
        self,
        create: Callable[[Config], Any],
        probe: Callable[[Any], Any] | None,
        slot: Slot,
        nursery: trio.Nursery,
        report: Callable[[Event], None],
        on_disposed: Callable[[int], object],
    ) -> None:
        self._create_bridge = create
        self._probe = probe
        self._slot = slot
        self._nursery = nursery
        self._report = report
        self._on_disposed = on_disposed
        self._warmed: dict[int, Bridge] = {}
        self._listeners: dict[int, _LateImportListener] = {}
        self._leased: dict[int, Leased] = {}
        self._configs: dict[int, Config] = {}
        self._guards: dict[int, trio.CancelScope] = {}
        self._preparing: dict[int, trio.CancelScope] = {}
        self._loaded_late: dict[int, list[LateModule]] = {}
        self._unreported: dict[int, list[events.Late]] = {}
        self._drains: dict[int, trio.CancelScope] = {}  # cancelled when a draining bridge is cut off
        self._lost: set[int] = set()
        self._made_way: set[int] = set()  # generations that can be restarted, although their bridges were disposed
        self._drained = trio.Event()
        self._told: tuple[Any, int, bool] = None, 0, False

    async def warm(self, cycle: int, config: Config, timeout: float, edited: Sequence[EditedModule] = ()) -> None:
        """Create the bridge of ``cycle``, and get it ready within ``timeout`` seconds. ``edited`` modules have to compile.

        Raises :class:`BridgeError`, and the errors of the user's functions. After an error, call :meth:`discard`.
        """
        listener = self._listeners[cycle] = _LateImportListener()
        token, compiled = LATE_IMPORT_LISTENER.set(listener), EDITED_MODULES.set(edited)
        try:
            with trio.move_on_after(timeout) as scope:
                await self._create(cycle, config)
        finally:
            LATE_IMPORT_LISTENER.reset(token)
            EDITED_MODULES.reset(compiled)
        # Even if blocking code has finished in spite of the cancellation: a bridge that is late is not used.
        if scope.cancel_called:
            late = BridgeError(f"The next bridge was not ready within {timeout:g} s (warm_timeout). It was given up.")
            late.add_note(
                "Importing the sources is part of it: move code that blocks at import, such as a server or a network call, into "
                "a function, or raise warm_timeout."
            )
            raise late

    async def _create(self, cycle: int, config: Config) -> None:
        bridge = await result_of(_call_interruptibly(self._create_bridge, config))
        if any(leased.bridge is bridge for leased in (*self._leased.values(), self._slot.live) if leased is not None):
            raise BridgeError(
                "create_bridge() returned the bridge of an earlier cycle, which will be disposed. "
                "A cycle needs a bridge of its own."
            )
        self._warmed[cycle] = bridge
        check_bridge(bridge)
        init = getattr(bridge, "init", None)
        if init is not None:
            await result_of(init())
        if self._probe is not None:
            await result_of(_call_interruptibly(self._probe, bridge))

    def can_describe(self, cycle: int) -> bool:
        """Return whether the bridge of ``cycle``, which is not live yet, has the method for :meth:`describe`."""
        return callable(getattr(self._warmed[cycle], "interface", None))

    async def describe(
        self, cycle: int, functions: Sequence[tuple[str, str]], modules: Sequence[str], timeout: float
    ) -> object:
        """Ask the bridge of ``cycle``, which is not live yet, what these are; see :meth:`lastgood.ProcessBridge.interface`.

        Return None if the bridge cannot say it, and raise :class:`TimeoutError` if that takes longer than ``timeout`` seconds.
        """
        ask: Any = self._warmed[cycle]
        with trio.move_on_after(timeout) as scope:
            return await result_of(ask.interface(functions, modules))
        assert scope.cancelled_caught
        raise TimeoutError

    async def discard(self, cycle: int, timeout: float) -> None:
        """Dispose the bridge of ``cycle``, which did not become live, whatever step of its creation failed."""
        bridge = self._warmed.pop(cycle, None)
        self._listeners.pop(cycle, None)
        if bridge is not None and callable(getattr(bridge, "dispose", None)):
            await self._dispose_within(bridge, timeout)

    def swap(self, cycle: int, config: Config, along: Callable[[], object] | None) -> None:
        """Make the bridge of ``cycle``, which was created from ``config``, the live one. Cannot fail.

        ``along`` is as in :meth:`lastgood.calls.registry.Slot.swap`.
        """
        self._configs[cycle] = config
        self._go_live(cycle, along)
        made_way, self._made_way = self._made_way, set()
        for replaced in made_way:
            if replaced not in self._leased:
                self._forget(replaced)
        self._start_guard(cycle)

    def loaded_late(self, cycle: int) -> tuple[LateModule, ...]:
        """Return the dynamic imports that the bridge of ``cycle`` has reported and that are not :meth:`kept` yet."""
        return tuple(self._loaded_late.get(cycle, ()))

    def kept(self, cycle: int, late: tuple[LateModule, ...]) -> None:
        """Forget ``late``, the first of those modules, because they are stored with the generation now."""
        if cycle in self._loaded_late:
            del self._loaded_late[cycle][: len(late)]

    def warmth(self, cycle: int) -> tuple[Warmth, str | None]:
        """Return ``warm`` and ``why_fresh`` of the bridge of ``cycle``, which is not live yet."""
        bridge = self._warmed[cycle]
        if getattr(bridge, "warm", None) == "spare":
            return "spare", None
        why = getattr(bridge, "why_fresh", None)
        return "fresh", None if why is None else str(why)

    def traits(self, cycle: int) -> tuple[bool, int]:
        """Return ``ends_in_background`` and ``most_draining`` of the bridge of ``cycle``, which is not live yet."""
        bridge = self._warmed[cycle]
        most = getattr(bridge, "most_draining", None)
        return getattr(bridge, "ends_in_background", False) is True, most if type(most) is int else MOST_DRAINING

    def prepare(self, command: Prepare) -> None:
        """Call ``prepare_spare()`` of a bridge from now on, if it is still live and has that method."""
        cycle = command.bridge
        prepare = getattr(self._leased[cycle].bridge, "prepare_spare", None) if cycle in self._guards else None
        if callable(prepare):
            if cycle in self._preparing:
                self._preparing[cycle].cancel()
            scope = self._preparing[cycle] = trio.CancelScope()
            self._nursery.start_soon(self._prepare, command, prepare, scope)

    @trio.lowlevel.enable_ki_protection
    async def _prepare(self, command: Prepare, prepare: Callable[[], Any], scope: trio.CancelScope) -> None:
        LAST_EDIT.set(command.edited)
        with scope:
            while True:
                try:
                    await result_of(prepare())
                except BaseException as error:  # SystemExit, too
                    _raise_if_cancelled(error)
                    logger.exception(
                        "prepare_spare() of the live bridge raised; the next bridge starts without a spare"
                    )
                await trio.sleep(command.every)

    def _go_live(self, cycle: int, along: Callable[[], object] | None = None) -> None:
        self._slot.swap(self._warmed.pop(cycle), along, checks=self._configs[cycle].output.check_results)
        assert self._slot.live is not None
        self._leased[cycle] = self._slot.live

    def tell(self, generation: int, *, stale: bool) -> None:
        """Call ``tell()`` of the live bridge, unless it has been told the same, then ``live()`` of a new one. It cannot fail.

        Call this in the step of the event loop in which a bridge goes live, when the planner knows of that.
        """
        bridge = None if self._slot.live is None else self._slot.live.bridge
        before, self._told = self._told, (bridge, generation, stale)
        is_new = bridge is not before[0]
        if is_new or before[1:] != (generation, stale):
            call_plain(bridge, "tell", generation, stale)
        if is_new:
            call_plain(bridge, "live")

    def _start_guard(self, cycle: int) -> None:
        """Start to monitor a live bridge. Call it as an action's last step: its events must come after the action's outcome."""
        scope = self._guards[cycle] = trio.CancelScope()
        self._nursery.start_soon(self._guard, cycle, self._leased[cycle].bridge, scope)

    @trio.lowlevel.enable_ki_protection
    async def _guard(self, cycle: int, bridge: Any, scope: trio.CancelScope) -> None:
        """Report the dynamic imports of a live bridge, and its loss if it has a ``lost()`` method."""
        self._listeners.pop(cycle).open(partial(self._load_late, cycle))
        with scope:
            try:
                if not callable(getattr(bridge, "lost", None)):
                    return
                error = await bridge.lost()
            except BaseException as raised:  # SystemExit, too: the bridge itself is as it was
                _raise_if_cancelled(raised)
                logger.exception("lost() of the live bridge raised; a loss of this bridge will not be noticed")
                return
            self.report_late()
            self._lost.add(cycle)
            self._report(Lost(cycle, error, time.time()))

    def _load_late(self, cycle: int, late: LoadedLate) -> None:
        if cycle not in self._guards:
            return
        if late.source is not None:
            self._loaded_late.setdefault(cycle, []).append(LateModule(late.name, late.path, late.source))
        # Report them in batches: there may be hundreds, and an event costs time in proportion to the watched paths.
        unreported = self._unreported.setdefault(cycle, [])
        unreported.append(events.Late(late.name, late.path.resolve(), late.digest))
        if len(unreported) == 1:
            self._nursery.start_soon(self._report_soon)

    @trio.lowlevel.enable_ki_protection
    async def _report_soon(self) -> None:
        self.report_late()

    def report_late(self) -> None:
        """Report the dynamic imports so far. Call it before any other event: a close or a swap must not overtake them."""
        unreported, self._unreported = self._unreported, {}
        for cycle, late in unreported.items():
            self._report(events.LoadedLate(cycle, tuple(late)))

    async def restart(self, action: Restart, pinned: Path | None, started: float) -> Event:
        """Restart a bridge from ``pinned``, the current manifest of its generation. ``started``: trio's time at the start."""
        config = msgspec.structs.replace(self._configs[action.bridge], pinned=pinned)
        try:
            await self.warm(action.bridge, config, action.timeout)
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await self._dispose_quietly(self._warmed.pop(action.bridge, None), action.dispose_timeout)
            self._listeners.pop(action.bridge, None)
            if not isinstance(error, Exception):
                raise
            return RestartFailed(action, since(started), error, time.time())
        if action.bridge in self._leased:
            self._leased[action.broken] = self._leased[action.bridge]
            self._lost = self._lost - {action.bridge} | {action.broken}
        self._made_way.discard(action.bridge)
        self._go_live(action.bridge)
        self._stop_guard(action.bridge)
        self._start_guard(action.bridge)
        return Restarted(action, since(started))

    async def _dispose_quietly(self, bridge: Any, timeout: float) -> None:
        """Dispose a bridge, if there is one, and only log errors."""
        if not callable(getattr(bridge, "dispose", None)):
            return
        try:
            await self._dispose_within(bridge, timeout)
        except BaseException as error:  # SystemExit, too
            _raise_if_cancelled(error)
            logger.exception("disposing a bridge that did not get ready failed")

    def _stop_guard(self, cycle: int) -> None:
        _cancel(self._guards, cycle)
        _cancel(self._preparing, cycle)

    def _forget(self, cycle: int) -> None:
        """Forget the generation of ``cycle``, which cannot be restarted any more."""
        self._configs.pop(cycle, None)
        self._loaded_late.pop(cycle, None)
        self._on_disposed(cycle)

    async def dispose(self, action: Dispose, started: float) -> Event:
        """Dispose a bridge: in the background if it is busy or is to end there, else at once."""
        leased = self._leased[action.bridge]
        idle = None if action.bridge in self._lost else getattr(leased.bridge, "idle", None)
        is_idle = leased.count == 0 and not callable(idle)
        if action.makes_way:
            # Its calls in flight may still import modules, which a restart needs as well.
            self._slot.hold()
            self._made_way.add(action.bridge)
            _cancel(self._preparing, action.bridge)
        else:
            self._stop_guard(action.bridge)
        if is_idle and not action.in_background:
            return await self._dispose_now(action, started)
        self._drains[action.bridge] = trio.CancelScope()
        self._nursery.start_soon(self._drain, action, leased, idle if callable(idle) else None, started)
        return Draining(action.bridge, since(started), is_idle)

    @trio.lowlevel.enable_ki_protection
    async def _drain(self, action: Dispose, leased: Leased, idle: Callable[[], Any] | None, started: float) -> None:
        calls_ended = trio.Event()
        leased.on_idle(calls_ended.set)
        with self._drains[action.bridge]:
            if idle is not None:
                try:
                    await result_of(idle())
                except BaseException as error:  # as of dispose(): after the swap, failures are only notices
                    _raise_if_cancelled(error)
                    logger.exception("idle() of a replaced bridge raised; it is disposed when its calls have ended")
            await calls_ended.wait()
        if action.makes_way:
            self._stop_guard(action.bridge)
        outcome = await self._dispose_now(action, started if action.makes_way else trio.current_time())
        del self._drains[action.bridge]
        self._report(outcome)
        self._drained.set()
        self._drained = trio.Event()

    async def _dispose_now(self, action: Dispose, started: float) -> Event:
        try:
            await self._dispose_within(self._leased[action.bridge].bridge, action.dispose_timeout)
        except trio.Cancelled:
            raise
        except BaseException as error:  # after the swap, failures are only notices
            return DisposeFailed(action.bridge, since(started), error)
        finally:
            del self._leased[action.bridge]
            self._lost.discard(action.bridge)
            if action.bridge not in self._made_way:
                self._forget(action.bridge)
        return Disposed(action.bridge, since(started))

    async def _dispose_within(self, bridge: Bridge, timeout: float) -> None:
        timeout = max(timeout, getattr(bridge, "ends_within", 0.0))
        with trio.move_on_after(timeout) as scope:
            await result_of(bridge.dispose())
        if scope.cancelled_caught:
            raise BridgeError(
                f"dispose() of a {type(bridge).__name__} did not end within {timeout:g} s and was given up."
            )

    async def drained(self) -> None:
        """Wait until no bridge is draining."""
        while self._drains:
            await self._drained.wait()

    def in_flight(self, cycle: int) -> int:
        """Return the number of calls and streams in flight on the bridge of ``cycle``. Any thread may call this."""
        leased = self._leased.get(cycle)
        return 0 if leased is None else leased.count

    def refuse(self, error: BaseException) -> None:
        """Let calls raise until a bridge is live, because none could be made: see ``error``."""

        def refusal() -> BridgeError:
            refused = BridgeError(
                "There is no bridge to call: the last one made way for the next (overlap = false), and then could not be created "
                f"again: {type(error).__name__}: {error}"
            )
            refused.__cause__ = error
            return refused

        self._slot.refuse(refusal)

    def cut_off_all(self, why: str) -> None:
        """End all leases now. ``why`` completes the sentence "The call …" in the calls' errors."""
        for bridge in tuple(self._leased):
            self.cut_off(bridge, why)

    def cut_off(self, bridge: int, why: str) -> None:
        """End the leases of one bridge now; if it drains, it is disposed. ``why`` is as in :meth:`cut_off_all`."""
        leased = self._leased.get(bridge)
        if leased is not None:
            leased.cut_off(lambda: BridgeError(f"The call {why}."))
        if bridge in self._drains:
            self._drains[bridge].cancel()


@trio.lowlevel.disable_ki_protection
def _call_interruptibly(function: Callable[..., T], *args: object) -> T:
    """Call a user's function, which may block, so that Ctrl-C can interrupt it although the engine is protected."""
    return function(*args)


def _cancel(scopes: dict[int, trio.CancelScope], cycle: int) -> None:
    scope = scopes.pop(cycle, None)
    if scope is not None:
        scope.cancel()


def _raise_if_cancelled(error: BaseException) -> None:
    """Raise ``error``, which a user's function has raised, if it is nothing but a cancellation.

    A group that holds another error, such as that of a nursery's task which fails when it is cancelled, is that error's report;
    whatever is awaited next is cancelled as well.
    """
    rest = error.split(trio.Cancelled)[1] if isinstance(error, BaseExceptionGroup) else error
    if rest is None or isinstance(rest, trio.Cancelled):
        raise error


def since(started: float) -> float:
    """Return the seconds since ``started``, by trio's clock."""
    return trio.current_time() - started
