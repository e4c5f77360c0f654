"""gap.csv: how much worse a model is at a site that it has no labels from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.bootstrap import cliffs_delta, difference_interval, seeded, unpaired_permutation_p
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.csv_table import write_table
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES
from femur_nnunet.evaluation.participants import arms_of, judged, mean_values, select, sites_of

GAP_NAME = "gap.csv"


@dataclass(frozen=True)
class GapRow:
    """One row of gap.csv; ``gap = target_mean - source_mean``."""

    arm: str
    metric: str
    source_site: str
    target_site: str
    source_mean: float
    target_mean: float
    gap: float
    ci95_low: float
    ci95_high: float
    p_value: float
    effect_size: float


GAP_COLUMNS: tuple[str, ...] = tuple(item.name for item in fields(GapRow))


def measure_gaps(rows: Sequence[CaseRow], source_sites: Sequence[str], *, resamples: int, seed: int) -> list[GapRow]:
    """Return the gap of every metric between each source site and each other site.

    Both means are over participants; the interval is a bootstrap over the participants of both sites,
    p is that of a permutation of participants between the sites, the effect size is Cliff's delta
    (positive where the target's values are larger).

    Parameters
    ----------
    rows : sequence of CaseRow
        Rows of one or several arms.
    source_sites : sequence of str
        Sites whose labels were trained on; all other sites are targets.
    resamples, seed : int
        Of the bootstrap.
    """
    scored = judged(rows)
    gaps = []
    for arm in arms_of(scored):
        own = [row for row in scored if row.arm == arm]
        targets = [site for site in sites_of(own) if site not in source_sites]
        for source in sorted(set(source_sites) & set(sites_of(own))):
            for target in targets:
                gaps += [_gap(arm, metric, source, target, mean_values(select(own, site=source), metric),
                              mean_values(select(own, site=target), metric), resamples, seed)
                         for metric in METRIC_NAMES]
    return gaps


def write_gaps(path: Path, gaps: Sequence[GapRow]) -> None:
    """Write gap.csv."""
    write_table(path, GAP_COLUMNS, [astuple(gap) for gap in gaps])


def _gap(arm: str, metric: str, source: str, target: str, source_values: NDArray[np.float64],
         target_values: NDArray[np.float64], resamples: int, seed: int) -> GapRow:
    source_mean, target_mean = (float(values.mean()) if values.size else math.nan
                                for values in (source_values, target_values))
    low, high = difference_interval(source_values, target_values, resamples,
                                    seeded(seed, "gap", source, target, metric))
    p_value = unpaired_permutation_p(source_values, target_values, seeded(seed, "gap p", source, target, metric))
    return GapRow(arm, metric, source, target, source_mean, target_mean, target_mean - source_mean, low, high, p_value,
                  cliffs_delta(source_values, target_values))
