from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from real_data import real_data
from shapes import ball, block

from femur_nnunet.evaluation.case_metrics import measure
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.mask_reading import read_label_map
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES
from femur_nnunet.evaluation.overlap import bounding_box

SPACING = (2.0, 1.0, 1.0)
EMPTY = np.zeros((20, 20, 20), dtype=bool)
BOX = block((20, 20, 20), (5, 5, 5), (15, 15, 15))
DIAGONAL_MM = math.sqrt(40**2 + 20**2 + 20**2)


def test_equal_masks_are_perfect_in_every_metric():
    status, values = measure(BOX, BOX.copy(), SPACING)
    assert status is CaseStatus.OK
    assert values.keys() == set(METRIC_NAMES)
    for name in ("dice", "iou", "sensitivity", "specificity", "specificity_near", "precision", "surface_dice_1mm",
                 "dice_fair", "surface_dice_2mm_fair"):
        assert values[name] == 1, name
    for name in ("hd_mm", "hd95_mm", "assd_mm", "hd95_mm_worst", "assd_mm_worst", "contour_distance_mm", "hd_mm_fair",
                 "distal_trim_ref_mm"):
        assert values[name] == 0, name
    assert values["volume_ref_ml"] == values["volume_pred_ml"] == pytest.approx(2.0)
    assert values["surface_roughness_mm"] == values["surface_roughness_ref_mm"] > 0


def test_a_missed_femur_gets_the_worst_value_where_there_is_one_and_none_where_there_is_not():
    for prediction in (EMPTY, None):
        status, values = measure(BOX, prediction, SPACING)
        assert status is CaseStatus.MISSED
        for name in ("dice", "iou", "sensitivity", "precision", "surface_dice_1mm", "dice_fair", "volume_pred_ml"):
            assert values[name] == 0, name
        for name in ("hd_mm", "hd95_mm", "assd_mm", "contour_distance_mm", "surface_roughness_mm", "specificity",
                     "specificity_near", "hd95_mm_fair", "volume_pred_ml_fair"):
            assert math.isnan(values[name]), name
        assert values["hd95_mm_worst"] == values["assd_mm_worst"] == pytest.approx(DIAGONAL_MM)
        assert values["volume_ref_ml"] == pytest.approx(2.0)


def test_a_prediction_on_an_empty_reference_scores_nothing():
    status, values = measure(EMPTY, BOX, SPACING)
    assert status is CaseStatus.NO_REFERENCE
    assert values["dice"] == values["precision"] == values["volume_ref_ml"] == 0
    assert math.isnan(values["sensitivity"])
    assert math.isnan(values["specificity"])
    assert values["hd95_mm_worst"] == pytest.approx(DIAGONAL_MM)
    assert values["volume_pred_ml"] == pytest.approx(2.0)


def test_two_empty_masks_have_no_value_at_all():
    status, values = measure(EMPTY, EMPTY, SPACING)
    assert status is CaseStatus.BOTH_EMPTY
    assert all(math.isnan(value) for value in values.values())


def test_a_shaft_that_is_predicted_longer_costs_nothing_in_the_fair_twins():
    reference = block((40, 20, 20), (10, 5, 5), (35, 15, 15))
    prediction = block((40, 20, 20), (2, 5, 5), (35, 15, 15))
    _, values = measure(reference, prediction, SPACING)
    assert values["dice"] == pytest.approx(2 * 25 / (25 + 33))
    assert values["hd_mm"] == pytest.approx(16.0)
    assert values["dice_fair"] == 1
    assert values["hd_mm_fair"] == values["assd_mm_fair"] == values["contour_distance_mm_fair"] == 0
    assert values["distal_trim_pred_mm"] == pytest.approx(16.0)
    assert values["distal_trim_ref_mm"] == 0
    assert values["volume_pred_ml"] == pytest.approx(33 * 100 * 2 / 1000)
    assert values["volume_pred_ml_fair"] == values["volume_ref_ml_fair"] == pytest.approx(25 * 100 * 2 / 1000)


