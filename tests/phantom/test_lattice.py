from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from femur_nnunet.phantom.lattice import Lattice, distance_from_share
from femur_nnunet.phantom.shapes import Coordinates


def blurred_ball(radius_mm: float, blur_mm: float) -> np.ndarray:
    z, y, x = np.ogrid[-40:41, -40:41, -40:41]
    # Eight sub-voxels a voxel and more: the ball's share of each voxel, then the blur.
    fine = sum(((x + a) ** 2 + (y + b) ** 2 + (z + c) ** 2 < radius_mm ** 2).astype(np.float32)
               for a in (-0.3, 0, 0.3) for b in (-0.3, 0, 0.3) for c in (-0.3, 0, 0.3)) / 27
    return np.asarray(ndimage.gaussian_filter(fine, blur_mm), dtype=np.float32)


def test_the_distance_to_a_ball_is_right_near_its_surface_to_a_fifth_of_a_step() -> None:
    distance = distance_from_share(blurred_ball(24.3, 0.9), 1.0, float(np.hypot(0.9, 0.29)))
    z, y, x = np.ogrid[-40:41, -40:41, -40:41]
    exact = np.sqrt(x ** 2 + y ** 2 + z ** 2) - 24.3
    near = np.abs(exact) < 1.2
    assert np.abs(distance - exact)[near].max() < 0.3
    assert np.abs((distance - exact)[near].mean()) < 0.06
    assert np.abs(distance - exact)[np.abs(exact) < 12].max() < 0.9


def test_interpolation_is_linear_and_the_edge_goes_on() -> None:
    values = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 4, 3), dtype=np.float32)
    lattice = Lattice.store(values, 2.0, (0.0, 0.0, -4.0))
    at = Coordinates(*(np.array(column, dtype=np.float32) for column in ([1.0, 1.0], [1.0, 1.0], [-1.0, 99.0])))
    assert lattice.at(at) == pytest.approx([1.5, 4.0])
    assert lattice.ends_mm.tolist() == [[0.0, 0.0, -4.0], [4.0, 6.0, 4.0]]
