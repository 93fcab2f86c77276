"""``%load_ext lastgood`` and ``%lastgood`` in real kernels of Jupyter: what cells see, say and leave behind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marked_processes import all_ended, running_with
from notebook_kernel import WAITS, Cell, Kernel, kernel
from real_project import DEADLINE, RealProject

pytestmark = pytest.mark.peers

PRICES = """
import asyncio
import os
import time

def price(amount: int) -> int:
    return amount * 1

async def later(amount: int) -> int:
    await asyncio.sleep(0)
    return amount * 1

def greet() -> None:
    print("from the worker")

def fail(sku: str) -> int:
    return look_up(sku)

def look_up(sku: str) -> int:
    raise KeyError(sku)

def die() -> None:
    os._exit(3)

def hold(path: str) -> None:
    try:
        open(path, "w").close()
        while True:
            time.sleep(0.01)
    finally:
        open(path + ".over", "w").close()
"""
HANGING = """
import os, time
while not os.path.exists({go!r}):
    time.sleep(0.01)
"""
LINES = ("File ", "----> ")


def edited(factor: int) -> str:
    return PRICES.replace("* 1", f"* {factor}")


@pytest.fixture
def shop(tmp_path: Path) -> RealProject:
    return RealProject(tmp_path, {"pricing.py": PRICES})


def configure(shop: RealProject, style: str, name: str = "lastgood.toml", output: str = "generated") -> None:
    shop.save(name, f'[modules.pricing]\n[output]\ndir = "{output}"\nstyle = "{style}"\n')


@pytest.fixture
def book(shop: RealProject) -> Iterator[Kernel]:
    """A kernel whose wrappers block, with a session."""
    configure(shop, "sync")
    with kernel(shop.root) as book:
        book.good("%load_ext lastgood")
        book.good("%lastgood")
        book.good("from generated import pricing")
        yield book


def await_file(path: Path) -> None:
    end = time.monotonic() + DEADLINE
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


@pytest.mark.parametrize(("style", "call"), [("sync", ""), ("async", "await ")])
def test_a_cell_sees_what_was_saved_before_it(shop: RealProject, style: str, call: str) -> None:
    configure(shop, style)
    with kernel(shop.root) as book:
        book.good("%load_ext lastgood")
        assert book.good("%lastgood").out == f"lastgood: generation 1 is live, of {shop.config_file}\n"
        book.good("from generated import pricing\nfrom generated.pricing import later, price")
        for factor in (2, 3):
            shop.save("pricing.py", edited(factor))
            assert book.value(f"({call}pricing.price(10), {call}price(10), {call}later(10))") == str((factor * 10,) * 3)
        shop.save("pricing.py", edited(4) + "def broken(:\n")
        for _ in range(2):
            cell = book.good(f"print({call}price(10))")
            line = len(PRICES.splitlines()) + 1
            assert cell.err.startswith(f"STALE: generation 3 is live: pricing.py:{line}: pricing: invalid syntax")
            assert cell.err.count("\n") == 1
            assert cell.out == "30\n"
        shop.save("pricing.py", edited(5))
        assert book.value(f"{call}price(10)") == "50"


def test_it_is_started_once(shop: RealProject, book: Kernel) -> None:
    live = f"lastgood: generation 1 is live, of {shop.config_file}\n"
    worker = book.value("import lastgood; lastgood.get_runtime_bridge().bridge.pids")
    for cell in (
        "%lastgood",
        "%lastgood lastgood.toml",
        f"%lastgood '{shop.config_file}'",
        "%load_ext lastgood\n%lastgood",
    ):
        assert live in book.good(cell).out
    assert book.good("%reload_ext lastgood\n%lastgood").out == live
    assert book.value("lastgood.get_runtime_bridge().bridge.pids") == worker
    shop.save("pricing.py", edited(2) + "def broken(:\n")
    assert book.good("1").err.count("STALE") == 1, "there is one hook, however often it was loaded"


def test_another_config_replaces_the_session(shop: RealProject, book: Kernel) -> None:
    configure(shop, "sync", "other.toml", "others/made")
    assert "no such" in book.run("%lastgood 'no such.toml'").traceback
    assert book.value("pricing.price(10)") == "10", "the first one runs on"
    assert book.good("%lastgood other.toml").out.splitlines() == [
        f"lastgood: {shop.root / 'others'} is on sys.path from now on, for `import made`",
        f"lastgood: generation 1 is live, of {shop.root / 'other.toml'}",
    ]
    assert book.value("from made import pricing as others; others.price(10)") == "10"
    assert book.good("%lastgood").out == f"lastgood: generation 1 is live, of {shop.root / 'other.toml'}\n"
    assert book.good("%lastgood lastgood.toml").out.endswith(f"of {shop.config_file}\n")
    assert book.value(f"import sys; {str(shop.root / 'others')!r} in sys.path") == "False"


def test_it_is_stopped_and_started_again(shop: RealProject, book: Kernel) -> None:
    assert book.good("%lastgood --stop").out == "lastgood: the session has ended\n"
    assert book.good("%lastgood --stop").out == "lastgood: no session runs\n"
    cell = book.run("pricing.price(10)")
    assert cell.raised == "NoRuntimeBridge"
    assert "lastgood/" not in cell.traceback
    shop.save("pricing.py", edited(2))
    book.good("%lastgood")
    assert book.value("pricing.price(10)") == "20"


def test_what_cannot_start_says_so_in_a_line_or_two(shop: RealProject) -> None:
    place = shop.root / "pricing.py"
    shop.save("pricing.py", "def price(:\n")
    shop.config_file.rename(shop.root / "away.toml")
    with kernel(shop.root) as book:
        book.good("%load_ext lastgood")
        cells = {
            "%lastgood": "no lastgood.toml, and no pyproject.toml with a [tool.lastgood] table, in ",
            "%lastgood away.toml": f"pricing ({place}:1): invalid syntax",
            "%lastgood --start": "%lastgood does not take '--start'. Usage: %lastgood [CONFIG], or %lastgood --stop",
            "%lastgood 'away.toml": "No closing quotation. Usage: ",
        }
        for code, said in cells.items():
            cell = book.run(code)
            assert cell.status == "error"
            assert said in cell.traceback
            assert [line for line in LINES if line in cell.traceback] == []
        shop.save("pricing.py", PRICES)
        book.good("%lastgood away.toml")


def test_a_notebook_may_lie_below_the_project(shop: RealProject) -> None:
    configure(shop, "sync")
    (shop.root / "notebooks").mkdir()
    with kernel(shop.root / "notebooks") as book:
        book.good("%load_ext lastgood")
        said = f"lastgood: {shop.root} is on sys.path from now on, for `import generated`\n"
        assert book.good("%lastgood").out.startswith(said)
        assert book.value("from generated import pricing; pricing.price(10)") == "10"
        book.good("%lastgood --stop")
        assert book.value(f"import sys; {str(shop.root)!r} in sys.path") == "False"


def on_words(words: str, do: Callable[[], object]) -> Callable[[Cell], None]:
    """Do something when the cell has put out ``words``, once."""
    done: list[object] = []

    def hear(cell: Cell) -> None:
        if words in cell.out + cell.stderr and not done:
            done.append(do())

    return hear


def test_what_a_worker_prints_is_in_the_cell(shop: RealProject, book: Kernel) -> None:
    seen = shop.root / "seen"
    waiting = f"import os, time\nwhile not os.path.exists({str(seen)!r}):\n    time.sleep(0.01)"
    cell = book.run(f"pricing.greet()\n{waiting}", on_words("from the worker\n", seen.touch))
    assert (cell.status, cell.err) == ("ok", "from the worker\n")


# --- tracebacks


def frames(cell: Cell) -> list[str]:
    return [line for line in cell.traceback.splitlines() if line.startswith(("Cell", "File"))]


def test_tracebacks_are_of_the_cell_and_the_source(shop: RealProject, book: Kernel) -> None:
    place = f"File {shop.root / 'pricing.py'}"
    for mode in ("Context", "Verbose", "Plain"):
        book.good(f"%xmode {mode}")
        cell = book.run("def ask():\n    return pricing.fail('apple')\nask()")
        assert cell.raised == "KeyError"
        assert "lastgood/" not in cell.traceback
        assert "return look_up(sku)" in cell.traceback
        assert "raise KeyError(sku)" in cell.traceback
        if mode == "Context":
            assert [line.partition(", in ")[0].rpartition(":")[0] for line in frames(cell)[2:]] == [place, place]
            assert len(frames(cell)) == 4
    for code, raised in (("pricing.die()", "WorkerDied"), ("pricing.price()", "TypeError")):
        cell = book.run(code)
        assert cell.raised == raised
        assert "lastgood/" not in cell.traceback


def test_a_handler_of_the_users_own_stays(shop: RealProject) -> None:
    configure(shop, "sync")
    with kernel(shop.root) as book:
        book.good("shell = get_ipython()\nshell.set_custom_exc((LookupError,), lambda *_, **__: print('mine'))")
        book.good("%load_ext lastgood\n%lastgood")
        assert book.run("from generated import pricing\npricing.fail('apple')").out == "mine\n"


# --- interrupts


def test_an_interrupt_reaches_the_function_in_the_worker(shop: RealProject, book: Kernel) -> None:
    held = shop.root / "held"

    def interrupt() -> None:
        await_file(held)
        book.interrupt()

    worker = book.value("import lastgood; lastgood.get_runtime_bridge().bridge.pids")
    cell = book.run(f"print('begins', flush=True)\npricing.hold({str(held)!r})", on_words("begins", interrupt))
    assert cell.raised == "KeyboardInterrupt"
    assert "lastgood/" not in cell.traceback
    await_file(shop.root / "held.over")
    assert book.value("pricing.price(10)") == "10"
    assert book.value("lastgood.get_runtime_bridge().bridge.pids") == worker, "the function was ended, not the worker"


TICKING = """
import asyncio
async def tick():  # ipykernel asks for interrupts only when its loop wakes up
    while True:
        await asyncio.sleep(0.01)
