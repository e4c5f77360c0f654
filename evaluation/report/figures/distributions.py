"""Box and violin plots of metrics by site and arm, every participant a point."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.metric_catalogue import METRIC_BY_NAME
from femur_nnunet.evaluation.participants import mean_values, missed_participants, select
from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import INK, Look, new_figure
from femur_nnunet.evaluation.report.wording import metric_title, site_title, unit_of_metric

SHOWN_METRICS = ("dice", "surface_dice_2mm", "hd95_mm", "assd_mm")
# A violin of fewer participants would be an invention, and so would quartiles.
FEWEST_FOR_VIOLIN, FEWEST_FOR_BOX = 10, 5


def draw_distributions(rows: Sequence[CaseRow], look: Look) -> Picture:
    """Return the distributions of Dice, surface Dice, HD95 and ASSD.

    Parameters
    ----------
    rows : sequence of CaseRow
        Judged rows.
    look : Look
        Sites and arms in their order.
    """
    def draw() -> Figure:
        many = len(look.arms) * len(look.sites)
        columns = 4 if many <= 3 else 2
        figure = new_figure(3.1 if columns == 4 else 5.8)
        panels = figure.subplots(4 // columns, columns, squeeze=False).ravel()
        for axes, metric in zip(panels, SHOWN_METRICS, strict=True):
            _panel(axes, rows, metric, look)
        return figure

    return picture(
        "distributions", draw,
        alt=f"Distributions of {', '.join(metric_title(metric) for metric in SHOWN_METRICS)} by "
            f"{'arm and ' if len(look.arms) > 1 else ''}site; means and intervals stand in the table above.",
        caption=f"One point a participant (mean over hips and visits). Box: quartiles and median, from "
                f"{FEWEST_FOR_BOX} participants on; whiskers: up to 1.5 interquartile ranges; violin: kernel density, "
                f"from {FEWEST_FOR_VIOLIN} on. A missed hip counts as 0 in Dice and surface Dice and has no "
                "distance; the number of participants with one stands below the axis.")


def _panel(axes: Any, rows: Sequence[CaseRow], metric: str, look: Look) -> None:
    labels, places, place = [], [], 0.0
    for arm in look.arms:
        for site in look.sites:
            group = select([row for row in rows if row.arm == arm], site=site)
            values = mean_values(group, metric)
            _group(axes, place, values, look.site(site), f"{arm} {site} {metric}")
            missed = missed_participants(group)
            labels.append(f"{site_title(site)}\nn = {values.size}" + (f"\n{missed} missed" if missed else ""))
            places.append(place)
            place += 1.0
        if len(look.arms) > 1:
            middle = float(np.mean(places[-len(look.sites):]))
            axes.text(middle, 1.01, arm, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8,
                      color=INK)
        place += 0.6
    unit, better = unit_of_metric(metric), METRIC_BY_NAME[metric].better
    axes.set_title(metric_title(metric), pad=17 if len(look.arms) > 1 else 6)
    axes.set_ylabel(f"{metric_title(metric)} ({unit or 'fraction'})\n{better} is better")
    axes.set_xticks(places, labels, fontsize=7.5)
    axes.set_xlim(places[0] - 0.6, places[-1] + 0.6)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def _group(axes: Any, place: float, values: NDArray[np.float64], style: dict[str, Any], name: str) -> None:
    if not values.size:
        return
    colour = style["color"]
    if values.size >= FEWEST_FOR_VIOLIN and np.ptp(values) > 0:
        for body in axes.violinplot(values, [place], widths=0.85, showextrema=False)["bodies"]:
            body.set(facecolor=colour, alpha=0.18, edgecolor=colour, linewidth=0.8)
    if values.size >= FEWEST_FOR_BOX:
        line = {"color": INK, "linewidth": 1.0}
        axes.boxplot(values, positions=[place], widths=0.32, showfliers=False, manage_ticks=False, whiskerprops=line,
                     capprops=line, boxprops=line, medianprops={"color": INK, "linewidth": 1.8})
    # The same scatter of points in every run and for every other group.
    scatter = np.random.default_rng(zlib.crc32(name.encode())).uniform(-0.13, 0.13, values.size)
    axes.scatter(place + scatter, values, s=15, linewidths=0.5, edgecolors="white", alpha=0.9, zorder=3, **style)
