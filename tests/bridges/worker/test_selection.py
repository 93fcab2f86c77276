from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from lastgood.bridges.worker import selection
from lastgood.bridges.worker.selection import allows


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        pytest.param("quote", {}, True, id="everything-by-default"),
        pytest.param("Desk.Inner.open", {}, True, id="classes-at-any-depth"),
        pytest.param("_quote", {}, False, id="private"),
        pytest.param("Desk._open", {}, False, id="private-method"),
        pytest.param("_Desk.open", {}, False, id="method-of-a-private-class"),
        pytest.param("_quote", {"functions": ["_quote"]}, False, id="private-although-named"),
        pytest.param("", {}, False, id="no-name"),
        pytest.param("Desk..open", {}, False, id="empty-part"),
        pytest.param("quote", {"functions": ["quote"]}, True, id="function-named"),
        pytest.param("quote", {"functions": ["price"]}, False, id="function-not-named"),
        pytest.param("quote", {"functions": []}, False, id="no-function-at-all"),
        pytest.param("Desk.open", {"functions": ["price"]}, True, id="functions-leave-classes"),
        pytest.param("quote", {"classes": ["Desk"]}, True, id="classes-leave-functions"),
        pytest.param("Desk.open", {"classes": ["Desk"]}, True, id="class-named"),
        pytest.param("Desk.Inner.open", {"classes": ["Desk.Inner"]}, True, id="inner-class-named"),
        pytest.param("Desk.open", {"classes": ["Desk.Inner"]}, False, id="only-the-inner-class-named"),
        pytest.param("Desk.open", {"classes": ["Des"]}, False, id="no-prefix-of-a-name"),
        pytest.param("quote", {"exclude": ["quote"]}, False, id="function-excluded"),
        pytest.param("quote", {"functions": ["quote"], "exclude": ["quote"]}, False, id="exclude-wins"),
        pytest.param("Desk.open", {"exclude": ["Desk"]}, False, id="class-excluded"),
        pytest.param("Desk.open", {"exclude": ["Desk.open"]}, False, id="method-excluded"),
        pytest.param("Desk.close", {"exclude": ["Desk.open"]}, True, id="other-method-stays"),
        pytest.param("open", {"exclude": ["Desk.open"]}, True, id="function-of-that-name-stays"),
        pytest.param("test_quote", {"exclude_patterns": ["test_*"]}, False, id="glob"),
        pytest.param("Test_quote", {"exclude_patterns": ["test_*"]}, True, id="globs-mind-case"),
        pytest.param("Desk.open", {"exclude_patterns": ["D?sk"]}, False, id="glob-on-the-class"),
        pytest.param("Desk.open", {"exclude_patterns": ["*.open"]}, False, id="glob-on-the-dotted-name"),
    ],
)
def test_allows(name: str, chosen: dict[str, Any], expected: bool) -> None:
    assert allows(name, **chosen) is expected


def test_the_worker_can_import_it_on_python_3_9() -> None:
    tree = ast.parse(Path(str(selection.__file__)).read_text("utf-8"), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
