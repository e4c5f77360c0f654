"""Cumulative curves of HD95: which share of the participants lies within a distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.participants import participant_means, select
from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import Look, new_figure
from femur_nnunet.evaluation.report.wording import site_title


def reached_shares(rows: Sequence[CaseRow], metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sorted values, one value a participant, and the share of all participants that has at most each value.

    A participant with a missed hip counts in the whole and reaches no distance, so that a curve of a model that
    misses hips ends below 1.
    """
    people = {row.participant_id for row in rows}
    missed = {row.participant_id for row in rows if row.rule.counts_as_missed}
    values = np.sort([value for person, value in participant_means(rows, metric).items() if person not in missed])
    return values, np.arange(1, values.size + 1) / max(len(people), 1)


def draw_cumulative(rows: Sequence[CaseRow], look: Look) -> Picture:
    """Return the cumulative HD95 curves: a panel a site, a line an arm (one arm: one panel, a line a site)."""
    one_arm = len(look.arms) == 1
    panels = [("", [(look.arms[0], site) for site in look.sites])] if one_arm else [
        (site_title(site), [(arm, site) for arm in look.arms]) for site in look.sites]
    curves = {(arm, site): reached_shares(select([row for row in rows if row.arm == arm], site=site), "hd95_mm")
              for arm in look.arms for site in look.sites}
    right_mm = 1.05 * max([0.5, *(float(values[-1]) for values, _ in curves.values() if values.size)])

    def draw() -> Figure:
        figure = new_figure(3.0, 6.0 if one_arm else 9.0)
        for number, (axes, (title, lines)) in enumerate(zip(
                figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False).ravel(), panels, strict=True)):
            for arm, site in lines:
                values, shares = curves[arm, site]
                style = look.site(site) if one_arm else look.arm(arm)
                # The last point is no participant: the curve goes on to the edge.
                last = shares[-1] if shares.size else 0.0
                axes.step([0.0, *values, right_mm], [0.0, *shares, last],
                          where="post", markersize=4, markevery=slice(1, values.size + 1),
                          markeredgecolor="white", markeredgewidth=0.5, **style,
                          linestyle=look.site_line(site) if one_arm else look.arm_line(arm),
                          label=site_title(site) if one_arm else arm)
            axes.set(title=title, xlabel="HD95 (mm)", xlim=(0, right_mm), ylim=(0, 1.03))
            if number == 0:
                axes.set_ylabel("Share of participants with\nHD95 of at most x (fraction)")
            if number == len(panels) - 1:
                axes.legend(loc="lower right")
        return figure

    told = []
    for title, lines in panels:
        for arm, site in lines:
            values, shares = curves[arm, site]
            name = site_title(site) if one_arm else f"{title}, {arm}"
            told.append(f"{name}: {shares[-1]:.0%} within {values[-1]:.1f} mm" if values.size
                        else f"{name}: no participant with a distance")
    return picture("cumulative", draw, alt=f"Cumulative HD95 curves. {'; '.join(told)}.",
                   caption="Further left and higher is better. A participant with a missed hip counts in the whole and "
                           "reaches no distance: a curve that ends below 1 has missed hips.")
