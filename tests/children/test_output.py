"""What a child prints: everything on at once, a bounded end kept, and always an end to the reading."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from lastgood.children import output
from lastgood.children.output import LineMarker, Output


def pumped(written: bytes) -> Output:
    """The output of a child that has written this and gone."""
    pump = Output(forward=True)
    os.set_blocking(pump.write_end, False)
    assert os.write(pump.write_end, written) == len(written)
    pump.close_write_end()
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


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo\n"),
        (b"x" * 16_384, "x" * 16_384),
        (b"x" * 10_000 + b"\n" + b"y" * 10_000, "…" + "y" * 10_000),
        (b"x" * 20_000, "…" + "x" * 16_384),
        (b"x" * 40_000 + b"\n", "…" + "x" * 16_383 + "\n"),
    ],
    ids=["nothing", "lines", "just-fits", "part-of-a-line-is-cut", "one-line", "one-ended-line"],
)
def test_the_text_is_what_there_is_or_the_lines_in_its_last_16_kib(written: bytes, kept: str) -> None:
    assert pumped(written).text() == kept


@pytest.mark.parametrize("can_poll", [True, False], ids=["poll", "no poll"])
def test_finish_returns_while_another_process_holds_the_pipe(can_poll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_CAN_POLL", can_poll)
    monkeypatch.setattr(output, "_JOIN", 0.05)
    pump = Output(forward=False)
    grandchild = os.dup(pump.write_end)
    os.write(grandchild, b"so far\n")
    pump.close_write_end()
    while not can_poll and not pump.tail():
        os.sched_yield()
    pump.finish()
    assert pump.tail() == "so far"
    os.close(grandchild)
    pump.finish()
    assert not pump._thread.is_alive()


def test_where_no_pipe_can_be_polled_all_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_CAN_POLL", False)
    pump = Output(forward=False)
    os.write(pump.write_end, b"one\ntwo")
    pump.finish()
    assert pump.tail() == "one\ntwo"


def test_finish_returns_while_nobody_reads_the_apps_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    unread, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while os.write(full, bytes(65536)):
            pass
    os.set_blocking(full, True)
    monkeypatch.setattr("lastgood.children.output._app_stderr", lambda: os.dup(full))
    assert pumped(b"nobody sees this\n").tail() == "nobody sees this"
    os.close(unread)
    os.close(full)


@pytest.mark.parametrize("target", ["none", "gone"])
def test_an_app_without_stderr_still_has_the_tail(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed_pipe() -> int:
        read_end, write_end = os.pipe()
        os.close(read_end)
        return write_end

    monkeypatch.setattr("lastgood.children.output._app_stderr", {"none": lambda: -1, "gone": closed_pipe}[target])
    assert pumped(b"kept\n").tail() == "kept"


@pytest.mark.usefixtures("nothing_is_left")
def test_what_ends_twice_leaves_nothing() -> None:
    pump = Output(forward=True)
    pump.finish()
    pump.finish()
    pumped(b"").finish()


@pytest.mark.parametrize(
    ("chunks", "given"),
    [
        ([b"one\ntwo\n"], [b"> one\n> two\n"]),
        ([b"on", b"e\ntw", b"o\n"], [b"", b"> one\n", b"> two\n"]),
        ([b"\n\n"], [b"> \n> \n"]),
        ([b"\xff\xfe\n"], [b"> \xff\xfe\n"]),
        ([b"x" * 9000, b"y" * 9000, b"z\nnext\n"], [b"> " + b"x" * 9000, b"y" * 9000, b"z\n> next\n"]),
        ([b"10%\r20%\r\n"], [b"> 10%\r> 20%\r\n"]),
        ([b"line\r\n"], [b"> line\r\n"]),
    ],
    ids=["lines", "partial lines", "empty lines", "not UTF-8", "a long line", "a progress bar", "of Windows"],
)
def test_each_line_is_marked_once_its_end_has_come(chunks: list[bytes], given: list[bytes]) -> None:
    marker = LineMarker(b"> ")
    assert [marker.feed(chunk) for chunk in chunks] == given
    assert not marker.holds()


def test_a_line_whose_end_does_not_come_is_shown_and_goes_on_unmarked() -> None:
    marker = LineMarker(b"> ")
    assert marker.feed(b"name?") == b""
    assert marker.holds()
    assert marker.flush() == b"> name?"
    assert marker.flush() == b""
    assert marker.feed(b" Ann\nBob") == b" Ann\n"
    assert marker.flush() == b"> Bob"


def test_output_is_marked_and_the_beginning_of_a_line_comes_after_a_while(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_PATIENCE", 0)
    pump = Output(forward=True, mark=b"> ")
    os.write(pump.write_end, b"one\nname?")
    while os.fstat(2).st_size < len("> one\n> name?"):  # what is written while capfd reads would be lost
        os.sched_yield()
    assert capfd.readouterr().err == "> one\n> name?"
    os.write(pump.write_end, b" Ann\nlast")
    pump.finish()
    assert capfd.readouterr().err == " Ann\n> last"
    assert pump.tail() == "one\nname? Ann\nlast"
