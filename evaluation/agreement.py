"""agreement.csv: how well a quantity measured on the prediction agrees with that of the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.agreement_statistics import (
    Estimate,
    coefficient_of_determination,
    concordance,
    equivalence_p,
    intraclass_correlations,
    limits_of_agreement,
    pearson,
    regression_line,
)
from femur_nnunet.evaluation.bootstrap import seeded
from femur_nnunet.evaluation.case_status import Outcome
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.csv_table import write_table
from femur_nnunet.evaluation.participants import groups, missed_participants, participant_means
from femur_nnunet.regions import Region

AGREEMENT_NAME = "agreement.csv"
_GROUP_COLUMNS = ("arm", "quantity", "region", "site", "sex", "n", "n_missed")
_BEFORE_P = ("bias", "loa_low", "loa_high", "slope", "intercept", "r2", "pearson_r")
_AFTER_P = ("ccc", "icc_2_1", "icc_3_1")
_VOLUMES = (("volume_ml", "volume_ref_ml", "volume_pred_ml"),
            ("volume_ml_fair", "volume_ref_ml_fair", "volume_pred_ml_fair"))


def _with_interval(names: Iterable[str]) -> list[str]:
    return [column for name in names for column in (name, f"{name}_ci95_low", f"{name}_ci95_high")]


AGREEMENT_COLUMNS: tuple[str, ...] = (*_GROUP_COLUMNS, *_with_interval(_BEFORE_P), "p_value",
                                      *_with_interval(_AFTER_P), "tost_margin", "tost_p", "unit")


@dataclass(frozen=True)
class AgreementRow:
    """One row of agreement.csv.

    Attributes
    ----------
    arm, quantity, region, site, sex : str
        What the row is about; ``site`` and ``sex`` may be ``all``.
    n, n_missed : int
        Participants with both values, and participants with a missed hip.
    estimates : dict
        ``bias, loa_low, loa_high, slope, intercept, r2, pearson_r, ccc, icc_2_1, icc_3_1``.
    p_value : float
        Of Pearson's r.
    tost_margin, tost_p : float
        Margin, in the unit of the quantity, and p-value of the equivalence test.
    unit : str
        Unit of the quantity, and so of bias, limits, intercept and margin.
    """

    arm: str
    quantity: str
    region: str
    site: str
    sex: str
    n: int
    n_missed: int
    estimates: dict[str, Estimate]
    p_value: float
    tost_margin: float = math.nan
    tost_p: float = math.nan
    unit: str = "ml"


def measure_agreement(rows: Sequence[CaseRow], *, resamples: int, seed: int,
                      tost_margin_ml: float | None = None) -> list[AgreementRow]:
    """Return the agreement of volumes, raw and of the fair extent, by arm, site and sex.

    Hips and visits of a participant are averaged first, reference and prediction over the same rows.
    """
    table = []
    for arm, site, sex, group in groups(rows):
        measured = [row for row in group if row.rule.outcome is Outcome.MEASURED]
        for quantity, of_reference, of_prediction in _VOLUMES:
            pairs = paired_means(measured, of_reference, of_prediction)
            table.append(agreement_row(
                *pairs, arm=arm, quantity=quantity, region=Region.TOTAL, site=site, sex=sex,
                n_missed=missed_participants(group), resamples=resamples, seed=seed, tost_margin=tost_margin_ml))
    return table


def agreement_row(reference: NDArray[np.float64], measured: NDArray[np.float64], *, arm: str, quantity: str,
                  region: Region, site: str, sex: str, n_missed: int, resamples: int, seed: int,
                  tost_margin: float | None = None,
                  resampled: tuple[Estimate, Estimate] | None = None) -> AgreementRow:
    """Return every statistic of agreement of two arrays of one value a participant.

    ``tost_margin`` is in the unit of the quantity; without it there is no equivalence test.
    ``resampled`` are R2 and concordance where they were computed already, for many quantities at once.
    """
    names = (quantity, region.value, site, sex)
    limits = limits_of_agreement(reference, measured)
    slope, intercept = regression_line(reference, measured)
    r, p_value = pearson(reference, measured)
    icc_2_1, icc_3_1 = intraclass_correlations(np.stack([reference, measured], axis=1))
    r2, ccc = resampled or (
        coefficient_of_determination(reference, measured, resamples=resamples, rng=seeded(seed, "r2", *names)),
        concordance(reference, measured, resamples=resamples, rng=seeded(seed, "ccc", *names)))
    estimates = {
        "bias": limits.bias, "loa_low": limits.low, "loa_high": limits.high, "slope": slope, "intercept": intercept,
        "r2": r2, "pearson_r": r, "ccc": ccc, "icc_2_1": icc_2_1, "icc_3_1": icc_3_1}
    return AgreementRow(arm, quantity, region.value, site, sex, reference.size, n_missed, estimates, p_value,
                        math.nan if tost_margin is None else tost_margin,
                        equivalence_p(reference, measured, tost_margin))


def write_agreement(path: Path, table: Iterable[AgreementRow]) -> None:
    """Write agreement.csv."""
    write_table(path, AGREEMENT_COLUMNS, [
        [*(getattr(row, name) for name in _GROUP_COLUMNS), *_values(row, _BEFORE_P), row.p_value,
         *_values(row, _AFTER_P), row.tost_margin, row.tost_p, row.unit] for row in table])


def _values(row: AgreementRow, names: Iterable[str]) -> list[float]:
    chosen = [row.estimates[name] for name in names]
    return [value for one in chosen for value in (one.value, one.ci95_low, one.ci95_high)]


def paired_means(rows: Sequence[CaseRow], first: str,
                 second: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two metrics as participants' means, over the rows that have both.

    Both have the shape (participants,), in one order of participants.
    """
    usable = [row for row in rows if math.isfinite(row.metrics[first]) and math.isfinite(row.metrics[second])]
    means = [participant_means(usable, metric) for metric in (first, second)]
    reference, measured = (np.asarray(list(one.values()), dtype=np.float64) for one in means)
    return reference, measured
