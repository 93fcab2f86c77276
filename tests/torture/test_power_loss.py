"""A loss of power on real file systems: images of ext4, xfs and btrfs, copied during a promotion and recovered.

After each operation another program flushes a file of its own, so that the file system writes what it has to of the promotion,
and the image is copied. It needs root, loop devices, and the programs that make the file systems.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lastgood.store.disk import Disk
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.trees import remove_tree
from output_trees import NEW, OLD, Tree, claim, digests_of, leftovers, project, promote, staged, tree

SIZE = 320 << 20
"""Bytes: the least that xfs takes."""


class Images:
    """An image of a file system, mounted at ``top``, and copies of it."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.top = directory / "mounted"
        self.image = directory / "image"
        self.copies: list[Path] = []
        self.top.mkdir()
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        run(f"mkfs.{kind}", *(("-q",) if kind != "btrfs" else ("-q", "-m", "single")), str(self.image))

    @contextmanager
    def mounted(self, image: Path) -> Iterator[None]:
        run("mount", "-o", "loop", str(image), str(self.top))
        try:
            yield
        finally:
            run("umount", str(self.top))

    def copy(self) -> None:
        """Copy the image as it is after another program has flushed a file."""
        descriptor = os.open(self.top / "stranger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, b"x")
        os.fsync(descriptor)
        os.close(descriptor)
        self.copies.append(self.image.with_name(f"copy-{len(self.copies)}"))
        run("cp", "--sparse=always", str(self.image), str(self.copies[-1]))


class Copied(Disk):
    """A disk whose image is copied after each operation."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self.images.copy()

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self.images.copy()

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.images.copy()

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self.images.copy()

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self.images.copy()

    def barrier(self, paths: Sequence[Path]) -> None:
        super().barrier(paths)
        self.images.copy()


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{command}: {done.stderr}")


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    if os.geteuid() != 0:
        pytest.skip("only root can mount an image")
    if shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"there is no mkfs.{request.param}")
    made = Images(tmp_path, request.param)
    try:
        with made.mounted(made.image):
            pass
    except OSError as error:
        pytest.skip(f"no image can be mounted here: {error}")
    return made


def promoted(output: OutputDirectory) -> None:
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.commit()
    promoting.sweep()
    remove_tree(output.files, promoting.stage)


def undone(output: OutputDirectory) -> None:
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.undo()
    remove_tree(output.files, promoting.stage)


def first(output: OutputDirectory) -> None:
    promote(output, OLD)


@pytest.mark.torture
@pytest.mark.parametrize("act", [promoted, undone, first])
def test_what_a_real_file_system_has_written_comes_back_to_one_generation_or_the_other(
    images: Images, act: Callable[[OutputDirectory], None]
) -> None:
    path = images.top / "project" / "generated"
    ends: list[Tree] = []
    with images.mounted(images.image):
        if act is first:
            path.parent.mkdir()
        else:
            project(path)
        ends.append(tree(path))
        Disk().barrier([path.parent, *path.parent.rglob("*")])
        output = OutputDirectory.claim(Copied(images), path, 1)
        act(output)
        output.release()
        ends.append(tree(path))
    for copy in images.copies:
        with images.mounted(copy):
            claim(path, pid=2).release()
            assert tree(path) in ends, copy
            assert leftovers(path) == []
            output = claim(path, pid=3)
            promote(output, NEW)
            output.release()
            assert digests_of(NEW).items() <= output.manifest().items()
        copy.unlink()
    assert len(images.copies) > 20
