"""A matplotlib figure as SVG that may stand in a page beside others, with words for those who cannot see it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from femur_nnunet.evaluation.report.figures.look import RC

# All figures in one scale, so that their letters are of one size: 8.5 points become those of the page's small print.
REM_PER_INCH = 7.0
_BEFORE_SVG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_COMMENTS = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_NAMESPACES = re.compile(r'\s+xmlns(?::\w+)?="[^"]*"')
_IDS = re.compile(r'\bid="([^"]+)"')
_USES = re.compile(r'(?:xlink:)?href="#([^"]+)"')
_URLS = re.compile(r"url\(#([^)]+)\)")


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes
    ----------
    name : str
        Its id in the page.
    svg : Markup
        The drawing, safe to be put into the page.
    caption : str
        What it shows and how to read it.
    """

    name: str
    svg: Markup
    caption: str


def picture(name: str, draw: Callable[[], Figure], *, alt: str, caption: str) -> Picture:
    """Draw a figure in the report's look.

    Parameters
    ----------
    name : str
        Id in the page, letters, digits and hyphens.
    draw : callable
        Returns the figure; called with the report's settings in force, which are put back after.
    alt : str
        What the figure shows, with its numbers, in a sentence or two.
    caption : str
        Printed below.
    """
    with matplotlib.rc_context({**RC, "svg.hashsalt": name}):
        buffer = io.StringIO()
        figure = draw()
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    width_rem = figure.get_figwidth() * REM_PER_INCH
    return Picture(name, Markup(_for_page(buffer.getvalue(), name, alt, width_rem)), caption)


def _for_page(svg: str, name: str, alt: str, width_rem: float) -> str:
    """Return an SVG without prolog and namespaces, whose ids no other figure has."""
    for pattern in (_BEFORE_SVG, _METADATA, _COMMENTS, _NAMESPACES):
        svg = pattern.sub("", svg)
    svg = _IDS.sub(rf'id="{name}-\1"', svg)
    svg = _USES.sub(rf'href="#{name}-\1"', svg).replace("xlink:href=", "href=")
    svg = _URLS.sub(rf"url(#{name}-\1)", svg)
    svg = re.sub(r"\n\s*", "\n", svg).strip()
    # No title element: browsers would show it as a tooltip over the whole figure.
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" style="--width: {width_rem:.1f}rem" ', 1)
