from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from lastgood.wrappers.ir import Declared, Function, Module, Signature
from lastgood.wrappers.write.import_graph import WrapperImports
from lastgood.wrappers.write.spelling import Names, free, listed


def test_free_gives_a_name_that_no_class_mangles() -> None:
    assert free("Any", set()) == "Any"
    assert free("Any", {"Any"}) == "_Any"
    assert free("Any", {"Any", "_Any"}) == "_Any_"
    assert free("_private", {"_private"}) == "_private_"


def test_what_fits_in_a_line_stays_in_it() -> None:
    assert listed("def f(", ["x: int = 1", "/"], ") -> str: ...", "") == ["def f(x: int = 1, /) -> str: ..."]
    assert listed("def f(", [], f") -> {'x' * 90}: ...") == [f"def f() -> {'x' * 90}: ..."]


def test_what_does_not_has_an_item_on_each_line() -> None:
    for width, count in ((88, 1), (89, 4)):
        lines = listed("    @dataclass(", ["a" * (width - 19), "b"], ")", "    ")
        assert len(lines) == count
    assert lines == ["    @dataclass(", f"        {'a' * 70},", "        b,", "    )"]


def test_imports_are_sorted_as_isort_sorts_them(tmp_path: Path) -> None:
    source = random.Random(1)
    parts = ["a", "B", "bb", "1", "10", "2", "_", "AB", "é", "Z", "z"]
    modules = ["a", "b", "A", "m.a", "m.a.b", "m.a_b", "m.a1", "m.a10", "m.a2", "m.A.b", "other.C"]
    for number in range(300):
        texts = {"".join(source.choices(parts, k=source.randint(1, 4))) for _ in range(5)}
        taken = [text for text in sorted(texts) if text.isidentifier()]
        own = [Function(name, Signature(()), "m.own", name) for name in taken if source.random() < 0.3]
        module = Module("m.own", tuple(own))
        names = Names(module, WrapperImports(), is_package=False)
        for name in taken:
            names.declared(Declared(source.choice(modules), name))
        (tmp_path / f"m{number}.py").write_text("\n".join(names.imports()).lstrip() + "\n", "utf-8")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "I", "--diff", str(tmp_path)]
    sorted_by_ruff = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert (sorted_by_ruff.stdout, sorted_by_ruff.returncode) == ("", 0)
