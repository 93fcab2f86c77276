from __future__ import annotations

import ast
import sys
import warnings
from pathlib import Path

import pytest

from lastgood.errors import ConfigError, GenerationError, ModuleFailure
from lastgood.sources.import_statements import imports_of
from lastgood.sources.parsing import read, with_worker
from lastgood.wrappers import wrap_modules
from wrapping import source, wrap

HERE = "{}.{}".format(*sys.version_info)


def failure(data: bytes | str) -> ModuleFailure:
    found = read(source("pricing", data))
    assert isinstance(found, ModuleFailure)
    assert found.module == "pricing"
    assert found.file == Path("/project/pricing.py")
    return found


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        pytest.param("x = 1\ndef f(:\n", 2, "invalid syntax", id="syntax"),
        pytest.param("def f():\nreturn 1\n", 2, "expected an indented block", id="indentation"),
        pytest.param("x = 1\nreturn x\n", 2, "'return' outside function", id="found-by-the-compiler"),
        pytest.param("def f(a, a): pass\n", 1, "'a' in function definition", id="found-by-the-symbol-table"),
        pytest.param("x = 1\ny = (\n", 2, "'(' was never closed", id="unclosed"),
        pytest.param(b"x = 1\n# 2\n# 3\ny = '\xff'\n", 4, "byte 0xff is not utf-8", id="not-utf-8"),
        pytest.param(b"x = '\xe9'\n", 1, "Save the file as UTF-8, or declare its encoding", id="latin-1-in-line-1"),
        pytest.param(
            b"x = 1\ny = '\xe9'\n", 2, "Save the file as UTF-8, or declare its encoding", id="latin-1-in-line-2"
        ),
        pytest.param(b"# coding: klingon\n", 1, "unknown encoding: klingon", id="unknown-encoding"),
        pytest.param(b"# coding: rot13\nk = 1\n", 1, "cannot be decoded", id="not-an-encoding-of-text"),
        pytest.param(b"\xef\xbb\xbf# coding: latin-1\n", 1, "encoding problem", id="bom-against-cookie"),
        pytest.param(b"x = 1\ny = '\x00'\n", 2, "NUL bytes", id="nul"),
        pytest.param("x = " + "(" * 5000 + ")" * 5000, 1, "", id="brackets"),
        pytest.param("x = 1\ny = " + "-" * 50_000 + "1\nz = 1", 2, "nested too deeply", id="minus-signs"),
        pytest.param("x = 1\n\ny = a" + ".b" * 50_000, 3, "nested too deeply", id="attributes"),
    ],
)
def test_what_python_refuses_is_a_failure_with_its_line(data: bytes | str, line: int | None, message: str) -> None:
    found = failure(data)
    assert message in found.message
    assert line is None or found.line == line


@pytest.mark.parametrize(
    ("data", "column"),
    [
        ("x = 1\ndef f(:\n", 7),
        ("é = (ü\n", 5),
        ("x = (\n", 5),
        ("x = 1\nreturn x\n", 1),
        (b"# coding: klingon\n", None),
    ],
)
def test_a_syntax_error_has_its_column_in_characters(data: bytes | str, column: int | None) -> None:
    assert failure(data).column == column


def test_a_syntax_error_says_which_python_has_read_the_source() -> None:
    assert failure("x = (\n").message == f"'(' was never closed (read by Python {HERE})"
    assert "read by" not in failure(b"# coding: klingon\n").message


def test_a_syntax_error_says_what_the_workers_python_makes_of_it_if_it_is_another() -> None:
    unclosed, undecodable = failure("x = (\n"), failure(b"# coding: klingon\n")
    assert with_worker(unclosed, sys.version_info[:2], never) == unclosed
    assert with_worker(undecodable, (3, 99), never) == undecodable
    valid = with_worker(unclosed, (3, 99), lambda: None)
    assert valid.line == 1
    assert valid.message == (
        f"'(' was never closed (read by Python {HERE}; the worker runs 3.99, where it is valid). "
        f"Run the app with Python 3.99, or write it so that {HERE} can read it."
    )
    refused = with_worker(unclosed, (3, 99), lambda: (7, "no such word"))
    assert (refused.line, refused.message) == (7, "no such word (read by the worker's Python 3.99)")


def never() -> None:
    raise AssertionError("the worker's Python need not be asked")


@pytest.mark.parametrize("error", [ConfigError("it cannot be run"), OSError("gone"), ValueError("no answer")])
def test_a_syntax_error_names_both_pythons_if_the_workers_cannot_be_asked(error: Exception) -> None:
    def refused() -> None:
        raise error

    message = with_worker(failure("x = (\n"), (3, 99), refused).message
    assert message == f"'(' was never closed (read by Python {HERE}; the worker runs 3.99)"


