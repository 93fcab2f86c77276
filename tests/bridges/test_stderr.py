"""The pump: everything on at once, a bounded tail kept, and always an end."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import pytest

from lastgood.bridges.stderr import StderrPump


def pumped(written: bytes) -> StderrPump:
    """A pump whose worker has written this and gone."""
    pump = StderrPump()
    os.set_blocking(pump.write_end, False)
    assert os.write(pump.write_end, written) == len(written)
    pump.start("pump")
    pump.finish()
    return pump


def test_bytes_pass_on_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert pumped("one\ntwö\n".encode()).tail() == "one\ntwö"
    assert capfd.readouterr().err == "one\ntwö\n"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b"", ""),
        (b"no newline", "no newline"),
        (b"".join(b"%d\n" % n for n in range(1000)), "\n".join(map(str, range(936, 1000)))),
        (b"x" * 40_000, "x" * 16_384),
        (b"\xff\n", "\ufffd"),
    ],
    ids=["nothing", "no-newline", "many-lines", "long-line", "not-utf-8"],
)
def test_the_tail_is_the_last_64_lines_in_16_kib(written: bytes, kept: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert pumped(written).tail() == kept
    assert len(capfd.readouterr().err) == len(written.decode(errors="replace"))


def test_finish_returns_while_another_process_holds_the_pipe() -> None:
    pump = StderrPump()
    grandchild = os.dup(pump.write_end)
    os.write(grandchild, b"so far\n")
    pump.start("pump")
    pump.finish()
    assert pump.tail() == "so far"
    os.close(grandchild)


def test_finish_returns_while_nobody_reads_the_apps_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    unread, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while os.write(full, bytes(65536)):
            pass
    os.set_blocking(full, True)
    monkeypatch.setattr("lastgood.bridges.stderr._app_stderr", lambda: os.dup(full))
    assert pumped(b"nobody sees this\n").tail() == "nobody sees this"
    os.close(unread)
    os.close(full)


@pytest.mark.parametrize("target", ["none", "gone"])
def test_an_app_without_stderr_still_has_the_tail(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed_pipe() -> int:
        read_end, write_end = os.pipe()
        os.close(read_end)
        return write_end

    monkeypatch.setattr("lastgood.bridges.stderr._app_stderr", {"none": lambda: -1, "gone": closed_pipe}[target])
    assert pumped(b"kept\n").tail() == "kept"


def test_nothing_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    pump = StderrPump()
    pump.finish()
    pump.finish()
    pumped(b"").finish()
    assert len(os.listdir("/proc/self/fd")) == before
    assert "pump" not in [thread.name for thread in threading.enumerate()]
