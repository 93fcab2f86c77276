"""lastgood.interpreters.memory: the virtual clock, and files that notice who changes them. The rest is in test_testing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.interpreters.memory import MemoryClock
from lastgood.store.memory_files import MemoryFiles


def test_time_moves_when_it_is_told_to_and_calls_what_is_due_in_order() -> None:
    clock = MemoryClock(100.0)
    called: list[tuple[str, float]] = []
    for name, seconds in (("late", 3.0), ("early", 1.0), ("also early", 1.0)):
        clock.call_later(name, seconds, lambda name=name: called.append((name, clock.now)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    clock.advance(0.9)
    assert called == []
    clock.advance(0.1)
    assert called == [("early", 101.0), ("also early", 101.0)]
    clock.advance(10)
    assert called[2:] == [("late", 103.0)]
    assert clock.now == 111.0


def test_what_is_forgotten_is_not_called() -> None:
    clock = MemoryClock()
    called: list[str] = []
    clock.call_later("a", 1.0, lambda: called.append("a"))
    clock.call_later("b", 1.0, lambda: called.append("b"))
    clock.forget("a")
    clock.advance(5)
    assert called == ["b"]


def test_what_is_called_can_ask_for_more_on_the_way() -> None:
    clock = MemoryClock(0.0)
    called: list[float] = []

    def again() -> None:
        called.append(clock.now)
        clock.call_later("again", 1.0, again)

    again()
    clock.advance(3.5)
    assert called == [0.0, 1.0, 2.0, 3.0]


def test_every_change_is_an_operation_and_a_save_by_an_editor_is_not() -> None:
    files = MemoryFiles()
    seen: list[tuple[str, str]] = []
    files.before = lambda operation, path: seen.append((operation, path.name))
    files.put(Path("/p/a"), b"1")
    files.read(Path("/p/a"))
    files.stat(Path("/p/a"))
    files.children(Path("/p"))
    assert seen == []
    files.mkdir(Path("/p/d"))
    files.write(Path("/p/b"), b"")
    files.link(Path("/p/b"), Path("/p/c"))
    files.replace(Path("/p/c"), Path("/p/a"))
    files.chmod(Path("/p/a"), 0o600)
    files.barrier((Path("/p/a"),))
    files.unlink(Path("/p/b"))
    files.rmdir(Path("/p/d"))
    assert [operation for operation, _ in seen] == [
        "mkdir",
        "write",
        "link",
        "replace",
        "chmod",
        "barrier",
        "unlink",
        "rmdir",
    ]


def test_an_operation_that_is_refused_changes_nothing() -> None:
    files = MemoryFiles()

    def refuse(operation: str, path: Path) -> None:
        raise OSError(operation, path)

    files.put(Path("/p/a"), b"1")
    files.before = refuse
    with pytest.raises(OSError, match="write"):
        files.write(Path("/p/b"), b"2")
    with pytest.raises(OSError, match="unlink"):
        files.unlink(Path("/p/a"))
    assert files.children(Path("/p")) == ["a"]


def test_a_save_makes_a_new_file_with_the_old_ones_mode() -> None:
    clock = MemoryClock(100.0)
    files = MemoryFiles(lambda: clock.now)
    files.put(Path("/p/a"), b"1")
    files.chmod(Path("/p/a"), 0o600)
    files.link(Path("/p/a"), Path("/p/b"))
    clock.advance(5)
    files.put(Path("/p/a"), b"2")
    assert (files.names[Path("/p/a")].mode, files.names[Path("/p/a")].mtime) == (0o600, 105.0)
    assert files.read(Path("/p/b")) == b"1"
