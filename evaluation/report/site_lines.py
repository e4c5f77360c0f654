"""The table by site and arm, as text cells of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from femur_nnunet.evaluation.agreement import AgreementRow
from femur_nnunet.evaluation.participants import ALL, select
from femur_nnunet.evaluation.report.measured_pairs import Pairs, percent_of
from femur_nnunet.evaluation.report.result_tables import ResultTables
from femur_nnunet.evaluation.report.wording import (
    NOT_KNOWN,
    digits_of,
    figure_text,
    margin_text,
    metric_title,
    quantity_title,
    site_title,
    unit_of_metric,
)
from femur_nnunet.evaluation.site_table import SiteRow

TABLE_METRICS = ("dice", "surface_dice_2mm", "sensitivity", "hd95_mm", "hd95_mm_fair", "assd_mm",
                 "surface_roughness_mm")
SEX_TITLES = {ALL: "All", "F": "Women", "M": "Men"}


@dataclass(frozen=True)
class Cell:
    """A value and, below it in small print, its interval."""

    value: str
    below: str = ""


@dataclass(frozen=True)
class TableLine:
    """One line: its headings and its cells."""

    headings: Sequence[str]
    cells: Sequence[Cell]


def metric_headings() -> list[str]:
    """Return the headings of the metrics with their units."""
    return [f"{metric_title(metric)} ({unit_of_metric(metric)})" if unit_of_metric(metric) else metric_title(metric)
            for metric in TABLE_METRICS]


def site_lines(tables: ResultTables, sexes: Sequence[str] = (ALL,)) -> list[TableLine]:
    """Return a line for each arm, site and sex: counts, then mean and SD with the interval of the mean below."""
    lines = []
    for arm in tables.arms:
        own = [row for row in tables.judged if row.arm == arm]
        for site in (*tables.site_names, *((ALL,) if len(tables.site_names) > 1 else ())):
            for sex in sexes:
                rows = select(own, site=site, sex=sex)
                first = tables.summary(arm, site, TABLE_METRICS[0], sex)
                if first is None:
                    continue
                people = len({row.participant_id for row in rows})
                counts = [Cell(str(people)), Cell(str(len(rows))), Cell(str(first.n_missed))]
                lines.append(TableLine([arm, site_title(site), SEX_TITLES[sex]], [*counts, *(
                    _metric_cell(tables.summary(arm, site, metric, sex), people) for metric in TABLE_METRICS)]))
    return lines


def agreement_lines(tables: ResultTables, quantities: Sequence[tuple[str, str, str]],
                    pairs: Sequence[Pairs]) -> list[TableLine]:
    """Return a line for each quantity, arm and site: n, bias, limits, ICC, Pearson's r and the equivalence test."""
    lines = []
    for (quantity, region, unit), own in zip(quantities, pairs, strict=True):
        for arm in tables.arms:
            for site in tables.site_names:
                row = tables.agreement_of(arm, site, quantity, region, unit)
                if row is not None and row.n:
                    percent = percent_of(row.estimates["bias"].value, own.get((arm, site)))
                    lines.append(TableLine([f"{quantity_title(quantity, row.region)} ({unit})", arm, site_title(site)],
                                           _agreement_cells(row, percent)))
    return lines


def _metric_cell(summary: SiteRow | None, people: int) -> Cell:
    if summary is None or not summary.n:
        return Cell(NOT_KNOWN)
    digits = digits_of(summary.metric)
    value = figure_text(summary.mean, digits)
    value += f" ± {figure_text(summary.sd, digits)}" if summary.n > 1 else ""
    below = f"{figure_text(summary.ci95_low, digits)} to {figure_text(summary.ci95_high, digits)}" if (
        summary.ci95_low == summary.ci95_low) else "no interval"
    # A metric that fewer participants have says so itself.
    return Cell(value, below + (f", n = {summary.n}" if summary.n != people else ""))


def _agreement_cells(row: AgreementRow, percent: float) -> list[Cell]:
    bias, low, high = (row.estimates[name] for name in ("bias", "loa_low", "loa_high"))
    digits = 1 if abs(bias.value) >= 10 or abs(high.value) >= 100 else 2
    tost = NOT_KNOWN if row.tost_p != row.tost_p else ("< 0.001" if row.tost_p < 0.001 else f"{row.tost_p:.3f}")
    return [
        Cell(str(row.n), f"{row.n_missed} missed" if row.n_missed else ""),
        Cell(figure_text(bias.value, digits, signed=True), _interval(bias.ci95_low, bias.ci95_high, digits, True)),
        Cell(f"{figure_text(percent, 1, signed=True)} %" if percent == percent else NOT_KNOWN),
        Cell(_span(low.value, high.value, digits, True) or NOT_KNOWN),
        *(Cell(figure_text(row.estimates[name].value, 3), _interval(row.estimates[name].ci95_low,
                                                                    row.estimates[name].ci95_high, 3, False))
          for name in ("icc_2_1", "pearson_r")),
        Cell(tost, "no margin given" if row.tost_margin != row.tost_margin
             else f"margin {margin_text(row.tost_margin)}")]


def _interval(low: float, high: float, digits: int, signed: bool) -> str:
    return _span(low, high, digits, signed) or "no interval"


def _span(low: float, high: float, digits: int, signed: bool) -> str:
    if low != low or high != high:
        return ""
    return f"{figure_text(low, digits, signed=signed)} to {figure_text(high, digits, signed=signed)}"
