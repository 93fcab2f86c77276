from __future__ import annotations

import ast

import pytest

from lastgood.wrappers.read.conditions import holds


@pytest.mark.parametrize(
    ("test", "runs", "is_read"),
    [
        ("TYPE_CHECKING", False, True),
        ("typing.TYPE_CHECKING", False, True),
        ("not TYPE_CHECKING", True, False),
        ("False", False, True),
        ("0", False, True),
        ("True", True, True),
        ("TYPE_CHECKING or x", None, True),
        ("TYPE_CHECKING and x", False, None),
        ("not (x or TYPE_CHECKING)", None, False),
        ("x", None, None),
        ("x == 1", None, None),
        ("sys.version_info", None, None),
        ("sys.version_info >= (3,)", True, True),
        ("sys.version_info >= (3, 9)", True, True),
        ("sys.version_info > (3, 9)", True, True),
        ("sys.version_info >= (3, 9, 1)", None, None),
        ("sys.version_info >= (3, 10)", None, None),
        ("sys.version_info < (3, 9)", False, False),
        ("version_info < (3, 10)", None, None),
        ("sys.version_info < (4,)", True, True),
        ("sys.version_info[0] >= 3", True, True),
        ("sys.version_info[0] == 2", False, False),
        ("sys.version_info.major != 3", False, False),
        ("sys.version_info.minor < 8", False, False),
        ("sys.version_info[1] < 11", None, None),
        ("sys.version_info[:2] > (3, 8)", True, True),
        ("sys.version_info[:2] > (3, 9)", None, None),
        ("sys.version_info[:1] == (3,)", True, True),
        ("sys.version_info[7] == 3", None, None),
        ("sys.version_info[1:] >= (8,)", None, None),
        ("sys.version_info >= 3", None, None),
        ("sys.version_info >= x", None, None),
        ("sys.version_info >= (3, x)", None, None),
        ("(2, 7) < sys.version_info < (3, 9)", None, None),
        ("sys.version_info < (3, 8) and sys.platform == 'win32'", False, False),
    ],
)
def test_what_is_the_same_for_every_python_is_known(test: str, runs: bool | None, is_read: bool | None) -> None:
    node = ast.parse(test, mode="eval").body
    assert holds(node, type_checking=False) is runs
    assert holds(node, type_checking=True) is is_read
