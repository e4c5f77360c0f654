from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from femur_nnunet.phantom.shapes import (
    Coordinates,
    capsule,
    coverage,
    ellipsoid,
    rescale_to_distance,
    rounded_box,
    smooth_union,
    sphere,
)


def _mesh(half_mm: float, step_mm: tuple[float, float, float]) -> Coordinates:
    z, y, x = (np.arange(-half_mm, half_mm + step, step, dtype=np.float32) for step in step_mm)
    return Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])


def _points(*points: tuple[float, float, float]) -> Coordinates:
    columns = np.array(points, dtype=np.float32).T
    return Coordinates(columns[0], columns[1], columns[2])


def test_coverage_of_a_sphere_on_a_coarse_anisotropic_grid_sums_to_its_volume() -> None:
    step = (3.0, 2.0, 2.0)
    distance, width = rescale_to_distance(sphere(_mesh(33.0, step), (0.3, -0.2, 0.7), 24.0), step)
    volume = float(coverage(distance, width).sum()) * np.prod(step)
    assert volume == pytest.approx(4 / 3 * np.pi * 24.0 ** 3, rel=0.006)


def test_rescaling_restores_the_distance_of_a_stretched_field() -> None:
    step = (1.0, 1.0, 1.0)
    exact = sphere(_mesh(20.0, step), (0, 0, 0), 12.0)
    distance, _ = rescale_to_distance(3.0 * exact, step)
    near = np.abs(exact) < 3
    assert np.abs(distance - exact)[near].max() < 0.05


def test_a_plane_through_a_voxel_covers_the_share_on_its_inner_side() -> None:
    assert coverage(np.array([0.5, 0.0, -0.25, -2.0], dtype=np.float32), 2.0) == pytest.approx(
        [0.25, 0.5, 0.625, 1.0])


def test_a_capsule_has_its_radius_beside_the_rod_and_beyond_its_ends() -> None:
    at = _points((5, 0, 5), (0, 0, 14), (0, 0, 5))
    assert capsule(at, (0, 0, 0), (0, 0, 10), 3, 3) == pytest.approx([2, 1, -3])


def test_an_ellipsoid_of_equal_axes_is_a_sphere() -> None:
    at = _points((9, 1, 2), (3, 3, 3), (0, -12, 1))
    assert ellipsoid(at, (1, 0, 0), (8, 8, 8)) == pytest.approx(sphere(at, (1, 0, 0), 8), abs=1e-3)


def test_a_rounded_box_keeps_its_half_sizes_along_the_axes() -> None:
    at = _points((10, 0, 0), (0, 7, 0), (0, 0, 3))
    assert rounded_box(at, (0, 0, 0), (8, 5, 4), 2) == pytest.approx([2, 2, -1])


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 20))
def test_a_smooth_union_never_leaves_the_plain_one_by_more_than_a_quarter_of_its_blend(
        first: float, second: float, blend_mm: float) -> None:
    joined = float(smooth_union(np.float32([first]), np.float32([second]), blend_mm)[0])
    plain = min(first, second)
    assert plain - blend_mm / 4 - 1e-3 <= joined <= plain + 1e-3
    if abs(first - second) > blend_mm + 1e-3:
        assert joined == pytest.approx(plain, abs=1e-3)


def test_moved_coordinates_of_a_frame_are_the_projections_on_its_axes() -> None:
    rotation = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = _points((5, 7, 9)).moved(rotation, (1, 2, 3))
    assert (float(moved.x[0]), float(moved.y[0]), float(moved.z[0])) == pytest.approx((5, -4, 6))
