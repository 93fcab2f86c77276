"""A walk through everything of lastgood that works in Pyodide, and through what is refused there. ``run.mjs`` runs it.

Each check prints a line; the first that fails ends the program with its traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

import lastgood
from lastgood import BridgeError, InProcessBridge, RemoteError, Unsupported, create_bridge_reloader
from lastgood.cli.commands import main as command_line
from lastgood.testing import World

APP = Path("/app")
CONFIG = """
[modules.pricing]
[output]
dir = "generated"
"""
PRICING = '''
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import AsyncIterator, Iterator

class Currency(Enum):
    EUR = "eur"

@dataclass
class Quote:
    sku: str
    total: Decimal
    currency: Currency = Currency.EUR

class OutOfStock(Exception):
    def __init__(self, sku: str, left: int) -> None:
        super().__init__(sku, left)
        self.left = left

def quote(sku: str, quantity: int = 1) -> Quote:
    """What it costs."""
    if quantity > 3:
        raise OutOfStock(sku, 3)
    return Quote(sku, Decimal("2.5") * quantity)

async def stock(sku: str) -> int:
    import asyncio
    await asyncio.sleep(0)
    return len(sku)

def total(quotes: list[Quote]) -> Decimal:
    return sum((each.total for each in quotes), Decimal())

def tokens(text: str) -> Iterator[str]:
    yield from text.split()

async def later(count: int) -> AsyncIterator[int]:
    for each in range(count):
        yield each
'''


def check(what: str, holds: object) -> None:
    assert holds, what
    print("ok", what)


def save(source: str) -> None:
    (APP / "src").mkdir(parents=True, exist_ok=True)
    (APP / "src" / "pricing.py").write_text(source)


def generate(config: str = CONFIG, source: str = PRICING) -> World:
    """Make wrappers by a world in memory, and write them where they can be imported."""
    world = World({"lastgood.toml": config, "pricing.py": source})
    world.start()
    for path, data in world.files.items():
        if path.startswith(("generated", "blocking")):
            (APP / path).parent.mkdir(parents=True, exist_ok=True)
            (APP / path).write_text(data if isinstance(data, str) else data.decode())
    importlib.invalidate_caches()
    return world


@asynccontextmanager
async def reloading() -> AsyncGenerator[Any]:
    save(PRICING)

    def create() -> InProcessBridge:
        return InProcessBridge(import_path=[APP / "src"], modules=["pricing"], fresh=True)

    async with await create_bridge_reloader(create) as reloader:
        check("registry", lastgood.get_runtime_bridge().bridge is reloader.current)
        yield reloader


def world() -> None:
    made = generate()
    check("World: a first generation", made.generation == 1 and "def quote" in made.files["generated/pricing.py"])
    made.write("pricing.py", "def quote(:\n")
    made.advance(0.1)
    check("World: a broken edit leaves the last good", made.status.stale and made.generation == 1)
    made.write("pricing.py", PRICING)
    made.advance(0.1)
    check("World: mended", not made.status.stale)


async def calls() -> None:
    async with reloading():
        pricing: Any = importlib.import_module("generated.pricing")
        quote = await pricing.quote("apple", quantity=2)
        check("typed values", isinstance(quote, pricing.Quote) and quote.currency is pricing.Currency.EUR)
        check("… and back", str(await pricing.total([quote, quote])) == "10.0")
        check("an async source", await pricing.stock("apple") == 5)
        check("streams", [each async for each in pricing.tokens("a b c")] == ["a", "b", "c"])
        check("… of async sources", [each async for each in pricing.later(3)] == [0, 1, 2])
        try:
            await pricing.quote("apple", 4)
        except pricing.OutOfStock as error:
            raised: Any = error
            check("exceptions", isinstance(error, RemoteError) and raised.left == 3 and raised.args == ("apple", 3))
            check("… with their traceback", "pricing.py" in raised.traceback)
        try:
            await pricing.quote()
        except TypeError as error:
            check("a wrong call is the source's own error", "sku" in str(error))


async def edits() -> None:
    async with reloading() as reloader:
        pricing: Any = importlib.import_module("generated.pricing")
        kept, old = pricing.quote, reloader.current
        save(PRICING.replace('"2.5"', '"3.5"'))
        await reloader.reload()
        check("a reload", reloader.current is not old and str((await kept("apple")).total) == "3.5")
        save("def quote(:\n")
        try:
            await reloader.reload()
        except RemoteError as error:
            check("a broken source is an error", error.type_name == "SyntaxError")
        check("… and leaves the last good", str((await kept("apple")).total) == "3.5")

        # No session brings wrappers up to date here: they are made anew, and reloaded as any module is.
        wider = PRICING.replace("quantity: int = 1", "quantity: int = 1, discount: int = 0")
        save(wider)
        await reloader.reload()
        generate(source=wider)
        importlib.reload(pricing)
        check("wrappers generated in place", str((await pricing.quote("apple", discount=1)).total) == "2.5")


async def plain_calls() -> None:
    async with reloading():
        generate(CONFIG.replace('"generated"', '"blocking"\nstyle = "sync"'))
        pricing: Any = importlib.import_module("blocking.pricing")
        check("sync wrappers", str(pricing.quote("apple").total) == "2.5")
        check("… of streams", [*pricing.tokens("a b")] == ["a", "b"])
        if importlib.import_module("pyodide.ffi").can_run_sync():
            check("… of async sources, by stack switching", pricing.stock("apple") == 5)
            return
        try:
            pricing.stock("apple")
        except BridgeError as error:
            check(f"… of async sources are refused: {error}", "pricing.stock" in str(error) and "JSPI" in str(error))


async def refusals() -> None:
    program = lastgood.watch(modules=["pricing"])
    check("watch().plan()", "warm" in str(program.plan()))
    refused: dict[str, Callable[[], object]] = {
        "ProcessBridge": lambda: lastgood.ProcessBridge,
        "watch().start()": program.start,
        "watch().in_thread()": program.in_thread,
    }
    for what, use in refused.items():
        try:
            use()
        except Unsupported as error:
            check(f"{what} is refused", "Pyodide has none" in str(error) and "direct()" in str(error))
    try:
        await program()
    except Unsupported as error:
        check("watch() is refused", error.what == "watch()")
    (APP / "lastgood.toml").write_text(CONFIG)
    for command in ("watch", "generate", "undo", "doctor", "demo", "plan", "status"):
        result = CliRunner().invoke(command_line, [command])
        said = " ".join(result.output.split()) or repr(result.exception)
        check(f"lastgood {command}: {said}", result.exit_code == 1 and f"lastgood {command} needs processes" in said)


async def main() -> None:
    check("neither trio nor watchfiles", not {"trio", "watchfiles"} & {*sys.modules})
    os.makedirs(APP, exist_ok=True)
    os.chdir(APP)
    sys.path[:0] = [str(APP)]
    world()
    await calls()
    await edits()
    await plain_calls()
    async with lastgood.direct(modules=["pricing"], import_path=[APP / "src"]) as session:
        check("direct()", await session.handle.call("pricing", "stock", ["pear"]) == 4)
    await refusals()
    print("all of it holds")
