"""Differences with their intervals: between sites (gap.csv) and between arms (compare.csv)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from femur_nnunet.evaluation.compare_table import CompareRow
from femur_nnunet.evaluation.gap_table import GapRow
from femur_nnunet.evaluation.metric_catalogue import METRIC_BY_NAME
from femur_nnunet.evaluation.report.figures.distributions import SHOWN_METRICS
from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import INK, Look, new_figure
from femur_nnunet.evaluation.report.wording import (
    digits_of,
    figure_text,
    interval_text,
    is_shown,
    metric_title,
    site_title,
    unit_of_metric,
)


@dataclass(frozen=True)
class Bar:
    """One difference with its interval."""

    label: str
    value: float
    low: float
    high: float
    p_value: float
    style: dict[str, Any]


def draw_gap(gaps: Sequence[GapRow], look: Look) -> Picture | None:
    """Return the gap between sites in four metrics, or None where there is none to draw."""
    panels = {}
    for metric in SHOWN_METRICS:
        own = [gap for gap in gaps if gap.metric == metric and math.isfinite(gap.gap)]
        panels[metric] = [Bar(_gap_label(gap, look), gap.gap, gap.ci95_low, gap.ci95_high, gap.p_value,
                              look.arm(gap.arm) if len(look.arms) > 1 else look.site(gap.target_site))
                          for gap in own]
    if not any(panels.values()):
        return None
    return _forest("gap", panels, "target minus source",
                   caption="Mean of the target site minus mean of the source site, with the 95 % bootstrap interval "
                           "over the participants of both. The line at 0 is no difference; an interval that crosses "
                           "it shows none. Filled markers: the interval leaves 0 out and the permutation test "
                           "agrees (p < 0.05).")


def draw_comparison(table: Sequence[CompareRow], base: str, site: str, look: Look) -> Picture | None:
    """Return every arm's difference from a base arm at a site, or None where there is none to draw."""
    here = [row for row in table if (row.site, row.arm_a) == (site, base) and math.isfinite(row.difference)]
    panels = {metric: [Bar(row.arm_b, row.difference, row.ci95_low, row.ci95_high, row.p_holm, look.arm(row.arm_b))
                       for row in here if row.metric == metric] for metric in SHOWN_METRICS}
    if not any(panels.values()):
        return None
    return _forest(f"arms-{site}", panels, f"arm minus {base}",
                   caption=f"{site_title(site)}: paired differences from {base} on the hips that both arms found, "
                           "averaged by participant, with 95 % bootstrap intervals. Filled markers: the interval "
                           "leaves 0 out and the permutation test agrees (Holm p < 0.05).")


def _forest(name: str, panels: dict[str, list[Bar]], what: str, *, caption: str) -> Picture:
    lines = max(len(bars) for bars in panels.values())

    def draw() -> Figure:
        figure = new_figure(max(1.7, 1.15 + 0.3 * lines))
        for number, (axes, (metric, bars)) in enumerate(zip(
                figure.subplots(1, len(panels), squeeze=False, sharey=True).ravel(), panels.items(), strict=True)):
            for place, bar in enumerate(bars):
                clear = is_shown(bar.low, bar.high, bar.p_value)
                if math.isfinite(bar.low):
                    axes.plot([bar.low, bar.high], [place, place], color=bar.style["color"], linewidth=2.2,
                              solid_capstyle="butt")
                axes.plot(bar.value, place, marker=bar.style["marker"], markersize=7, color=bar.style["color"],
                          markerfacecolor=bar.style["color"] if clear else "white", markeredgewidth=1.4,
                          linestyle="none")
            axes.axvline(0, color=INK, linewidth=0.9)
            unit = unit_of_metric(metric)
            sign = "left" if METRIC_BY_NAME[metric].better == "lower" else "right"
            axes.set(title=metric_title(metric), xlabel=f"{what}\n({unit or 'fraction'}; {sign} is better)",
                     ylim=(lines - 0.4, -0.6))
            axes.margins(x=0.12)
            axes.locator_params(axis="x", nbins=4)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            if number == 0:
                axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
        return figure

    told = "; ".join(f"{metric_title(metric)}, {bar.label}: {_told(bar, metric)}" for metric, bars in panels.items()
                     for bar in bars)
    return picture(name, draw, alt=f"Differences, {what}. {told}.", caption=caption)


def _told(bar: Bar, metric: str) -> str:
    digits = digits_of(metric)
    value = f"{figure_text(bar.value, digits, signed=True)} {unit_of_metric(metric)}".strip()
    return f"{value} ({interval_text(bar.low, bar.high, digits, signed=True)})"


def _gap_label(gap: GapRow, look: Look) -> str:
    pair = f"{site_title(gap.target_site)} \N{MINUS SIGN} {site_title(gap.source_site)}"
    return f"{gap.arm}: {pair}" if len(look.arms) > 1 else pair
