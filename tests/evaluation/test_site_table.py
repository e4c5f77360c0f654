from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_cohort import case_row

from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.participants import participant_means
from femur_nnunet.evaluation.site_table import SITE_COLUMNS, summarise_sites


def find(summaries, metric, site, sex="all", arm="model"):
    (found,) = [row for row in summaries if (row.arm, row.site, row.sex, row.metric) == (arm, site, sex, metric)]
    return found


def test_the_columns_are_those_of_the_design():
    assert SITE_COLUMNS == ("arm", "site", "sex", "metric", "n", "n_missed", "mean", "sd", "median", "q25", "q75",
                            "ci95_low", "ci95_high", "min", "max")


def test_hips_and_visits_of_a_participant_are_averaged_first():
    rows = [case_row("tulane_0000000a_v01_l", dice=0.8), case_row("tulane_0000000a_v01_r", dice=0.9),
            case_row("tulane_0000000a_v02_l", dice=1.0), case_row("tulane_0000000b_v01_l", dice=0.5)]
    assert participant_means(rows, "dice") == {"sub-0000000a": pytest.approx(0.9), "sub-0000000b": 0.5}
    summary = find(summarise_sites(rows, resamples=50, seed=0), "dice", "tulane")
    assert summary.n == 2
    assert summary.mean == pytest.approx(0.7)
    assert summary.sd == pytest.approx(math.sqrt(2 * 0.2**2))
    assert (summary.min, summary.max) == (0.5, pytest.approx(0.9))


def test_quantiles_and_sd_are_those_of_numpy_over_participants():
    values = [0.91, 0.95, 0.88, 0.97, 0.93]
    rows = [case_row(f"tulane_{number:08x}_v01_l", dice=value) for number, value in enumerate(values)]
    summary = find(summarise_sites(rows, resamples=400, seed=0), "dice", "tulane")
    assert summary.median == 0.93
    assert (summary.q25, summary.q75) == (0.91, 0.95)
    assert summary.sd == pytest.approx(np.std(values, ddof=1))
    assert min(values) <= summary.ci95_low < summary.mean < summary.ci95_high <= max(values)


def test_a_missed_femur_pulls_dice_down_and_is_counted_where_it_has_no_distance():
    rows = [case_row("tulane_0000000a_v01_l", dice=1.0, hd95_mm=2.0),
            case_row("tulane_0000000b_v01_l", status=CaseStatus.MISSED, dice=0.0)]
    summaries = summarise_sites(rows, resamples=50, seed=0)
    dice, distance = (find(summaries, metric, "tulane") for metric in ("dice", "hd95_mm"))
    assert (dice.n, dice.n_missed, dice.mean) == (2, 1, 0.5)
    assert (distance.n, distance.n_missed, distance.mean) == (1, 1, 2.0)
    assert math.isnan(distance.sd)
    assert math.isnan(distance.ci95_low)
    assert find(summaries, "iou", "tulane").n == 0


def test_rows_with_nothing_to_judge_take_no_part():
    rows = [case_row("tulane_0000000a_v01_l", dice=1.0),
            case_row("tulane_0000000b_v01_l", status=CaseStatus.BOTH_EMPTY),
            case_row("rochester_0000000c_v01_l", status=CaseStatus.NO_REFERENCE_FILE)]
    summaries = summarise_sites(rows, resamples=50, seed=0)
    assert find(summaries, "dice", "tulane").n == 1
    assert {row.site for row in summaries} == {"tulane", "all"}


def test_sites_and_sexes_are_crossed_and_unknown_sex_counts_under_all_alone():
    rows = [case_row("tulane_0000000a_v01_l", sex="F", dice=0.9), case_row("tulane_0000000b_v01_l", sex=None, dice=0.7),
            case_row("rochester_0000000c_v01_l", sex="M", dice=0.5)]
    summaries = summarise_sites(rows, resamples=50, seed=0)
    assert find(summaries, "dice", "all").mean == pytest.approx(0.7)
    assert find(summaries, "dice", "tulane").n == 2
    assert find(summaries, "dice", "tulane", "F").n == 1
    assert find(summaries, "dice", "all", "M").mean == 0.5
    assert not [row for row in summaries if (row.site, row.sex) == ("tulane", "M")]


def test_arms_with_equal_values_get_equal_intervals():
    rows = [case_row(f"tulane_{number:08x}_v01_l", arm=arm, dice=number / 10)
            for arm in ("a", "b") for number in range(9)]
    summaries = summarise_sites(rows, resamples=100, seed=4)
    first, second = (find(summaries, "dice", "tulane", arm=arm) for arm in ("a", "b"))
    assert (first.ci95_low, first.ci95_high) == (second.ci95_low, second.ci95_high)
