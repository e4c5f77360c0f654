from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from evaluation_cohort import case_row

from femur_nnunet.evaluation.agreement import agreement_row
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.compare_table import CompareRow
from femur_nnunet.evaluation.gap_table import GapRow
from femur_nnunet.evaluation.report.figures.agreement import PairedValues
from femur_nnunet.evaluation.report.result_tables import ResultTables
from femur_nnunet.evaluation.report.summary_sentences import (
    accuracy_sentence,
    bias_sentence,
    comparison_sentence,
    count_sentence,
    gap_sentence,
)
from femur_nnunet.evaluation.site_table import summarise_sites
from femur_nnunet.regions import Region

ROWS = [case_row("aa_00000001_v01_l", hd95_mm=1.0, dice=0.98), case_row("aa_00000001_v01_r", hd95_mm=3.0, dice=0.96),
        case_row("aa_00000002_v01_l", hd95_mm=2.0, dice=0.95),
        case_row("aa_00000003_v01_l", status=CaseStatus.MISSED, dice=0.0)]
TABLES = ResultTables(ROWS, summarise_sites(ROWS, resamples=50, seed=0), [], [])


def gap(value, low, high, metric="hd95_mm"):
    return GapRow("m", metric, "tulane", "rochester", 1.5, 1.5 + value, value, low, high, 0.03, 0.2)


def bias(reference, measured, margin=None):
    reference, measured = np.asarray(reference, float), np.asarray(measured, float)
    row = agreement_row(reference, measured, arm="m", quantity="vbmd_integral", region=Region.NECK, site="rochester",
                        sex="all", n_missed=1, resamples=20, seed=0, tost_margin=margin)
    return bias_sentence(replace(row, unit="mg/cc HA"), PairedValues(reference, measured))


def test_participants_hips_and_missed_ones_are_counted():
    told = count_sentence(TABLES, "model", "aa")
    assert told.startswith("Aa: 3 participants, 4 hips; 1 hip of 1 participant missed")


def test_distances_tell_how_many_participants_have_one():
    # Means over participants: (2 + 2) / 2 mm; (0.97 + 0.95 + 0) / 3.
    told = accuracy_sentence(TABLES, "model", "aa")
    assert "HD95 2.00 mm" in told
    assert "n = 2" in told
    assert "Dice 0.640" in told
    assert "n = 3" in told


def test_a_gap_whose_interval_leaves_0_out_is_told_with_its_direction():
    assert gap_sentence(gap(0.4, 0.1, 0.7)) == ("Rochester HD95 is 0.40 mm more than Tulane's (worse at the target; "
                                                "95 % CI +0.10 to +0.70; p = 0.030).")
    assert "better at the target" in gap_sentence(gap(-0.4, -0.7, -0.1))
    assert "worse at the target" in gap_sentence(gap(-0.04, -0.07, -0.01, "dice"))


def test_a_gap_whose_interval_holds_0_is_no_difference():
    told = gap_sentence(gap(0.4, -0.1, 0.9))
    assert told.endswith("no difference is shown.")
    assert "worse" not in told


def test_a_difference_that_the_test_does_not_bear_out_is_none_either():
    told = gap_sentence(GapRow("m", "hd95_mm", "tulane", "rochester", 1.5, 1.0, -0.5, -0.9, -0.1, 0.08, 0.2))
    assert "the permutation test does not bear it out" in told
    assert told.endswith("no difference is shown.")


def test_without_an_interval_nothing_is_claimed():
    told = gap_sentence(gap(5.0, math.nan, math.nan))
    assert "nothing is shown" in told
    assert "worse" not in told


def test_a_bias_is_told_in_percent_of_the_references_mean_and_within_a_margin_only_if_tested():
    reference = [190.0, 200.0, 210.0, 200.0]
    # Differences 0, 2, 2, 0: bias 1 of a mean of 200 is 0.5 %.
    measured = [190.0, 202.0, 212.0, 200.0]
    assert bias(reference, measured).startswith("Rochester: neck integral vBMD bias +0.5 % (+1.00 mg/cc HA; 95 % CI ")
    assert "equivalence was not tested" in bias(reference, measured)
    assert ": within ±4.0 % (±8 mg/cc HA) (TOST p < 0.001)" in bias(reference, measured, 8.0)
    assert "not shown to be within ±0.5 % (±1 mg/cc HA)" in bias(reference, measured, 1.0)
    assert "cannot be tested with n = 1" in bias([200.0], [201.0], 4.0)


def test_gap_closed_is_told_only_beside_a_difference_that_is_shown():
    shown = CompareRow("hd95_mm", "rochester", "base", "grl", 9, -0.6, -0.9, -0.2, 0.01, 0.02, 0.5, 0.2, 0.8)
    told = comparison_sentence(shown)
    assert "0.60 mm less than base's on the same 9 participants" in told
    assert "closes 50 % of the distance to the oracle (95 % CI 20 to 80 %)" in told
    assert "oracle" not in comparison_sentence(shown, is_target=False)
    hidden = CompareRow("hd95_mm", "rochester", "base", "grl", 9, -0.6, -0.9, 0.2, 0.3, 0.3, 0.5, 0.2, 0.8)
    assert comparison_sentence(hidden).endswith("no difference is shown.")
