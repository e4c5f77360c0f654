from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_legendre
from shapes import ball, block

from femur_nnunet.evaluation.texture import morphology
from femur_nnunet.evaluation.texture.options import TextureOptions
from femur_nnunet.evaluation.texture.radiomics import FEATURES, TextureStatus, measure_radiomics

OWN_GRID = TextureOptions(spacing_mm=None)
SPACING_MM_ZYX = (2.0, 0.8, 0.7)
SHAPE_ONLY = {feature.quantity for feature in morphology.SHAPE_FEATURES}
# No neighbouring voxels, no spread or no extent: what these divide by is 0.
UNDEFINED_IN_A_CONSTANT_REGION = {
    "intensity_statistics.intensity_skewness", "intensity_statistics.excess_intensity_kurtosis",
    "intensity_histogram.discretised_intensity_skewness", "intensity_histogram.excess_discretised_intensity_kurtosis",
    "morphology.morans_i_index", "morphology.gearys_c_measure", "glcm.correlation", "glcm.information_correlation_1"}


def by_name(values):
    return {one.feature.quantity: one.value for one in values}


def statuses(values):
    return {one.feature.quantity: one.status for one in values}


def undefined(values):
    return {one.feature.quantity for one in values if one.status is TextureStatus.UNDEFINED}


@st.composite
def regions(draw):
    shape = draw(st.tuples(*[st.integers(3, 6)] * 3))
    hu = draw(arrays.arrays(np.int64, shape, elements=st.integers(-100, 400)))
    seed = draw(st.integers(0, 2**32 - 1))
    mask = np.random.default_rng(seed).random(shape) < 0.8
    mask[1, 1, :2] = True
    return mask, hu


@settings(max_examples=12, deadline=None)
@given(regions(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.sampled_from([None, 1.0]))
def test_turning_and_mirroring_a_scan_changes_no_feature(region, order, mirrored, spacing_mm):
    mask, hu = region
    flips = tuple(slice(None, None, -1 if one else 1) for one in mirrored)
    options = TextureOptions(spacing_mm=spacing_mm)
    here = by_name(measure_radiomics(mask, hu, SPACING_MM_ZYX, options))
    there = by_name(measure_radiomics(mask.transpose(order)[flips], hu.transpose(order)[flips],
                                      tuple(SPACING_MM_ZYX[axis] for axis in order), options))
    for name, value in here.items():
        # Where faces of the mesh may be drawn in two ways marching cubes chooses by the order of the axes.
        mesh = name.startswith("morphology")
        assert there[name] == pytest.approx(value, rel=0.02 if mesh else 1e-6, abs=1e-6, nan_ok=True), name


def test_moving_a_mask_by_whole_voxels_with_its_scan_changes_no_feature():
    mask = np.pad(ball(6.0, (1.0, 1.0, 1.0), margin_mm=1.0), 5)
    hu = np.where(mask, 200, -50) + np.random.default_rng(0).integers(-90, 90, mask.shape)
    here = by_name(measure_radiomics(mask, hu, (1.0, 1.0, 1.0)))
    there = by_name(measure_radiomics(np.roll(mask, (2, -3, 1), (0, 1, 2)), np.roll(hu, (2, -3, 1), (0, 1, 2)),
                                      (1.0, 1.0, 1.0)))
    assert list(here.values()) == pytest.approx(list(there.values()), rel=1e-5)


def test_voxels_outside_the_mask_do_not_count_on_the_scan_s_own_grid():
    mask = ball(6.0, SPACING_MM_ZYX)
    hu = np.random.default_rng(0).integers(0, 500, mask.shape)
    elsewhere = np.where(mask, hu, 2000)
    assert (by_name(measure_radiomics(mask, hu, SPACING_MM_ZYX, OWN_GRID))
            == by_name(measure_radiomics(mask, elsewhere, SPACING_MM_ZYX, OWN_GRID)))


def test_a_ball_has_the_measures_of_a_ball():
    radius = 15.0
    values = by_name(measure_radiomics(ball(radius, SPACING_MM_ZYX), None, SPACING_MM_ZYX))
    assert values["morphology.volume_voxel_counting"] == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)
    # The outermost slices reach half a slice beyond their centres.
    assert 2 * radius <= values["morphology.maximum_3d_diameter"] <= 2 * radius + SPACING_MM_ZYX[0]
    # A solid ball has the variance R^2 / 5 along each axis; IBSI's axes are 4 standard deviations.
    assert values["morphology.major_axis_length"] == pytest.approx(4 * radius / math.sqrt(5), rel=0.02)
    assert values["morphology.flatness"] == pytest.approx(1, abs=0.02)
    # Steps of voxels add a tenth to the area of a sphere, however small they are.
    small_steps = by_name(measure_radiomics(ball(radius, (0.5, 0.5, 0.5)), None, (0.5, 0.5, 0.5), OWN_GRID))
    assert small_steps["morphology.sphericity"] == pytest.approx(1 / 1.09, abs=0.01)


