"""The notebook in examples/: its cells, in order, and then an edit, a broken one, and the one that mends it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notebook_kernel import kernel
from shipped import copy_of

pytestmark = pytest.mark.peers


def test_its_cells_run_and_see_what_was_saved_before_them(tmp_path: Path) -> None:
    project = copy_of("notebook", tmp_path)
    source = (project.root / "sales.py").read_text()
    cells = json.loads((project.root / "sales.ipynb").read_text())["cells"]
    *first, last = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    with kernel(project.root) as book:
        for cell in first:
            book.good(cell)
        assert book.value(last) == f"Summary(count=3, total=118.75, mean={118.75 / 3})"
        project.save("sales.py", source.replace("len(amounts), sum(amounts), ", "len(amounts), 100 * sum(amounts), "))
        assert book.value(last) == f"Summary(count=3, total=11875.0, mean={118.75 / 3})"
        project.save("sales.py", source.replace("def summarize(", "def summarize"))
        stale = book.good(last)
        assert stale.err.startswith("STALE: generation 2 is live: sales.py:")
        assert "total=11875.0" in stale.result
        project.save("sales.py", source)
        assert "total=118.75" in book.value(last)
        assert book.value("amounts") == "[12.5, 99.0, 7.25]"
        book.shut_down(now=False)
