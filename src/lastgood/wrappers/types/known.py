"""The types whose values can cross to the worker and back, by the full paths of their names, and the special forms of typing."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator

from lastgood.wrappers.ir import ANNOTATED, Ref
from lastgood.wrappers.types.installed import INSIDE, INSTALLED, MAKERS
from lastgood.wrappers.types.staying import STAYING

__all__ = ["FORMS", "KNOWN", "STAYS", "VARIADIC", "is_known", "kind_of_foreign", "known"]

VARIADIC = -1  # tuple
FORMS = -2  # Optional, Literal, ...: special forms, each with its own rules
STAYS = -3  # Callable, IO, ...: nothing of such a type can cross

_PLAIN = {
    "builtins": ("bool", "bytearray", "bytes", "complex", "float", "int", "object", "range", "str"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone", "tzinfo"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "ipaddress": ("IPv4Address", "IPv4Interface", "IPv4Network", "IPv6Address", "IPv6Interface", "IPv6Network"),
    "pathlib": ("Path", "PurePath", "PurePosixPath", "PureWindowsPath"),
    "uuid": ("UUID", "SafeUUID"),
    "zoneinfo": ("ZoneInfo",),
    # Enums and named tuples of the standard library, which are sent by value like the user's own.
    "difflib": ("Match",),
    "http": ("HTTPMethod", "HTTPStatus"),
    "plistlib": ("PlistFormat",),
    "re": ("RegexFlag",),
    "signal": ("Handlers", "Signals", "Sigmasks"),
    "socket": ("AddressFamily", "SocketKind"),
    "ssl": ("TLSVersion", "VerifyFlags", "VerifyMode"),
    "statistics": ("LinearRegression",),
    "tokenize": ("TokenInfo",),
    "urllib.parse": ("DefragResult", "ParseResult", "SplitResult"),
    "typing": ("Any", "SupportsFloat", "SupportsIndex", "SupportsInt"),
    "collections.abc": ("Hashable", "Sized"),
}
_GENERIC = {
    "builtins": {"dict": 2, "frozenset": 1, "list": 1, "set": 1, "tuple": VARIADIC},
    "collections": {"Counter": 1, "OrderedDict": 2, "defaultdict": 2, "deque": 1},
    "collections.abc": {
        "Collection": 1,
        "Container": 1,
        "Iterable": 1,
        "Mapping": 2,
        "MutableMapping": 2,
        "MutableSequence": 1,
        "MutableSet": 1,
        "Reversible": 1,
        "Sequence": 1,
        "Set": 1,
    },
    "os": {"PathLike": 1},
    "re": {"Pattern": 1},
}
_CAPITALS = {
    "defaultdict": "DefaultDict",
    "deque": "Deque",
    "dict": "Dict",
    "frozenset": "FrozenSet",
    "list": "List",
    "set": "Set",
    "tuple": "Tuple",
}
_SPECIAL = (
    *("Annotated", "AnyStr", "Literal", "Never", "NoReturn", "Optional", "Self"),
    *("TypeAlias", "TypeAliasType", "TypeGuard", "TypeIs", "TypeVar", "Union", "Unpack"),
)


def _known() -> Iterator[tuple[str, tuple[Ref, int]]]:
    for module, names in _PLAIN.items():
        for name in names:
            yield f"{module}.{name}", (Ref(module, name), 0)
    for module, generic in _GENERIC.items():
        for name, arity in generic.items():
            yield f"{module}.{name}", (Ref(module, name), arity)
            # typing has aliases of the same types: List, Dict, ..., Sequence, Mapping, ..., and AbstractSet for collections.abc.Set
            old = "AbstractSet" if name == "Set" else _CAPITALS.get(name, name)
            yield f"typing.{old}", (Ref(module, name), arity)
    for name in ("Hashable", "Sized"):
        yield f"typing.{name}", (Ref("collections.abc", name), 0)
    for name in ("Text", "LiteralString"):
        yield f"typing.{name}", (Ref("builtins", "str"), 0)
    for path, name in {**INSTALLED, **MAKERS}.items():
        yield path, (Ref(*name.rsplit(".", 1)), 0)
    for path in INSIDE:
        yield path, (ANNOTATED, FORMS)
    for path in STAYING:
        yield path, (Ref(*path.rsplit(".", 1)), STAYS)
    for name in _SPECIAL:
        yield f"typing.{name}", (Ref("typing", name), FORMS)


KNOWN: dict[str, tuple[Ref, int]] = dict(_known())
KNOWN |= {
    path.replace("typing.", "typing_extensions."): known for path, known in KNOWN.items() if path.startswith("typing.")
}


def is_known(path: str) -> bool:
    """Return whether the full ``path`` names a type, or a special form, that is read here."""
    return path in KNOWN


def known(path: str) -> Ref:
    """Return the known type at ``path``. Raises :class:`KeyError` for any other."""
    return KNOWN[path][0]


_KINDS = {
    **dict.fromkeys(("type", "Type"), "a class object"),
    "Callable": "a function",
    "ModuleType": "a module",
    **dict.fromkeys(("AsyncGenerator", "AsyncIterable", "AsyncIterator", "Generator", "Iterator"), "an iterator"),
    **dict.fromkeys(("Awaitable", "Coroutine", "Future", "Task"), "an awaitable"),
    **dict.fromkeys(
        ("BinaryIO", "BufferedReader", "BytesIO", "IO", "StringIO", "TextIO", "TextIOWrapper"), "an open file"
    ),
    **dict.fromkeys(("AbstractAsyncContextManager", "AbstractContextManager"), "a context manager"),
    **dict.fromkeys(("AsyncContextManager", "ContextManager"), "a context manager"),
}


def kind_of_foreign(path: str) -> str:
    """Return what the full ``path`` of a name outside the local modules stands for, as a noun with its article."""
    top, _, name = path.replace("typing_extensions.", "typing.").partition(".")
    if top not in sys.stdlib_module_names:
        return "a type of another package"
    if top == "builtins" and not hasattr(builtins, name):
        return "a name that the module does not bind"
    return _KINDS.get(name.rpartition(".")[2], "a type of the standard library")
