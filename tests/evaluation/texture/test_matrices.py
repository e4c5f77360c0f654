"""Matrices and pair sums against slow loops written from IBSI's definitions, and against scikit-image."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import graycomatrix, graycoprops

from femur_nnunet.evaluation.texture import glcm, glrlm, glszm
from femur_nnunet.evaluation.texture.autocorrelation import spatial_autocorrelation
from femur_nnunet.evaluation.texture.directions import DIRECTIONS_ZYX, Aggregation, LevelField
from femur_nnunet.evaluation.texture.emphasis import emphasis_features

LEVELS = arrays.arrays(np.int64, st.tuples(*[st.integers(1, 4)] * 3), elements=st.integers(0, 4)).filter(np.any)
TWENTY_SIX = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]


def at(levels, place):
    inside = all(0 <= index < size for index, size in zip(place, levels.shape, strict=True))
    return int(levels[place]) if inside else 0


def moved(place, step, times=1):
    return tuple(int(index) + times * move for index, move in zip(place, step, strict=True))


def pairs_by_looking(levels, step):
    """Both orders of every pair of neighbours along a direction."""
    found = Counter()
    for place in np.argwhere(levels):
        other = at(levels, moved(place, step))
        if other:
            found[int(levels[tuple(place)]), other] += 1
            found[other, int(levels[tuple(place)])] += 1
    return found


def runs_by_looking(levels, step):
    found = []
    for place in np.argwhere(levels):
        level = int(levels[tuple(place)])
        if at(levels, moved(place, step, -1)) != level:
            length = 1
            while at(levels, moved(place, step, length)) == level:
                length += 1
            found.append((level, length))
    return Counter(found)


def zones_by_flooding(levels):
    left, found = {tuple(int(i) for i in place) for place in np.argwhere(levels)}, []
    while left:
        queue = [left.pop()]
        level, size = at(levels, queue[0]), 0
        while queue:
            place = queue.pop()
            size += 1
            near = {moved(place, step) for step in TWENTY_SIX} & left
            same = {other for other in near if at(levels, other) == level}
            left -= same
            queue += same
        found.append((level, size))
    return Counter(found)


def emphasis_by_summing(found, voxels):
    """The 16 features from their sums, matrix cell by matrix cell."""
    total = sum(found.values())
    cells = [(i, j, n / total) for (i, j), n in found.items()]
    of_level, of_extent = Counter(), Counter()
    for (i, j), n in found.items():
        of_level[i] += n
        of_extent[j] += n
    mean = [sum(p * cell[axis] for *cell, p in cells) for axis in (0, 1)]
    return [
        *(sum(p * i**a * j**b for i, j, p in cells) for a, b in
          ((0, -2), (0, 2), (-2, 0), (2, 0), (-2, -2), (2, -2), (-2, 2), (2, 2))),
        sum(n**2 for n in of_level.values()) / total, sum(n**2 for n in of_level.values()) / total**2,
        sum(n**2 for n in of_extent.values()) / total, sum(n**2 for n in of_extent.values()) / total**2,
        total / voxels, sum(p * (i - mean[0]) ** 2 for i, _, p in cells),
        sum(p * (j - mean[1]) ** 2 for _, j, p in cells), -sum(p * math.log2(p) for *_, p in cells)]


def test_the_directions_are_one_of_each_opposite_pair():
    opposite = {tuple(-move for move in step) for step in DIRECTIONS_ZYX}
    assert len(DIRECTIONS_ZYX) == 13
    assert opposite.isdisjoint(DIRECTIONS_ZYX)
    assert opposite | set(DIRECTIONS_ZYX) == set(TWENTY_SIX)


@settings(max_examples=40, deadline=None)
@given(LEVELS)
def test_pairs_and_runs_are_those_that_one_finds_by_looking(levels):
    field = LevelField.of(levels)
    for step, (first, second), (run_levels, lengths) in zip(DIRECTIONS_ZYX, field.neighbour_pairs(), field.runs(),
                                                            strict=True):
        pairs = Counter(zip(first.tolist(), second.tolist(), strict=True))
        assert pairs + Counter({(j, i): n for (i, j), n in pairs.items()}) == pairs_by_looking(levels, step)
        assert Counter(zip(run_levels.tolist(), lengths.tolist(), strict=True)) == runs_by_looking(levels, step)


@settings(max_examples=40, deadline=None)
@given(LEVELS)
def test_run_and_zone_features_are_the_sums_of_their_definitions(levels):
    voxels = int(np.count_nonzero(levels))
    runs = sum((runs_by_looking(levels, step) for step in DIRECTIONS_ZYX), Counter())
    assert list(glrlm.glrlm(LevelField.of(levels)).values()) == pytest.approx(emphasis_by_summing(runs, 13 * voxels),
                                                                              abs=1e-12)
    zones = zones_by_flooding(levels)
    assert list(glszm.glszm(levels).values()) == pytest.approx(emphasis_by_summing(zones, voxels), abs=1e-12)


def test_zones_of_two_slices_that_touch_at_a_corner_are_one():
    levels = np.zeros((2, 2, 2), dtype=np.int64)
    levels[0, 0, 0] = levels[1, 1, 1] = 3
    levels[0, 1, 1] = 2
    values = glszm.glszm(levels)
    # One zone of two voxels with level 3 and one of one voxel with level 2, from three voxels.
    assert values["zone_percentage"] == pytest.approx(2 / 3)
    assert values["large_zone_emphasis"] == pytest.approx((4 + 1) / 2)
    assert values["high_grey_level_zone_emphasis"] == pytest.approx((9 + 4) / 2)


@pytest.mark.parametrize(("angle", "step"), [(0, (0, 0, 1)), (math.pi / 4, (0, 1, 1)), (math.pi / 2, (0, 1, 0)),
                                             (3 * math.pi / 4, (0, 1, -1))])
def test_the_co_occurrence_of_one_slice_is_that_of_scikit_image(angle, step):
    levels = np.random.default_rng(5).integers(1, 7, size=(1, 30, 40))
    expected = graycomatrix(levels[0].astype(np.uint8), [1], [angle], levels=7, symmetric=True)[1:, 1:, 0, 0]
    found = np.zeros((6, 6), dtype=np.int64)
    for (i, j), n in pairs_by_looking(levels, step).items():
        found[i - 1, j - 1] = n
    assert (found == expected).all()


def test_features_of_one_slice_are_those_of_scikit_image():
    levels = np.random.default_rng(6).integers(1, 7, size=(1, 30, 40))
    angles = [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4]
    matrices = graycomatrix(levels[0].astype(np.uint8), [1], angles, levels=7, symmetric=True)
    merged = matrices.sum(axis=3, keepdims=True).astype(float)
    merged /= merged.sum()
    values = glcm.glcm(LevelField.of(levels))
    names = {"contrast": "contrast", "dissimilarity": "dissimilarity", "homogeneity": "inverse_difference_moment",
             "ASM": "angular_second_moment", "correlation": "correlation", "mean": "joint_average",
             "variance": "joint_variance", "entropy": "joint_entropy"}
    for theirs, ours in names.items():
        # scikit-image takes the natural logarithm.
        scale = math.log(2) if theirs == "entropy" else 1.0
        assert values[ours] * scale == pytest.approx(float(graycoprops(merged, theirs)[0, 0]), rel=1e-9), ours
    averaged = glcm.glcm(LevelField.of(levels), Aggregation.AVERAGED)
    assert averaged["contrast"] == pytest.approx(float(graycoprops(matrices, "contrast").mean()), rel=1e-9)


def test_a_level_that_does_not_occur_counts_among_the_grey_levels():
    levels = np.array([[[1, 5]]])
    # One pair, 4 apart, of 5 grey levels: 1 / (1 + 4 / 5).
    assert glcm.glcm(LevelField.of(levels))["normalised_inverse_difference"] == pytest.approx(1 / 1.8)


def test_a_long_run_is_counted_whole_and_its_matrix_is_never_made():
    levels = np.ones((1, 1, 5000), dtype=np.int64)
    values = glrlm.glrlm(LevelField.of(levels), Aggregation.AVERAGED)
    # One direction has one run of 5,000, twelve have 5,000 runs of 1.
    assert values["long_runs_emphasis"] == pytest.approx((5000**2 + 12) / 13)


def test_emphasis_features_of_three_zones_follow_from_arithmetic():
    values = emphasis_features(np.array([1, 1, 2]), np.array([1, 3, 2]), 6)
    assert values[0] == pytest.approx((1 + 1 / 9 + 1 / 4) / 3)
    assert values[3] == pytest.approx((1 + 1 + 4) / 3)
    assert values[8:10] == pytest.approx([(4 + 1) / 3, (4 + 1) / 9])
    assert values[12] == pytest.approx(0.5)
    assert values[15] == pytest.approx(math.log2(3))


@settings(max_examples=25, deadline=None)
@given(arrays.arrays(np.float64, st.tuples(*[st.integers(1, 5)] * 3), elements=st.integers(-5, 9)),
       st.integers(0, 2**32 - 1))
def test_moran_and_geary_are_the_sums_over_all_pairs(values, seed):
    mask = np.random.default_rng(seed).random(values.shape) < 0.7
    spacing = (3.0, 0.7, 0.9)
    if not mask.any() or values[mask].min() == values[mask].max():
        assert all(math.isnan(one) for one in spatial_autocorrelation(mask, values, spacing))
        return
    points, x = np.argwhere(mask) * spacing, values[mask]
    distance = np.linalg.norm(points[:, None] - points[None, :], axis=2)
    np.fill_diagonal(distance, np.inf)
    weight, d = 1 / distance, x - x.mean()
    moran = len(x) / weight.sum() * (weight * d[:, None] * d[None, :]).sum() / (d**2).sum()
    geary = (len(x) - 1) / (2 * weight.sum()) * (weight * (x[:, None] - x[None, :]) ** 2).sum() / (d**2).sum()
    assert spatial_autocorrelation(mask, values, spacing) == pytest.approx((moran, geary), rel=1e-9, abs=1e-12)
