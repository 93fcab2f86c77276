"""The worker's reading, frame by frame, without a process; what it does with calls is tested through real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lastgood.bridges.process import VALUES
from lastgood.bridges.worker import importing, main
from lastgood.bridges.worker.frames import CALL, FORGET, HEADER, MAX_BODY, PIN, SETUP
from lastgood.bridges.worker.serving import Worker


class Reading:
    """A worker, and the app's end of its requests."""

    def __init__(self) -> None:
        requests, self.app = os.pipe()
        self.descriptors = requests, self.app
        self.worker = Worker(requests, -1)

    def send(self, kind: int, number: int, body: bytes = b"") -> list[tuple[int, bytes]] | None:
        """What it reads then: the calls that came; None if it reads no more."""
        os.write(self.app, HEADER.pack(len(body), kind, number) + body)
        return self.worker._read()

    def pin(self, told: Any) -> list[tuple[int, bytes]] | None:
        return self.send(PIN, 0, VALUES.dumps(told))


class Sources:
    def __init__(self) -> None:
        self.pinned: list[tuple[str, bytes]] = []

    def pin(self, path: str, source: bytes) -> None:
        self.pinned.append((path, source))


@pytest.fixture
def reading() -> Iterator[Reading]:
    made = Reading()
    yield made
    for descriptor in made.descriptors:
        os.close(descriptor)


def test_a_module_is_pinned_also_if_that_comes_before_there_are_sources(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reading.pin(["/p/early.py", b"1"]) == []
    sources = Sources()
    monkeypatch.setattr(importing, "install", lambda *_: sources)
    reading.worker._modules.install({"import_path": [], "pinned": None, "codes": None}, (), None)
    assert reading.pin(["/p/late.py", b"2"]) == []
    assert sources.pinned == [("/p/early.py", b"1"), ("/p/late.py", b"2")]


@pytest.mark.parametrize("told", [["/p/a.py", "text"], [1, b""], ["/p/a.py"], 5], ids=repr)
def test_what_can_be_no_module_to_pin_ends_the_reading(
    reading: Reading, told: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reading.pin(told) is None
    assert "cannot read from its app" in capsys.readouterr().err


def test_of_a_call_that_was_answered_already_nothing_is_kept_when_it_is_forgotten(reading: Reading) -> None:
    assert reading.send(FORGET, 7) == []
    assert not reading.worker._forgotten


NOTHING = VALUES.dumps([])


@pytest.mark.parametrize(
    "sent",
    [
        HEADER.pack(len(NOTHING), CALL, 1) + NOTHING,
        HEADER.pack(MAX_BODY + 1, SETUP, 1),
    ],
    ids=["a call", "more than a frame can have"],
)
def test_what_does_not_begin_as_an_app_does_is_told_and_gets_no_worker(sent: bytes) -> None:
    requests, app = os.pipe()
    os.write(app, sent)
    os.close(app)
    command = [sys.executable, "-u", main.__file__, str(requests), "1", "-1", "-1", "-1", str(os.getpid())]
    worker = subprocess.run(command, pass_fds=[requests], capture_output=True, text=True, check=False)
    os.close(requests)
    assert (worker.returncode, worker.stdout) == (1, "")
    assert worker.stderr == "lastgood's worker was started by something that is not its app.\n"
