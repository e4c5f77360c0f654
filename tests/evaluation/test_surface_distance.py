from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from real_data import real_data
from scipy import ndimage
from shapes import FACES, all_pairs_distances, ball, block

from femur_nnunet.evaluation.mask_reading import read_label_map
from femur_nnunet.evaluation.overlap import bounding_box
from femur_nnunet.evaluation.surface_distance import border_voxels, surface_distances

SPACINGS = st.tuples(*(st.sampled_from((0.5, 0.7, 1.0, 2.5)),) * 3)
MASKS = hnp.arrays(np.bool_, (5, 6, 4), elements=st.booleans()).filter(lambda mask: mask.any())


def test_a_solid_box_has_the_border_of_its_faces():
    border = border_voxels(block((9, 9, 9), (2, 2, 2), (7, 7, 7)))
    assert border.sum() == 5**3 - 3**3
    assert not border[3:6, 3:6, 3:6].any()


def test_the_edge_of_the_image_counts_as_outside_unless_the_bottom_is_open():
    column = np.ones((6, 5, 5), dtype=bool)
    assert border_voxels(column).sum() == 6 * 25 - 4 * 9
    # With an open bottom the first slice keeps its inner 3 x 3 voxels inside; the top is closed.
    open_below = border_voxels(column, open_bottom=True)
    assert [int(plane.sum()) for plane in open_below] == [16, 16, 16, 16, 16, 25]


@pytest.mark.parametrize(("axis", "expected_mm"), [(0, 2.5), (1, 0.7), (2, 0.9)])
def test_a_box_shifted_by_one_voxel_is_one_spacing_away(axis, expected_mm):
    reference = block((14, 14, 14), (3, 3, 3), (10, 10, 10))
    distances = surface_distances(reference, np.roll(reference, 1, axis), (2.5, 0.7, 0.9))
    assert distances.hausdorff_mm == pytest.approx(expected_mm)


def test_a_longer_box_gives_the_distances_of_arithmetic():
    # 8 x 8 in plane; the prediction reaches 2 slices further. Its two added layers hold 28 (ring) and 64
    # voxels at 1 and 2 spacings; of the reference, the 36 inner voxels of its last layer are no border of the
    # prediction: the nearest is the side wall, 1, 2 or 3 voxels away, or the new end face 2 slices up.
    reference = block((12, 12, 12), (2, 2, 2), (8, 10, 10))
    prediction = block((12, 12, 12), (2, 2, 2), (10, 10, 10))
    distances = surface_distances(reference, prediction, (3.0, 1.0, 1.0))
    inner = [1.0] * 20 + [2.0] * 12 + [3.0] * 4
    assert sorted(distances.from_reference_mm[distances.from_reference_mm > 0]) == pytest.approx(inner)
    assert sorted(distances.from_prediction_mm[distances.from_prediction_mm > 0]) == pytest.approx(
        [3.0] * 28 + [6.0] * 64)
    n_reference, n_prediction = 8 * 64 - 2 * 64 - 4 * 36, 8 * 64 - 6 * 36
    assert distances.from_reference_mm.size == n_reference == 240
    assert distances.from_prediction_mm.size == n_prediction == 296
    assert distances.hausdorff_mm == pytest.approx(6.0)
    assert distances.average_symmetric_mm == pytest.approx((sum(inner) + 3 * 28 + 6 * 64) / (240 + 296))
    assert distances.surface_dice(2.0) == pytest.approx((240 - 4 + 296 - 92) / (240 + 296))
    # 92 of 296 directed distances are above zero, 64 of them 6 mm: the 95th percentile is 6 mm.
    assert distances.hausdorff_95_mm == pytest.approx(6.0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 0.8)])
