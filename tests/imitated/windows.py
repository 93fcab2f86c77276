"""What lastgood does on Windows, imitated: a program that takes away what Windows does not have, then uses lastgood.

``test_windows.py`` runs it in a process of its own, in an empty directory. The event loops are loaded first, since theirs for
Windows cannot be loaded here.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import sysconfig
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import trio
import watchfiles
from click.testing import CliRunner

MISSING = {
    "os": "fork forkpty geteuid getpgid getuid killpg memfd_create pidfd_open register_at_fork setsid waitid wait O_CLOEXEC "
    "O_DIRECTORY O_NOFOLLOW O_NONBLOCK mkfifo sendfile sched_getaffinity",
    "signal": "SIGKILL SIGHUP SIGUSR1 SIGCHLD SIGPIPE",
    "select": "poll",
}
CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\nstyle = "sync"\n'
PRICING = "def quote(sku: str, quantity: int = 1) -> float:\n    return 2.5 * quantity\n"


def imitate() -> None:
    sysconfig.get_config_vars()  # once read, they are kept
    asyncio.run(asyncio.sleep(0))  # and so is its policy
    for gone in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
        sys.modules[gone] = None  # type: ignore[assignment]  # how an import of it fails
    for name, missing in MISSING.items():
        module = importlib.import_module(name)
        for each in missing.split():
            if hasattr(module, each):
                delattr(module, each)
    os.O_BINARY = 0  # type: ignore[attr-defined]  # Windows has it
    sys.platform = "win32"


def check(what: str, holds: object) -> None:
    assert holds, what
    print("ok", what)


def refused(what: str, use: Callable[[], object]) -> None:
    from lastgood import Unsupported

    try:
        use()
    except Unsupported as error:
        check(f"{what}: {error}", "Windows has none" in str(error) and "WSL" in str(error) and error.what == what)
    else:
        raise AssertionError(f"{what} is not refused")


def save(source: str) -> None:
    Path("pricing.py").write_text(source, newline="\r\n")


async def reloads() -> None:
    from lastgood import InProcessBridge, create_bridge_reloader

    def create() -> InProcessBridge:
        return InProcessBridge(import_path=["."], modules=["pricing"], fresh=True)

    save(PRICING)
    async with await create_bridge_reloader(create) as reloader:
        bridge: Any = reloader.current
        check("a call", await bridge.call("pricing", "quote", ["apple", 2], {}) == 5.0)
        save(PRICING.replace("2.5", "3.5"))
        await reloader.reload()
        check("a reload", await reloader.current.call("pricing", "quote", ["apple", 2], {}) == 7.0)


def main() -> None:
    imitate()
    import lastgood
    from lastgood.cli.commands import main as command_line
    from lastgood.testing import World

    world = World({"lastgood.toml": CONFIG, "pricing.py": PRICING})
    world.start()
    world.write("pricing.py", "def quote(:\n")
    world.advance(0.1)
    check("World", world.status.stale and world.generation == 1)

    # With line ends of Windows in the sources and the config, the wrappers are the same bytes.
    other = World({"lastgood.toml": CONFIG.replace("\n", "\r\n"), "pricing.py": PRICING.replace("\n", "\r\n")})
    other.start()
    for path in ("generated/pricing.py", "generated/__init__.py"):
        check(f"the bytes of {path}", other.files[path] == world.files[path])

    save(PRICING)
    Path("lastgood.toml").write_text(CONFIG, newline="\r\n")
    for path, data in world.files.items():
        if path.startswith("generated/"):
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(data, newline="\n")
    sys.path[:0] = [os.getcwd()]
    with lastgood.direct():
        pricing: Any = importlib.import_module("generated.pricing")
        check("direct()", pricing.quote("apple", 2) == 5.0)
    asyncio.run(reloads())
    trio.run(reloads)

    program = lastgood.watch()
    check("watch().plan()", "warm" in str(program.plan()))
    refused("watch()", program.start)
    refused("watch()", program.in_thread)
    refused("watch()", lambda: trio.run(program))
    refused("watch()", lambda: asyncio.run(program()))
    refused("ProcessBridge", lastgood.ProcessBridge)
    before = sorted(os.listdir())
    for command in ("watch", "generate", "generate --check", "undo", "doctor", "demo"):
        result = CliRunner().invoke(command_line, command.split())
        said = " ".join(result.output.split())
        check(f"lastgood {command}: {said}", result.exit_code == 1 and "needs processes" in said and "WSL" in said)
    check("nothing was begun", sorted(os.listdir()) == before)
    for command, status in {"plan": 0, "history": 0, "status": 5, "init new": 0, "--help": 0, "--version": 0}.items():
        result = CliRunner().invoke(command_line, command.split())
        check(f"lastgood {command}", result.exit_code == status)
    print("all of it holds")


if __name__ == "__main__":
    check("loaded", [filelock, signal, watchfiles])
    warnings.simplefilter("error")
    main()
