"""A session in pyfakefs's file system, as users' own tests may have it: the system's notifier does not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

import lastgood
from real_project import BROKEN, QUOTE, FakeFactory


def by_hand(config: lastgood.Config, stage: Path) -> lastgood.Generated:
    """A generator of the user's own: the source, if it is right."""
    source = (config.path.parent / "pricing.py").read_text()
    compile(source, "pricing.py", "exec")
    (stage / "pricing.py").write_text(source)
    return lastgood.Generated(("pricing.py",))


@pytest.mark.apart  # which cannot be: no process can be started there, either
@pytest.mark.parametrize("generate", [None, by_hand], ids=["wrappers", "generate"])
async def test_a_session_runs_there_by_polling(fs: FakeFilesystem, generate: Any) -> None:
    fs.create_file("/p/lastgood.toml", contents='[modules.pricing]\n[output]\ndir = "generated"\n')
    fs.create_file("/p/pricing.py", contents=QUOTE)
    told: list[lastgood.WatchEvent] = []
    program = lastgood.watch(
        "/p/lastgood.toml",
        create_bridge=FakeFactory().create_bridge,
        generate=generate,
        on_event=told.append,
        set_as_global=False,
    )
    async with program as session:
        assert any(isinstance(event, lastgood.PollingStarted) for event in told)
        before = fs.get_object("/p/generated/pricing.py").contents
        fs.get_object("/p/pricing.py").set_contents(BROKEN)
        assert not await session.reload_now()
        assert fs.get_object("/p/generated/pricing.py").contents == before
        fs.get_object("/p/pricing.py").set_contents(QUOTE.replace("sku", "name"))
        assert await session.reload_now()
        assert "name" in (fs.get_object("/p/generated/pricing.py").contents or "")
