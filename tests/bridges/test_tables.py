"""pandas' and Arrow's tables to a real worker and back: through the arena where they are large, and always as they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lastgood.bridges.process import ProcessBridge
from lastgood.errors import BridgeError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

SERVICE = """
def give(value):
    return value

def describe(value):
    return [type(value).__name__, len(value)]

def change(frame):
    frame.iloc[0, 0] = 7
    return frame

def odd():
    import pandas
    return {"it": pandas.DataFrame({"a": [1], "b": pandas.arrays.SparseArray([0])})}

def make(count):
    import pandas
    return pandas.DataFrame({"a": range(count)})
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(SERVICE)
    return tmp_path


def puts_and_lent(bridge: ProcessBridge) -> tuple[int, int]:
    """How often the app has used its arena, and how many of its blocks are not had back."""
    arena = bridge._workers[0].codec.outgoing
    return arena.puts, len(arena._blocks) - len(arena._free)


def frame(rows: int) -> Any:
    """Rows of 49 bytes and some text."""
    numbers = pd.DataFrame(np.arange(rows * 3.0).reshape(rows, 3), columns=["a", "b", "b"])
    numbers["kind"] = pd.Categorical(["x", "y"] * (rows // 2))
    numbers["name"] = pd.Series([f"row {each}" for each in range(rows)], dtype="str")
    numbers["many"] = pd.array([1, None] * (rows // 2), dtype="Int64")
    return numbers.set_index(pd.date_range("2024", periods=rows, freq="s", tz="Europe/Berlin", name="when"))


@pytest.mark.parametrize(("rows", "puts"), [(4, 0), (200_000, 5)], ids=["small", "large"])
async def test_a_table_of_pandas_arrives_as_it_was(bridge: ProcessBridge, rows: int, puts: int) -> None:
    sent = frame(rows)
    assert await bridge.call("svc", "describe", [sent], {}) == ["DataFrame", rows]
    for _ in range(2):
        (came,) = await bridge.call("svc", "give", [(sent,)], {})
        pd.testing.assert_frame_equal(came, sent, check_exact=True)
    assert puts_and_lent(bridge) == (3 * puts, 0)


@pytest.mark.parametrize(("rows", "puts"), [(4, 0), (200_000, 1)], ids=["small", "large"])
async def test_a_table_of_arrow_arrives_as_it_was(bridge: ProcessBridge, rows: int, puts: int) -> None:
    sent = pa.table({"a": range(rows), "b": [[each] for each in range(rows)]})
    assert (await bridge.call("svc", "give", [sent], {})).equals(sent)
    assert await bridge.call("svc", "describe", [sent["a"]], {}) == ["ChunkedArray", rows]
    assert puts_and_lent(bridge) == (2 * puts, 0)


async def test_what_was_received_is_the_receivers_own(bridge: ProcessBridge) -> None:
    sent = pd.DataFrame(np.zeros((200_000, 2)))
    assert (await bridge.call("svc", "change", [sent], {})).iloc[0, 0] == 7
    assert sent.iloc[0, 0] == 0


async def test_what_cannot_cross_is_named_with_its_column(bridge: ProcessBridge) -> None:
    with pytest.raises(BridgeError, match=r'argument 1\["b"\]: values of pandas\' dtype Sparse.* to the worker'):
        await bridge.call(
            "svc", "give", [pd.DataFrame({"a": [1.0] * 200_000, "b": pd.arrays.SparseArray([0] * 200_000)})], {}
        )
    with pytest.raises(BridgeError, match=r'result\["it"\]\["b"\]: values of pandas\' dtype Sparse.* from the worker'):
        await bridge.call("svc", "odd", [], {})
    assert puts_and_lent(bridge)[1] == 0


async def test_a_worker_without_pandas_says_so(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)  # noqa: ASYNC221 - no more than a start
    (tmp_path / "bare.py").write_text("def give(value): return value\n")
    bridge = ProcessBridge(virtual_env=tmp_path / "venv", import_path=[tmp_path], modules=["bare"])
    await bridge.init()
    for value, library in ((pd.DataFrame({"a": [1]}), "pandas"), (pd.NA, "pandas"), (pa.array([1]), "pyarrow")):
        with pytest.raises(
            BridgeError, match=f"cannot read the arguments of the call: .*received a table of {library}, but"
        ):
            await bridge.call("bare", "give", [value], {})
    assert await bridge.call("bare", "give", [1], {}) == 1
    await bridge.dispose()


async def test_an_app_without_pandas_says_so_and_the_worker_lives(
    bridge: ProcessBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for count in (3, 200_000):
        with pytest.raises(
            BridgeError, match="The result cannot be read: received a table of pandas, but pandas is not installed here"
        ):
            await bridge.call("svc", "make", [count], {})
    assert await bridge.call("svc", "give", [1], {}) == 1
