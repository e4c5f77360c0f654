"""Measured quantities on reference and prediction, one pair a participant, as figures and percentages need them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from femur_nnunet.evaluation.agreement import AgreementRow, paired_means
from femur_nnunet.evaluation.case_status import Outcome
from femur_nnunet.evaluation.participants import select
from femur_nnunet.evaluation.report.figures.agreement import PairedValues
from femur_nnunet.evaluation.report.result_tables import ResultTables, number

Pairs = dict[tuple[str, str], PairedValues]
DENSITY_QUANTITIES = ("vbmd_integral", "vbmd_cortical", "vbmd_trabecular", "bmc_mg", "cortical_thickness_mm")
DENSITY_REGIONS = ("total", "head", "neck", "trochanteric", "shaft")
# What the field reports first; every other one stands in agreement.csv.
SHOWN_DENSITY = (("vbmd_integral", "total"), ("vbmd_integral", "neck"), ("vbmd_integral", "trochanteric"),
                 ("vbmd_cortical", "neck"), ("vbmd_trabecular", "neck"), ("bmc_mg", "total"))


def volume_pairs(tables: ResultTables, suffix: str = "") -> Pairs:
    """Return the volumes in ml by arm and site, those of the fair extent with the suffix ``_fair``."""
    pairs = {}
    for arm in tables.arms:
        measured = [row for row in tables.judged if row.arm == arm and row.rule.outcome is Outcome.MEASURED]
        for site in tables.site_names:
            pairs[arm, site] = PairedValues(*paired_means(select(measured, site=site), f"volume_ref_ml{suffix}",
                                                          f"volume_pred_ml{suffix}"))
    return pairs


def density_units(tables: ResultTables) -> list[str]:
    """Return the units that densities were measured in."""
    return sorted({row["unit"] for row in tables.density or () if row.get("unit") in ("K2HPO4", "HA")})


def density_pairs(tables: ResultTables, quantity: str, region: str) -> Pairs:
    """Return a density quantity by arm and site, from the rows of density.csv that hold it for both masks.

    agreement.csv may leave out more of them (a doubtful region, an unlike unit): it decides, this only draws.
    """
    who = {(row.arm, row.case_id): row for row in tables.judged}
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for line in tables.density or ():
        value = number(line.get(quantity))
        if line.get("region") == region and math.isfinite(value):
            found.setdefault((line.get("arm") or tables.arms[0], line["case_id"], line.get("side", "")),
                             {})[line["source"]] = value
    people: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for (arm, case_id, _), both in found.items():
        row = who.get((arm, case_id))
        if row is not None and row.participant_id and row.site and len(both) == 2:
            people.setdefault((arm, row.site), {}).setdefault(row.participant_id, []).append(
                (both["reference"], both["prediction"]))
    return {key: PairedValues(*np.array([np.mean(pairs, axis=0) for _, pairs in sorted(own.items())]).T)
            for key, own in people.items()}


def agreement_table(tables: ResultTables, quantity: str, region: str = "total") -> Mapping[tuple[str, str],
                                                                                         AgreementRow | None]:
    """Return the lines of agreement.csv of a quantity by arm and site."""
    return {(arm, site): tables.agreement_of(arm, site, quantity, region) for arm in tables.arms
            for site in tables.site_names}


def percent_of(value: float, pair: PairedValues | None) -> float:
    """Return a value in percent of the reference's mean, NaN where there is none."""
    if pair is None or not pair.reference.size or not pair.reference.mean():
        return math.nan
    return 100.0 * value / float(pair.reference.mean())


def is_density(row: AgreementRow) -> bool:
    """Return whether a line of agreement.csv is about density or thickness."""
    return row.quantity in DENSITY_QUANTITIES or (row.quantity == "volume_ml" and row.region != "total")


def is_texture(row: AgreementRow) -> bool:
    """Return whether a line of agreement.csv is about a texture feature."""
    return not row.quantity.startswith("volume_ml") and row.quantity not in DENSITY_QUANTITIES


def texture_rows(rows: Iterable[AgreementRow], arm: str, site: str) -> Sequence[AgreementRow]:
    """Return an arm's and a site's lines about texture, both sexes."""
    return [row for row in rows if is_texture(row) and (row.arm, row.site, row.sex) == (arm, site, "all")]
