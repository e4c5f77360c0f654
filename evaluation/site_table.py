"""sites.csv: every metric by arm, site and sex, over participants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from femur_nnunet.evaluation.bootstrap import mean_interval, seeded
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.csv_table import write_table
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES
from femur_nnunet.evaluation.participants import groups, mean_values, missed_participants

SITES_NAME = "sites.csv"


@dataclass(frozen=True)
class SiteRow:
    """One row of sites.csv; ``n`` participants have a value, ``n_missed`` have a missed hip."""

    arm: str
    site: str
    sex: str
    metric: str
    n: int
    n_missed: int
    mean: float
    sd: float
    median: float
    q25: float
    q75: float
    ci95_low: float
    ci95_high: float
    min: float
    max: float


SITE_COLUMNS: tuple[str, ...] = tuple(item.name for item in fields(SiteRow))


def summarise_sites(rows: Sequence[CaseRow], *, resamples: int, seed: int) -> list[SiteRow]:
    """Return the summary of every metric for each arm, site and sex, with ``all`` for either.

    A group without any row is left out; a metric without any value has n = 0.
    """
    return [_summary(group, arm, site, sex, metric, resamples, seed)
            for arm, site, sex, group in groups(rows) for metric in METRIC_NAMES]


def write_sites(path: Path, summaries: Sequence[SiteRow]) -> None:
    """Write sites.csv."""
    write_table(path, SITE_COLUMNS, [astuple(summary) for summary in summaries])


def _summary(group: Sequence[CaseRow], arm: str, site: str, sex: str, metric: str, resamples: int,
             seed: int) -> SiteRow:
    values = mean_values(group, metric)
    if not values.size:
        return SiteRow(arm, site, sex, metric, 0, missed_participants(group), *([math.nan] * 9))
    q25, median, q75 = (float(value) for value in np.percentile(values, [25, 50, 75]))
    # The arm's name takes no part: two arms are resampled alike, and equal values give equal intervals.
    low, high = mean_interval(values, resamples, seeded(seed, "sites", site, sex, metric))
    return SiteRow(arm, site, sex, metric, values.size, missed_participants(group), float(values.mean()),
                   float(values.std(ddof=1)) if values.size > 1 else math.nan, median, q25, q75, low, high,
                   float(values.min()), float(values.max()))
