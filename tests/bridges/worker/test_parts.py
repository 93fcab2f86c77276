"""lastgood.bridges.worker.parts: the two parts of a module do together what the module does."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from lastgood.bridges.worker.parts import make_parts, same_beginning

PATH = "/p/module.py"


def run(source: str, count: int | None = None) -> dict[str, Any]:
    """What the names of a module are after both of its parts have run."""
    parts = make_parts(source.encode(), PATH, count)
    names: dict[str, Any] = {"__name__": "module"}
    for code in (parts.header, parts.rest):
        if code is not None:
            exec(code, names)
    del names["__builtins__"]
    return names


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("", 0),
        ("x = 1\ny = 2\n", 0),
        ("import os\nx = 1\n", 1),
        ('"""Text."""\nimport os\nx = 1\nimport sys\ny = 2\n', 4),
        ("import os\ndef f(): ...\nimport sys\n", 1),
        ("import os\nclass A: ...\nimport sys\n", 1),
        ("def f(): import os\n", 0),
        ("try:\n    import a\nexcept ImportError:\n    a = None\nx = 1\n", 1),
        ("x = 0\nif x:\n    from a import b\nelif not x:\n    y = 1\n", 2),
        ("x = 0\ntry:\n    y = 1\nfinally:\n    import os\n", 2),
        ("match 1:\n    case 1:\n        import os\nx = 1\n", 1),
        ("with open(__file__):\n    import os\n", 1),
        ("import os; x = 1; import sys; y = 2", 3),
    ],
)
def test_the_header_ends_with_the_last_import_before_the_first_definition(source: str, count: int) -> None:
    if "match" in source and sys.version_info < (3, 10):
        pytest.skip("no match statement")
    assert make_parts(source.encode(), PATH).count == count


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""\nimport os\n"no text of the module"\nx = 1\n',
        'import os\n"no text of the module"\n',
        "from __future__ import annotations\nimport os\ndef f(x: undefined) -> undefined: ...\ny = f.__annotations__\n",
        "import os\nx: int = 1\ny: str\n",
        "import os\nx = [i for i in range(3)]\ndef f(): return x\ny = f()\nassert f.__code__.co_firstlineno == 3\n",
    ],
)
def test_both_together_do_what_the_module_does(source: str) -> None:
    whole: dict[str, Any] = {"__name__": "module"}
    exec(compile(source, PATH, "exec", dont_inherit=True), whole)
    del whole["__builtins__"]
    parts = run(source)
    for names in (whole, parts):
        names.pop("f", None)
        if "__annotate__" in names:  # from Python 3.14 on, each has a function of its own
            names["__annotate__"] = names["__annotate__"](1)
    assert parts == whole


def test_an_expression_whose_tree_is_too_deep_is_no_error() -> None:
    source = "import os\nx = " + "+".join(["1"] * 2000) + "\n"
    parts = make_parts(source.encode(), PATH)
    assert parts.count in (0, 1)
    assert run(source)["x"] == 2000


@pytest.mark.parametrize("source", ["def f(:", "import os\nreturn 1\n", "x = 1\nfrom __future__ import annotations\n"])
def test_what_is_no_python_is_an_error(source: str) -> None:
    with pytest.raises(SyntaxError):
        make_parts(source.encode(), PATH)


OLD = b"import os\nimport sys\nx = 1\n"


@pytest.mark.parametrize(
    ("new", "same"),
    [
        (OLD, True),
        (b"import os\nimport sys\n", True),
        (b"import os\nimport sys\n\n\nimport re\ny = 2\n", True),
        (b"import os\r\nimport sys\r\nx = 1\r\n", True),
        (b"import os\nimport sys; y = 2\n", False),
        (b"import os\nimport sys  # a comment\nx = 1\n", False),
        (b"import os\nimport re\nx = 1\n", False),
        (b"import os\n\nimport sys\nx = 1\n", False),
        (b"import os\n", False),
        (b"import os\nimport sys, re\n", False),
        (b"# coding: latin-1\nimport os\nimport sys\nx = 1\n", False),
    ],
)
def test_the_beginning_is_the_same_if_its_lines_are(new: bytes, same: bool) -> None:
    assert same_beginning(OLD, new, PATH, 2) is same


def test_without_a_header_every_beginning_is_the_same() -> None:
    assert same_beginning(b"x = 1\n", b"y = 2\n", PATH, 0)


def test_a_statement_that_goes_on_is_another_one() -> None:
    old = b"try:\n    import a\nexcept ImportError:\n    a = None\nx = 1\n"
    assert not same_beginning(old, old.replace(b"x = 1", b"else:\n    a = 2"), PATH, 1)


def test_what_is_declared_after_the_header_may_change_how_it_is_read() -> None:
    old = "x = 'é'; import os\ny = 1\n".encode()
    assert not same_beginning(old, old.replace(b"y = 1", b"# coding: latin-1"), PATH, 2)
    future = b"from __future__ import annotations\nx = 1\n"
    assert not same_beginning(future, future.replace(b"x = 1", b"from __future__ import division"), PATH, 1)


def test_what_was_run_as_the_header_may_be_less_than_the_header() -> None:
    names = run("import os\nimport sys\nx = 1\n", count=1)
    assert names["x"] == 1
    assert {"os", "sys"} <= names.keys()
