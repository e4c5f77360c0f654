from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from evaluation_cohort import case_row

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.bootstrap import seeded
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.compare_table import COMPARE_COLUMNS, compare_arms, gap_closed

BASE = np.asarray([0.70, 0.72, 0.68, 0.71, 0.69, 0.73])
ORACLE = BASE + np.asarray([0.20, 0.19, 0.21, 0.20, 0.20, 0.20])
HALF_WAY = BASE + 0.10


def rows_of(arm, values, metric="dice"):
    return [case_row(f"rochester_{number:08x}_v01_l", arm=arm, **{metric: float(value)})
            for number, value in enumerate(values)]


def compared(rows, first, second, metric="dice", site="rochester", **options):
    table = compare_arms(rows, bases=options.pop("bases", ("source_only", "source_only_aug")),
                         oracle=options.pop("oracle", "oracle"), resamples=1000, seed=0)
    (found,) = [row for row in table if (row.metric, row.site, row.arm_a, row.arm_b) == (metric, site, first, second)]
    return found


ROWS = [*rows_of("grl", HALF_WAY), *rows_of("oracle", ORACLE), *rows_of("source_only", BASE)]


def test_the_columns_are_those_of_the_design():
    assert COMPARE_COLUMNS == ("metric", "site", "arm_a", "arm_b", "n", "difference", "ci95_low", "ci95_high",
                               "p_value", "p_holm", "gap_closed", "gap_closed_ci95_low", "gap_closed_ci95_high")


def test_a_difference_is_paired_by_participant_with_an_exact_p():
    row = compared(ROWS, "source_only", "grl")
    assert row.n == 6
    assert row.difference == pytest.approx(0.10)
    assert (row.ci95_low, row.ci95_high) == pytest.approx((0.10, 0.10))
    assert row.p_value == pytest.approx(2 / 2**6)
    # Three pairs with the same p of 2/64: Holm multiplies the first by three and keeps the order.
    assert row.p_holm == pytest.approx(3 * 2 / 2**6)


def test_half_of_the_gap_is_closed_half_way_to_the_oracle():
    row = compared(ROWS, "source_only", "grl")
    assert row.gap_closed == pytest.approx(0.5)
    assert 0.48 < row.gap_closed_ci95_low <= 0.5 <= row.gap_closed_ci95_high < 0.52
    # The oracle closes the gap by definition: no row claims so.
    assert math.isnan(compared(ROWS, "source_only", "oracle").gap_closed)


def test_gap_closed_is_given_against_each_base():
    rows = [*ROWS, *rows_of("source_only_aug", BASE + 0.05)]
    assert compared(rows, "source_only", "grl").gap_closed == pytest.approx(0.5)
    assert compared(rows, "source_only_aug", "grl").gap_closed == pytest.approx((0.1 - 0.05) / (0.2 - 0.05))
    assert compared(rows, "source_only", "source_only_aug").gap_closed == pytest.approx(0.25)


def test_there_is_no_gap_closed_where_the_oracle_is_not_surely_better():
    noise = np.asarray([0.05, -0.05, 0.04, -0.04, 0.06, -0.06])
    rows = [*rows_of("source_only", BASE), *rows_of("grl", HALF_WAY), *rows_of("oracle", BASE + noise)]
    assert math.isnan(compared(rows, "source_only", "grl").gap_closed)
    assert math.isnan(compared(ROWS, "source_only", "grl", oracle=None).gap_closed)
    assert math.isnan(compared(ROWS, "grl", "source_only", bases=()).gap_closed)


def test_distances_close_a_gap_downwards():
    rows = [*rows_of("source_only", BASE * 10, "hd95_mm"), *rows_of("oracle", BASE * 10 - 4, "hd95_mm"),
            *rows_of("grl", BASE * 10 - 3, "hd95_mm")]
    row = compared(rows, "source_only", "grl", metric="hd95_mm")
    assert row.difference == pytest.approx(-3)
    assert row.gap_closed == pytest.approx(0.75)


def test_only_hips_with_a_value_in_both_arms_are_compared():
    missed = [dataclasses.replace(row, status=CaseStatus.MISSED, metrics={**row.metrics, "dice": 0.0})
              if number == 0 else row for number, row in enumerate(rows_of("grl", HALF_WAY))]
    distance = [dataclasses.replace(row, metrics={**row.metrics, "hd95_mm": math.nan if number == 0 else 1.0})
                for number, row in enumerate(missed)]
    base = [dataclasses.replace(row, metrics={**row.metrics, "hd95_mm": 3.0}) for row in rows_of("source_only", BASE)]
    table = [*base, *distance]
    assert compared(table, "source_only", "grl").n == 6
    assert compared(table, "source_only", "grl", metric="hd95_mm").n == 5


def test_both_hips_of_a_participant_are_one_pair():
    rows = [case_row(f"tulane_0000000a_v01_{side}", arm=arm, dice=value) for arm, side, value in
            (("source_only", "l", 0.5), ("source_only", "r", 0.7), ("grl", "l", 0.8), ("grl", "r", 0.8))]
    row = compared(rows, "source_only", "grl", site="tulane")
    assert (row.n, row.difference) == (1, pytest.approx(0.2))
    assert math.isnan(row.p_value)


def test_arms_judged_against_different_references_are_not_compared():
    first = dataclasses.replace(ROWS[0], reference_sha256="a" * 64)
    second = dataclasses.replace(ROWS[-6], reference_sha256="b" * 64)
    assert first.case_id == second.case_id
    with pytest.raises(FemurError, match="another reference"):
        compare_arms([first, second], bases=(), oracle=None, resamples=10, seed=0)


def test_the_interval_of_gap_closed_draws_the_same_participants_for_all_arms():
    # The arm is always exactly three quarters of the way, however large each participant's own gap is.
    gaps = np.linspace(0.1, 0.9, 9)
    estimate = gap_closed(np.zeros(9), 0.75 * gaps, gaps, resamples=500, rng=seeded(0))
    assert (estimate.value, estimate.ci95_low, estimate.ci95_high) == pytest.approx((0.75, 0.75, 0.75))