def test_the_fair_surface_leaves_the_cut_plane_out():
    # Square columns of 10 x 10 and 12 x 12 voxels cut by the bottom of the image: the walls are 1 mm apart, and the
    # cut plane, where both masks have the image's last slice, would add its 64 inner zeros to the raw mean.
    reference = block((30, 20, 20), (0, 5, 5), (20, 15, 15))
    prediction = block((30, 20, 20), (0, 4, 4), (20, 16, 16))
    _, values = measure(reference, prediction, SPACING)
    assert values["assd_mm_fair"] > values["assd_mm"]
    assert values["dice_fair"] == values["dice"]


def test_a_prediction_without_a_shaft_is_not_taken_for_a_short_one():
    reference = block((60, 20, 20), (0, 5, 5), (55, 15, 15))
    head_alone = block((60, 20, 20), (45, 5, 5), (55, 15, 15))
    _, values = measure(reference, head_alone, (1.0, 1.0, 1.0))
    assert values["distal_trim_ref_mm"] == pytest.approx(20.0)
    assert values["dice_fair"] == pytest.approx(2 * 10 / (10 + 35))
    assert values["hd_mm_fair"] == pytest.approx(25.0)


def test_a_prediction_wholly_below_the_reference_has_missed_the_fair_extent():
    reference = block((40, 20, 20), (20, 5, 5), (35, 15, 15))
    prediction = block((40, 20, 20), (2, 5, 5), (8, 15, 15))
    status, values = measure(reference, prediction, SPACING)
    assert status is CaseStatus.OK
    assert values["dice_fair"] == values["precision_fair"] == values["surface_dice_1mm_fair"] == 0
    assert math.isnan(values["hd95_mm_fair"])
    assert values["hd_mm"] == pytest.approx(2 * 27)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.bool_, (6, 5, 7), elements=st.booleans()), hnp.arrays(np.bool_, (6, 5, 7), elements=st.booleans()))
def test_every_metric_of_any_two_masks_stays_within_its_bounds(reference, prediction):
    status, values = measure(reference, prediction, (1.5, 0.8, 0.8))
    diagonal_mm = math.sqrt(9.0**2 + 4.0**2 + 5.6**2)
    assert status.value in ("ok", "missed", "no_reference", "both_empty")
    for name, value in values.items():
        if not math.isnan(value):
            upper = diagonal_mm if "_mm" in name and "dice" not in name else 1.0
            assert 0 <= value <= upper + 1e-9, name
    if status is CaseStatus.OK:
        assert values["hd95_mm"] <= values["hd_mm"]
        assert values["surface_dice_1mm"] <= values["surface_dice_2mm"]


def test_a_shifted_ball_has_the_dice_of_the_lens_that_two_balls_share():
    radius, spacing, shift = 20.0, (1.0, 1.0, 1.0), 6.0
    reference = ball(radius, spacing, margin_mm=10)
    _, values = measure(reference, np.roll(reference, int(shift), 2), spacing)
    # Volume of the lens of two balls of radius r at distance d: pi (4 r + d) (2 r - d)^2 / 12.
    lens = math.pi * (4 * radius + shift) * (2 * radius - shift) ** 2 / 12
    assert values["dice"] == pytest.approx(lens / (4 / 3 * math.pi * radius**3), abs=0.003)
    assert values["hd_mm"] == pytest.approx(shift)
    assert values["volume_ref_ml"] == pytest.approx(4 / 3 * math.pi * radius**3 / 1000, rel=0.01)


def test_a_real_femur_moved_towards_the_head_is_judged_alike_in_all_tables():
    label_map = read_label_map(real_data("hip_labels", "s14.nii.gz"), range(1, 6))
    femur = label_map.array == 1
    femur = np.pad(femur[bounding_box(femur)], ((0, 3), (3, 3), (3, 3)))
    _, values = measure(femur, np.roll(femur, 1, 2), label_map.spacing_mm_zyx)
    assert 0.9 < values["dice"] < 1
    assert values["dice_fair"] == pytest.approx(values["dice"])
    assert values["hd_mm"] <= label_map.spacing_mm_zyx[2] + 1e-9
    assert values["volume_ref_ml"] == pytest.approx(values["volume_pred_ml"])
    assert values["surface_roughness_mm"] == pytest.approx(values["surface_roughness_ref_mm"], rel=0.02)
