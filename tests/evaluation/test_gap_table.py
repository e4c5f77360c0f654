from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_cohort import case_row
from scipy import stats

from femur_nnunet.evaluation.gap_table import GAP_COLUMNS, measure_gaps

SOURCE, TARGET = (0.95, 0.96, 0.97, 0.98), (0.80, 0.85, 0.90)


def rows():
    return ([case_row(f"tulane_{number:08x}_v01_l", dice=value) for number, value in enumerate(SOURCE)]
            + [case_row(f"rochester_{number:08x}_v01_l", dice=value) for number, value in enumerate(TARGET, start=100)])


def gap_of(metric, source_sites=("tulane",), case_rows=None):
    gaps = measure_gaps(case_rows or rows(), source_sites, resamples=2000, seed=0)
    return [gap for gap in gaps if gap.metric == metric]


def test_the_columns_are_those_of_the_design():
    assert GAP_COLUMNS == ("arm", "metric", "source_site", "target_site", "source_mean", "target_mean", "gap",
                           "ci95_low", "ci95_high", "p_value", "effect_size")


def test_the_gap_is_target_minus_source_with_an_interval_and_an_exact_p():
    (gap,) = gap_of("dice")
    assert (gap.source_site, gap.target_site) == ("tulane", "rochester")
    assert gap.gap == pytest.approx(np.mean(TARGET) - np.mean(SOURCE))
    assert gap.ci95_low < gap.gap < gap.ci95_high < 0
    # All targets lie below all sources: of C(7, 3) = 35 arrangements one is as far apart.
    assert gap.p_value == pytest.approx(1 / 35)
    assert gap.effect_size == -1


def test_p_agrees_with_scipys_permutation_test_on_overlapping_groups():
    source, target = [0.9, 0.95, 0.8, 0.97, 0.85], [0.82, 0.9, 0.7, 0.88]
    case_rows = ([case_row(f"tulane_{n:08x}_v01_l", dice=value) for n, value in enumerate(source)]
                 + [case_row(f"rochester_{n:08x}_v01_l", dice=value) for n, value in enumerate(target, start=100)])
    (gap,) = gap_of("dice", case_rows=case_rows)
    expected = stats.permutation_test((source, target), lambda a, b: abs(np.mean(a) - np.mean(b)),
                                      alternative="greater", n_resamples=np.inf).pvalue
    assert gap.p_value == pytest.approx(expected)


def test_each_other_site_is_a_target_and_a_source_that_is_absent_gives_no_row():
    third = [case_row("mayo_000000aa_v01_l", dice=0.5)]
    assert {gap.target_site for gap in gap_of("dice", case_rows=rows() + third)} == {"rochester", "mayo"}
    assert gap_of("dice", ("elsewhere",)) == []
    assert gap_of("dice", ("tulane", "rochester")) == []


def test_a_metric_without_values_at_a_site_has_no_gap():
    (gap,) = gap_of("hd95_mm")
    assert all(math.isnan(value) for value in (gap.gap, gap.ci95_low, gap.p_value, gap.effect_size))
