"""The summary in clinical words, made from the tables: nothing is said that an interval does not carry."""

from __future__ import annotations

import math
from collections.abc import Sequence

from femur_nnunet.evaluation.agreement import AgreementRow
from femur_nnunet.evaluation.compare_table import CompareRow
from femur_nnunet.evaluation.gap_table import GapRow
from femur_nnunet.evaluation.metric_catalogue import METRIC_BY_NAME
from femur_nnunet.evaluation.participants import select
from femur_nnunet.evaluation.report.figures.agreement import PairedValues
from femur_nnunet.evaluation.report.measured_pairs import density_pairs, percent_of, shown_density, volume_pairs
from femur_nnunet.evaluation.report.result_tables import ResultTables
from femur_nnunet.evaluation.report.wording import (
    SIGNIFICANT,
    counted,
    digits_of,
    doubt,
    figure_text,
    interval_text,
    is_shown,
    margin_text,
    metric_title,
    p_text,
    quantity_phrase,
    site_title,
    unit_of_metric,
)
from femur_nnunet.regions import Region

SUMMARY_DENSITY = (("vbmd_integral", Region.TOTAL), ("vbmd_integral", Region.NECK))
_HEADLINES = ("hd95_mm", "dice")


def arm_sentences(tables: ResultTables, arm: str) -> list[str]:
    """Return what is to be said of one arm: counts, distances, gap, volume, density, site by site."""
    volumes = volume_pairs(tables)
    densities = {key: density_pairs(tables, *key) for key in shown_density(tables) if key[:2] in SUMMARY_DENSITY}
    sentences = []
    for site in tables.site_names:
        sentences += [f"{count_sentence(tables, arm, site)} {accuracy_sentence(tables, arm, site)}",
                      bias_sentence(tables.agreement_of(arm, site, "volume_ml"), volumes.get((arm, site)))]
        sentences += [bias_sentence(tables.agreement_of(arm, site, quantity, region, unit), pairs.get((arm, site)))
                      for (quantity, region, unit), pairs in densities.items()]
    sentences += [gap_sentence(gap) for gap in tables.gaps if gap.arm == arm and gap.metric == "hd95_mm"]
    return [sentence for sentence in sentences if sentence]


def count_sentence(tables: ResultTables, arm: str, site: str) -> str:
    """Return how many participants and hips were judged, and how many hips were missed."""
    rows = select([row for row in tables.judged if row.arm == arm], site=site)
    missed = [row for row in rows if row.rule.counts_as_missed]
    people = {row.participant_id for row in rows}
    text = f"{site_title(site)}: {counted(len(people), 'participant')}, {counted(len(rows), 'hip')}; "
    if not missed:
        return text + "none missed."
    who = {row.participant_id for row in missed}
    return (text + f"{counted(len(missed), 'hip')} of {counted(len(who), 'participant')} missed (no usable "
            "prediction): counted as Dice 0, without distance, volume or density below.")


def accuracy_sentence(tables: ResultTables, arm: str, site: str) -> str:
    """Return HD95 and Dice of a site with their intervals."""
    parts = []
    for metric in _HEADLINES:
        summary = tables.summary(arm, site, metric)
        if summary is None or not summary.n:
            parts.append(f"no {metric_title(metric)} (n = 0)")
            continue
        digits = digits_of(metric)
        value = f"{figure_text(summary.mean, digits)} {unit_of_metric(metric)}".strip()
        parts.append(f"{metric_title(metric)} {value} ({interval_text(summary.ci95_low, summary.ci95_high, digits)}, "
                     f"n = {summary.n})")
    return f"{', '.join(parts)}."


def gap_sentence(gap: GapRow) -> str:
    """Return how far a target site lies from a source site, and whether its interval leaves 0 out."""
    digits, unit, title = digits_of(gap.metric), unit_of_metric(gap.metric), metric_title(gap.metric)
    if not math.isfinite(gap.gap):
        return (f"{title} at {site_title(gap.target_site)} cannot be compared with {site_title(gap.source_site)}: "
                "one of them has no value.")
    interval = interval_text(gap.ci95_low, gap.ci95_high, digits, signed=True)
    size = f"{figure_text(abs(gap.gap), digits)} {unit}".strip()
    more = "more" if gap.gap > 0 else "less"
    seen = f"{site_title(gap.target_site)} {title} is {size} {more} than {site_title(gap.source_site)}'s"
    if not math.isfinite(gap.ci95_low):
        return f"{seen}; with so few participants there is no interval, so nothing is shown."
    if not is_shown(gap.ci95_low, gap.ci95_high, gap.p_value):
        return (f"{seen}, but {doubt(gap.ci95_low, gap.ci95_high)} ({interval}; {p_text(gap.p_value)}): no difference "
                "is shown.")
    better = METRIC_BY_NAME[gap.metric].better
    word = "worse" if (gap.gap > 0) == (better == "lower") else "better"
    return f"{seen} ({word} at the target; {interval}; {p_text(gap.p_value)})."


