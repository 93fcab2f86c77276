"""Docstrings as source text."""

from __future__ import annotations

from lastgood.wrappers.write.characters import escaped

__all__ = ["docstring"]


def docstring(doc: str, indent: str) -> list[str]:
    """Return the source lines of a docstring with the text ``doc``, except for whitespace at the ends of its lines."""
    lines = [line.rstrip() for line in doc.split("\n")]
    if all(line.startswith(" ") for line in lines[1:] if line) and any(lines[1:]):
        lines = ["", *lines]  # else the common indentation of the other lines would be stripped
    text = "\n".join(lines)
    quoted = '"""' in text or text.startswith('"') or text.endswith('"')
    raw = "\\" in text and not quoted and not text.endswith("\\") and all(line == escaped(line) for line in lines)
    if not raw:
        lines = [_escaped(line, quoted) for line in lines]
    opening = 'r"""' if raw else '"""'
    body = [f"{indent}{opening}{lines[0]}", *(f"{indent}{line}" if line else "" for line in lines[1:])]
    return [*body, f'{indent}"""'] if len(body) > 1 else [f'{body[0]}"""']


def _escaped(line: str, quoted: bool) -> str:
    text = line.replace("\\", "\\\\")
    if quoted:
        text = text.replace('"', '\\"')
    return escaped(text)
