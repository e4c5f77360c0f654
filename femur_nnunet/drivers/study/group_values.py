"""The numbers of one group of evaluated cases: means over participants and the agreement of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.dataset_conversion.strata import some_of
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.agreement import paired_means
from femur_nnunet.evaluation.agreement_statistics import (
    coefficient_of_determination,
    limits_of_agreement,
    pearson,
    standard_error_of_estimate,
)
from femur_nnunet.evaluation.bootstrap import seeded
from femur_nnunet.evaluation.case_status import CaseStatus, Outcome
from femur_nnunet.evaluation.case_table import CaseRow, read_cases
from femur_nnunet.evaluation.participants import judged, mean_values, missed_participants
from femur_nnunet.finite_values import mean_of, sd_of

MEAN_METRICS = ("dice", "sensitivity", "specificity", "specificity_near", "precision", "hd95_mm", "assd_mm",
                "dice_fair", "sensitivity_fair", "precision_fair", "hd95_mm_fair", "assd_mm_fair")
"""Metrics that are given as mean and SD."""

_OF_VOLUMES = ("r2", "pearson_r", "p_value", "see_ml", "bias_ml")
AGREEMENT_METRICS = (*_OF_VOLUMES, *(f"{name}_fair" for name in _OF_VOLUMES))
"""Agreement of predicted with reference volumes: one number a group."""


@dataclass(frozen=True)
class GroupValues:
    """Values of a group; NaN where undefined.

    Attributes
    ----------
    n, n_missed : int
        Participants, and those with a missed hip.
    mean, sd : mapping
        Over participants, by metric name.
    agreement : mapping
        By name: R2 = 1 - SSE/SST about the line of identity, Pearson's r and its p, the standard error of
        the estimate and the bias in ml, each also of the volumes of the fair extent.
    """

    n: int
    n_missed: int
    mean: Mapping[str, float]
    sd: Mapping[str, float]
    agreement: Mapping[str, float]


def read_judged(path: Path, cases: Sequence[str]) -> list[CaseRow]:
    """Read a cases.csv and refuse it unless just these cases were judged.

    A case whose masks are both empty is judged too, though it has no values.

    Raises
    ------
    FemurError
        Names the cases that were not judged, as those of a mask that cannot be read, or that are judged beside them.
    """
    rows = read_cases(path)
    found = {row.case_id for row in rows
             if row.rule.outcome is not Outcome.NOTHING or row.status is CaseStatus.BOTH_EMPTY}
    lacking, others = set(cases) - found, found - set(cases)
    if lacking or others:
        told = [f"{len(names)} {what} ({some_of(names)})" for names, what in (
            (lacking, "cases without a judgement"), (others, "cases of another part judged")) if names]
        raise FemurError(" and ".join(told), expected=f"a judgement of each of the {len(cases)} cases and no other",
                         action="read the status and detail of these cases in the table, mend their masks, and run "
                         "femur_study again", subject=str(path))
    return rows


def measure_group(rows: Sequence[CaseRow]) -> GroupValues:
    """Return the values of the rows of a group; hips and visits of a participant are averaged first."""
    scored = judged(rows)
    values = {metric: mean_values(scored, metric) for metric in MEAN_METRICS}
    agreement: dict[str, float] = {}
    measured = [row for row in scored if row.rule.outcome is Outcome.MEASURED]
    for suffix in ("", "_fair"):
        reference, predicted = paired_means(measured, f"volume_ref_ml{suffix}", f"volume_pred_ml{suffix}")
        r, p_value = pearson(reference, predicted)
        # Without resamples the generator is not used.
        r2 = coefficient_of_determination(reference, predicted, resamples=0, rng=seeded(0, "study"))
        numbers = (r2.value, r.value, p_value, standard_error_of_estimate(reference, predicted),
                   limits_of_agreement(reference, predicted).bias.value)
        agreement.update({f"{name}{suffix}": value for name, value in zip(_OF_VOLUMES, numbers, strict=True)})
    participants = {row.participant_id for row in scored if row.participant_id is not None}
    return GroupValues(len(participants), missed_participants(scored),
                       {metric: mean_of(array.tolist()) for metric, array in values.items()},
                       {metric: sd_of(array.tolist()) for metric, array in values.items()}, agreement)