def test_a_box_has_the_axes_of_a_box():
    values = by_name(measure_radiomics(block((20, 30, 40), (5, 5, 5), (15, 20, 35)), None, (1.0, 1.0, 1.0)))
    # n voxels in a row have the variance (n^2 - 1) / 12 over n.
    counts = np.array([30, 15, 10])
    expected = 4 * np.sqrt((counts**2 - 1) / 12 * 4500 / 4499)
    names = ("major_axis_length", "minor_axis_length", "least_axis_length")
    assert [values[f"morphology.{name}"] for name in names] == pytest.approx(expected.tolist())
    # The mesh's corners are cut, the box around it is not.
    assert values["morphology.volume_density_axis_aligned_bounding_box"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("axes", [(5.7, 4.65, 4.27), (9.0, 5.0, 5.0), (9.0, 9.0, 2.0), (4.0, 4.0, 4.0)])
def test_the_area_of_the_enclosing_ellipsoid_is_the_manual_s_series(axes):
    a, b, c = axes
    alpha, beta = math.sqrt(1 - (b / a) ** 2), math.sqrt(1 - (c / a) ** 2)
    if alpha * beta == 0:
        # Its limit: the highest coefficient of P_n times the n-th power of the mean of the squares.
        mean = (alpha**2 + beta**2) / 2
        terms = [math.comb(2 * n, n) / 2**n * mean**n for n in range(21)]
    else:
        terms = [(alpha * beta) ** n * eval_legendre(n, (alpha**2 + beta**2) / (2 * alpha * beta)) for n in range(21)]
    expected = 4 * math.pi * a * b * sum(term / (1 - 4 * n**2) for n, term in enumerate(terms))
    assert morphology._enclosing_area(a, b, c) == pytest.approx(expected, rel=1e-9)


def test_a_constant_region_has_no_value_for_what_is_undefined_there_and_says_so():
    mask = ball(6.0, SPACING_MM_ZYX)
    values = measure_radiomics(mask, np.full(mask.shape, 130), SPACING_MM_ZYX)
    assert undefined(values) == UNDEFINED_IN_A_CONSTANT_REGION
    known = by_name(values)
    assert known["intensity_statistics.mean_intensity"] == 130
    assert known["intensity_statistics.intensity_variance"] == 0
    assert known["glcm.angular_second_moment"] == 1
    assert known["glszm.zone_percentage"] == pytest.approx(1 / known["morphology.volume_voxel_counting"])


def test_a_constant_region_of_water_has_no_ratio_to_its_mean():
    mask = ball(6.0, SPACING_MM_ZYX)
    found = undefined(measure_radiomics(mask, np.zeros(mask.shape), SPACING_MM_ZYX))
    assert found - UNDEFINED_IN_A_CONSTANT_REGION == {
        "intensity_statistics.intensity_based_coefficient_of_variation",
        "intensity_statistics.intensity_based_quartile_coefficient_of_dispersion", "morphology.centre_of_mass_shift"}


def test_one_voxel_has_the_features_of_a_point_and_no_texture():
    mask = block((5, 5, 5), (2, 2, 2), (3, 3, 3))
    values = measure_radiomics(mask, np.full(mask.shape, 130), (1.0, 1.0, 1.0))
    found = undefined(values)
    assert {name for name in found if name.startswith("glcm")} == {
        feature.quantity for feature in FEATURES if feature.family == "glcm"}
    assert {"morphology.major_axis_length", "morphology.elongation"} <= found
    known = by_name(values)
    assert known["morphology.volume_voxel_counting"] == 1
    assert known["intensity_statistics.maximum_intensity"] == 130
    assert known["glrlm.run_percentage"] == known["glszm.zone_percentage"] == 1


def test_a_mask_that_lies_between_the_new_voxels_is_lost_in_resampling():
    mask = block((5, 5, 5), (0, 0, 0), (1, 1, 1))
    values = measure_radiomics(mask, np.zeros(mask.shape), (1.0, 1.0, 1.0), TextureOptions(spacing_mm=10.0))
    assert set(statuses(values).values()) == {TextureStatus.LOST_IN_RESAMPLING}
    assert all(math.isnan(one.value) for one in values)


def test_without_a_scan_there_is_the_shape_and_the_reason_for_the_rest():
    values = statuses(measure_radiomics(ball(6.0, SPACING_MM_ZYX), None, SPACING_MM_ZYX,
                                        image_problem=TextureStatus.IMAGE_UNREADABLE))
    assert {name for name, status in values.items() if status is TextureStatus.OK} == SHAPE_ONLY
    assert {status for name, status in values.items() if name not in SHAPE_ONLY} == {TextureStatus.IMAGE_UNREADABLE}


@pytest.mark.parametrize(("value", "status"), [(math.nan, TextureStatus.IMAGE_HAS_NAN),
                                               (math.inf, TextureStatus.IMAGE_HAS_NAN),
                                               (-1024.0, TextureStatus.OUT_OF_RANGE),
                                               (30000.0, TextureStatus.OUT_OF_RANGE)])
def test_intensities_that_cannot_be_used_leave_the_shape_alone(value, status):
    mask = ball(6.0, SPACING_MM_ZYX)
    values = statuses(measure_radiomics(mask, np.full(mask.shape, value), SPACING_MM_ZYX))
    assert {name for name, found in values.items() if found is TextureStatus.OK} == SHAPE_ONLY
    assert {found for name, found in values.items() if name not in SHAPE_ONLY} == {status}


def test_nan_far_from_the_mask_does_no_harm():
    mask = np.pad(ball(6.0, SPACING_MM_ZYX), 8)
    hu = np.where(np.arange(mask.shape[0])[:, None, None] < 3, math.nan, np.where(mask, 200.0, 0.0))
    assert TextureStatus.IMAGE_HAS_NAN not in statuses(measure_radiomics(mask, hu, SPACING_MM_ZYX)).values()


def test_metal_and_gas_are_left_out_of_the_intensities_but_not_of_the_shape():
    mask = ball(6.0, (1.0, 1.0, 1.0))
    hu = np.random.default_rng(0).integers(0, 500, mask.shape)
    middle = tuple(size // 2 for size in mask.shape)
    hu[middle], hu[middle[0] + 1, middle[1], middle[2]] = 20000, -1000
    values = by_name(measure_radiomics(mask, hu, (1.0, 1.0, 1.0)))
    assert values["intensity_statistics.maximum_intensity"] <= 500
    assert values["intensity_statistics.minimum_intensity"] >= 0
    assert values["morphology.volume_voxel_counting"] == mask.sum()


def test_a_box_too_large_for_the_pairs_of_voxels_leaves_them_out_alone(monkeypatch):
    monkeypatch.setattr("femur_nnunet.evaluation.texture.autocorrelation.MOST_CELLS", 1000)
    mask = ball(6.0, SPACING_MM_ZYX)
    hu = np.random.default_rng(0).integers(0, 500, mask.shape)
    assert undefined(measure_radiomics(mask, hu, SPACING_MM_ZYX)) == {"morphology.morans_i_index",
                                                                      "morphology.gearys_c_measure"}


def test_a_fixed_number_of_bins_gives_textures_that_know_neither_offset_nor_scale():
    mask = ball(6.0, (1.0, 1.0, 1.0))
    hu = np.random.default_rng(0).integers(0, 300, mask.shape)
    options = TextureOptions(bin_number=16)
    here, there = (by_name(measure_radiomics(mask, one, (1.0, 1.0, 1.0), options)) for one in (hu, hu * 2 + 700))
    textures = [name for name in here if name.startswith(("gl", "intensity_histogram"))]
    assert [here[name] for name in textures] == pytest.approx([there[name] for name in textures], rel=1e-12)
    # Bins of one width do see the scale.
    assert (by_name(measure_radiomics(mask, hu, (1.0, 1.0, 1.0)))["glcm.contrast"]
            < by_name(measure_radiomics(mask, hu * 2 + 700, (1.0, 1.0, 1.0)))["glcm.contrast"])