ticking = asyncio.create_task(tick())
"""


def test_an_interrupt_of_a_cell_that_awaits_does_so_too(shop: RealProject) -> None:
    configure(shop, "async")
    held = shop.root / "held"
    with kernel(shop.root) as book:
        book.good("%load_ext lastgood\n%lastgood")
        book.good(TICKING)

        def interrupt() -> None:
            await_file(held)
            book.interrupt()

        begins = "from generated import pricing\nprint('begins', flush=True)\n"
        cell = book.run(f"{begins}await pricing.hold({str(held)!r})", on_words("begins", interrupt))
        assert cell.raised == "CancelledError"
        assert "lastgood/" not in cell.traceback
        await_file(shop.root / "held.over")
        assert book.value("await pricing.price(10)") == "10"


def test_a_cell_says_that_it_waits_and_an_interrupt_ends_the_waiting(shop: RealProject, book: Kernel) -> None:
    go = shop.root / "go"
    shop.save("pricing.py", edited(2) + HANGING.format(go=str(go)))
    late = "STALE: generation 1 is live: a reload has not ended yet\n"
    cell = book.run("pricing.price(10)", on_words(WAITS, book.interrupt))
    assert (cell.status, cell.stderr, cell.result) == ("ok", WAITS + late, "10")
    cell = book.run("pricing.price(10)", on_words(WAITS, go.touch))
    assert (cell.status, cell.stderr, cell.result) == ("ok", WAITS, "20")


# --- beside others, and the end


def test_autoreload_beside_it_does_no_harm(shop: RealProject, book: Kernel) -> None:
    book.good("%load_ext autoreload\n%autoreload 2\nfrom generated.pricing import price")
    for factor in (2, 3, 4):
        shop.save("pricing.py", edited(factor))
        assert (
            book.value("(price(10), pricing.price(10), price is pricing.price)")
            == f"({factor * 10}, {factor * 10}, True)"
        )
    shop.save("pricing.py", edited(5) + "def broken(:\n")
    assert book.good("print(price(10))").out == "40\n"


@pytest.mark.parametrize("now", [False, True], ids=["shut down", "killed"])
def test_the_end_of_a_kernel_leaves_no_process(shop: RealProject, book: Kernel, now: bool) -> None:
    assert len(running_with(shop.root)) > 1
    book.shut_down(now=now)
    assert all_ended(shop.root), running_with(shop.root)


def test_a_restarted_kernel_starts_from_what_there_is(shop: RealProject, book: Kernel) -> None:
    workers = json.loads(book.value("import lastgood; list(lastgood.get_runtime_bridge().bridge.pids)"))
    book.restart()
    assert [pid for pid in workers if os.path.exists(f"/proc/{pid}")] == []
    before = shop.exact_tree()
    book.good("%load_ext lastgood\n%lastgood")
    assert book.value("from generated import pricing; pricing.price(10)") == "10"
    assert shop.exact_tree() == before
