"""Who is measured by ``serve.py``, and the application that each of them serves: lastgood and other servers that reload.

Each is as quick as its options let it be, and serves a copy of the application that is its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from reload_peers import Kind, tool
from reload_programs import save

__all__ = ["BREAKS", "OURS", "SERVERS", "edit", "ours", "write"]

MAIN = """\
from fastapi import FastAPI

import shop

app = FastAPI()
app.include_router(shop.router)
"""

SHOP = '''\
import asyncio
{imported}
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

VERSION = {version}  {padding}
router = APIRouter()


@router.get("/")
async def index() -> dict[str, int]:
    """Say which version answers."""
    return {{"version": VERSION}}


@router.get("/events")
async def events() -> StreamingResponse:
    """Send events until the client has enough."""

    async def ticks():
        while True:
            yield f"data: {{VERSION}}\\n\\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(ticks(), media_type="text/event-stream")
'''

BREAKS = "\n\ndef (\n", "\n\nimport a_module_that_is_not_there\n"
"""What breaks the edited module: a syntax error, and an import error when all else of the module has run."""


def edit(root: Path, version: int, imported: str = "", broken: str = "") -> None:
    """Save the module with the routes at a version.

    No two versions in a row have one length: who relies on cached bytecode would take the old one.
    """
    text = SHOP.format(
        imported=f"\nimport {imported}" if imported else "", version=version, padding="#" * (version % 9 + 1)
    )
    save(root / "shop.py", text + broken)


def write(root: Path, imported: str = "") -> None:
    """Make the application, at version 0."""
    root.mkdir(parents=True)
    (root / "main.py").write_text(MAIN)
    edit(root, 0, imported)


def _uvicorn(*options: str) -> Callable[[Path, int, Path], list[str]]:
    quick = ["--reload", "--reload-delay", "0.01", "--log-level", "critical", *options]
    return lambda _root, port, _: [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), *quick]


def _granian(*options: str) -> Callable[[Path, int, Path], list[str]]:
    quick = ["--reload", "--reload-tick", "50", "--no-log", *options]
    return lambda _root, port, _: [tool("granian"), "--interface", "asgi", "--port", str(port), *quick, "main:app"]


def _hypercorn(_root: Path, port: int, _: Path) -> list[str]:
    return [tool("hypercorn"), "--reload", "--bind", f"127.0.0.1:{port}", "--log-level", "critical", "main:app"]


def _uvicorn_hmr(_root: Path, port: int, _: Path) -> list[str]:
    return [tool("uvicorn-hmr"), "main:app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "critical"]


def ours(python: str = sys.executable, name: str = "lastgood serve") -> Kind:
    """The lastgood that an interpreter has."""
    quiet = ["--quiet", "--", "--log-level", "critical"]
    return Kind(
        name, lambda _root, port, _: [python, "-m", "lastgood", "serve", "main:app", "--port", str(port), *quiet]
    )


LENIENT = "--reload-ignore-worker-failure", "--workers-kill-timeout", "1"

OURS = ours()
SERVERS = (
    Kind("uvicorn --reload", _uvicorn(), ("uvicorn", "watchfiles")),
    Kind("uvicorn, graceful 1 s", _uvicorn("--timeout-graceful-shutdown", "1"), ("uvicorn", "watchfiles")),
    Kind("granian --reload", _granian(), ("granian", "watchfiles")),
    Kind("granian, both options", _granian(*LENIENT), ("granian", "watchfiles")),
    Kind("hypercorn --reload", _hypercorn, ("hypercorn",)),
    Kind("uvicorn-hmr", _uvicorn_hmr, ("uvicorn_hmr",)),
)
