"""What lastgood keeps for itself lies in ``.lastgood/`` beside the output directory, and nowhere else."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood.config import Config
from lastgood.session.watch import WatchProgram
from lastgood.store.disk import Disk
from lastgood.store.promotion import Promoting
from lastgood.wrappers import Generated
from real_project import QUOTE, FakeFactory, RealProject, Told


async def test_journal_lock_manifest_and_staging_lie_in_it_under_a_gitignore_of_its_own(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    own = project.root / ".lastgood"
    kept: list[set[str]] = []

    def look() -> None:
        """Between promotion and swap, when there is most of it."""
        kept.append({path.name for path in (own / "generated").iterdir()})
        assert sorted(path.name for path in project.root.iterdir()) == [
            ".lastgood",
            "generated",
            "lastgood.toml",
            "pricing.py",
        ]
        assert sorted(project.tree()) == ["__init__.py", "pricing.py"]

    factory.call("create", look)
    async with start():
        assert {"lock", "journal.json"} < kept[0]
        assert any(name.startswith("stage-") for name in kept[0])
        assert (own / "generated" / "manifest.json").exists()
        assert (own / ".gitignore").read_text() == "*\n"
        assert not (project.root / ".gitignore").exists()


async def test_wrappers_are_staged_beside_the_output_on_its_file_system(
    project: RealProject, start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.configure("pricing", output="deep/generated")
    stages: list[Path] = []
    apply = Promoting.apply

    def look(promoting: Promoting, *args: Any) -> None:
        stages.append(promoting.stage)
        assert sorted(path.name for path in promoting.stage.iterdir()) == ["__init__.py.staged", "pricing.py.staged"]
        assert os.stat(promoting.stage).st_dev == os.stat(project.root).st_dev
        apply(promoting, *args)

    monkeypatch.setattr(Promoting, "apply", look)
    async with start():
        assert stages[0].is_relative_to(project.root / "deep" / ".lastgood")
        assert not stages[0].exists()


async def test_what_a_generate_of_ones_own_writes_is_staged_likewise(
    project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    directories: list[Path] = []

    def generate(_: Config, directory: Path) -> Generated:
        directories.append(directory)
        (directory / "pricing.py").write_text("")
        os.utime(directory / "pricing.py", (1, 1))
        os.chmod(directory / "pricing.py", 0o755)
        assert list(directory.iterdir()) == [directory / "pricing.py"]
        return Generated(("pricing.py",))

    async with start(generate=generate):
        assert not directories[0].is_relative_to(project.root)
        assert not directories[0].parent.exists()
        about = (project.output / "pricing.py").stat()
        assert (about.st_size, about.st_mtime, stat.S_IMODE(about.st_mode), about.st_nlink) == (0, 1, 0o755, 1)


# What a watcher of sources would see, noted when a generator has just made its file.
LOOK = """
from pathlib import Path

def look(top):
    seen = [str(path.relative_to(top)) for path in Path(top).rglob("*.py")]
    Path(top, "seen").write_text("\\n".join(seen))
"""
PROGRAM = "import looking, sys; open(sys.argv[1] + '/made.py', 'w').close(); looking.look(sys.argv[2])"
FUNCTION = (
    "import looking\ndef make(config, stage):\n    (stage / 'made.py').touch()\n    looking.look(config.path.parent)\n"
)


@pytest.mark.parametrize("kind", ["built in", "generate", "a program", "a function"])
async def test_no_other_watcher_takes_what_is_staged_or_kept_for_sources(
    project: RealProject, start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    project.save("looking.py", LOOK)
    project.save("making.py", FUNCTION)
    heads = {
        "a program": f"""[[generators]]
command = ["{sys.executable}", "-c", {json.dumps(PROGRAM)}, "{{stage}}", "{project.root}"]""",
        "a function": '[[generators]]\nuse = "making:make"',
    }
    project.save("lastgood.toml", project.config_file.read_text() + heads.get(kind, ""))
    monkeypatch.chdir(project.root)
    own = project.root / ".lastgood"
    named: set[Path] = set()

    def spy(operation: str) -> None:
        do = getattr(Disk, operation)

        def noted(self: Disk, *args: Any, **kwargs: Any) -> Any:
            named.update(path for path in args if isinstance(path, Path) and own in path.parents)
            return do(self, *args, **kwargs)

        monkeypatch.setattr(Disk, operation, noted)

    for operation in ("write", "link", "replace", "mkdir"):
        spy(operation)

    def generate(_: Config, directory: Path) -> Generated:
        (directory / "made.py").touch()
        (project.root / "seen").write_text("\n".join(map(str, project.root.rglob("*.py"))))
        return Generated(("made.py",))

    async with start(generate=generate) if kind == "generate" else start() as session:
        project.save("pricing.py", QUOTE.replace("sku", "code"))
        assert await session.reload_now()
        await session.undo()
    assert "made.py" in project.tree() or kind == "built in"
    assert {path.name for path in named} >= {"pricing.py.staged" if kind != "generate" else "made.py.staged"}
    assert [path for path in named if path.suffix.startswith(".py")] == []
    if kind != "built in":
        assert ".lastgood" not in (project.root / "seen").read_text()


async def test_no_wrapper_shares_its_file_with_what_is_kept(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    """Unchanged wrappers are linked into the stage; one that is promoted is a file of its own, to be edited in place."""

    def links() -> set[int]:
        return {os.stat(project.output / name).st_nlink for name in ("__init__.py", "pricing.py")}

    async with start() as session:
        await told.success()
        good = project.tree()["pricing.py"]
        (project.output / "pricing.py").write_bytes(good + b"# by hand\n")
        assert await session.reload_now()
        assert project.tree()["pricing.py"] == good
        assert links() == {1}
        project.save("pricing.py", QUOTE.replace("sku", "code"))
        await told.success()  # the one that was asked for
        await told.success()
        assert await session.undo()
        assert project.tree()["pricing.py"] == good
        assert links() == {1}
        (project.output / "pricing.py").write_bytes(b"# by hand\n")
        kept = (project.root / ".lastgood/generated/generations/objects").iterdir()
        assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in kept)
