"""Merge markers that a merge with conflicts has left are named, whatever reads the source."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from lastgood.bridges.in_process import InProcessBridge
from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.worker.merges import line_of_merge_markers
from lastgood.config import decode_config
from lastgood.errors import ConfigError, ModuleFailure, RemoteError
from lastgood.sources.parsing import read
from real_project import DEADLINE
from staged_project import StagedProject
from wrapping import source

CONFLICT = "x = 1\n<<<<<<< HEAD\ny = 1\n=======\ny = 2\n>>>>>>> 1b2c3d4 (main)\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CONFLICT, 2),
        (CONFLICT.replace("=======", "||||||| base\ny = 0\n======="), 2),
        (CONFLICT + CONFLICT, 2),
        ("<<<<<<< not a conflict\n" + CONFLICT, 3),
        ("x = '''\n<<<<<<< HEAD\n'''\n", None),
        ("Title\n=======\n", None),
        ("", None),
    ],
)
def test_the_first_conflict_counts(text: str, line: int | None) -> None:
    assert line_of_merge_markers(text) == line


@pytest.mark.parametrize("name", ["pricing", "pricing-stub"])
def test_a_source_or_a_stub_with_markers_is_a_failure_that_says_so_at_their_line(name: str) -> None:
    found = read(source(name, CONFLICT))
    assert isinstance(found, ModuleFailure)
    assert (found.line, found.column) == (2, 1)
    assert found.message.startswith("it has merge markers, so a merge with conflicts is not finished. ")
    assert "read by" not in found.message


def test_what_is_valid_is_no_conflict() -> None:
    assert not isinstance(read(source("pricing", f'"""\n{CONFLICT}"""\n')), ModuleFailure)


def test_a_config_with_markers_says_so_at_their_line() -> None:
    data = b"[modules.pricing]\n" + CONFLICT.encode()
    with pytest.raises(ConfigError, match="is not valid TOML: it has merge markers") as caught:
        decode_config(data, Path("/p/lastgood.toml"))
    assert caught.value.line == 3


async def test_a_helper_that_only_the_worker_imports_says_so_too(staged: StagedProject) -> None:
    staged.write({"helper.py": CONFLICT})
    staged.stage()
    bridge = ProcessBridge(import_path=staged.import_path, modules=["svc"], pinned=staged.manifest)
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError, match="it has merge markers") as caught:
        await bridge.init()
    assert caught.value.type_name == "SyntaxError"
    assert f'File "{staged.src / "helper.py"}", line 2\n    <<<<<<< HEAD\n' in caught.value.traceback


def test_without_a_worker_it_says_so_too(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(CONFLICT)
    bridge = InProcessBridge(import_path=[tmp_path], modules=["broken"])
    with pytest.raises(RemoteError, match="it has merge markers"):
        bridge.start()
