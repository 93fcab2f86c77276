"""lastgood keeps generated wrappers and one live bridge in step with your Python sources, and the last good ones live.

The map of the house:

errors         every exception that a caller can see
watch_events   what a session tells its user
config         lastgood.toml -> Config; resolution: where a module's source lies; pinning: what a generation is made of;
               user_key: what lastgood knows its own files by, and where its caches are
runtime        the registry: the live bridge, its leases; loops: trio and asyncio, whichever runs; crossing: the way from one
               loop or thread to another
reloader       create_bridge_reloader(): swap bridges by hand, under trio, asyncio or Pyodide
session        watch(): sources in, reloads out; threaded: the same in a background thread, for plain code and asyncio;
               event_stream: events on their way to listeners
effects        the vocabulary of the core, pure values
planner        the one place that decides, pure
interpreters   what does the effects: for real under trio, or in memory
bridges        ProcessBridge, and the worker's side of it
wrappers       sources -> wrapper text, in a process of its own: extractor_process here, extractor_main there; declarations:
               what makes a wrapper's functions call; returns: what they make of what a call gave; doubts: where plain data do
               not tell what that is
generators     programs and functions of the user's own that make files, besides the wrappers or instead
testing        the in-memory world, for tests of your own
event_lines    an event as a line for a person, or in a log; starter: what "lastgood init" writes; demo: what "lastgood demo" plays
cli            the lastgood command

What is public is importable from here, and loaded when it is first asked for: a program that only takes the reloader loads
neither trio nor watchfiles nor griffe.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lastgood.bridges import Bridge as Bridge
    from lastgood.bridges.process import ProcessBridge as ProcessBridge
    from lastgood.config import Config as Config
    from lastgood.errors import AlreadyWatched as AlreadyWatched
    from lastgood.errors import BridgeError as BridgeError
    from lastgood.errors import CallTimeout as CallTimeout
    from lastgood.errors import ConfigError as ConfigError
    from lastgood.errors import ConfigMigrationError as ConfigMigrationError
    from lastgood.errors import Disposed as Disposed
    from lastgood.errors import Forked as Forked
    from lastgood.errors import GenerationError as GenerationError
    from lastgood.errors import LastgoodError as LastgoodError
    from lastgood.errors import ModuleFailure as ModuleFailure
    from lastgood.errors import NoRuntimeBridge as NoRuntimeBridge
    from lastgood.errors import NothingToUndo as NothingToUndo
    from lastgood.errors import PromotionError as PromotionError
    from lastgood.errors import RemoteError as RemoteError
    from lastgood.errors import ReturnTypeError as ReturnTypeError
    from lastgood.errors import Undone as Undone
    from lastgood.errors import UnmanagedFile as UnmanagedFile
    from lastgood.errors import UnwatchableModule as UnwatchableModule
    from lastgood.errors import WatchError as WatchError
    from lastgood.errors import WorkerDied as WorkerDied
    from lastgood.reloader import BridgeReloader as BridgeReloader
    from lastgood.reloader import create_bridge_reloader as create_bridge_reloader
    from lastgood.runtime import clear_runtime_bridge as clear_runtime_bridge
    from lastgood.runtime import get_runtime_bridge as get_runtime_bridge
    from lastgood.runtime import set_runtime_bridge as set_runtime_bridge
    from lastgood.session import Session as Session
    from lastgood.session import Status as Status
    from lastgood.session import WatchProgram as WatchProgram
    from lastgood.session import watch as watch
    from lastgood.threaded import InThread as InThread
    from lastgood.threaded import ThreadedSession as ThreadedSession
    from lastgood.watch_events import ApiChange as ApiChange
    from lastgood.watch_events import BridgeLost as BridgeLost
    from lastgood.watch_events import BridgeRestored as BridgeRestored
    from lastgood.watch_events import Change as Change
    from lastgood.watch_events import DisposeFailed as DisposeFailed
    from lastgood.watch_events import EventsMissed as EventsMissed
    from lastgood.watch_events import GenerationUndone as GenerationUndone
    from lastgood.watch_events import ModuleLoadedLate as ModuleLoadedLate
    from lastgood.watch_events import Notice as Notice
    from lastgood.watch_events import PollingStarted as PollingStarted
    from lastgood.watch_events import Recovered as Recovered
    from lastgood.watch_events import ReloadError as ReloadError
    from lastgood.watch_events import ReloadStart as ReloadStart
    from lastgood.watch_events import ReloadSuccess as ReloadSuccess
    from lastgood.watch_events import RollbackFailed as RollbackFailed
    from lastgood.watch_events import WatchEvent as WatchEvent
    from lastgood.watch_events import WatchPaths as WatchPaths
    from lastgood.wrappers import Generated as Generated

_ERRORS = (
    "AlreadyWatched",
    "BridgeError",
    "CallTimeout",
    "ConfigError",
    "ConfigMigrationError",
    "Disposed",
    "Forked",
    "GenerationError",
    "LastgoodError",
    "ModuleFailure",
    "NoRuntimeBridge",
    "NothingToUndo",
    "PromotionError",
    "RemoteError",
    "ReturnTypeError",
    "Undone",
    "UnmanagedFile",
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
    "ModuleLoadedLate",
    "Notice",
    "PollingStarted",
    "Recovered",
    "ReloadError",
    "ReloadStart",
    "ReloadSuccess",
    "RollbackFailed",
    "WatchEvent",
    "WatchPaths",
)
_WHERE = {
    **dict.fromkeys(_ERRORS, "errors"),
    **dict.fromkeys(_EVENTS, "watch_events"),
    "Bridge": "bridges",
    "ProcessBridge": "bridges.process",
    "Config": "config",
    "BridgeReloader": "reloader",
    "create_bridge_reloader": "reloader",
    "clear_runtime_bridge": "runtime",
    "get_runtime_bridge": "runtime",
    "set_runtime_bridge": "runtime",
    "Session": "session",
    "Status": "session",
    "WatchProgram": "session",
    "watch": "session",
    "InThread": "threaded",
    "ThreadedSession": "threaded",
    "Generated": "wrappers",
}

__all__ = [*_WHERE, "__version__"]  # _WHERE holds names only


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{where}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
