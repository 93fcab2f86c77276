"""Whatever a power failure leaves of a promotion, the next start makes the old generation of it or the new one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from lastgood.errors import LastgoodError
from lastgood.store.file_system import digest_of
from lastgood.store.header import with_header
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting
from lastgood.store.trees import make_directories, remove_tree, staged_place
from output_trees import Killed
from power_loss import KEPT, PageCache, Tree, power_losses, tree_of

TOP = Path("/p/generated")
OLD = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "old",
    "prices.json": "old, without a header",
    "removed.py": "goes",
    "emptied/deep/mod.py": "goes, and its directories",
    "edited.py": "generated",
    "file.py": "a directory in the next",
    "directory.py/file.py": "a file in the next",
}
NEW = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "new",
    "prices.json": "new, without a header",
    "new.json": "new, without a header",
    "edited.py": "generated anew",
    "cloned.py": "generated anew",
    "fresh/deep/mod.py": "new, with its directories",
    "file.py/within.py": "was a file",
    "directory.py": "was a directory",
}
NEXT = {"__init__.py": "", "changed.py": "newest", "new.json": "newest", "removed.py": "comes back"}


def bytes_of(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: with_header(name, text) if name.endswith(".py") else text.encode() for name, text in texts.items()}


def staged(output: OutputDirectory, texts: dict[str, str], cycle: int = 1) -> Promoting:
    files, stage = output.files, output.home / f"stage-{cycle}"
    files.mkdir(stage)
    for name, data in bytes_of(texts).items():
        make_directories(files, staged_place(stage, name).parent)
        files.write(staged_place(stage, name), data)
    return Promoting(output, stage, {name: digest_of(data) for name, data in bytes_of(texts).items()})


Act = Callable[[PageCache], list[Tree]]
"""Returns what the output directory may be from then on."""


def promote(files: PageCache, *generations: dict[str, str], is_swept: bool = True) -> list[Tree]:
    output = OutputDirectory.claim(files, TOP, 1)
    ends = []
    for cycle, texts in enumerate(generations):
        promoting = staged(output, texts, cycle)
        promoting.apply()
        promoting.commit()
        ends.append(tree_of(files, TOP))
        if is_swept:
            promoting.sweep()
        remove_tree(files, promoting.stage)
    output.release()
    return ends


def undo(files: PageCache) -> list[Tree]:
    output = OutputDirectory.claim(files, TOP, 1)
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.undo()
    remove_tree(files, promoting.stage)
    output.release()
    return []


def recover(files: PageCache) -> list[Tree]:
    OutputDirectory.claim(files, TOP, 2).release()
    return [tree_of(files, TOP)]


def empty() -> PageCache:
    files = PageCache()
    files.put(TOP.parent / "source.py", b"")
    return files


def old(*, links: bool = True) -> PageCache:
    """An output directory as an earlier generation and its user have left it."""
    files = PageCache(links=links)
    files.put(TOP.parent / "source.py", b"")
    promote(files, OLD)
    files.put(TOP / "cloned.py", with_header("cloned.py", "committed, and in no manifest"))
    files.put(TOP / "edited.py", b"edited by hand")
    files.put(TOP / "notes.txt", b"somebody else's")
    for mode, name in enumerate(OLD, 0o600):
        files.chmod(TOP / name, mode)
    files.chmod(TOP / "emptied", 0o750)
    files.chmod(TOP / "emptied/deep", 0o700)
    files.flush()
    return files


def promoted(texts: dict[str, str] = NEW) -> PageCache:
    """As it is when everything of a promotion has been done except the commit, and nothing is lost."""
    files = old()
    staged(OutputDirectory.claim(files, TOP, 1), texts).apply()
    return files.after_power_failure(len(files.changes), KEPT)


@dataclass(frozen=True)
class Journey:
    """What is done to a file system; up to the barrier ``known``, it is the same as in another journey."""

    begin: Callable[[], PageCache]
    act: Act
    known: int = 0

    def run(self, skipped: int | None = None) -> tuple[PageCache, int, list[Tree]]:
        """Return the file system, how many changes it had before, and what the output directory may be afterwards.

        The barrier ``skipped`` does nothing; the changes before it count as those before the journey then.
        """
        files = self.begin()
        begun, known = len(files.changes), len(files.barriers)
        ends = [tree_of(files, TOP)]
        files.skips = lambda number: skipped is not None and number == known + skipped
        ends += self.act(files)
        first = self.known if skipped is None else skipped
        return files, files.barriers[known + first] if first else begun, ends


JOURNEYS = {
    "first promotion": Journey(empty, lambda files: promote(files, OLD)),
    "promotion": Journey(old, lambda files: promote(files, NEW)),
    "two promotions": Journey(old, lambda files: promote(files, NEW, NEXT, is_swept=False), known=2),
    "undoing": Journey(old, undo, known=2),
    "recovery": Journey(promoted, recover),
}
BARRIERS = {
    "first promotion": ("what git ignores", "what comes before the journal", "the journal", "the changes", ""),
    "promotion": ("what comes before the journal", "the journal", "the changes", "the commit"),
    "two promotions": ("", "", "", "the first commit", "", "", ""),
    "undoing": ("", "", "", "directories made again", "more of them", "what is restored"),
    "recovery": ("directories made again", "more of them", "what is restored"),
}
"""What each barrier of a journey is for; empty: the same as in one above, or for nothing that can be lost here."""


class Checker:
    """Recovers file systems, and promotes into them afterwards; once for all that are alike after the recovery."""

    def __init__(self, ends: list[Tree]) -> None:
        self.ends = ends
        self._good: set[object] = set()

    def check(self, files: PageCache) -> None:
        recover(files)
        found = tree_of(files, TOP)
        assert found in self.ends, "neither one generation nor the other"
        home = TOP.parent / ".lastgood" / TOP.name
        assert {*files.children(home)} <= {"lock", "manifest.json", "kept"}
        assert files.read(home.parent / ".gitignore") == b"*\n"
        key = frozenset((path, file.data, file.mode) for path, file in files.names.items())
        if key in self._good:
            return
        for texts in (NEW, NEXT):
            (tree,) = promote(files, texts)
            assert bytes_of(texts).items() <= {name: data for name, (data, _, _) in tree.items()}.items()
        self._good.add(key)


def losses(
    files: PageCache, begun: int, *, singly: bool = False, samples: int = 0, at_barriers: bool = False
) -> Iterator[tuple[str, PageCache]]:
    """Return what a power failure could leave, each once, and how it came about.

    ``at_barriers``: just before each barrier and at the end. What can be left after each single change is of the same kind.
    """
    seen: set[object] = set()
    for at in (
        [each for each in files.barriers if each >= begun] if at_barriers else range(begun, len(files.changes) + 1)
    ):
        for fate in power_losses(files, at, singly=singly, samples=samples):
            left = files.after_power_failure(at, fate)
            inodes = ((path, file.number, file.mode, file.data) for path, file in left.names.items())
            key = frozenset(inodes), frozenset(left.directories.items())
            if key not in seen:
                seen.add(key)
                yield f"after {at - begun} changes, the last {files.changes[at - 1]}: {fate.name}", left


def problem_of(checker: Checker, files: PageCache) -> Exception | None:
    try:
        checker.check(files)
    except (AssertionError, LastgoodError, OSError) as error:
        return error
    return None


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_it_comes_back_to_one_generation_or_the_other(journey: Journey) -> None:
    files, begun, ends = journey.run()
    checker, states = Checker(ends), 0
    for how, left in losses(files, begun, at_barriers=True, samples=6):
        states += 1
        assert problem_of(checker, left) is None, how
    assert states > 30


@pytest.mark.torture
@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_after_every_change_and_at_random_it_does_too(journey: Journey) -> None:
    files, begun, ends = journey.run()
    checker = Checker(ends)
    for how, left in losses(files, begun, singly=True, samples=30):
        assert problem_of(checker, left) is None, how


@pytest.mark.torture
@pytest.mark.parametrize("name", ["first promotion", "promotion", "undoing"])
def test_a_recovery_that_is_cut_short_by_a_power_failure_is_made_good_by_the_next(name: str) -> None:
    """After a power failure and after a kill, which has lost nothing yet."""
    files, begun, ends = JOURNEYS[name].run()
    checker = Checker(ends)
    killed = (
        (f"killed after {at - begun} changes", files.after_kill(at)) for at in range(begun, len(files.changes), 3)
    )
    for first, left in itertools.chain(losses(files, begun, at_barriers=True, samples=2), killed):
        known = len(left.changes)
        recover(left)
        for second, again in losses(left, known, at_barriers=True, samples=2):
            assert problem_of(checker, again) is None, f"{first}, then {second}"


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, purposes in BARRIERS.items() for number, purpose in enumerate(purposes) if purpose],
)
def test_without_any_one_of_its_barriers_it_does_not(name: str, number: int) -> None:
    files, begun, ends = JOURNEYS[name].run(number)
    checker = Checker(ends)
    assert any(problem_of(checker, left) is not None for _, left in losses(files, begun))


@pytest.mark.parametrize("name", BARRIERS)
def test_no_barrier_is_left_out_here(name: str) -> None:
    files, _, _ = JOURNEYS[name].run()
    assert len(files.barriers) == len(JOURNEYS[name].begin().barriers) + len(BARRIERS[name])


def test_without_hard_links_it_is_the_same() -> None:
    files, begun, ends = Journey(lambda: old(links=False), lambda files: promote(files, NEW)).run()
    checker = Checker(ends)
    for how, left in losses(files, begun, at_barriers=True):
        assert problem_of(checker, left) is None, how


def test_what_somebody_changed_before_it_was_undone_is_never_lost() -> None:
    files = promoted()
    files.put(TOP / "changed.py", b"somebody's")
    begun = len(files.changes)
    recover(files)
    for how, left in losses(files, begun):
        assert b"somebody's" in {file.data for file in left.names.values()}, how


def test_a_journal_of_another_key_survives_until_a_promotion_is_committed() -> None:
    """A start whose key is another one promotes over it; with the first key, it is undone unless that was committed."""
    files = promoted({name: text for name, text in NEW.items() if name.endswith(".py")})
    begun, own = len(files.changes), files.secret
    files.secret = b"another"
    output = OutputDirectory.claim(files, TOP, 1)
    torn = tree_of(files, TOP)
    promoting = staged(output, {name: text for name, text in NEXT.items() if name.endswith(".py")})
    promoting.apply()
    for how, left in losses(files, begun, at_barriers=True):
        recover(left)
        assert tree_of(left, TOP) == torn, how
        left.secret = own
        recover(left)
        assert tree_of(left, TOP) == tree_of(old(), TOP), how
    new, begun = tree_of(files, TOP), len(files.changes)
    promoting.commit()
    promoting.sweep()
    for how, left in losses(files, begun):
        recover(left)
        found = tree_of(left, TOP)
        assert found in (torn, new), how
        left.secret = own
        recover(left)
        assert found == torn or tree_of(left, TOP) == new, how


@pytest.mark.parametrize("torn", [b"", b"new, with", bytes(9)], ids=["empty", "half", "holes"])
def test_new_files_that_are_torn_all_the_same_block_nothing(torn: bytes) -> None:
    """As by a disk that does not keep its word."""
    files = old()
    output = OutputDirectory.claim(files, TOP, 1)
    promoting = staged(output, NEW)

    def lost(operation: str, path: Path) -> None:
        if operation == "unlink" and path.name == "new.json.staged":
            raise Killed

    files.before = lost
    with pytest.raises(Killed):
        promoting.apply()
    files.before = lambda _operation, _path: None
    files.names[TOP / "new.json"] = replace(files.names[TOP / "new.json"], data=torn)
    files._locked.clear()
    recover(files)
    assert "new.json" not in files.children(TOP)
    promote(files, NEW)
