"""A worker that breaks the protocol, floods the app, or is silent harms no more than its own calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lastgood.bridges import process, remote
from lastgood.errors import BridgeError, CallTimeout, WorkerDied
from process_bridges import is_alive, pipes_of, running, script, until

pytestmark = pytest.mark.usefixtures("nothing_is_left")

FAKE = """#!{python}
import os, struct, sys
requests, answers = map(int, sys.argv[3:5])
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(requests, size - len(data))
    return data
def answer(kind, number, body):
    os.write(answers, struct.pack("<IBQ", len(body), kind, number) + body)
def request():
    length, kind, number = struct.unpack("<IBQ", read(13))
    read(length)
    return number
answer(16, request(), b"\\xc0")
number = request()
{misdeed}
request()
"""


@pytest.mark.parametrize("answer", [r"\x05", r"\x91\x05", r"\xc1"], ids=["a number", "numbers", "wrong-msgpack"])
async def test_a_worker_that_answers_its_setup_with_something_else_is_killed(tmp_path: Path, answer: str) -> None:
    text = FAKE.replace(r'b"\xc0")', f'b"{answer}")').format(python=sys.executable, misdeed="")
    fake = script(tmp_path / "python", text)
    with pytest.raises(BridgeError, match="The worker sent invalid data and was killed"):
        async with running(tmp_path, python=fake, modules=[], grace=0.05):
            raise AssertionError("it is ready")


@pytest.mark.parametrize("body", [b"\xa0", b"\xc1"], ids=["no text", "wrong-msgpack"])
def test_a_spare_that_gives_no_reason_is_given_one(body: bytes) -> None:
    assert process._reason(body).startswith("the spare ")


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        (
            "os.write(answers, b'garbage, and a lot of it')",
            "a frame of 1651663207 bytes, and no frame may have more than 1073741824",
        ),
        ("answer(16, number + 1, b'')", "an answer to call 3, which is not open"),
        ("answer(99, number, b'')", "a frame of the unknown kind 99"),
        ("answer(16, number, b'\\xc1')", "malformed"),
        ("answer(16, number, b'\\xc7\\x01\\x63\\xc0')", "no value has the code 99"),
        ("answer(17, number, b'\\xc0')", "unpack"),
        ("answer(16, number, b'\\x91' * 100000)", "(?i)recursion"),
    ],
    ids=["garbage", "wrong-id", "wrong-kind", "wrong-msgpack", "wrong-extension", "wrong-exception", "bomb"],
)
async def test_a_worker_that_breaks_the_protocol_is_killed_and_the_app_unharmed(
    tmp_path: Path, misdeed: str, told: str
) -> None:
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed=misdeed))
    async with running(tmp_path, python=fake, modules=[], grace=0.05) as bridge:
        pid = bridge.pid
        for _ in range(2):
            with pytest.raises(BridgeError, match=told):
                await bridge.call("svc", "f", [], {})
        assert pid is not None
        await until(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        ("while True: answer(32, 0, late())", "more than 10000"),
        ("while True: answer(16, 10**6, bytes(100))", "an answer to call 1000000, which is not open"),
        ("while True: answer(33, number + 7, b'')", "a notice of call 9, which is not open"),
    ],
    ids=["modules-loaded-late", "answers", "calls-apart"],
)
async def test_a_worker_that_floods_the_app_is_killed(tmp_path: Path, misdeed: str, told: str) -> None:
    late = (
        "count = 0\n"
        "def late():\n"
        "    global count\n"
        "    count += 1\n"
        "    return b'\\x93\\xa1a\\xad/p/' + b'%07d' % count + b'.py\\xc4\\x01c'\n"
    )
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed=late + misdeed))
    async with running(Path("/p"), python=fake, modules=[], grace=0.05) as bridge:
        pid = bridge.pid
        with pytest.raises(BridgeError, match=told):
            await bridge.call("svc", "f", [], {})
        assert pid is not None
        await until(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    "misdeed",
    [
        "read(10**9)",
        "os.write(answers, struct.pack('<IBQ', 1 << 30, 16, number) + b'x'); read(10**9)",
        "while True: answer(33, number, b'')",
    ],
    ids=["silence", "a-giant-that-never-comes", "endless-word"],
)
async def test_a_worker_that_never_answers_costs_a_call_its_time_and_no_more(tmp_path: Path, misdeed: str) -> None:
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed=misdeed))
    async with running(tmp_path, python=fake, modules=[], grace=0.05, timeout=0.05) as bridge:
        for _ in range(2):
            with pytest.raises(CallTimeout):
                await bridge.call("svc", "f", [], {})


async def test_a_worker_that_floods_stderr_is_not_kept_in_memory(
    source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (source / "flood.py").write_text(
        "import os, sys\ndef flood():\n    for _ in range(200): os.write(2, b'x' * 99_999 + b'\\n')\n    os._exit(1)\n"
    )
    async with running(source, modules=["flood"]) as bridge:
        with pytest.raises(WorkerDied) as died:
            await bridge.call("flood", "flood", [], {})
    assert len(died.value.stderr) <= 16 * 1024
    assert len(capfd.readouterr().err) == 20_000_000


async def test_no_program_that_app_or_worker_starts_inherits_the_wire(source: Path) -> None:
    (source / "starting.py").write_text(
        "import subprocess\n"
        "def open_in_a_child():\n"
        "    command = ['sh', '-c', 'ls -l /proc/$$/fd']\n"
        "    return subprocess.run(command, close_fds=False, capture_output=True, text=True).stdout\n"
    )
    async with running(source, modules=["starting"]) as bridge:
        wire = pipes_of(bridge.pid)
        listed = await bridge.call("starting", "open_in_a_child", [], {})
        command = ["sh", "-c", "ls -l /proc/$$/fd"]
        listed += subprocess.run(command, close_fds=False, capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221 - it takes no time
        stderr = os.readlink(f"/proc/{bridge.pid}/fd/2")
    # requests, answers, log records, what it prints, and two arenas where there are any
    assert len(wire) == (6 if hasattr(os, "memfd_create") else 4)
    assert not [pipe for pipe in wire - {stderr} if pipe.partition(" ")[0] in listed]


async def test_a_worker_that_closes_its_pipes_and_stays_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_EXIT_WAIT", 0.01)
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed="os.close(answers)"))
    async with running(tmp_path, python=fake, modules=[]) as bridge:
        with pytest.raises(WorkerDied):
            await bridge.call("svc", "f", [], {})
