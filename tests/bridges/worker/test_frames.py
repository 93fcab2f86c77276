"""Frames out of a stream that comes in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bridges.worker.frames import HEADER, FrameError, Inbox

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.binary(max_size=40)), max_size=6)


@given(expected=FRAMES, cuts=st.lists(st.integers(1, 30), min_size=1))
def test_any_cutting_gives_the_same_frames(expected: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(HEADER.pack(len(body), kind, number) + body for kind, number, body in expected)
    inbox, came, turn = Inbox(), [], 0
    while stream:
        size = cuts[turn % len(cuts)]
        came += inbox.feed(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert came == expected


def test_a_length_above_the_limit_is_refused_before_its_body_comes() -> None:
    with pytest.raises(FrameError, match="a frame of 11 bytes, and no frame may have more than 10"):
        Inbox(max_body=10).feed(HEADER.pack(11, 1, 1))
