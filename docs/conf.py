"""Sphinx's settings for the site: plain Markdown in, pages that need nothing from a network out (``make docs``)."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from femur_nnunet import __version__

project = "femur-nnunet"
author = "The femur-nnunet authors"
release = version = __version__

extensions = ["myst_parser"]
exclude_patterns = ["scripts"]
myst_enable_extensions = ["dollarmath"]
# What GitHub draws as an equation is one here too.
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"femur-nnunet {release}"
html_static_path = ["assets"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_math_renderer = "mathml"

_SECTION = re.compile(r"^## (?P<title>.+?)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_PAGE_LINK = re.compile(r"\]\((?P<page>[a-z0-9_]+)\.md\)")


def add_navigation(app: Any, page: str, source: list[str]) -> None:
    """Turn the headings and links of index.md into the site's navigation: it is written down once, in plain Markdown.

    Parameters
    ----------
    app : Sphinx
        Not used; Sphinx's events have it.
    page : str
        Name of the page that was read.
    source : list of str
        Its text, one item, which is extended.
    """
    if page != "index":
        return
    for section in _SECTION.finditer(source[0]):
        pages = "\n".join(_PAGE_LINK.findall(section["body"]))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {section['title']}\n\n{pages}\n```\n"


def inline_equation(writer: Any, node: nodes.math) -> None:
    """Write an equation within a line as MathML, which browsers draw without any script."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_equation(writer: Any, node: nodes.math_block) -> None:
    """Write an equation on lines of its own as MathML."""
    writer.body.append(f'<div class="equation">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register what this file adds to Sphinx."""
    app.add_html_math_renderer("mathml", (inline_equation, None), (block_equation, None))
    app.connect("source-read", add_navigation)
    return {"parallel_read_safe": True}
