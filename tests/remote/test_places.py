"""Places: what a bridge needs of them, and what a person is told of one that does not work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.errors import BridgeError
from lastgood.remote import BOOTSTRAP, CommandPlace, RemoteBridge, SshBridge
from lastgood.remote import ssh as ssh_module
from lastgood.remote.ssh import SshPlace
from places import Elsewhere, config_of
from process_bridges import DEADLINE, interpreter, script
from staged_project import StagedProject, run

pytestmark = pytest.mark.usefixtures("nothing_is_left")


class EmbeddedPlace:
    """A place of a user's own: the sixty lines that a bridge for another engine needs, in fewer."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: trio.Process | None = None

    def __str__(self) -> str:
        return "my engine"

    async def start(self) -> None:
        # The thread that starts the host does not matter, since what is there ends with its stdin.
        env = {**os.environ, "XDG_CACHE_HOME": str(self._home)}
        command = [sys.executable, "-c", BOOTSTRAP]
        self._process = await trio.lowlevel.open_process(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    async def send(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._process.stdin.send_all(data)

    async def gone(self, received: Callable[[bytes], Awaitable[None]]) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        async for chunk in self._process.stdout:
            await received(bytes(chunk))
        return "my engine has ended it"

    async def remove(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            await self._process.stdin.aclose()
            await self._process.wait()
            await self._process.stdout.aclose()


async def test_a_place_of_ones_own_is_enough_for_a_bridge(staged: StagedProject, tmp_path: Path) -> None:
    bridge = RemoteBridge(config_of(staged), lambda: EmbeddedPlace(tmp_path / "there"))
    with trio.fail_after(DEADLINE):
        await bridge.init()
        assert await run(bridge, "result = 1") == 1
        await bridge.dispose()


async def test_what_a_shell_prints_before_the_host_starts_does_no_harm(
    staged: StagedProject, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    elsewhere.python = str(
        script(tmp_path / "greeter", f'#!/bin/sh\necho "Welcome to gpu1!"\nexec {sys.executable} "$@"\n')
    )
    async with elsewhere.running(staged) as bridge:
        assert await run(bridge, "result = 1") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#!/bin/sh\necho no room >&2\nexit 7\n", "ended with status 7: no room"),
        ("#!/bin/sh\nyes\n", "it prints without end, and starts no host"),
        (f"#!{sys.executable}\nprint('\\0lastgood-host-1\\n' + 'x' * 100, flush=True)\n", "what no host sends"),
    ],
    ids=["ends", "babbles", "lies"],
)
async def test_a_command_that_starts_no_host_is_named_with_the_reason(
    staged: StagedProject, elsewhere: Elsewhere, tmp_path: Path, text: str, expected: str
) -> None:
    elsewhere.python = str(script(tmp_path / "program", text))
    with pytest.raises(BridgeError, match=rf"The worker's place is lost: a place here: .*{expected}") as failed:
        async with elsewhere.running(staged):
            pass
    assert failed.value.blame == "place"


async def test_a_command_that_does_not_exist_is_the_places_fault(staged: StagedProject) -> None:
    bridge = RemoteBridge(config_of(staged), lambda: CommandPlace(["no-such-program", "-c", BOOTSTRAP]))
    with pytest.raises(
        BridgeError, match="no-such-program -c: no-such-program cannot be started: there is no such"
    ) as failed:
        await bridge.init()
    assert failed.value.blame == "place"


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8"])
async def test_a_python_that_is_too_old_says_so(staged: StagedProject, elsewhere: Elsewhere, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    elsewhere.python = str(python)
    with pytest.raises(BridgeError, match=rf"Python 3\.9 or newer there, and .* is Python {version}"):
        async with elsewhere.running(staged):
            pass


async def test_an_error_of_a_users_own_place_counts_as_its_loss(
    staged: StagedProject, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(CommandPlace):
        async def gone(self, _: Any) -> str:
            raise LookupError("mine")

    place = Broken([elsewhere.python, "-c", BOOTSTRAP], name="a broken place")
    bridge = RemoteBridge(config_of(staged), lambda: place)
    with pytest.raises(BridgeError, match="a broken place: LookupError: mine"):
        await bridge.init()
    assert "gone() of a broken place raised" in caplog.text


@pytest.mark.parametrize("home", ["link", "file"])
async def test_a_cache_that_is_not_private_is_not_used(
    staged: StagedProject, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    elsewhere.cache.parent.mkdir(parents=True)
    if home == "link":
        elsewhere.cache.symlink_to(tmp_path)
    else:
        elsewhere.cache.write_text("in the way")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    async with elsewhere.running(staged) as bridge:
        assert (await run(bridge, "import svc; result = svc.__file__")).startswith(str(temporary))
    (temporary / f"lastgood-{os.geteuid()}").rename(temporary / "elsewhere")
    (temporary / f"lastgood-{os.geteuid()}").symlink_to(temporary / "elsewhere")
    with pytest.raises(BridgeError, match=r"cannot keep what is shipped: .*it is a link, .*Set XDG_CACHE_HOME there"):
        async with elsewhere.running(staged):
            pass


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch /tmp/x", "two words", "line\nbreak", "nul\0"])
def test_a_host_that_ssh_would_take_for_something_else_is_refused(staged: StagedProject, host: str) -> None:
    with pytest.raises(ValueError, match="host: expected a destination for ssh"):
        SshBridge.from_config(config_of(staged), host)


def test_a_python_that_would_be_an_option_is_refused(staged: StagedProject) -> None:
    with pytest.raises(ValueError, match="python: expected a command of the other side"):
        SshBridge.from_config(config_of(staged), "gpu1", python="-c")


@pytest.mark.parametrize(
    ("status", "stderr", "expected"),
    [
        (
            255,
            "ssh: Could not resolve hostname gpu1: Name or service not known",
            r"the host is unknown \(ssh: Could not",
        ),
        (
            255,
            "me@gpu1: Permission denied (publickey).",
            "authentication was refused .* ssh -o BatchMode=yes gpu1 true",
        ),
        (255, "Host key verification failed.", "its host key is not known, .* Connect once by hand: ssh gpu1"),
        (
            255,
            "ssh: connect to host gpu1 port 22: Connection refused",
            "ssh: connect to host gpu1 port 22: Connection refused",
        ),
        (255, "", "the connection was closed, or the host there was killed"),
        (
            127,
            "bash: line 1: exec: python3: not found",
            r"there is no python3 there, so set python= .*exec: python3: not found",
        ),
        (126, "bash: /etc: Is a directory", "python3 may not be executed there"),
        (
            1,
            "lastgood needs Python 3.9 or newer there, and /usr/bin/python3 is Python 3.8",
            "needs Python 3.9 or newer",
        ),
    ],
)
def test_what_ssh_says_is_explained(status: int, stderr: str, expected: str) -> None:
    assert re.match(f".*{expected}", SshPlace("gpu1").reason(status, stderr))


async def test_a_missing_ssh_is_named(staged: StagedProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BridgeError, match=r"ssh gpu1: there is no ssh command on PATH\. Install OpenSSH's client"):
        await SshBridge.from_config(config_of(staged), "gpu1").init()


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "tcsh"])
def test_the_command_runs_in_every_shell(shell: str, tmp_path: Path) -> None:
    link = tmp_path / "my python"
    link.symlink_to(sys.executable)
    env = {**os.environ, "HOME": str(tmp_path)}
    for python in (sys.executable, "~/my python"):
        command = [shell, "-c", ssh_module.remote_command(python)]
        try:
            ran = subprocess.run(command, input=b"print('ran')\n", capture_output=True, env=env, check=False)
        except FileNotFoundError:
            pytest.skip(f"there is no {shell} on this machine")
        assert (ran.returncode, ran.stdout) == (0, b"ran\n")
