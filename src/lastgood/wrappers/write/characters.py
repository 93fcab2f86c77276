"""Escaping of characters in the text of a wrapper.

The rule does not use ``str.isprintable``: that depends on Python's version of Unicode, and the text of a wrapper must not.
"""

from __future__ import annotations

import re

__all__ = ["escaped", "quoted"]

_HIDDEN = re.compile(
    "["
    "\\0-\\x1f\\x7f-\\x9f"  # control characters
    "\\xad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890-\\u0891\\u08e2\\u180e"  # format characters, here and in the next two lines
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff"
    "\\ufff0-\\ufffb\\U000110bd\\U000110cd\\U00013430-\\U0001345f\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a"
    "\\ud800-\\uf8ff\\U000e0000-\\U0010ffff"  # surrogates, private use, tags
    "\\ufdd0-\\ufdef\\ufffe-\\uffff"  # noncharacters
    "]"
)
_SPACES = re.compile("[\\xa0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000]")
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")


def escaped(text: str) -> str:
    """Escape the invisible characters in ``text``. Backslashes are left as they are."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def quoted(text: str) -> str:
    """Return ``text`` as a literal, like ``repr``, but with invisible characters and special spaces escaped."""
    return _ESCAPE.sub(lambda found: _shown(found[0]), ascii(text))


def _shown(escape: str) -> str:
    if escape[1] not in "xuU":
        return escape
    char = escape.encode().decode("unicode_escape")
    return escape if _HIDDEN.match(char) or _SPACES.match(char) else char
