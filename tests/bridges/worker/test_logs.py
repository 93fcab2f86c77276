"""The pipe of log records, without a process: what nobody takes is bounded, and what is lost is counted."""

from __future__ import annotations

import os

import msgspec

from lastgood.bridges.worker import frames
from lastgood.bridges.worker.logs import MAX_WAITING, LogPipe


def test_of_what_nobody_takes_the_oldest_is_dropped_and_counted() -> None:
    app, worker = os.pipe()
    os.set_blocking(worker, False)
    pipe = LogPipe(worker)
    number = 5000
    for each in range(number):
        pipe.put([each, "x" * 1000])
    assert pipe._size <= MAX_WAITING
    assert pipe._writer is not None
    inbox = frames.Inbox()
    received: list[int] = []
    while not received or received[-1] != number - 1:
        for _, _, body in inbox.feed(os.read(app, 1 << 16)):
            sent = msgspec.msgpack.decode(body)
            received.append(sent[0] if isinstance(sent, list) else -sent)
    if (writer := pipe._writer) is not None:
        writer.join()
    for descriptor in (app, worker):
        os.close(descriptor)
    records = [each for each in received if each >= 0]
    dropped = -sum(each for each in received if each < 0)
    assert dropped > 0
    assert dropped + len(records) == number
    assert records == sorted(set(records))


def test_without_a_pipe_nothing_is_announced() -> None:
    assert not LogPipe().unannounced


def test_when_the_app_has_gone_records_are_let_go() -> None:
    app, worker = os.pipe()
    os.set_blocking(worker, False)
    os.close(app)
    pipe = LogPipe(worker)
    pipe.put(["nobody", "reads"])
    os.close(worker)
    assert pipe._size == 0
