from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shapes import block

from femur_nnunet.evaluation.overlap import (
    bounding_box,
    count_overlap,
    grow_box,
    separate_boxes,
    specificity_near,
    union_box,
    volume_ml,
)

MASKS = hnp.arrays(np.bool_, (4, 5, 6), elements=st.booleans())


def test_two_overlapping_boxes_give_the_fractions_of_their_voxel_counts():
    # 10 x 10 x 10 voxels each, shifted by 2 along x: 800 in common, 200 in each alone.
    reference = block((12, 12, 14), (1, 1, 1), (11, 11, 11))
    prediction = block((12, 12, 14), (1, 1, 3), (11, 11, 13))
    counts = count_overlap(reference, prediction)
    assert (counts.true_positive, counts.false_positive, counts.false_negative) == (800, 200, 200)
    assert counts.dice == pytest.approx(0.8)
    assert counts.iou == pytest.approx(800 / 1200)
    assert counts.sensitivity == pytest.approx(0.8)
    assert counts.precision == pytest.approx(0.8)
    assert counts.specificity(reference.size) == pytest.approx((2016 - 1200) / (2016 - 1200 + 200))


def test_sensitivity_and_precision_tell_a_prediction_that_is_too_small_from_one_too_large():
    large = block((8, 8, 8), (1, 1, 1), (7, 7, 7))
    small = block((8, 8, 8), (2, 2, 2), (6, 6, 6))
    assert count_overlap(large, small).sensitivity == pytest.approx(64 / 216)
    assert count_overlap(large, small).precision == 1
    assert count_overlap(small, large).precision == pytest.approx(64 / 216)


def test_specificity_near_does_not_change_with_the_field_of_view():
    spacing = (4.0, 2.0, 2.0)
    # Margin of 20 mm: 5, 10 and 10 voxels, so the near box is 14 x 24 x 24 voxels.
    reference = block((40, 60, 60), (18, 28, 28), (22, 32, 32))
    prediction = block((40, 60, 60), (18, 28, 28), (22, 32, 34))
    negatives = 14 * 24 * 24 - 4 * 4 * 4
    expected = (negatives - 4 * 4 * 2) / negatives
    assert specificity_near(reference, prediction, spacing) == pytest.approx(expected)
    wider = ((10, 10), (20, 20), (20, 20))
    assert specificity_near(np.pad(reference, wider), np.pad(prediction, wider), spacing) == pytest.approx(expected)
    assert count_overlap(reference, prediction).specificity(reference.size) > expected


def test_specificity_near_cuts_its_box_at_the_edge_of_the_image():
    reference = block((4, 4, 4), (0, 0, 0), (2, 2, 2))
    prediction = block((4, 4, 4), (0, 0, 0), (2, 2, 3))
    assert specificity_near(reference, prediction, (1.0, 1.0, 1.0)) == pytest.approx((64 - 8 - 4) / (64 - 8))


def test_a_litre_is_a_million_cubic_millimetres():
    assert volume_ml(1_000_000, (1.0, 1.0, 1.0)) == pytest.approx(1000)
    assert volume_ml(1000, (2.5, 0.7, 0.8)) == pytest.approx(1.4)


def test_the_bounding_box_holds_the_mask_and_nothing_more():
    assert bounding_box(block((9, 9, 9), (2, 3, 4), (5, 7, 9))) == (slice(2, 5), slice(3, 7), slice(4, 9))
    assert bounding_box(np.zeros((3, 3, 3), dtype=bool)) is None


def test_boxes_are_united_and_grown_within_the_image():
    first, second = (slice(2, 4),) * 3, (slice(5, 6),) * 3
    assert union_box(first, second) == (slice(2, 6),) * 3
    assert union_box(None, second) == second
    assert union_box(None, None) is None
    assert grow_box(first, [1, 3, 9], (9, 9, 9)) == (slice(1, 5), slice(0, 7), slice(0, 9))


def test_boxes_are_separated_where_enough_planes_are_empty():
    mask = block((20, 20, 20), (1, 1, 1), (4, 5, 6)) | block((20, 20, 20), (2, 11, 2), (6, 14, 3))
    whole = (slice(0, 20),) * 3
    parts = [(slice(1, 4), slice(1, 5), slice(1, 6)), (slice(2, 6), slice(11, 14), slice(2, 3))]
    # Rows 5 to 10 are empty: six of them.
    assert separate_boxes(mask, whole, [6, 6, 6]) == parts
    assert separate_boxes(mask, whole, [7, 7, 7]) == [bounding_box(mask)]
    assert separate_boxes(mask, (slice(4, 20), slice(0, 20), slice(0, 20)), [1, 1, 1]) == [
        (slice(4, 6), slice(11, 14), slice(2, 3))]
    assert separate_boxes(np.zeros_like(mask), whole, [1, 1, 1]) == []


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS)
def test_overlap_is_symmetric_bounded_and_dice_follows_from_iou(first, second):
    one, other = count_overlap(first, second), count_overlap(second, first)
    if not first.any() and not second.any():
        assert np.isnan(one.dice)
        return
    assert one.dice == other.dice
    assert 0 <= one.iou <= one.dice <= 1
    assert one.dice == pytest.approx(2 * one.iou / (1 + one.iou))
    assert one.sensitivity == other.precision or (np.isnan(one.sensitivity) and np.isnan(other.precision))
