"""How all figures look: colours that colour-blind readers tell apart, with markers and lines that print in grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe and Ito (2008), in the order in which they differ most in lightness too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
INK, SOFT, FAINT = "#1b1f24", "#59636e", "#d0d7de"
RC = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Segoe UI", "Arial", "Helvetica"], "font.size": 8.5,
    "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 8.5,
    "axes.edgecolor": SOFT, "axes.labelcolor": INK, "axes.linewidth": 0.8, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e6eaee",
    "grid.linewidth": 0.7, "xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "legend.frameon": False, "lines.linewidth": 1.5,
    "svg.fonttype": "none", "axes.unicode_minus": True, "axes.formatter.use_mathtext": False}
WIDTH_IN = 9.0


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of every site and arm of a report.

    Attributes
    ----------
    sites, arms : sequence of str
        In the order of the report.
    """

    sites: Sequence[str]
    arms: Sequence[str]

    def site(self, site: str) -> dict[str, Any]:
        """Return colour and marker of a site."""
        return _entry(self.sites, site, with_marker=True)

    def arm(self, arm: str) -> dict[str, Any]:
        """Return colour and marker of an arm, where a figure is about arms."""
        return _entry(self.arms, arm, with_marker=True)

    def arm_line(self, arm: str) -> Any:
        """Return the line style of an arm."""
        return LINES[self.arms.index(arm) % len(LINES)]

    def site_line(self, site: str) -> Any:
        """Return the line style of a site."""
        return LINES[self.sites.index(site) % len(LINES)]


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure that arranges its panels itself; use it inside ``rc_context(RC)``."""
    return Figure(figsize=(width_in, height_in),
                  layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.04))


def _entry(names: Sequence[str], name: str, *, with_marker: bool) -> dict[str, Any]:
    number = list(names).index(name)
    look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)]}
    return look | {"marker": MARKERS[number % len(MARKERS)]} if with_marker else look
