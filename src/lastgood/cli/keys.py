"""Single keys of a terminal, without Enter.

The terminal is changed only while this process is in its foreground, and is as it was at the end, whatever ends it, and while
the process is stopped by Ctrl-Z. Ctrl-C and Ctrl-Z do what they always do.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import trio

try:
    import termios
except ImportError:  # not on Windows
    termios = None  # type: ignore[assignment]  # then there is no keyboard

__all__ = ["follow_keys", "keyboard"]

_BETWEEN_LOOKS = 0.5
"""Seconds between two looks whether a process in the background has come to the foreground, of which no signal tells."""
_MOST = 1024


def keyboard() -> int | None:
    """Return the descriptor of the terminal that keys come from; None if stdin is none, or stdout, which would be for its keys."""
    try:
        descriptors = sys.stdin.fileno(), sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or replaced by something that is no file
        return None
    return descriptors[0] if termios is not None and all(map(os.isatty, descriptors)) else None


@trio.lowlevel.enable_ki_protection  # Ctrl-C interrupts the main task, never this one
async def follow_keys(descriptor: int, pressed: Callable[[str], object]) -> None:
    """Call ``pressed(key)`` for each key, until this is cancelled or the terminal is gone. Run this in the main thread."""
    terminal = _Terminal(descriptor)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_demand, terminal)
            await _read(terminal, pressed)
            nursery.cancel_scope.cancel()
    finally:
        terminal.leave()


async def _read(terminal: _Terminal, pressed: Callable[[str], object]) -> None:
    while True:
        if not terminal.enter():
            await trio.sleep(_BETWEEN_LOOKS)
            continue
        await trio.lowlevel.wait_readable(terminal.descriptor)
        typed = terminal.read()
        if typed is None:
            return
        # Several characters at once are pasted, or one of the keys that send several; some terminals send whole lines.
        keys = set(typed.rstrip("\r\n"))
        if len(keys) == 1:
            pressed(keys.pop())


async def _stop_on_demand(terminal: _Terminal) -> None:
    """On Ctrl-Z, stop as any process does, with the terminal as it was, and take it again when this process goes on."""
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        return  # whoever started it wants it not to be stopped
    with trio.open_signal_receiver(signal.SIGTSTP) as received:
        async for _ in received:
            terminal.leave()
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTSTP)  # it is stopped here
            signal.signal(signal.SIGTSTP, handler)
            terminal.enter()


class _Terminal:
    """A terminal, and the mode that it had."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before: list[Any] | None = None

    def enter(self) -> bool:
        """Have keys come one by one and unseen; return False, and do nothing, in the background."""
        if not self._is_ours():
            return False
        if self._before is None:
            with _not_stopped(), suppress(termios.error):
                before = termios.tcgetattr(self.descriptor)
                mode = [*before[:3], before[3] & ~(termios.ICANON | termios.ECHO), *before[4:6], [*before[6]]]
                mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
                termios.tcsetattr(self.descriptor, termios.TCSANOW, mode)
                self._before = before
        return True

    def leave(self) -> None:
        """Restore the mode that it had, unless another process has the terminal by now."""
        before, self._before = self._before, None
        if before is not None and self._is_ours():
            with _not_stopped(), suppress(termios.error):
                termios.tcsetattr(self.descriptor, termios.TCSANOW, before)

    def read(self) -> str | None:
        """Return what was typed, "" if it is for another process, or None if the terminal is gone."""
        if not self._is_ours():
            self._before = None
            return ""
        try:
            with _not_stopped():
                return os.read(self.descriptor, _MOST).decode(errors="replace") or None
        except OSError:
            return None

    def _is_ours(self) -> bool:
        try:
            return os.tcgetpgrp(self.descriptor) == os.getpgrp()
        except OSError:
            return False


@contextmanager
def _not_stopped() -> Iterator[None]:
    """Have the terminal refuse what a process in the background does, at the moment it becomes one, instead of stopping it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTIN, signal.SIGTTOU))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
