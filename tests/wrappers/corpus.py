"""Well-known modules to be wrapped: pure-Python ones of the standard library and of packages from PyPI, and what of them is called.

The standard library's are copied into a package ``std``, since under their own names they are nobody's sources.
"""

from __future__ import annotations

import collections
import collections.abc
import datetime
import importlib.util
import sysconfig
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from lastgood.wrappers import ModuleSource

__all__ = ["CALLS", "PACKAGES", "STDLIB", "TYPE_CHECKING", "directory_of", "import_name", "sources", "standard"]

STDLIB = (
    *(
        "abc",
        "argparse",
        "ast",
        "base64",
        "bdb",
        "bisect",
        "calendar",
        "cmd",
        "code",
        "codecs",
        "collections",
        "colorsys",
    ),
    *(
        "configparser",
        "contextlib",
        "copy",
        "csv",
        "dataclasses",
        "datetime",
        "difflib",
        "dis",
        "doctest",
        "email",
        "enum",
    ),
    *("filecmp", "fileinput", "fnmatch", "fractions", "functools", "getopt", "gettext", "glob", "graphlib", "gzip"),
    *("hashlib", "heapq", "hmac", "html", "http", "inspect", "ipaddress", "json", "keyword", "linecache", "locale"),
    *("mimetypes", "ntpath", "numbers", "operator", "optparse", "pdb", "pickle", "platform", "plistlib", "posixpath"),
    *(
        "pprint",
        "quopri",
        "random",
        "reprlib",
        "sched",
        "secrets",
        "selectors",
        "shlex",
        "shutil",
        "socket",
        "ssl",
        "stat",
    ),
    *(
        "statistics",
        "string",
        "stringprep",
        "tempfile",
        "textwrap",
        "timeit",
        "token",
        "tokenize",
        "tomllib",
        "traceback",
    ),
    *("types", "typing", "urllib", "uuid", "warnings", "weakref", "wsgiref", "xml", "zipfile"),
)
PACKAGES = ("click", "humanize", "idna", "markdown_it", "packaging", "rich")

Short = Literal["", "a", "b c", "Ünï", "a-b_c", "1.0", "<a&b>", "%41", "~/x", "/a/../b", "//a/b", "a,b;c='d e'"]
Share = Fraction  # between 0 and 1, as a float