def test_concentric_balls_are_their_difference_of_radii_apart(spacing):
    large, small = ball(22.0, spacing, margin_mm=4), ball(18.0, spacing, margin_mm=8)
    crop = tuple(slice((a - b) // 2, (a - b) // 2 + b) if a > b else slice(None)
                 for a, b in zip(large.shape, small.shape, strict=True))
    large = large[crop]
    pad = [((a - b) // 2,) * 2 for a, b in zip(large.shape, small.shape, strict=True)]
    distances = surface_distances(large, np.pad(small, pad), spacing)
    half_voxel_diagonal = 0.5 * float(np.linalg.norm(spacing))
    assert distances.average_symmetric_mm == pytest.approx(4.0, abs=half_voxel_diagonal / 2)
    assert 4.0 - half_voxel_diagonal <= distances.hausdorff_95_mm <= 4.0 + half_voxel_diagonal


def test_a_far_outlier_moves_the_hausdorff_distance_but_not_its_95th_percentile():
    reference = block((30, 20, 60), (5, 5, 5), (25, 15, 15))
    prediction = reference.copy()
    prediction[10, 10, 55] = True
    distances = surface_distances(reference, prediction, (1.0, 1.0, 1.0))
    assert distances.hausdorff_mm == pytest.approx(41.0)
    assert distances.hausdorff_95_mm == 0
    assert distances.surface_dice(1.0) < 1


def test_a_distance_equal_to_the_tolerance_is_within_it_in_spite_of_rounding():
    reference = block((8, 8, 40), (2, 2, 2), (6, 6, 20))
    # 10 voxels of 0.1 mm are 1 mm, which 0.1 does not hold exactly.
    distances = surface_distances(reference, np.roll(reference, 10, 2), (5.0, 5.0, 0.1))
    assert distances.hausdorff_mm == pytest.approx(1.0)
    assert distances.surface_dice(1.0) == 1


def test_an_empty_mask_has_no_distance():
    with pytest.raises(ValueError, match="not empty"):
        surface_distances(block((4, 4, 4), (1, 1, 1), (2, 2, 2)), np.zeros((4, 4, 4), dtype=bool), (1.0, 1.0, 1.0))


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS, SPACINGS)
def test_distances_equal_those_of_looking_at_every_pair(reference, prediction, spacing):
    distances = surface_distances(reference, prediction, spacing)
    from_reference, from_prediction = all_pairs_distances(reference, prediction, spacing, FACES)
    np.testing.assert_allclose(distances.from_reference_mm, from_reference, atol=1e-9)
    np.testing.assert_allclose(distances.from_prediction_mm, from_prediction, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS, SPACINGS)
def test_distances_are_symmetric_ordered_and_unmoved_by_translation(reference, prediction, spacing):
    one = surface_distances(reference, prediction, spacing)
    other = surface_distances(prediction, reference, spacing)
    assert one.hausdorff_mm == pytest.approx(other.hausdorff_mm)
    assert one.hausdorff_95_mm == pytest.approx(other.hausdorff_95_mm)
    assert one.average_symmetric_mm == pytest.approx(other.average_symmetric_mm)
    assert 0 <= one.average_symmetric_mm <= one.hausdorff_mm + 1e-12
    assert one.hausdorff_95_mm <= one.hausdorff_mm + 1e-12
    assert 0 <= one.surface_dice(1.0) <= one.surface_dice(2.0) <= 1
    moved = surface_distances(np.pad(reference, ((3, 0), (1, 4), (0, 2))),
                              np.pad(prediction, ((3, 0), (1, 4), (0, 2))), spacing)
    assert moved.average_symmetric_mm == pytest.approx(one.average_symmetric_mm)
    assert surface_distances(reference, reference, spacing).hausdorff_mm == 0


def test_distances_equal_those_of_a_distance_transform_on_a_rough_mask():
    rng = np.random.default_rng(7)
    spacing = (1.5, 0.7, 0.7)
    reference = ball(12.0, spacing, margin_mm=6)
    noise = ndimage.gaussian_filter(rng.normal(size=reference.shape), 2)
    prediction = ndimage.gaussian_filter(reference.astype(float), 1.5) + noise / noise.std() * 0.15 > 0.5
    distances = surface_distances(reference, prediction, spacing)
    border, other = (mask & ~ndimage.binary_erosion(mask) for mask in (reference, prediction))
    expected = ndimage.distance_transform_edt(~other, sampling=spacing)[border]
    np.testing.assert_allclose(distances.from_reference_mm, expected, atol=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance.*")
def test_surfaces_agree_with_deepminds_library_where_definitions_agree():
    surface_distance = pytest.importorskip("surface_distance")
    spacing = (1.0, 1.0, 1.0)
    reference = block((40, 40, 40), (8, 8, 8), (30, 30, 30))
    prediction = np.roll(reference, 3, axis=2)
    ours = surface_distances(reference, prediction, spacing)
    theirs = surface_distance.compute_surface_distances(reference, prediction, spacing)
    assert ours.hausdorff_mm == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 100))
    assert ours.hausdorff_95_mm == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 95))
    # Theirs weighs by area, ours counts border voxels: edges weigh a little more, corners more still.
    assert ours.surface_dice(1.0) == pytest.approx(
        surface_distance.compute_surface_dice_at_tolerance(theirs, 1.0), abs=0.02)


@pytest.mark.parametrize("name", ["a84", "s18"])
def test_a_real_femur_shifted_by_a_voxel_is_at_most_that_voxel_away(name):
    label_map = read_label_map(real_data("hip_labels", f"{name}.nii.gz"), range(1, 6))
    femur = label_map.array == 2
    box = bounding_box(femur)
    femur = np.pad(femur[box], 2)
    for axis, spacing in enumerate(label_map.spacing_mm_zyx):
        distances = surface_distances(femur, np.roll(femur, 1, axis), label_map.spacing_mm_zyx)
        assert 0 < distances.hausdorff_mm <= spacing + 1e-9
        assert distances.surface_dice(2.0) == 1
