"""compare.csv: differences between arms on the same participants, and the part of the site gap that they close."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.agreement_statistics import Estimate
from femur_nnunet.evaluation.bootstrap import (
    holm,
    mean_interval,
    paired_permutation_p,
    percentile_interval,
    seeded,
)
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.csv_table import write_table
from femur_nnunet.evaluation.metric_catalogue import METRICS
from femur_nnunet.evaluation.participants import ALL, arms_of, judged, participant_means, select, sites_of

COMPARE_NAME = "compare.csv"
COMPARED_METRICS: tuple[str, ...] = tuple(metric.name for metric in METRICS if metric.better != "neither")
FloatArray = NDArray[np.float64]
_Key = tuple[str | None, str, int | None]


@dataclass(frozen=True)
class CompareRow:
    """One row of compare.csv; ``difference`` is the participants' mean of ``arm_b - arm_a``.

    ``gap_closed`` is given where ``arm_a`` is a base arm and there is an oracle:
    ``(arm_b - arm_a) / (oracle - arm_a)`` of the means over the participants that all three share.
    """

    metric: str
    site: str
    arm_a: str
    arm_b: str
    n: int
    difference: float
    ci95_low: float
    ci95_high: float
    p_value: float
    p_holm: float
    gap_closed: float
    gap_closed_ci95_low: float
    gap_closed_ci95_high: float


COMPARE_COLUMNS: tuple[str, ...] = tuple(item.name for item in fields(CompareRow))


def compare_arms(rows: Sequence[CaseRow], *, bases: Sequence[str], oracle: str | None, resamples: int,
                 seed: int) -> list[CompareRow]:
    """Return the paired difference of every two arms in every metric, at each site and at all.

    Two arms are compared on the hips that have a value in both, averaged by participant. The p-value
    is that of a sign permutation over participants; Holm's adjustment is over all pairs of arms in one
    metric at one site.

    Parameters
    ----------
    rows : sequence of CaseRow
        Rows of two or more arms.
    bases : sequence of str
        Arms that gap closed is given against; they come first in every pair.
    oracle : str, optional
        Arm trained with the target's labels.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    FemurError
        Two arms were evaluated against different references.
    """
    scored = judged(rows)
    _check_references(scored)
    arms = _ordered(arms_of(scored), bases, oracle)
    table = []
    for site in (*sites_of(scored), ALL):
        here = select(scored, site=site)
        for metric in COMPARED_METRICS:
            of_arm = {arm: {(row.fold, row.case_id, row.label): row for row in here
                            if row.arm == arm and math.isfinite(row.metrics[metric])} for arm in arms}
            family = [_compare(of_arm, metric, site, first, second, bases, oracle, resamples, seed)
                      for first, second in itertools.combinations(arms, 2)]
            adjusted = holm(np.asarray([row.p_value for row in family]))
            table += [replace(row, p_holm=float(p)) for row, p in zip(family, adjusted, strict=True)]
    return table


def write_comparison(path: Path, table: Sequence[CompareRow]) -> None:
    """Write compare.csv."""
    write_table(path, COMPARE_COLUMNS, [astuple(row) for row in table])


def _ordered(arms: Sequence[str], bases: Sequence[str], oracle: str | None) -> list[str]:
    first = [arm for arm in bases if arm in arms]
    last = [oracle] if oracle in arms and oracle not in first else []
    return [*first, *(arm for arm in arms if arm not in (*first, *last)), *(arm for arm in last if arm)]


def _compare(of_arm: Mapping[str, Mapping[_Key, CaseRow]], metric: str, site: str, first: str, second: str,
             bases: Sequence[str], oracle: str | None, resamples: int, seed: int) -> CompareRow:
    a, b = _shared_values(of_arm, metric, (first, second))
    names = (site, metric, first, second)
    low, high = mean_interval(b - a, resamples, seeded(seed, "compare", *names))
    gap = Estimate()
    if first in bases and oracle in of_arm and oracle is not None and oracle not in (first, second):
        gap = gap_closed(*_shared_values(of_arm, metric, (first, second, oracle)), resamples=resamples,
                         rng=seeded(seed, "gap closed", *names))
    return CompareRow(metric, site, first, second, a.size, float((b - a).mean()) if a.size else math.nan, low, high,
                      paired_permutation_p(b - a, seeded(seed, "compare p", *names)), math.nan, gap.value,
                      gap.ci95_low, gap.ci95_high)


def gap_closed(base: FloatArray, arm: FloatArray, oracle: FloatArray, *, resamples: int,
               rng: np.random.Generator) -> Estimate:
    """Return ``(arm - base) / (oracle - base)`` of the means, with a bootstrap interval over participants.

    Parameters
    ----------
    base, arm, oracle : ndarray
        Shape (participants,): values of the same participants in the same order.
    resamples : int
        Number of resamples; each draws the same participants for all three.
    rng : Generator
        Source of chance.

    Returns
    -------
    Estimate
        NaN where the interval of ``oracle - base`` holds 0: there is then no gap to close.
    """
    if base.size < 2 or resamples < 1:
        return Estimate()
    picked = rng.integers(0, base.size, size=(resamples, base.size))
    whole = (oracle - base)[picked].mean(axis=1)
    low, high = percentile_interval(whole)
    if low <= 0 <= high:
        return Estimate()
    closed = (arm - base)[picked].mean(axis=1)
    known = whole != 0
    return Estimate(float((arm - base).mean() / (oracle - base).mean()),
                    *percentile_interval(closed[known] / whole[known]))


def _shared_values(of_arm: Mapping[str, Mapping[_Key, CaseRow]], metric: str,
                   arms: Sequence[str]) -> list[FloatArray]:
    """Return, for each arm, the participants' means over the hips that have a value in all of these arms."""
    shared = set.intersection(*(set(of_arm[arm]) for arm in arms))
    return [np.asarray(list(participant_means((row for key, row in of_arm[arm].items() if key in shared),
                                              metric).values()), dtype=np.float64) for arm in arms]


def _check_references(rows: Sequence[CaseRow]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for row in rows:
        if row.reference_sha256 is None:
            continue
        arm, digest = seen.setdefault(row.case_id, (row.arm, row.reference_sha256))
        if digest != row.reference_sha256:
            raise FemurError(f"another reference for {row.case_id} in arm {row.arm} than in arm {arm}",
                             expected="all arms evaluated against the same references",
                             action="run femur_eval again for the arms that used an older reference")
