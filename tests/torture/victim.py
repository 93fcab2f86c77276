"""A session that is made to be killed: ``python victim.py ROOT FIRST`` reloads without end, from generation FIRST on.

It tells its life on stdout, a line each: ``generated`` when a promotion is about to begin, ``promoted`` when it has been
done, short of the commit. Before the first of these it notes in ``ROOT/record.json`` what stands in the output directory,
and what will stand there if the promotion is whole. Its bridge does nothing.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from lastgood.config import Config
from lastgood.session.watch import watch
from lastgood.wrappers import Generated

__all__ = ["ExactTree", "Idle", "exact_tree", "wrappers_of"]

ExactTree = dict[str, tuple[str, int, int]]
"""Path to content, mode and modification time; of a directory (a path that ends in a slash) the mode alone."""


def wrappers_of(number: int) -> dict[str, str]:
    """Generation ``number``: some forty files. From one to the next a third stays, others change, come and go."""
    files = {}
    for each in range(48):
        if (number * 7 + each * 5) % 6 == 0:
            continue
        version = {0: 0, 1: number, 2: number // 2}[each % 3]
        deep = "deep/" * (each % 3)
        lines = 0 if each == 5 else (each * 37 + version) % 90
        files[f"pkg{each % 4}/{deep}m{each}.py"] = f"# {each} in version {version}\n" * lines
    # A directory that goes as a whole while another comes, and one that never does.
    files[f"odd{number % 2}/nested/only.py"] = f"# {number}\n"
    files["__init__.py"] = f"# generation {number}\n"
    return files


def exact_tree(output: Path) -> ExactTree:
    """What stands in ``output``, byte for byte, with modes and times."""
    found: ExactTree = {}
    for directory, _, names in os.walk(output):
        place = Path(directory)
        found[f"{place.relative_to(output).as_posix()}/"] = ("", stat.S_IMODE(place.stat().st_mode), 0)
        for name in names:
            about = (place / name).lstat()
            path = (place / name).relative_to(output).as_posix()
            found[path] = ((place / name).read_text(), stat.S_IMODE(about.st_mode), about.st_mtime_ns)
    return found


def expected(old: ExactTree, stage: Path, wrappers: Mapping[str, str]) -> ExactTree:
    """What a whole promotion of ``stage`` makes of ``old``: what is equal keeps everything, what is not keeps its mode."""
    new: ExactTree = {}
    for path, text in wrappers.items():
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            new[f"{above}/"] = old.get(f"{above}/") or ("", stat.S_IMODE(stage.stat().st_mode), 0)
        was, about = old.get(path), (stage / path).stat()
        if was is not None and was[0] == text:
            new[path] = was
        else:
            mode = stat.S_IMODE(about.st_mode) if was is None else was[1]
            new[path] = (text, mode, about.st_mtime_ns)
    return new | {"./": old.get("./") or ("", stat.S_IMODE(stage.stat().st_mode), 0)}


def write_wrappers(stage: Path, wrappers: Mapping[str, str]) -> Generated:
    """What a generator does. Every seventh file is executable, to have modes that are told apart."""
    for place, (path, text) in enumerate(wrappers.items()):
        target = stage / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if place % 7 == 0 else 0o644)
    return Generated(tuple(wrappers), (), ())


class Idle:
    """A bridge that does nothing."""

    async def call(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()

    async def dispose(self) -> None:
        await trio.lowlevel.checkpoint()


def main(root: Path, first: int) -> None:
    """Reload without end."""
    number = first - 1

    def generate(config: Config, stage: Path) -> Generated:
        nonlocal number
        number += 1
        wrappers = wrappers_of(number)
        generated = write_wrappers(stage, wrappers)
        old = exact_tree(config.place)
        record: dict[str, Any] = {"generation": number, "old": old, "new": expected(old, stage, wrappers)}
        (root / "record.new").write_text(json.dumps(record))
        (root / "record.new").replace(root / "record.json")
        tell("generated")
        return generated

    def create_bridge(_config: Config) -> Idle:
        tell("promoted")
        return Idle()

    async def run() -> None:
        async with watch(root / "lastgood.toml", create_bridge=create_bridge, generate=generate) as session:
            while await session.reload_now():
                pass

    trio.run(run)


def tell(line: str) -> None:
    """A line for the killer, in one piece."""
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
