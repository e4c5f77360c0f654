"""Values by participant: hips and visits of one person are averaged before any statistic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.case_status import Outcome
from femur_nnunet.evaluation.case_table import CaseRow

ALL = "all"
SEXES = (ALL, "F", "M")


def judged(rows: Iterable[CaseRow]) -> list[CaseRow]:
    """Return the rows that enter statistics: those with something to judge."""
    return [row for row in rows if row.rule.outcome is not Outcome.NOTHING]


def select(rows: Iterable[CaseRow], *, site: str = ALL, sex: str = ALL) -> list[CaseRow]:
    """Return the rows of a site and sex; ``all`` takes every one, known or not."""
    return [row for row in rows if site in (ALL, row.site) and sex in (ALL, row.sex)]


def sites_of(rows: Iterable[CaseRow]) -> list[str]:
    """Return the sites of rows, sorted, without ``all``."""
    return sorted({row.site for row in rows if row.site is not None})


def arms_of(rows: Iterable[CaseRow]) -> list[str]:
    """Return the arms of rows in the order in which they first occur."""
    return list(dict.fromkeys(row.arm for row in rows))


def groups(rows: Iterable[CaseRow]) -> Iterator[tuple[str, str, str, list[CaseRow]]]:
    """Yield arm, site, sex and judged rows of every group that a table has a line for, ``all`` included.

    A group without any row is left out.
    """
    scored = judged(rows)
    for arm in arms_of(scored):
        own = [row for row in scored if row.arm == arm]
        for site in (*sites_of(own), ALL):
            for sex in SEXES:
                group = select(own, site=site, sex=sex)
                if group:
                    yield arm, site, sex, group


def participant_means(rows: Iterable[CaseRow], metric: str) -> dict[str, float]:
    """Return each participant's mean of a metric over those of its rows that have a value, by participant id.

    A participant without any value is left out.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        value = row.metrics[metric]
        if row.participant_id is not None and math.isfinite(value):
            values.setdefault(row.participant_id, []).append(value)
    return {participant: math.fsum(own) / len(own) for participant, own in sorted(values.items())}


def mean_values(rows: Iterable[CaseRow], metric: str) -> NDArray[np.float64]:
    """Return the values of :func:`participant_means` as an array (participants,), sorted by participant id."""
    return np.asarray(list(participant_means(rows, metric).values()), dtype=np.float64)


def missed_participants(rows: Sequence[CaseRow]) -> int:
    """Return the number of participants with at least one missed row."""
    return len({row.participant_id for row in rows if row.rule.counts_as_missed})
