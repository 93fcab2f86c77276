"""For tests of your own. Each name is loaded on first use.

- :class:`World`: an in-memory world for tests of reloading, without disk, processes or sleeping.
- ``direct_session``: a fixture of pytest, under which wrappers call the sources in the process of the tests. Only this one needs
  pytest. A ``conftest.py`` has it by one line::

      from lastgood.testing import direct_session  # noqa: F401 - pytest finds it here by its name
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lastgood.testing.fixtures import direct_session as direct_session
    from lastgood.testing.world import ROOT as ROOT
    from lastgood.testing.world import ScriptedBridge as ScriptedBridge
    from lastgood.testing.world import ScriptedStream as ScriptedStream
    from lastgood.testing.world import World as World

__all__ = ["ScriptedBridge", "ScriptedStream", "World", "direct_session"]

_MODULE_OF = {
    "ROOT": "world",
    "ScriptedBridge": "world",
    "ScriptedStream": "world",
    "World": "world",
    "direct_session": "fixtures",
}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
