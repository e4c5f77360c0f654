"""Scatter about the line of identity and Bland-Altman plots of a measured quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from femur_nnunet.evaluation.agreement import AgreementRow
from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import INK, SOFT, Look, new_figure
from femur_nnunet.evaluation.report.wording import figure_text, interval_text, site_title


@dataclass(frozen=True)
class PairedValues:
    """A quantity on the reference and on the prediction, one value a participant, in one order."""

    reference: NDArray[np.float64]
    prediction: NDArray[np.float64]


def draw_agreement(name: str, title: str, unit: str, pairs: Mapping[tuple[str, str], PairedValues],
                   table: Mapping[tuple[str, str], AgreementRow | None], look: Look, *,
                   arms: Sequence[str]) -> Picture | None:
    """Return a row of panels an arm: scatter, and Bland-Altman for each site.

    Parameters
    ----------
    name, title, unit : str
        Id of the figure, the quantity and its unit.
    pairs, table : mapping of (arm, site)
        Values, and the line of agreement.csv that bias and limits are drawn from.
    look : Look
        Sites and arms in their order.
    arms : sequence of str
        The arms to be drawn.
    """
    shown = {key: pair for key, pair in pairs.items() if pair.reference.size and key[0] in arms}
    if not shown:
        return None
    axis = f"{title[:1].lower() + title[1:] if not title[:3].isupper() else title} ({unit})"
    # One scale for all arms, also where each has a figure of its own.
    everything = np.concatenate([part for pair in pairs.values() for part in (pair.reference, pair.prediction)])
    differences = np.concatenate([pair.prediction - pair.reference for pair in pairs.values()])

    def draw() -> Figure:
        figure = new_figure(2.75 * len(arms) + 0.2)
        # A unit of one site alone leaves no empty panel for the others; the width stays that of all.
        sites = [site for site in look.sites if any(pair.reference.size and key[1] == site
                                                    for key, pair in pairs.items())]
        panels = figure.subplots(len(arms), 1 + len(look.sites), squeeze=False)
        for axes in panels[:, 1 + len(sites):].ravel():
            axes.set_visible(False)
        edge = 0.06 * (np.ptp(everything) or 1.0)
        limits = (everything.min() - edge, everything.max() + edge)
        span = _span(differences, list(table.values()))
        for line, arm in zip(panels, arms, strict=True):
            prefix = f"{arm}: " if len(look.arms) > 1 else ""
            line[0].plot(limits, limits, color=SOFT, linewidth=1.0, label="identity")
            for site in look.sites:
                if (arm, site) in shown:
                    pair = shown[arm, site]
                    line[0].scatter(pair.reference, pair.prediction, s=18, linewidths=0.5, edgecolors="white",
                                    label=site_title(site), **look.site(site))
            line[0].set(title=f"{prefix}{title}", xlim=limits, ylim=limits, xlabel=f"Reference ({unit})",
                        ylabel=f"Prediction ({unit})", aspect="equal")
            line[0].locator_params(nbins=5)
            line[0].legend(loc="upper left", handletextpad=0.3)
            for axes, site in zip(line[1:], sites, strict=False):
                found = shown.get((arm, site))
                axes.set(title=f"{prefix}{site_title(site)}", ylim=span, xlabel=f"Mean of both ({unit})",
                         ylabel=f"Prediction \N{MINUS SIGN} reference ({unit})")
                axes.locator_params(axis="x", nbins=5)
                if found is not None:
                    _bland_altman(axes, found, table.get((arm, site)), look.site(site))
                else:
                    axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", color=SOFT)
        return figure

    told = [f"{arm}, {site_title(site)}: {_told(table.get((arm, site)), unit, pair)}"
            for (arm, site), pair in shown.items()]
    return picture(name, draw, alt=f"Scatter and Bland-Altman plots of {axis}. {'; '.join(told)}.",
                   caption=f"{title}. Left: prediction against reference with the line of identity, one point a "
                           "participant. Right: difference against mean; solid line: bias with its 95 % interval as a "
                           "band; dashed lines: limits of agreement (bias ± 1.96 SD).")


def _bland_altman(axes: Any, pair: PairedValues, row: AgreementRow | None, style: dict[str, Any]) -> None:
    axes.axhline(0, color=SOFT, linewidth=0.9)
    middle, difference = (pair.reference + pair.prediction) / 2, pair.prediction - pair.reference
    axes.scatter(middle, difference, s=18, linewidths=0.5, edgecolors="white", zorder=3, **style)
    if row is None or not np.isfinite(row.estimates["bias"].value):
        return
    bias, low, high = (row.estimates[name] for name in ("bias", "loa_low", "loa_high"))
    axes.axhline(bias.value, color=style["color"], linewidth=1.6)
    if np.isfinite(bias.ci95_low):
        axes.axhspan(bias.ci95_low, bias.ci95_high, color=style["color"], alpha=0.15, linewidth=0)
    lines = [(bias.value, "bias")]
    for limit in (low, high):
        if np.isfinite(limit.value):
            axes.axhline(limit.value, color=style["color"], linestyle="--", linewidth=1.2)
            lines.append((limit.value, ""))
    for value, word in lines:
        # Beside the panel: inside it a label would hide participants.
        axes.annotate(f"{word}\n{figure_text(value, _digits(value), signed=True)}".strip(), (1.0, value),
                      xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", ha="left",
                      va="center", fontsize=7.5, color=INK)


def _span(differences: NDArray[np.float64], rows: Sequence[AgreementRow | None]) -> tuple[float, float]:
    values = [0.0, *differences]
    for row in rows:
        if row is not None:
            values += [value for limit in ("loa_low", "loa_high") if np.isfinite(value := row.estimates[limit].value)]
    edge = 0.12 * (np.ptp(values) or 1.0)
    return min(values) - edge, max(values) + edge


def _told(row: AgreementRow | None, unit: str, pair: PairedValues) -> str:
    if row is None:
        return f"{pair.reference.size} participants"
    bias = row.estimates["bias"]
    digits = _digits(bias.value)
    return (f"n = {row.n}, bias {figure_text(bias.value, digits, signed=True)} {unit} "
            f"({interval_text(bias.ci95_low, bias.ci95_high, digits, signed=True)})")


def _digits(value: float) -> int:
    return 1 if abs(value) >= 10 else 2