@pytest.mark.parametrize(
    ("since", "text"),
    [
        pytest.param((3, 12), "x = 1\ntype X = int\n", id="type"),
        pytest.param((3, 12), "x = 1\ndef f[T](x: T) -> T: ...\n", id="type-parameters"),
        pytest.param((3, 12), "x = 1\ny = f'{x + '1'}'\n", id="f-string"),
        pytest.param((3, 13), "x = 1\nclass C[T = int]: ...\n", id="default-of-a-type-parameter"),
        pytest.param((3, 14), "try: pass\nexcept OSError, ValueError: pass\n", id="except-without-parentheses"),
        pytest.param((3, 14), "x = 1\ny = t'{x}'\n", id="t-string"),
        pytest.param((3, 15), "x = [[1]]\ny = [*each for each in x]\n", id="unpacking-in-a-comprehension"),
        pytest.param((3, 15), "x = 1\nlazy import os\n", id="lazy-import"),
    ],
)
def test_syntax_of_a_newer_python_is_a_failure_at_its_line(since: tuple[int, int], text: str) -> None:
    if sys.version_info[:2] >= since:
        assert isinstance(read(source("m", text)), ast.Module)
        return
    found = failure(text)
    assert found.line == 2
    assert found.message.endswith(f" (read by Python {HERE})")


def test_lazy_imports_are_imports() -> None:
    text = b"lazy import os.path\nlazy from . import a, b\nfrom c import d\n"
    assert imports_of(text).statements == ((0, "os.path", ()), (1, "", ("a", "b")), (0, "c", ("d",)))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("# coding: latin-1\ndef f(x='é'): pass\n".encode("latin-1"), id="cookie"),
        pytest.param("#!/usr/bin/python\n# -*- coding: cp1252 -*-\ndef f(x='é'): pass\n".encode("cp1252"), id="line-2"),
        pytest.param(b"\xef\xbb\xbf" + "def f(x='é'): pass\n".encode(), id="bom"),
        pytest.param("def f(x='é'): pass\r\n".encode(), id="crlf"),
    ],
)
def test_every_encoding_of_pep_263_is_read(data: bytes) -> None:
    assert 'x: Any = "é"' in wrap(data).files["pricing.py"].decode()


def test_an_empty_file_is_a_module() -> None:
    assert isinstance(read(source("pricing", b"")), ast.Module)


def test_what_a_source_warns_of_is_not_for_us() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(read(source("pricing", r"x = '\d' if 1 is 1 else 2")), ast.Module)


@pytest.mark.parametrize(
    "deep",
    [
        pytest.param("x = " + " + ".join(["1"] * 700), id="sum"),
        pytest.param("print(" + " + ".join(["x"] * 700) + ")", id="argument"),
        pytest.param("if x:\n  pass\n" + "elif x:\n  pass\n" * 600, id="elif"),
        pytest.param("__all__ = ['f']" + " + []" * 700, id="exports"),
        pytest.param("@a" + ".b" * 700 + "\ndef g(): pass", id="decorator"),
    ],
)
def test_deep_code_that_python_takes_is_taken(deep: str) -> None:
    wrapped = wrap(f"x = 1\n{deep}\ndef f(): pass\n")
    assert wrapped.failures == ()
    assert b"async def f()" in wrapped.files["pricing.py"]


def test_every_broken_module_is_told_of() -> None:
    broken = [source("b", "def"), source("a.b", b"\xff"), source("c", b"\0")]
    wrapped = wrap_modules([*broken, source("fine", "def f(): pass")])
    assert [found.module for found in wrapped.failures] == ["a.b", "b", "c"]
    assert "fine.py" in wrapped.files


def test_each_way_to_be_broken_is_told_of_in_one_error_with_file_and_line() -> None:
    derived = "import dataclasses as d, {0}\n@d.dataclass\nclass C:\n  x: int\n@d.dataclass\nclass D({0}.C): ...\ndef f(x: D): ..."
    broken: dict[str, str | bytes] = {
        "a": "x = 1\ndef f(:",
        "b": b"x = 1\ny = '\xff'",
        "c": "# coding: klingon",
        "d": "x = 1\n\0",
        "e": "x = 1\n\ny = " + "-" * 50_000 + "1",
        "h": derived.format("i"),
        "i": derived.format("h"),
    }
    ring = [source("k", "from l import f as f\ndef g(): ..."), source("l", "from k import f as f\ndef g(): ...")]
    wrapped = wrap_modules([*(source(name, data) for name, data in broken.items()), *ring])
    told = str(GenerationError(wrapped.failures)).splitlines()
    assert told[0] == f"Generation failed for {len(broken)} module(s):"
    assert [line.partition(": ")[0].strip() for line in told[1:]] == [
        *(
            "a (/project/a.py:2)",
            "b (/project/b.py:2)",
            "c (/project/c.py:1)",
            "d (/project/d.py:2)",
            "e (/project/e.py:3)",
        ),
        *("h (/project/h.py)", "i (/project/i.py)"),
    ]
    assert b"async def g" in wrapped.files["k.py"]
    assert b"async def g" in wrapped.files["l.py"]


def test_a_broken_module_that_a_wrapped_one_leads_to_is_told_of() -> None:
    wrapped = wrap("from impl import f as f", source("impl", "def f(:"))
    assert [(found.module, found.line) for found in wrapped.failures] == [("impl", 1)]


@pytest.mark.parametrize("name", ["", "a..b", "../x", "a/b", "a.__init__", "a b", "a\nb"])
def test_a_name_that_cannot_be_imported_is_a_failure(name: str) -> None:
    wrapped = wrap_modules([source(name, "def f(): pass")])
    assert [found.module for found in wrapped.failures] == [name]
