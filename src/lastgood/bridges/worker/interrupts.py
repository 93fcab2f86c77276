"""Interrupts: an exception that is raised in the thread of a call that nobody waits for any more.

Python raises it before the thread's next step. A thread that waits in C code is interrupted when it returns, except that a wait
of the *main* thread (``time.sleep``, a lock, a socket) is ended by a signal. SIGURG is ignored wherever nobody handles it. One that
comes just before the wait begins does not end it, so it is sent again, after longer and longer pauses, until the call is over.

An interrupt must never hit another call, nor the worker's own code, where it would leave half a frame or a lock behind. So a
thread is *exposed* only while it runs a function of the user's. An interrupt that was raised too late for the function to notice
is withdrawn.
"""

from __future__ import annotations

import threading
from _signal import SIGURG, getsignal, pthread_kill, signal  # type: ignore[import-not-found]  # signal imports enum: 2 ms
from _thread import start_new_thread
from time import sleep  # bound here, since the program may replace it

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from types import FrameType

__all__ = ["SHIELD", "Exposure", "Interrupted", "RunSlot", "Shield", "enable_interrupts"]


_FIRST_PAUSE = 0.001  # seconds


class Interrupted(KeyboardInterrupt):
    """The caller waits no more: it was cancelled, or the call took too long."""


class Exposure:
    """A thread that runs functions of the user's, and whether it may be interrupted.

    The thread says that it is exposed, and then asks whether an interrupt is wanted; who interrupts it does the two in the other
    order. So one of them notices the other. The thread takes the ``lock`` only when it was interrupted.
    """

    __slots__ = ("_interrupted", "_lock", "exposed", "thread", "wanted")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.thread = 0
        self.exposed = False
        self.wanted = False
        self._interrupted = False

    def interrupt(self) -> None:
        """Interrupt the thread: now, or when it is exposed next. Call it once, and with the lock held."""
        self.wanted = True
        if self.exposed:
            self._interrupted = True
            _raise_in(self.thread, Interrupted)
            if self.thread == threading.main_thread().ident and getsignal(SIGURG) is _wake:
                pthread_kill(self.thread, SIGURG)
                try:  # noqa: SIM105 - a worker starts faster without contextlib
                    start_new_thread(self._keep_waking, ())
                except RuntimeError:
                    pass  # there is no room for one more thread

    def _keep_waking(self) -> None:
        """Signal the main thread again and again, until its call is over or has got to a step of the worker's own."""
        pause = _FIRST_PAUSE
        while True:
            sleep(pause)
            with self._lock:
                if not self.exposed:
                    return
                pthread_kill(self.thread, SIGURG)
            pause *= 2

    # On the thread itself.

    def expose(self) -> None:
        """Begin to run a function of the user's, or go on with it. Raises :class:`Interrupted` if that is wanted already."""
        self.exposed = True
        if self.wanted:
            with self._lock:
                missed, self._interrupted = not self._interrupted, True
            if missed:
                raise Interrupted

    def pause(self) -> None:
        """Stop being exposed, until :meth:`expose`. An interrupt that was raised before still arrives."""
        self.exposed = False
        if self.wanted:
            with self._lock:
                pass

    def cover(self) -> None:
        """End the exposure. After this has returned, no interrupt is raised any more."""
        self.exposed = False
        if self.wanted:
            with self._lock:
                pass
            _raise_in(self.thread, None)


class RunSlot(Exposure):
    """A thread's permission to run calls, one after the other; ``running`` is the current call's number, None while idle."""

    __slots__ = ("revoked", "running")

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__(lock)
        self.running: int | None = None
        self.revoked = False


class Shield:
    """A context manager for the worker's own steps within a function of the user's: no interrupt hits them."""

    def __init__(self) -> None:
        self._here = threading.local()

    def bind(self, exposure: Exposure) -> None:
        """Set the exposure of this thread."""
        exposure.thread = threading.get_ident()
        self._here.exposure = exposure
        self._here.was_exposed = False

    def __enter__(self) -> None:
        """Shield this thread, if it runs calls."""
        exposure = getattr(self._here, "exposure", None)
        if exposure is not None and exposure.exposed:
            self._here.was_exposed = True
            exposure.pause()

    def __exit__(self, *_: object) -> None:
        """Expose this thread as before."""
        if getattr(self._here, "was_exposed", False):
            self._here.was_exposed = False
            self._here.exposure.expose()


SHIELD = Shield()
"""The shield of this worker."""


def enable_interrupts() -> None:
    """Let interrupts end the waits of this thread, the main one."""
    signal(SIGURG, _wake)


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: Python raises the interrupt as this function begins, and a wait in C code ends with it."""


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have ``kind`` raised in a thread, or withdraw what was not raised yet (None). Not every Python can."""
    try:
        from ctypes import c_ulong, py_object, pythonapi

        raise_in = pythonapi.PyThreadState_SetAsyncExc
    except (ImportError, AttributeError):
        return
    raise_in(c_ulong(thread), None if kind is None else py_object(kind))
