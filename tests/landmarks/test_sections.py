from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femur_nnunet.landmarks.sections import BoneVolume, cross_section, fit_line, plane_axes


def elliptic_rod(half_x_mm: float, half_y_mm: float) -> BoneVolume:
    z, y, x = np.ogrid[-20:21, -40:41, -40:41]
    # A ramp that passes one half on the ellipse, as a blurred mask has it.
    beyond = np.sqrt((x / half_x_mm) ** 2 + (y / half_y_mm) ** 2) - 1
    share = np.where(abs(z) < 20, np.clip(0.5 - 4 * beyond, 0, 1), 0)
    return BoneVolume(share.astype(np.float32), np.ones(3), np.array([-40.0, -40.0, -20.0]))


def test_an_ellipse_gives_its_area_and_half_axes() -> None:
    cut = cross_section(elliptic_rod(12.0, 18.0), np.zeros(3), np.array([0.0, 0.0, 1.0]), reach_mm=30.0)
    assert cut is not None
    assert cut.area_mm2 == pytest.approx(np.pi * 12 * 18, rel=0.02)
    assert (cut.half_minor_mm, cut.half_major_mm) == pytest.approx((12.0, 18.0), rel=0.02)
    assert not cut.reaches_edge


def test_a_section_that_leaves_the_square_says_so() -> None:
    cut = cross_section(elliptic_rod(12.0, 18.0), np.zeros(3), np.array([0.0, 0.0, 1.0]), reach_mm=15.0)
    assert cut is not None
    assert cut.reaches_edge


def test_a_plane_beside_the_bone_cuts_nothing() -> None:
    assert cross_section(elliptic_rod(5.0, 5.0), np.array([0, 0, 60.0]), np.array([0, 0, 1.0]), reach_mm=9.0) is None


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_the_axes_of_a_plane_are_orthonormal(vector: tuple[float, float, float]) -> None:
    normal = np.array(vector) / np.linalg.norm(vector)
    frame = np.stack([*plane_axes(normal), normal])
    assert frame @ frame.T == pytest.approx(np.eye(3), abs=1e-9)


def test_a_line_points_downwards() -> None:
    points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 10.0], [2.0, 0.0, 20.0]])
    centre, direction = fit_line(points)
    assert centre == pytest.approx([1.0, 0.0, 10.0])
    assert direction == pytest.approx(np.array([-1.0, 0.0, -10.0]) / np.sqrt(101))
