"""lastgood keeps generated wrappers and one live bridge in step with your Python sources; the last good ones stay live.

- :func:`watch` watches a project and reloads it: in an app with ``async with``, ``with`` or ``start()``, alone with ``trio.run``.
- :func:`direct` has wrappers call the sources in this very process: no worker, no watcher, nothing written.
- :func:`create_bridge_reloader` only replaces bridges: no watcher, no files.
- :class:`ServerBridge` serves an ASGI application in a worker process, generation after generation.
- :class:`ProcessBridge` is the bridge that calls the sources in a worker process, :class:`InProcessBridge` one without.
- :mod:`lastgood.runtime` has the bridge that is live now; :mod:`lastgood.testing` has a world in memory, and a fixture
  of pytest, for tests of your own.
- :mod:`lastgood.planner`, :mod:`lastgood.effects` and :mod:`lastgood.interpreters` are the core and what performs its effects.

The README explains how to use them, and ``docs/explanation/architecture.md`` how the package is made up.

Public names can be imported from here and are loaded on first use: a program that only uses the reloader loads neither trio
nor watchfiles.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from lastgood.bridges import Bridge as Bridge
    from lastgood.bridges.in_process import InProcessBridge as InProcessBridge
    from lastgood.bridges.process import ProcessBridge as ProcessBridge
    from lastgood.config import Config as Config
    from lastgood.errors import AlreadyWatched as AlreadyWatched
    from lastgood.errors import BridgeError as BridgeError
    from lastgood.errors import CallTimeout as CallTimeout
    from lastgood.errors import ConfigError as ConfigError
    from lastgood.errors import ConfigMigrationError as ConfigMigrationError
    from lastgood.errors import DecodeError as DecodeError
    from lastgood.errors import Disposed as Disposed
    from lastgood.errors import EncodeError as EncodeError
    from lastgood.errors import Forked as Forked
    from lastgood.errors import FunctionRemoved as FunctionRemoved
    from lastgood.errors import GenerationError as GenerationError
    from lastgood.errors import LastgoodError as LastgoodError
    from lastgood.errors import LeaderFailed as LeaderFailed
    from lastgood.errors import ModuleFailure as ModuleFailure
    from lastgood.errors import NoRuntimeBridge as NoRuntimeBridge
    from lastgood.errors import NothingToUndo as NothingToUndo
    from lastgood.errors import PromotionError as PromotionError
    from lastgood.errors import RemoteError as RemoteError
    from lastgood.errors import ReturnTypeError as ReturnTypeError
    from lastgood.errors import RunawayError as RunawayError
    from lastgood.errors import Undone as Undone
    from lastgood.errors import UnmanagedFile as UnmanagedFile
    from lastgood.errors import Unsupported as Unsupported
    from lastgood.errors import UnwatchableModule as UnwatchableModule
    from lastgood.errors import WatchError as WatchError
    from lastgood.errors import WorkerDied as WorkerDied
    from lastgood.planner.states import Status as Status
    from lastgood.runtime import clear_runtime_bridge as clear_runtime_bridge
    from lastgood.runtime import get_runtime_bridge as get_runtime_bridge
    from lastgood.runtime import set_runtime_bridge as set_runtime_bridge
    from lastgood.serve.bridge import ServerBridge as ServerBridge
    from lastgood.session.direct import DirectSession as DirectSession
    from lastgood.session.direct import direct as direct
    from lastgood.session.event_lines import print_events as print_events
    from lastgood.session.notebook import load_ipython_extension as load_ipython_extension
    from lastgood.session.reloader import BridgeReloader as BridgeReloader
    from lastgood.session.reloader import create_bridge_reloader as create_bridge_reloader
    from lastgood.session.session import Session as Session
    from lastgood.session.threaded import InThread as InThread
    from lastgood.session.threaded import ThreadedSession as ThreadedSession
    from lastgood.session.watch import WatchProgram as WatchProgram
    from lastgood.session.watch import watch as watch
    from lastgood.watch_events import ApiChange as ApiChange
    from lastgood.watch_events import BridgeLost as BridgeLost
    from lastgood.watch_events import BridgeRestored as BridgeRestored
    from lastgood.watch_events import Change as Change
    from lastgood.watch_events import DisposeFailed as DisposeFailed
    from lastgood.watch_events import EventsMissed as EventsMissed
    from lastgood.watch_events import GenerationUndone as GenerationUndone
    from lastgood.watch_events import LeaderChanged as LeaderChanged
    from lastgood.watch_events import ModuleLoadedLate as ModuleLoadedLate
    from lastgood.watch_events import Notice as Notice
    from lastgood.watch_events import PollingStarted as PollingStarted
    from lastgood.watch_events import Recovered as Recovered
    from lastgood.watch_events import ReloadError as ReloadError
    from lastgood.watch_events import ReloadStart as ReloadStart
    from lastgood.watch_events import ReloadSuccess as ReloadSuccess
    from lastgood.watch_events import RollbackFailed as RollbackFailed
    from lastgood.watch_events import Runaway as Runaway
    from lastgood.watch_events import Superseded as Superseded
    from lastgood.watch_events import WatchEvent as WatchEvent
    from lastgood.watch_events import WatchPaths as WatchPaths
    from lastgood.wrappers import Generated as Generated

_ERRORS = (
    "AlreadyWatched",
    "BridgeError",
    "CallTimeout",
    "ConfigError",
    "ConfigMigrationError",
    "DecodeError",
    "Disposed",
    "EncodeError",
    "Forked",
    "FunctionRemoved",
    "GenerationError",
    "LastgoodError",
    "LeaderFailed",
    "ModuleFailure",
    "NoRuntimeBridge",
    "NothingToUndo",
    "PromotionError",
    "RemoteError",
    "ReturnTypeError",
    "RunawayError",
    "Undone",
    "UnmanagedFile",
    "Unsupported",
    "UnwatchableModule",
    "WatchError",
    "WorkerDied",
)
_EVENTS = (
    "ApiChange",
    "BridgeLost",
    "BridgeRestored",
    "Change",
    "DisposeFailed",
    "EventsMissed",
    "GenerationUndone",
    "LeaderChanged",
    "ModuleLoadedLate",
    "Notice",
    "PollingStarted",
    "Recovered",
    "ReloadError",
    "ReloadStart",
    "ReloadSuccess",
    "RollbackFailed",
    "Runaway",
    "Superseded",
    "WatchEvent",
    "WatchPaths",
)
_MODULE_OF = {
    **dict.fromkeys(_ERRORS, "errors"),
    **dict.fromkeys(_EVENTS, "watch_events"),
    "Bridge": "bridges",
    "InProcessBridge": "bridges.in_process",
    "ProcessBridge": "bridges.process",
    "ServerBridge": "serve.bridge",
    "Config": "config",
    "DirectSession": "session.direct",
    "direct": "session.direct",
    "load_ipython_extension": "session.notebook",
    "BridgeReloader": "session.reloader",
    "create_bridge_reloader": "session.reloader",
    "clear_runtime_bridge": "runtime",
    "get_runtime_bridge": "runtime",
    "set_runtime_bridge": "runtime",
    "print_events": "session.event_lines",
    "Session": "session.session",
    "Status": "planner.states",
    "WatchProgram": "session.watch",
    "watch": "session.watch",
    "InThread": "session.threaded",
    "ThreadedSession": "session.threaded",
    "Generated": "wrappers",
}

_NOT_EVERYWHERE = ("trio", "watchfiles", "fcntl", "resource", "termios")
"""Modules that do not exist on a platform that has no processes."""

__all__ = [*_MODULE_OF, "__version__"]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name in _NOT_EVERYWHERE:
            from lastgood.children.platforms import require_processes

            require_processes(name)
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
