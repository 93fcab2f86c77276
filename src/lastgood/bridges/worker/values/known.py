"""The classes that one side of a bridge knows, by the names under which the other side may know them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from .values import DecodeError

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SOURCES", "SOURCE_DEFAULT", "Known", "find_in"]


class _SourceDefault:
    """The type of :data:`SOURCE_DEFAULT`, its only instance."""

    def __repr__(self) -> str:
        return "SOURCE_DEFAULT"

    def __reduce__(self) -> str:  # a copy is the same object
        return "SOURCE_DEFAULT"


SOURCE_DEFAULT: Any = _SourceDefault()
"""The value of a field whose default only the source can tell. It is not sent: the source's constructor sets the field."""


class Known:
    """The classes that one side knows. This one knows those of the modules that are imported, as the worker does."""

    __slots__ = ()

    def names(self, kind: type) -> tuple[bool, Sequence[tuple[str, str]]]:
        """Return the module and name of ``kind`` and of its bases, nearest first, and whether the first is its own."""
        from .instances import names_of  # not before a value needs it: it imports much

        return names_of(kind)

    def find(self, module: str, name: str) -> type | None:
        """Return the class of this name, or None. Raise :class:`.values.DecodeError` if its module cannot be imported."""
        if module == "__main__":
            return None
        if module not in sys.modules:
            try:
                __import__(module)
            except ImportError:
                return None
            except Exception as error:
                raise DecodeError(f"{module} cannot be imported: {type(error).__name__}: {error}") from None
        return find_in(sys.modules.get(module), name)

    def members(self, kind: Any) -> Mapping[str, Any]:
        """Return the members of an enum by name."""
        found: Mapping[str, Any] = kind.__members__
        return found

    def unknown(self, text: str, names: Sequence[Sequence[str]]) -> str:
        """Return the error text for the class ``text`` of the other side, which this side finds under none of these names."""
        module, name = names[0] if names else ("", text)
        return f"{module} has no class {name} that the worker can find, for an instance of {text}"

    def takes_base(self, text: str, base: type) -> None:
        """Note that instances of the class ``text`` arrive as instances of its base."""


def find_in(module: Any, name: str) -> type | None:
    """Return the class with this qualified name in ``module``, or None. Runs no code of the user's."""
    found = module
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) else None


SOURCES = Known()
"""The classes that the worker knows."""
