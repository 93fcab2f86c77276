"""A World of lastgood.testing has no disk, no process, no thread, no socket and no sleep."""

from __future__ import annotations

import sys
from pathlib import Path

from running import Ran, run

PROGRAM = """\
import sys
from lastgood.testing import World

def play():
    world = World({
        "lastgood.toml": '[modules.pricing]\\n[output]\\ndir = "generated"\\n',
        "pricing.py": "def quote() -> float: ...\\n",
    })
    world.start()
    world.write("pricing.py", "def quote(sku: str) -> float: ...\\n")
    world.fail("warm")
    world.advance(3600)
    assert world.status.stale
    assert world.reload_now()
    world.close()

def hear(event, arguments):
    if heard is not None and event.startswith(TOUCHES):
        heard.append((event, arguments))

TOUCHES = ("open", "os.", "subprocess.", "socket.", "time.sleep", "_thread.start_new_thread", "shutil.", "tempfile.")
heard = None
sys.addaudithook(hear)
play()  # imports what it needs
heard = []
play()
found, heard = heard, None
print(*found, sep="\\n", end="")
"""


def test_nothing_is_opened_started_or_slept_on(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", PROGRAM], tmp_path) == Ran(0, "", "")
    assert list(tmp_path.iterdir()) == []
