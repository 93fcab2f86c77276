"""Settings of the documentation site: ``sphinx-build -W docs docs/_build`` builds it.

The pages are plain Markdown that reads well on GitHub, too. What a site needs beyond that is added here while it is built:
the navigation is read from the lists of links in ``index.md``, the pages that stand at the top of the repository are taken
in, and links that lead out of ``docs`` become links between pages, or plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lastgood

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
TOP = DOCS.parent

project = "lastgood"
author = "the authors of lastgood"
release = version = lastgood.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinxcontrib.mermaid"]
exclude_patterns = ["_build"]
nitpicky = True
# Types of the standard library and of packages that are not documented here, and the names of inner modules.
nitpick_ignore_regex = [("py:.*", r"(?!lastgood\.\w+$).*")]

myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 4
myst_url_schemes = ["http", "https"]
myst_fence_as_directive = ["mermaid"]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"lastgood {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "signature"
autodoc_type_aliases = {"WatchEvent": "lastgood.WatchEvent"}
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

AT_THE_TOP = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
}
"""The pages of the site whose text is that of a file outside ``docs``."""

SECTIONS = {
    "Start here": "tutorial.md",
    "How-to guides": "how-to/*.md",
    "Explanation": "explanation/*.md",
    "Reference": "reference/*.md",
}
"""The pages that a section of the navigation has besides those that ``index.md`` names there."""

_LINK = re.compile(r"(?<!!)\[((?:[^][]|\[[^]]*\])*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def taken_in(text: str, at: Path, page: str) -> str:
    """Return the text of the file ``at``, with links as they are for the site's ``page``.

    A link to a page of the site leads there. One to anything else in the repository becomes its text.
    """
    pages = {os.path.normpath(TOP / file): name for name, file in AT_THE_TOP.items()}
    pages[os.path.normpath(TOP / "README.md")] = "index"

    def link(found: re.Match[str]) -> str:
        words, to, anchor = found[1], found[2], found[3] or ""
        target = Path(os.path.normpath(at.parent / to))
        if str(target) in pages:
            name, anchor = pages[str(target)], anchor if pages[str(target)] != "index" else ""
            target = DOCS / f"{name}.md"
        elif DOCS not in target.parents:
            return words
        return f"[{words}]({os.path.relpath(target, (DOCS / page).parent)}{anchor})"

    return _LINK.sub(link, text)


def navigation(index: str) -> str:
    """Return the directives that make the lists of links in ``index.md`` the navigation of the site."""
    trees = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        named = [to for _, to, _ in _LINK.findall(section)]
        others = (path.relative_to(DOCS).as_posix() for path in sorted(DOCS.glob(SECTIONS.get(title, "-"))))
        pages = [os.path.splitext(page)[0] for page in dict.fromkeys([*named, *others])]
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"]))
    return "\n\n".join(["", *trees, ""])


def read_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Change the text of a page between its file and the parser."""
    path = Path(app.env.doc2path(page))
    if path.suffix != ".md":
        return
    if page in AT_THE_TOP:
        path = TOP / AT_THE_TOP[page]
        app.env.note_dependency(str(path))
        source[0] = path.read_text(encoding="utf-8")
    more = navigation(source[0]) if page == "index" else ""
    source[0] = taken_in(source[0], path, page) + more


def spell_alias(*told: Any) -> tuple[str | None, ...]:
    """Have signatures name :data:`lastgood.WatchEvent`, and not the object by which autodoc stands for an alias."""
    stand_in = re.compile(r"TypeAliasForwardRef\('([\w.]+)'\)")
    return tuple(None if text is None else stand_in.sub(r"\1", text) for text in told[-2:])


def setup(app: Sphinx) -> dict[str, Any]:
    """Have every page pass through :func:`read_page`, and every signature through :func:`spell_alias`."""
    app.connect("source-read", read_page)
    app.connect("autodoc-process-signature", spell_alias)
    return {"parallel_read_safe": True}
