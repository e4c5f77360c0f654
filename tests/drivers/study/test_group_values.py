"""Values from numbers that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_cohort import case_row
from scipy import stats

from femur_nnunet.drivers.study.group_values import mean_of, measure_group, sd_of
from femur_nnunet.evaluation.case_status import CaseStatus

REFERENCE = (100.0, 120.0, 140.0, 160.0)
PREDICTED = (101.0, 119.0, 143.0, 161.0)


def rows():
    return [case_row(f"tulane_{number:08x}_v01_l", dice=0.9 + number / 100, volume_ref_ml=reference,
                     volume_pred_ml=predicted)
            for number, (reference, predicted) in enumerate(zip(REFERENCE, PREDICTED, strict=True))]


def test_means_and_deviations_are_over_participants():
    group = measure_group(rows())
    assert group.n == 4
    assert group.mean["dice"] == pytest.approx(0.915)
    assert group.sd["dice"] == pytest.approx(math.sqrt((0.015**2 + 0.005**2) * 2 / 3))


def test_both_hips_of_a_participant_count_once():
    two = [case_row(f"tulane_{1:08x}_v01_{side}", dice=dice) for side, dice in (("l", 0.8), ("r", 1.0))]
    group = measure_group([*two, case_row(f"tulane_{2:08x}_v01_l", dice=0.5)])
    assert (group.n, group.mean["dice"]) == (2, pytest.approx(0.7))


def test_agreement_of_volumes():
    agreement = measure_group(rows()).agreement
    # Errors 1, -1, 3, 1: SSE 12. Deviations -30, -10, 10, 30: SST 2000.
    assert agreement["r2"] == pytest.approx(1 - 12 / 2000)
    assert agreement["bias_ml"] == pytest.approx(1.0)
    oracle = stats.linregress(REFERENCE, PREDICTED)
    residuals = np.asarray(PREDICTED) - oracle.intercept - oracle.slope * np.asarray(REFERENCE)
    assert agreement["see_ml"] == pytest.approx(math.sqrt((residuals**2).sum() / 2))
    assert agreement["pearson_r"] == pytest.approx(oracle.rvalue)
    assert agreement["p_value"] == pytest.approx(oracle.pvalue)
    assert math.isnan(agreement["r2_fair"])


def test_a_constant_bias_lowers_r2_and_neither_r_nor_the_standard_error():
    shifted = [case_row(f"tulane_{number:08x}_v01_l", volume_ref_ml=value, volume_pred_ml=value + 10)
               for number, value in enumerate(REFERENCE)]
    agreement = measure_group(shifted).agreement
    assert agreement["r2"] == pytest.approx(1 - 400 / 2000)
    assert agreement["pearson_r"] == pytest.approx(1)
    assert agreement["see_ml"] == pytest.approx(0, abs=1e-9)


def test_a_missed_hip_counts_as_dice_0_and_not_in_the_volumes():
    missed = case_row(f"tulane_{9:08x}_v01_l", status=CaseStatus.MISSED, dice=0.0, volume_ref_ml=130.0,
                      volume_pred_ml=0.0)
    group = measure_group([*rows(), missed])
    assert (group.n, group.n_missed) == (5, 1)
    assert group.mean["dice"] == pytest.approx(0.732)
    assert group.agreement["r2"] == pytest.approx(1 - 12 / 2000)


def test_too_few_values_give_no_number():
    assert math.isnan(mean_of([math.nan]))
    assert mean_of([1.0, math.nan, 2.0]) == 1.5
    assert math.isnan(sd_of([1.0, math.nan]))
    group = measure_group(rows()[:2])
    assert all(math.isnan(group.agreement[name]) for name in ("pearson_r", "p_value", "see_ml"))
