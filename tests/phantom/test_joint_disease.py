from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import FemurAnatomy
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.joint_disease import narrowing, osteophytes, worn_density
from femur_nnunet.phantom.shapes import Coordinates


def _head(femur: FemurAnatomy) -> Coordinates:
    axis = np.arange(-36, 37, 1.0, dtype=np.float32)
    return Coordinates(axis[None, None, :], axis[None, :, None], axis[:, None, None])


def test_osteophytes_rise_two_to_five_millimetres_over_the_rim_and_leave_the_loaded_pole(
        femur_anatomy: FemurAnatomy) -> None:
    shape, at = FemurShape(femur_anatomy), _head(femur_anatomy)
    radius = np.sqrt(at.x ** 2 + at.y ** 2 + at.z ** 2)
    for seed in range(12):
        bumps = osteophytes(shape, at, seed) < 0
        # A voxel of 1 mm shows a top up to 0.9 mm (half its diagonal) too low and never too high.
        assert 2.0 - 0.9 < radius[bumps].max() - femur_anatomy.head_radius_mm <= 5.0
        assert (shape.along_neck(at)[bumps] > 0).all()


def test_a_worn_head_is_denser_at_its_pole_and_has_hollows(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    rng = np.random.default_rng(1)
    points = rng.uniform(-12, 12, size=(3, 6000)).astype(np.float32)
    points[2] += 8
    at = Coordinates(points[0], points[1], points[2])
    depth = femur_anatomy.head_radius_mm - np.sqrt((points ** 2).sum(axis=0))
    density = worn_density(shape, at, depth, np.full(6000, 200.0, dtype=np.float32), 3)
    shallow = (depth > 0) & (depth < 3) & (points[2] > 16)
    assert density[shallow].mean() > 270
    assert density.min() < 60
    assert abs(density[points[2] < -1].mean() - 200) < 10


def test_a_narrow_joint_moves_the_cup_and_not_the_rest_of_the_hip_bone() -> None:
    cup = 25.0
    radius = np.array([cup - 2, cup, cup + 3, cup + 9, cup + 30], dtype=np.float32)
    at = Coordinates(radius * np.float32(0.6), np.zeros_like(radius), radius * np.float32(0.8))
    assert narrowing(at, 2.0, cup) == pytest.approx([2.0, 2.0, 2.0, 0.0, 0.0], abs=1e-4)
