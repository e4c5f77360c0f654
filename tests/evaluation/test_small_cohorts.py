"""The tables of cohorts so small, so equal or so bad that most statistics are undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_cohort import case_row
from hypothesis import given, settings
from hypothesis import strategies as st

from femur_nnunet.evaluation.agreement import measure_agreement
from femur_nnunet.evaluation.case_status import STATUS_RULES, CaseStatus
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.compare_table import compare_arms
from femur_nnunet.evaluation.gap_table import measure_gaps
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES, score
from femur_nnunet.evaluation.site_table import summarise_sites

pytestmark = pytest.mark.filterwarnings("error")
RESAMPLING = {"resamples": 20, "seed": 0}


def row(case_id: str, status: CaseStatus, value: float, arm: str = "model") -> CaseRow:
    """A row with one value in every metric that its status leaves to measuring."""
    measured = dict.fromkeys(METRIC_NAMES, value)
    return case_row(case_id, arm=arm, status=status, **score(STATUS_RULES[status].outcome, measured, 100.0))


def test_one_participant_a_site_with_one_hip_missed():
    rows = [row(f"{site}_0000000{number}_v01_{side}", status, value)
            for number, (site, value) in enumerate((("tulane", 0.9), ("rochester", 0.5)))
            for side, status in (("l", CaseStatus.OK), ("r", CaseStatus.MISSED))]
    sites = {(one.site, one.metric): one for one in summarise_sites(rows, **RESAMPLING) if one.sex == "all"}
    dice = sites["tulane", "dice"]
    # The found hip's 0.9 and the missed hip's 0 are one participant's mean.
    assert (dice.n, dice.n_missed, dice.mean) == (1, 1, pytest.approx(0.45))
    assert math.isnan(dice.sd)
    assert math.isnan(dice.ci95_low)
    assert (sites["tulane", "hd95_mm"].n, sites["tulane", "hd95_mm"].mean) == (1, pytest.approx(0.9))
    assert sites["tulane", "hd95_mm_worst"].mean == pytest.approx((0.9 + 100) / 2)
    assert (sites["all", "dice"].n, sites["all", "dice"].n_missed) == (2, 2)
    gap = {one.metric: one for one in measure_gaps(rows, ["tulane"], **RESAMPLING)}["dice"]
    assert gap.gap == pytest.approx(0.25 - 0.45)
    assert all(math.isnan(value) for value in (gap.ci95_low, gap.ci95_high, gap.p_value))
    agreement = measure_agreement(rows, **RESAMPLING)[0]
    assert (agreement.n, agreement.n_missed) == (1, 1)
    assert agreement.estimates["bias"].value == 0
    assert math.isnan(agreement.estimates["icc_2_1"].value)


def test_a_model_that_finds_nothing_has_no_distances_and_the_worst_twins():
    rows = [row(f"tulane_0000000{number}_v01_l", CaseStatus.MISSED, 1.0) for number in range(3)]
    sites = {one.metric: one for one in summarise_sites(rows, **RESAMPLING) if (one.site, one.sex) == ("all", "all")}
    assert (sites["hd95_mm"].n, sites["hd95_mm"].n_missed) == (0, 3)
    assert math.isnan(sites["hd95_mm"].mean)
    assert (sites["hd95_mm_worst"].mean, sites["dice"].mean) == (100, 0)
    assert measure_agreement(rows, **RESAMPLING)[0].n == 0


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["source_only", "grl", "oracle"]), st.sampled_from(["tulane", "rochester"]),
                          st.integers(0, 3), st.sampled_from("lr"), st.sampled_from(list(CaseStatus)),
                          st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=25))
def test_no_mixture_of_outcomes_and_ties_breaks_a_table(drawn):
    rows = list({(arm, case): row(case, status, value, arm) for arm, site, number, side, status, value in drawn
                 for case in [f"{site}_0000000{number}_v01_{side}"]}.values())
    summarise_sites(rows, **RESAMPLING)
    measure_agreement(rows, tost_margin_ml=1.0, **RESAMPLING)
    compared = compare_arms(rows, bases=["source_only"], oracle="oracle", **RESAMPLING)
    p_values = np.array([[one.p_value, one.p_holm] for one in compared] + [
        [one.p_value] * 2 for one in measure_gaps(rows, ["tulane"], **RESAMPLING)]).reshape(-1, 2)
    known = np.isfinite(p_values).all(axis=1)
    assert ((p_values[known] > 0) & (p_values[known] <= 1)).all()
    assert (p_values[known, 1] >= p_values[known, 0]).all()
