"""Measured quantities on reference and prediction, one pair a participant, as figures and percentages need them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from femur_nnunet.calibration.units import DensityUnit
from femur_nnunet.evaluation.agreement import AgreementRow, paired_means
from femur_nnunet.evaluation.case_status import Outcome
from femur_nnunet.evaluation.density.density_table import paired_values
from femur_nnunet.evaluation.density.quantities import unit_of
from femur_nnunet.evaluation.participants import ALL, select
from femur_nnunet.evaluation.report.figures.agreement import PairedValues
from femur_nnunet.evaluation.report.result_tables import ResultTables
from femur_nnunet.regions import Region

Pairs = dict[tuple[str, str], PairedValues]
# What the field reports first; every other one stands in agreement.csv.
SHOWN_DENSITY = (("vbmd_integral", Region.TOTAL), ("vbmd_integral", Region.NECK),
                 ("vbmd_integral", Region.TROCHANTERIC), ("vbmd_cortical", Region.NECK),
                 ("vbmd_trabecular", Region.NECK), ("bmc_mg", Region.TOTAL), ("cortical_thickness_mm", Region.NECK))


def volume_pairs(tables: ResultTables, suffix: str = "") -> Pairs:
    """Return the volumes in ml by arm and site, those of the fair extent with the suffix ``_fair``."""
    pairs = {}
    for arm in tables.arms:
        measured = [row for row in tables.judged if row.arm == arm and row.rule.outcome is Outcome.MEASURED]
        for site in tables.site_names:
            pairs[arm, site] = PairedValues(*paired_means(select(measured, site=site), f"volume_ref_ml{suffix}",
                                                          f"volume_pred_ml{suffix}"))
    return pairs


def density_units(tables: ResultTables) -> list[DensityUnit]:
    """Return the materials that densities are expressed in."""
    return sorted({row.unit for row in tables.density or () if row.unit is not None})


def density_pairs(tables: ResultTables, quantity: str, region: Region, unit: str) -> Pairs:
    """Return a density quantity by arm and site in one unit, of the very hips that enter agreement.csv."""
    found = paired_values(quantity, region, tables.density or ())
    rows = [replace(row, metrics={"reference": pair[1], "prediction": pair[2]}) for row in tables.judged
            if (pair := found.get((row.arm, row.case_id, row.side))) is not None and pair[0] == unit]
    return {(arm, site): PairedValues(*paired_means(select([row for row in rows if row.arm == arm], site=site),
                                                    "reference", "prediction"))
            for arm in tables.arms for site in tables.site_names}


def shown_density(tables: ResultTables) -> list[tuple[str, Region, str]]:
    """Return quantity, region and unit of what is shown of density: what some site has agreement of."""
    return [(quantity, region, unit) for quantity, region in SHOWN_DENSITY for unit in dict.fromkeys(
        unit_of(quantity, material) for material in density_units(tables))
            if any(row.n for row in agreement_table(tables, quantity, region, unit).values() if row)]


def agreement_table(tables: ResultTables, quantity: str, region: str = "total",
                    unit: str = "ml") -> dict[tuple[str, str], AgreementRow | None]:
    """Return the lines of agreement.csv of a quantity by arm and site."""
    return {(arm, site): tables.agreement_of(arm, site, quantity, region, unit) for arm in tables.arms
            for site in tables.site_names}


def percent_of(value: float, pair: PairedValues | None) -> float:
    """Return a value in percent of the reference's mean, NaN where there is none."""
    if pair is None or not pair.reference.size or not pair.reference.mean():
        return math.nan
    return 100.0 * value / float(pair.reference.mean())


def is_density(row: AgreementRow) -> bool:
    """Return whether a line of agreement.csv is about mineral or density."""
    return row.quantity.startswith(("vbmd_", "bmc_"))


def is_texture(row: AgreementRow) -> bool:
    """Return whether a line of agreement.csv is about a texture feature: its family and name with a dot between."""
    return "." in row.quantity


def texture_rows(rows: Iterable[AgreementRow], arm: str, site: str) -> Sequence[AgreementRow]:
    """Return an arm's and a site's lines about texture, both sexes."""
    return [row for row in rows if is_texture(row) and (row.arm, row.site, row.sex) == (arm, site, ALL)]