CALLS: dict[str, dict[str, dict[str, Any] | None]] = {
    # Functions by module. Those of the standard library have no annotations: here they are.
    "std.base64": {
        "b64encode": {"s": bytes},
        "b16encode": {"s": bytes},
        "b32decode": {"s": bytes},
        "b85encode": {"b": bytes, "pad": bool},
        "a85encode": {"b": bytes},
        "urlsafe_b64decode": {"s": Short},
    },
    "std.bisect": {"bisect_left": {"a": list[int], "x": int}, "bisect_right": {"a": list[float], "x": float}},
    "std.calendar": {
        "isleap": {"year": int},
        "leapdays": {"y1": int, "y2": int},
        "monthrange": {"year": int, "month": int},
        "timegm": {"tuple": tuple[Literal[1970, 2024], Literal[1, 12], Literal[1, 28], int, int, int]},
    },
    "std.colorsys": {
        "rgb_to_hsv": {"r": Share, "g": Share, "b": Share},
        "hls_to_rgb": {"h": Share, "l": Share, "s": Share},
    },
    "std.difflib": {"get_close_matches": {"word": str, "possibilities": list[str], "n": int}},
    "std.fnmatch": {"translate": {"pat": str}, "filter": {"names": list[Short], "pat": Literal["*", "a*", "?"]}},
    "std.heapq": {"nsmallest": {"n": int, "iterable": list[float]}, "nlargest": {"n": int, "iterable": list[int]}},
    "std.html": {"escape": {"s": str, "quote": bool}, "unescape": {"s": str}},
    "std.ipaddress": {"v4_int_to_packed": {"address": int}, "v6_int_to_packed": {"address": int}},
    "std.locale": {"normalize": {"localename": str}},
    "std.ntpath": {"normcase": {"s": Short}},
    "std.posixpath": {
        "join": {"a": Short},
        "split": {"p": str},
        "normpath": {"path": str},
        "splitext": {"p": Short},
    },
    "std.quopri": {"encodestring": {"s": bytes, "quotetabs": bool}, "decodestring": {"s": bytes}},
    "std.shlex": {"split": {"s": str, "comments": bool}, "quote": {"s": str}, "join": {"split_command": list[str]}},
    "std.statistics": {
        "mean": {"data": list[int]},
        "median_low": {"data": list[float]},
        "multimode": {"data": list[str]},
        "pstdev": {"data": list[int]},
        "linear_regression": {"x": list[int], "y": list[int]},
    },
    "std.string": {"capwords": {"s": str, "sep": str | None}},
    "std.stringprep": {
        "in_table_a1": {"code": Literal["a", "ß", "א"]},
        "map_table_b3": {"code": Literal["a", "ß", "א"]},
    },
    "std.textwrap": {
        "dedent": {"text": str},
        "fill": {"text": str, "width": int},
        "indent": {"text": str, "prefix": str},
        "shorten": {"text": str, "width": int},
        "wrap": {"text": str, "width": int},
    },
    "std.tomllib": {
        "loads": {"s": Literal["a = 1", "[t]\nb = [1, 'x', 2024-01-01]", "a = ", "d = 1979-05-27T07:32:00Z"]}
    },
    "std.urllib.parse": {
        "parse_qs": {"qs": Literal["a=1&b=2&a=3", "", "a", "%41=%zz"], "strict_parsing": bool},
        "quote": {"string": str, "safe": Literal["", "/"]},
        "unquote_plus": {"string": str},
        "urljoin": {"base": Short, "url": Short},
        "urlsplit": {"url": Literal["http://a.b:80/c?d#e", "//x", "http://[::1", "mailto:a@b"]},
    },
    "click.formatting": {"measure_table": None, "join_options": None, "wrap_text": None},
    "click.termui": {"unstyle": None},
    "humanize.filesize": {"naturalsize": None},
    "humanize.number": {
        "apnumber": None,
        "fractional": None,
        "intcomma": None,
        "intword": None,
        "metric": None,
        "ordinal": None,
        "scientific": None,
    },
    "humanize.time": {"naturaldate": None, "naturaldelta": None, "precisedelta": None},
    "idna.core": {
        "check_bidi": None,
        "check_hyphen_ok": None,
        "check_nfc": None,
        "uts46_remap": None,
        "valid_contextj": None,
        "valid_label_length": None,
    },
    "idna.intranges": {"intranges_contain": None, "intranges_from_list": None},
    "markdown_it.common.normalize_url": {"normalizeLink": None, "normalizeLinkText": None},
    "markdown_it.common.utils": {
        "arrayReplaceAt": None,
        "charCodeAt": None,
        "charStrAt": None,
        "escapeHtml": None,
        "fromCodePoint": None,
        "isMdAsciiPunct": None,
        "isSpace": None,
        "isValidEntityCode": None,
        "normalizeReference": None,
        "unescapeAll": None,
    },
    "packaging.dependency_groups": {"resolve_dependency_groups": None},
    "packaging.licenses": {"canonicalize_license_expression": None},
    "packaging.metadata": {"parse_email": {"data": str}},
    "packaging.pylock": {"is_valid_pylock_path": None},
    "packaging.utils": {"canonicalize_name": None, "is_normalized_name": None},
    "rich.cells": {"cell_len": None, "chop_cells": None, "set_cell_size": None},
    "rich.color": {"Color.from_triplet": None, "Color.from_ansi": None, "blend_rgb": None, "parse_rgb_hex": None},
    "rich.filesize": {"decimal": None},
}
"""Left out of what their modules offer: what depends on the time, the environment, or the order of a set; what prints; and what
takes or gives an object that only its own process can hold. Of bytes, ``parse_email`` gives other types than it declares."""


TYPE_CHECKING: dict[str, Any] = {
    "NumberOrString": float | str,
    "collections": collections,
    "datetime": datetime,
    "dt": datetime,
    "Path": Path,
    **{name: getattr(collections.abc, name) for name in ("Iterable", "Mapping", "Sequence")},
}
"""Names in annotations that are there for type checkers alone."""


def import_name(module: str) -> str:
    """The name under which the module that was copied is imported."""
    return module.removeprefix("std.")


def standard(name: str) -> Path:
    """The file or the directory of a module of the standard library."""
    path = Path(sysconfig.get_path("stdlib"), name)
    return path if path.is_dir() else path.with_suffix(".py")


def directory_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None, f"{package} is no Python source"
    return Path(spec.origin).parent


def sources() -> Iterator[ModuleSource]:
    """Every module of the corpus, with all that lies in packages."""
    for name in STDLIB:
        yield from _below(standard(name), "std")
    for package in PACKAGES:
        yield from _below(directory_of(package))


def _below(root: Path, *under: str) -> Iterator[ModuleSource]:
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        parts = path.relative_to(root.parent).with_suffix("").parts
        if "__main__" in parts or not all(part.isidentifier() for part in parts):
            continue
        is_package = parts[-1] == "__init__"
        name = ".".join([*under, *(parts[:-1] if is_package else parts)])
        yield ModuleSource(name, path, path.read_bytes(), is_package)
