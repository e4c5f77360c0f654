from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.elastic import FREE_MM, STILL_MM, ElasticWarp
from femur_nnunet.phantom.shapes import Coordinates

RADIUS_MM, HEAD_AT_MM = 23.0, 87.0


@pytest.fixture(scope="module")
def warp() -> ElasticWarp:
    return ElasticWarp.draw(np.random.default_rng(120), sd_mm=2.5, head_at_mm=HEAD_AT_MM, head_radius_mm=RADIUS_MM)


def scattered(rng: np.random.Generator, low_mm: float, high_mm: float, count: int = 400) -> Coordinates:
    """Points at these distances from the left or right head centre."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = directions * rng.uniform(low_mm, high_mm, size=(count, 1))
    points[:, 0] += rng.choice([-HEAD_AT_MM, HEAD_AT_MM], size=count)
    columns = points.T.astype(np.float32)
    return Coordinates(columns[0], columns[1], columns[2])


def test_head_and_cup_stay_as_they_are(warp: ElasticWarp) -> None:
    moved = np.stack(warp.at(scattered(np.random.default_rng(1), 0.0, RADIUS_MM + STILL_MM)))
    assert np.abs(moved).max() == 0.0


def test_far_from_the_joints_the_displacement_has_the_asked_spread(warp: ElasticWarp) -> None:
    rng = np.random.default_rng(2)
    points = rng.uniform((-170, -130, -200), (170, 150, 110), size=(4000, 3)).astype(np.float32)
    far = np.hypot(np.hypot(np.abs(points[:, 0]) - HEAD_AT_MM, points[:, 1]), points[:, 2]) > RADIUS_MM + FREE_MM
    moved = np.stack(warp.at(Coordinates(*points[far].T)))
    # Linear interpolation between lattice points lowers the spread a little.
    assert moved.std() == pytest.approx(2.5, rel=0.2)


def test_the_displacement_is_smooth_enough_not_to_fold(warp: ElasticWarp) -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform((-170, -130, -200), (170, 150, 110), size=(3000, 3)).astype(np.float32)
    here = np.stack(warp.at(Coordinates(*points.T)))
    for axis in range(3):
        beside = points + np.eye(3, dtype=np.float32)[axis]
        assert np.abs(np.stack(warp.at(Coordinates(*beside.T))) - here).max() < 0.6


def test_a_dense_grid_gives_nearly_what_single_points_give(warp: ElasticWarp) -> None:
    x, y, z = np.meshgrid(np.arange(30, 150, 2.0), np.arange(-60, 60, 2.0), np.arange(-90, 60, 3.0), indexing="ij")
    grid = Coordinates(*(axis.astype(np.float32) for axis in (x, y, z)))
    flat = Coordinates(*(axis.ravel().astype(np.float32) for axis in (x, y, z)))
    difference = np.stack(warp.at(grid)).reshape(3, -1) - np.stack(warp.at(flat))
    assert np.abs(difference).max() < 0.35
