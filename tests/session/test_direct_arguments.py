"""What is given to ``direct()``, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lastgood.errors import BridgeError, ConfigError
from lastgood.session.direct import direct


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"config_file": 3}, TypeError, "config_file must be a path, not int"),
        ({"modules": b"pricing"}, TypeError, "modules must be a list of module names, or a mapping, not bytes"),
        ({"modules": [3]}, TypeError, "not one of int"),
        ({"modules": ["pricing"], "import_path": b"src"}, TypeError, "import_path must be a list of paths, not bytes"),
        ({"modules": ["pricing"], "import_path": [3]}, TypeError, "and each must be a path, not int"),
        ({"modules": {"pricing": {"function": []}}}, ConfigError, 'Did you mean "functions"?'),
        ({"modules": {"pricing": None}}, ConfigError, "expected a table"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        direct(**arguments)
    assert says in str(caught.value)


def test_modules_are_what_watch_takes(tmp_path: Path) -> None:
    (tmp_path / "pricing.py").write_text("def quote():\n    return 1\n\ndef other():\n    return 2\n")
    given: list[Any] = [iter(["pricing"]), {"pricing": {}}, {"pricing": {"functions": ["quote"]}}]
    for modules in given:
        with direct(modules=modules, import_path=[tmp_path]) as session:
            assert session.handle.call_blocking("pricing", "quote") == 1
            if modules == {"pricing": {"functions": ["quote"]}}:
                with pytest.raises(BridgeError, match="other"):
                    session.handle.call_blocking("pricing", "other")
