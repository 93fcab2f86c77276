"""Blocks are lent, read on the other side, and taken again; whatever the other side says, nothing is read that is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lastgood.bridges.worker.values import arena as arena_module
from lastgood.bridges.worker.values.arena import Arena, make_arena

MB = 1 << 20


@pytest.fixture
def sides() -> Iterator[tuple[Arena, Arena]]:
    descriptor = make_arena()
    if descriptor < 0:
        pytest.skip("the system has no memory that is shared by a sealed descriptor")
    writer, reader = Arena(descriptor), Arena(os.dup(descriptor))
    yield writer, reader
    writer.close()
    reader.close()


def test_what_is_put_on_one_side_is_read_on_the_other(sides: tuple[Arena, Arena]) -> None:
    writer, reader = sides
    data = [bytes([number]) * (MB + number) for number in range(3)]
    offsets = [writer.put(each) for each in data]
    assert writer.lent() == offsets
    assert writer.lent() == []
    for offset, each in zip(offsets, data, strict=True):
        assert offset is not None
        assert reader.view(offset, len(each))[: len(each)] == each
    assert reader.reads == 3


def test_a_block_is_used_again_when_it_was_had_back(sides: tuple[Arena, Arena]) -> None:
    writer, _ = sides
    first, second = writer.put(bytes(MB)), writer.put(bytes(MB))
    assert first != second
    writer.reclaim([0])
    assert writer.put(bytes(MB - 5)) == first
    assert writer.put(bytes(MB)) not in (first, second)


def test_a_small_value_does_not_take_a_large_block(sides: tuple[Arena, Arena]) -> None:
    writer, _ = sides
    writer.put(bytes(10 * MB))
    writer.reclaim(writer.lent())
    assert writer.put(bytes(MB)) == 10 * MB


def test_its_size_and_what_it_keeps_are_bounded(sides: tuple[Arena, Arena], monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = sides
    monkeypatch.setattr(arena_module, "LIMIT", 3 * MB)
    monkeypatch.setattr(arena_module, "KEPT", MB)
    offsets = [writer.put(b"x" * MB) for _ in range(4)]
    assert offsets == [0, MB, 2 * MB, None]
    writer.reclaim(writer.lent())
    pages = [reader.view(offset, MB)[:1] for offset in (0, MB, 2 * MB)]
    assert sorted(pages) == [b"\0", b"\0", b"x"]
    assert writer.put(b"y" * MB) is not None


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 0), (-MB, MB), (1, 10), (0, MB + 1), (MB, 1), (2**70, 1), (0, 2**70), ("0", 1), (0, None)],
    ids=str,
)
def test_what_is_not_there_is_a_value_error(sides: tuple[Arena, Arena], offset: int, size: int) -> None:
    writer, reader = sides
    writer.put(bytes(MB))
    with pytest.raises(ValueError, match=r"arena|memory"):
        reader.view(offset, size)


def test_nobody_can_shrink_it(sides: tuple[Arena, Arena]) -> None:
    writer, _ = sides
    writer.put(bytes(MB))
    descriptor = make_arena()
    os.ftruncate(descriptor, MB)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def test_of_many_blocks_few_are_mapped_by_the_reader(sides: tuple[Arena, Arena]) -> None:
    writer, reader = sides
    for _ in range(70):
        writer.put(b"z" * MB)
    assert all(reader.view(offset * MB, MB)[0] == ord("z") for offset in range(70))
    assert len(reader._maps) == 64


def test_without_one_nothing_is_put_or_read() -> None:
    arena = Arena(-1)
    assert arena.put(bytes(MB)) is None
    arena.reclaim([0])
    with pytest.raises(ValueError, match="no such memory"):
        arena.view(0, 1)
    arena.close()


def test_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert make_arena() == -1
