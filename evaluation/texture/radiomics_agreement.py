"""Agreement of every feature between prediction and reference, and how many features agree well."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.agreement import AgreementRow, agreement_row
from femur_nnunet.evaluation.agreement_statistics import resampled_agreement
from femur_nnunet.evaluation.bootstrap import resample_counts, seeded
from femur_nnunet.evaluation.csv_table import write_table
from femur_nnunet.evaluation.participants import ALL
from femur_nnunet.evaluation.texture.radiomics import FEATURES, TextureStatus
from femur_nnunet.evaluation.texture.radiomics_row import RadiomicsRow
from femur_nnunet.regions import Region

SUMMARY_NAME = "radiomics_summary.csv"
SHARES = (0.9, 0.99)
SUMMARY_COLUMNS = ("arm", "site", "family", "n_features", "n_without_value", "median_pearson_r", "median_icc_2_1",
                   "share_r_above_0.9", "share_icc_above_0.9", "share_r_above_0.99", "share_icc_above_0.99")
FloatArray = NDArray[np.float64]
_COLUMN = {feature.quantity: number for number, feature in enumerate(FEATURES)}


def measure_radiomics_agreement(rows: Sequence[RadiomicsRow], *, resamples: int, seed: int) -> list[AgreementRow]:
    """Return one row for each arm, site (``all`` included) and feature, sexes together.

    Hips and visits of a participant are averaged first, reference and prediction over those that have both. The
    resamples of a group are drawn once for all features: they then differ by what was measured, not by chance.
    """
    table: list[AgreementRow] = []
    for arm in dict.fromkeys(row.arm for row in rows):
        own = [row for row in rows if row.arm == arm]
        for site in (*sorted({row.site for row in own if row.site is not None}), ALL):
            group = [row for row in own if site in (ALL, row.site)]
            table += _rows_of_group(group, arm, site, resamples, seed)
    return table


def _rows_of_group(group: Sequence[RadiomicsRow], arm: str, site: str, resamples: int,
                   seed: int) -> list[AgreementRow]:
    reference, prediction = participant_values(group)
    missed = len({row.participant_id for row in group if row.status is TextureStatus.MISSED})
    table = []
    draws: dict[int, FloatArray] = {}
    for feature in FEATURES:
        pair = np.stack([values[:, _COLUMN[feature.quantity]] for values in (reference, prediction)])
        first, second = pair[:, np.isfinite(pair).all(axis=0)]
        if first.size not in draws:
            draws[first.size] = resample_counts(first.size, resamples, seeded(seed, "radiomics", site))
        row = agreement_row(
            first, second, arm=arm, quantity=feature.quantity, region=Region.TOTAL, site=site, sex=ALL,
            n_missed=missed, resamples=resamples, seed=seed,
            resampled=resampled_agreement(first, second, draws[first.size]))
        table.append(replace(row, unit=feature.unit))
    return table


def participant_values(rows: Iterable[RadiomicsRow]) -> tuple[FloatArray, FloatArray]:
    """Return the means of reference and prediction, each of shape (participants, features), NaN where there is none."""
    values: dict[tuple[str, str, str | None], dict[str, FloatArray]] = {}
    for row in rows:
        if row.participant_id is None:
            continue
        hip = values.setdefault((row.participant_id, row.case_id, row.side), {})
        hip.setdefault(row.source, np.full(len(FEATURES), math.nan))[_COLUMN[row.quantity]] = row.value
    hips: dict[str, list[FloatArray]] = {}
    for (participant, _, _), sources in sorted(values.items(), key=lambda item: str(item[0])):
        if len(sources) == 2:
            pair = np.stack([sources["reference"], sources["prediction"]])
            hips.setdefault(participant, []).append(np.where(np.isfinite(pair).all(axis=0), pair, math.nan))
    means = np.full((len(hips), 2, len(FEATURES)), math.nan)
    for number, pairs in enumerate(hips.values()):
        stacked = np.stack(pairs)
        count = np.isfinite(stacked).sum(axis=0)
        np.divide(np.nansum(stacked, axis=0), count, out=means[number], where=count > 0)
    return means[:, 0], means[:, 1]


def write_radiomics_summary(path: Path, agreement: Iterable[AgreementRow]) -> None:
    """Write radiomics_summary.csv: how many features of each family agree well, by arm and site.

    A feature without r or ICC (too few participants, or no spread between them) does not count among those that agree
    nor among those that do not; ``n_without_value`` is their number.
    """
    groups: dict[tuple[str, str], list[AgreementRow]] = {}
    for row in agreement:
        if row.quantity in _COLUMN:
            groups.setdefault((row.arm, row.site), []).append(row)
    lines = []
    for (arm, site), rows in groups.items():
        families = dict.fromkeys(row.quantity.partition(".")[0] for row in rows)
        for family in (*families, ALL):
            own = [row for row in rows if family in (ALL, row.quantity.partition(".")[0])]
            lines.append([arm, site, family, *_summary(own)])
    write_table(path, SUMMARY_COLUMNS, lines)


def _summary(rows: Sequence[AgreementRow]) -> list[object]:
    both = np.asarray([[row.estimates[name].value for name in ("pearson_r", "icc_2_1")] for row in rows])
    known = both[np.isfinite(both).all(axis=1)]
    medians = [float(value) for value in np.median(known, axis=0)] if len(known) else [math.nan] * 2
    shares = [float(share) if len(known) else math.nan for limit in SHARES
              for share in ((known > limit).mean(axis=0) if len(known) else (math.nan, math.nan))]
    return [len(rows), len(rows) - len(known), *medians, *shares]
