"""Names of well-known packages that stand for types of the standard library with metadata: ``PositiveInt``, ``constr(...)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["ALIASES", "INSIDE", "INSTALLED", "MAKERS"]

_PYDANTIC: Mapping[str, tuple[str, ...]] = {
    "builtins.bool": ("StrictBool",),
    "builtins.bytes": ("Base64Bytes", "Base64UrlBytes", "StrictBytes"),
    "builtins.float": (
        *("FiniteFloat", "NegativeFloat", "NonNegativeFloat", "NonPositiveFloat", "PositiveFloat", "StrictFloat"),
    ),
    "builtins.int": ("NegativeInt", "NonNegativeInt", "NonPositiveInt", "PositiveInt", "StrictInt"),
    "builtins.str": ("Base64Str", "Base64UrlStr", "StrictStr"),
    "datetime.date": ("FutureDate", "PastDate"),
    "datetime.datetime": ("AwareDatetime", "FutureDatetime", "NaiveDatetime", "PastDatetime"),
    "pathlib.Path": ("DirectoryPath", "FilePath", "NewPath"),
    "uuid.UUID": ("UUID1", "UUID3", "UUID4", "UUID5"),
}
_MAKERS = {
    "builtins.bytes": "conbytes",
    "builtins.float": "confloat",
    "builtins.int": "conint",
    "builtins.str": "constr",
    "datetime.date": "condate",
    "decimal.Decimal": "condecimal",
}
_INSIDE = {
    "annotated_types": (
        *("IsAscii", "IsDigit", "IsFinite", "IsInfinite", "IsNan", "IsNotFinite", "IsNotInfinite", "IsNotNan"),
        *("LowerCase", "UpperCase"),
    ),
    "pydantic": ("InstanceOf", "OnErrorOmit", "SkipValidation"),
}


def _in_pydantic(names: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for type_, each in names.items():
        for name in each:
            yield from ((f"{module}.{name}", type_) for module in ("pydantic", "pydantic.types"))


ALIASES = dict(_in_pydantic(_PYDANTIC))
"""The types for which aliases with metadata stand, by the full paths of the aliases."""
INSTALLED = {**ALIASES, "markupsafe.Markup": "builtins.str"}
"""The same, with classes whose instances cross as a builtin type."""
MAKERS = dict(_in_pydantic({type_: (name,) for type_, name in _MAKERS.items()}))
"""The types that calls of functions make."""
INSIDE = frozenset(f"{module}.{name}" for module, names in _INSIDE.items() for name in names)
"""The names that stand for the type between their brackets: ``LowerCase[str]``."""
