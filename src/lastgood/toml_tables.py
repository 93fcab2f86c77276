"""Conversion of the tables of a config file to the structs of :mod:`lastgood.config`; each error names its field."""

from __future__ import annotations

import difflib
import functools
import json
import keyword
import math
import os
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec

from lastgood.errors import ConfigError

__all__ = ["HINTS", "Decoder", "Table", "fields_of", "join", "kind_of"]

Table: TypeAlias = Mapping[str, Any]
T = TypeVar("T")

fields_of = functools.cache(msgspec.structs.fields)  # cached, because it evaluates annotations on each call

_PATH = Path  # the class in those annotations, whatever the name stands for later

HINTS = {
    "modules": "Add one table for each module, such as [modules.pricing]; an empty [modules] is valid, too.",
    "output": 'Add [output] with dir = "generated".',
    "output.dir": 'Write, for example, dir = "generated".',
}
"""What to do about a field that is missing."""


class Decoder:
    """A decoder of one file's values to the types of their fields. Each error names the innermost field that is wrong.

    :func:`msgspec.convert` is not used: it reports the field and the problem in one English sentence, whose wording depends on
    its version and which names neither the key of a dict nor the valid values of a Literal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def decode(self, value: Any, into: Any, at: str) -> Any:
        """Convert ``value`` to the type ``into``, one of those in the annotations of the structs above."""
        kind, inner = get_origin(into), get_args(into)
        if kind is types.UnionType or kind is Union:  # with None, which TOML cannot spell, or of a number and a boolean
            if bool in inner and type(value) is bool:
                return value
            if value is False and at == "output.dir":
                return None
            if bool in inner and type(value) not in (int, float):
                raise self._error(f"expected true, false or a number, found {kind_of(value)}.", at)
            return self.decode(value, inner[0], at)
        if kind is Annotated:
            return self._seconds(value, inner[1], at)
        if kind is Literal:
            if value not in inner:
                found = f'"{value}"' if isinstance(value, str) else kind_of(value)
                raise self._error(f"expected {' or '.join(map(json.dumps, inner))}, found {found}.", at)
            return value
        if kind is tuple:
            items = "tables" if issubclass(inner[0], msgspec.Struct) else "strings"
            entries = self._expect(list, f"an array of {items}", value, at)
            return tuple(self.decode(entry, inner[0], f"{at}[{index}]") for index, entry in enumerate(entries))
        if kind is dict:
            table = self._expect(dict, "a table", value, at)
            if at == "modules":
                self._check_module_names(table)
            return {name: self.decode(entry, inner[1], join(at, name)) for name, entry in table.items()}
        if issubclass(into, msgspec.Struct):
            return self._struct(self._expect(dict, "a table", value, at), into, at)
        if into is _PATH:
            return self.path(self._expect(str, "a string", value, at), at)
        if into is not float:
            return self._expect(into, _NAMES[into], value, at)
        try:
            return float(value if type(value) is int else self._expect(float, "a number", value, at))
        except OverflowError as error:
            raise self._error("is out of range; expected a number.", at) from error

    def _seconds(self, value: Any, least: str, at: str) -> float:
        """Return a number of seconds that is finite and ``least``; for false, :data:`math.inf`."""
        if value is False:
            return math.inf
        seconds: float = self.decode(value, float, at)
        if not (math.isfinite(seconds) and (seconds > 0 or (seconds == 0 and least == "at least 0"))):
            problem = f"expected seconds, finite and {least}, found {seconds}."
            raise self._error(problem, at, "Write false for no limit.")
        return seconds

    def path(self, text: str, at: str) -> Path:
        """Return a path of the file, absolute and normalised; symbolic links are not followed."""
        if not text.strip():
            raise self._error("is empty; expected a path.", at)
        if "\0" in text:
            raise self._error("contains a NUL character; expected a path.", at)
        if at == "runtime.process.python" and "/" not in text:
            return Path(text)  # a bare command name
        return Path(os.path.normpath(os.path.join(self._path.parent, text)))

    def _struct(self, table: Table, struct: type[msgspec.Struct], at: str) -> msgspec.Struct:
        fields = {field.name: field for field in fields_of(struct)}
        for name in table:
            if name not in fields:
                raise self._unknown(name, table[name], fields, at)
        for name, field in fields.items():
            if field.required and name not in table:
                where = join(at, name)
                raise self._error("is missing.", where, hint=HINTS.get(where, ""))
        made = struct(**{name: self.decode(table[name], fields[name].type, join(at, name)) for name in table})
        wrong_field = getattr(made, "wrong_field", None)
        if wrong_field is not None and (invalid := wrong_field()):
            raise self._error(invalid[1], f"{at}.{invalid[0]}")
        return made

    def _expect(self, kind: type[T], expected: str, value: Any, at: str) -> T:
        if type(value) is not kind:
            raise self._error(f"expected {expected}, found {kind_of(value)}.", at)
        return value

    def _check_module_names(self, names: Iterable[str]) -> None:
        for name in names:
            if not all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")):
                hint = 'Quote dotted names: [modules."package.module"].'
                problem = "is not a module name; expected one as after import, such as package.module."
                raise self._error(problem, join("modules", name), hint)

    def _unknown(self, name: str, value: Any, known: Iterable[str], at: str) -> ConfigError:
        names = sorted(known)
        table = f"[{at}]" if at else "the config"
        if isinstance(value, dict) and at.startswith("modules."):
            dotted = json.dumps(f"{at.removeprefix('modules.').strip(chr(34))}.{name}", ensure_ascii=False)
            hint = f"For a submodule, quote the dotted name: [modules.{dotted}]."
        elif near := difflib.get_close_matches(name, names, n=1):
            hint = f'Did you mean "{near[0]}"?'
        else:
            hint = ""
        return self._error(f"unknown field; expected in {table}: {', '.join(names)}.", join(at, name), hint)

    def _error(self, problem: str, field: str, hint: str = "") -> ConfigError:
        return ConfigError(problem, file=self._path, field=field, hint=hint)


_NAMES = {str: "a string", bool: "a boolean", int: "an integer", float: "a float", list: "an array", dict: "a table"}


def kind_of(value: Any) -> str:
    """Name the kind of a value, in TOML's terms."""
    return _NAMES.get(type(value), f"a {type(value).__name__}")


def join(at: str, key: str) -> str:
    """Return the dotted name of a field, with its last key quoted if TOML requires it."""
    quoted = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{at}.{quoted}" if at else quoted
