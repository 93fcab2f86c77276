"""The texts of warnings about annotations."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from typing import Any

from lastgood.wrappers.ir import ANY, Type
from lastgood.wrappers.types.staying import LeftOut

__all__ = ["about_annotation"]


def about_annotation(what: str, annotation: Any, type_: Type, parts: tuple[str, ...]) -> Iterator[str]:
    """Yield the warning, if any, about an annotation that became ``type_``. ``parts`` are the parts that became Any."""
    left_out = [part for part in parts if isinstance(part, LeftOut)]
    parts = tuple(part for part in parts if not isinstance(part, LeftOut))
    if left_out:
        names = ", ".join(_short(part, 200) for part in left_out)
        yield f"the annotation of {what} is without what cannot cross to or from the worker: {names}."
    if parts:
        quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
        whole = annotation.value if quoted else ast.unparse(annotation)
        about = ", ".join(_short(part, 200) for part in parts)
        inside = "" if parts == (whole,) else f" Not known to cross to the worker by value: {about}."
        yield f"the annotation of {what}, {_short(whole, 80)}, became Any{'' if type_ == ANY else ' in part'}.{inside}"


def _short(text: str, most: int) -> str:
    return textwrap.shorten(text, most, placeholder="...") if len(text) > most else text
