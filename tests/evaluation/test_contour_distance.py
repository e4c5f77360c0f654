from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shapes import all_pairs_distances, block

from femur_nnunet.evaluation.contour_distance import contour_distance_mm, contour_pixels

MASKS = hnp.arrays(np.bool_, (4, 6, 5), elements=st.booleans()).filter(lambda mask: mask.any())
EDGES = ((0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))


def cylinder(radius_mm: float, pixel_mm: float, slices: int = 6, half_width_mm: float = 32.0) -> np.ndarray:
    n = int(half_width_mm / pixel_mm)
    y, x = np.meshgrid(*(np.arange(-n, n + 1) * pixel_mm,) * 2, indexing="ij")
    return np.repeat((y**2 + x**2 <= radius_mm**2)[None], slices, axis=0)


def test_contours_lie_in_the_plane_whatever_is_above_and_below():
    mask = block((3, 6, 6), (1, 1, 1), (2, 5, 5))
    assert contour_pixels(mask).sum() == 12
    assert not contour_pixels(mask)[1, 2:4, 2:4].any()


def test_concentric_cylinders_are_their_difference_of_radii_apart():
    distance = contour_distance_mm(cylinder(20.0, 0.5), cylinder(23.0, 0.5), (2.5, 0.5, 0.5))
    # Pixels stand for the circles to within half a pixel.
    assert distance == pytest.approx(3.0, abs=0.25)


def test_a_square_widened_on_one_side_gives_the_mean_of_arithmetic():
    # 6 x 6 pixels, 20 on the contour; widened by one column of 1.5 mm the contour has 22. The 6 pixels of the
    # new column are 1.5 mm away; of the old last column the 4 inner ones are now 1.0 or 1.5 mm inside.
    reference = block((4, 12, 12), (1, 2, 2), (3, 8, 8))
    prediction = block((4, 12, 12), (1, 2, 2), (3, 8, 9))
    inner = [1.0, 1.5, 1.5, 1.0]
    assert contour_distance_mm(reference, prediction, (4.0, 1.0, 1.5)) == pytest.approx((6 * 1.5 + sum(inner)) / 42)


def test_each_slice_has_the_same_weight():
    # Slice 1: equal squares, distance 0. Slice 2: 4 x 4 squares 6 mm apart without touching.
    reference = block((4, 8, 30), (1, 2, 2), (3, 6, 6))
    prediction = reference.copy()
    prediction[2] = np.roll(reference[2], 10, axis=1)
    distances = all_pairs_distances(reference[2:3], prediction[2:3], (5.0, 1.0, 1.0), EDGES)
    of_slice_2 = np.concatenate(distances).mean()
    assert contour_distance_mm(reference, prediction, (5.0, 1.0, 1.0)) == pytest.approx(of_slice_2 / 2)


def test_a_slice_that_only_one_mask_reaches_costs_the_distance_in_space():
    reference = block((8, 9, 9), (1, 2, 2), (6, 7, 7))
    prediction = block((8, 9, 9), (1, 2, 2), (4, 7, 7))
    # Two slices lack: their contours are 3 and 6 mm above the prediction's last one.
    assert contour_distance_mm(reference, prediction, (3.0, 1.0, 1.0)) == pytest.approx((0 + 0 + 0 + 3 + 6) / 5)


def test_masks_without_a_common_slice_are_as_far_apart_as_they_are():
    reference = block((9, 5, 5), (1, 1, 1), (2, 4, 4))
    prediction = block((9, 5, 5), (7, 1, 1), (8, 4, 4))
    assert contour_distance_mm(reference, prediction, (2.0, 1.0, 1.0)) == pytest.approx(12.0)


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_contour_distances_equal_those_of_looking_at_every_pair_in_each_slice(reference, prediction):
    spacing = (2.5, 0.8, 0.6)
    whole = all_pairs_distances(reference, prediction, spacing, EDGES)
    slices = np.argwhere(contour_pixels(reference))[:, 0], np.argwhere(contour_pixels(prediction))[:, 0]
    means = []
    for z in range(reference.shape[0]):
        if reference[z].any() and prediction[z].any():
            means.append(np.concatenate(
                all_pairs_distances(reference[z:z + 1], prediction[z:z + 1], spacing, EDGES)).mean())
        elif reference[z].any() or prediction[z].any():
            means.append(np.concatenate([own[at == z] for own, at in zip(whole, slices, strict=True)]).mean())
    assert contour_distance_mm(reference, prediction, spacing) == pytest.approx(np.mean(means))
    assert contour_distance_mm(prediction, reference, spacing) == pytest.approx(np.mean(means))


def test_an_empty_mask_has_no_contour_distance():
    with pytest.raises(ValueError, match="not empty"):
        contour_distance_mm(np.zeros((2, 2, 2), dtype=bool), np.ones((2, 2, 2), dtype=bool), (1.0, 1.0, 1.0))