def bias_sentence(row: AgreementRow | None, pair: PairedValues | None) -> str:
    """Return the bias of a quantity in its unit and in percent, and whether equivalence was shown."""
    if row is None or not row.n:
        return ""
    bias, name = row.estimates["bias"], quantity_phrase(row.quantity, row.region)
    digits = 1 if max(abs(bias.value), abs(bias.ci95_high)) >= 10 else 2
    text = f"{site_title(row.site)}: {name} bias "
    percent = percent_of(bias.value, pair)
    value = f"{figure_text(bias.value, digits, signed=True)} {row.unit}".strip()
    interval = interval_text(bias.ci95_low, bias.ci95_high, digits, signed=True)
    text += f"{figure_text(percent, 1, signed=True)} % ({value}" if math.isfinite(percent) else f"{value} ("
    text += f"; {interval}, n = {row.n})" if math.isfinite(percent) else f"{interval}, n = {row.n})"
    return f"{text}{_equivalence(row, percent_of(row.tost_margin, pair))}."


def comparison_sentences(tables: ResultTables, base: str) -> list[str]:
    """Return each arm's HD95 against a base arm by site, with the part of the gap that it closes."""
    sources = {gap.source_site for gap in tables.gaps}
    return [comparison_sentence(row, is_target=site not in sources) for site in tables.site_names
            for row in tables.comparison if (row.metric, row.site, row.arm_a) == ("hd95_mm", site, base)]


def comparison_sentence(row: CompareRow, *, is_target: bool = True) -> str:
    """Return one paired difference between arms; the part of the gap that is closed at a target site alone."""
    digits, unit, title = digits_of(row.metric), unit_of_metric(row.metric), metric_title(row.metric)
    if not row.n:
        return f"{site_title(row.site)}: {row.arm_b} and {row.arm_a} share no hip with a {title}."
    size = f"{figure_text(abs(row.difference), digits)} {unit}".strip()
    seen = (f"{site_title(row.site)}: {title} of {row.arm_b} is {size} {'more' if row.difference > 0 else 'less'} than "
            f"{row.arm_a}'s on the same {counted(row.n, 'participant')}")
    if not math.isfinite(row.ci95_low):
        return f"{seen}; there is no interval."
    told = f"{interval_text(row.ci95_low, row.ci95_high, digits, signed=True)}; {p_text(row.p_holm, 'Holm p')}"
    if not is_shown(row.ci95_low, row.ci95_high, row.p_holm):
        return f"{seen}, but {doubt(row.ci95_low, row.ci95_high)} ({told}): no difference is shown."
    text = f"{seen} ({told})."
    if math.isfinite(row.gap_closed) and is_target:
        text += (f" It closes {figure_text(100 * row.gap_closed, 0)} % of the distance to the oracle "
                 f"({interval_text(100 * row.gap_closed_ci95_low, 100 * row.gap_closed_ci95_high, 0)} %).")
    return text


def base_arms(comparison: Sequence[CompareRow]) -> list[str]:
    """Return the arms that others are compared with: those with a gap closed against them, else the first."""
    bases = list(dict.fromkeys(row.arm_a for row in comparison if math.isfinite(row.gap_closed)))
    return bases or ([comparison[0].arm_a] if comparison else [])


def _equivalence(row: AgreementRow, margin_percent: float) -> str:
    if not math.isfinite(row.tost_margin):
        return "; no margin was given, so equivalence was not tested"
    margin = f"{margin_text(row.tost_margin)} {row.unit}".strip()
    if row.unit != "ml" and math.isfinite(margin_percent):
        # The margins of density are shares of it: its least significant change.
        margin = f"±{margin_percent:.1f} % ({margin})"
    if not math.isfinite(row.tost_p):
        return f"; equivalence within {margin} cannot be tested with n = {row.n}"
    test = p_text(row.tost_p, "TOST p")
    return f": within {margin} ({test})" if row.tost_p < SIGNIFICANT else f"; not shown to be within {margin} ({test})"
