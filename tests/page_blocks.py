"""The pages of the documentation, their blocks of code, and their links.

A comment that GitHub and the site do not show says of the block below it how it is held:

- ``<!-- file: NAME -->``: it is a file of the page's project (so is a block whose first line is ``# NAME``; a comment of several
  lines is a file that the page does not show);
- ``<!-- run: OUTPUT -->``: it is a program that prints this, or nothing, in that project;
- ``<!-- made: NAME -->``: it is what ``lastgood generate`` writes there, or a part of it;
- ``<!-- printed: plan -->``: it is the plan of a first cycle;
- ``<!-- part: REASON -->``: it is only compiled, and this is why.

A project has ``lastgood.toml`` and ``pricing.py`` if the page does not bring its own. A block that stands word for word in a file
of ``examples/`` is held by the tests of that example.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from real_project import RealProject

__all__ = [
    "BLOCKS",
    "LINKED",
    "PAGES",
    "TOP",
    "Block",
    "anchors_of",
    "is_in_an_example",
    "links_of",
    "project_of",
    "text_of",
]

TOP = Path(__file__).parents[1]

PAGES = [
    *("README.md", "SECURITY.md", "CONTRIBUTING.md", "benchmarks/README.md"),
    *sorted(path.relative_to(TOP).as_posix() for path in TOP.glob("docs/**/*.md") if "_build" not in path.parts),
]
LINKED = [*PAGES, "CHANGELOG.md", "tests/README.md", "llms.txt"]

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<kind>file|run|made|printed|part): (?P<what>[^\n]*?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_HIDDEN_FILE = re.compile(r"^<!-- file: (\S+)\n(.*?)-->$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"# ([\w/]+\.(?:py|toml))\b")
_LINK = re.compile(r"\]\(([^)\s]+)\)")

_PRICING = 'def quote(sku: str, quantity: int = 1) -> float:\n    """What it costs."""\n    return 2.5 * quantity\n'


@dataclass(frozen=True)
class Block:
    """A block of code in a page. ``kind`` and ``what`` say how it is held, empty if nothing is said."""

    page: str
    language: str
    text: str
    kind: str
    what: str

    @property
    def head(self) -> str:
        """The page and the first line, which name it in a report."""
        return f"{self.page}: {self.text.partition(chr(10))[0]}"


def text_of(page: str) -> str:
    """Return the text of a page, with the names that its files have in the repository."""
    return (TOP / page).read_text(encoding="utf-8")


def _blocks_of(page: str) -> list[Block]:
    blocks = []
    for found in _BLOCK.finditer(text_of(page)):
        text = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        kind, what = found["kind"] or "", found["what"] or ""
        named = _NAMED.match(text)
        if not kind and named is not None:
            kind, what = "file", named[1]
        blocks.append(Block(page, found["language"], text, kind, what))
    return blocks


BLOCKS = [block for page in PAGES for block in _blocks_of(page)]

_EXAMPLES = [
    path.read_text(encoding="utf-8")
    for path in sorted(TOP.glob("examples/**/*"))
    if path.suffix in (".py", ".toml", ".ipynb") and not {"generated", ".lastgood", ".venv"} & {*path.parts}
]


def is_in_an_example(block: Block) -> bool:
    """Return whether a file of ``examples/`` has the lines of this block, one after the other."""
    return any(block.text.strip("\n") in text for text in _EXAMPLES)


def project_of(page: str, root: Path, style: str) -> RealProject:
    """Write the files that a page shows, below ``root``."""
    config = f'[modules.pricing]\n[output]\ndir = "generated"\nstyle = "{style}"\n'
    shown = {block.what: block.text for block in BLOCKS if block.page == page and block.kind == "file"}
    hidden = dict(_HIDDEN_FILE.findall(text_of(page)))
    return RealProject(root, {"lastgood.toml": config, "pricing.py": _PRICING, **shown, **hidden})


def links_of(page: str) -> list[str]:
    """Return the targets of the links in a page, those in code left out."""
    text = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return _LINK.findall(text)


def anchors_of(page: str) -> set[str]:
    """Return the names that links can give to the headings of a page, as GitHub and the site make them."""
    text = re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    titles: list[str] = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
