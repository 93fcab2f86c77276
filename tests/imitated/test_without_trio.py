"""What works where there is no trio, such as in Pyodide, imports none; the rest is refused there."""

from __future__ import annotations

import subprocess
import sys

from real_project import DEADLINE

PROGRAM = r"""
import sys
for name in ("trio", "watchfiles"):
    sys.modules[name] = None
from lastgood import BridgeReloader, InProcessBridge, Status, Unsupported, create_bridge_reloader, direct, watch
from lastgood.testing import World, direct_session
import lastgood.cli.commands, lastgood.effects, lastgood.planner, lastgood.runtime
from lastgood.children.limits import advice
print(watch(modules=["pricing"]).plan())
World({"lastgood.toml": "[modules]\n[output]\ndir = \"generated\"\n"}).start()
sys.platform = "emscripten"
for name in ("ProcessBridge", "Session", "ThreadedSession"):
    try:
        getattr(lastgood, name)
    except Unsupported as error:
        print(error.what, error.platform)
"""


def test_it_imports_neither_trio_nor_watchfiles() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-3:] == ["ProcessBridge Pyodide", "Session Pyodide", "ThreadedSession Pyodide"]
