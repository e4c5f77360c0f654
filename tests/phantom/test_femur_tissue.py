from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import BoneTissue, FemurAnatomy
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.femur_tissue import (
    cortical_density,
    cortical_thickness,
    oriented_grain,
    spongy_density,
    trabecular_density,
)
from femur_nnunet.phantom.shapes import Coordinates


def _bone() -> BoneTissue:
    return BoneTissue(cortical_mg_cc=980, head_trabecular_mg_cc=220, neck_trabecular_mg_cc=120,
                      trochanteric_trabecular_mg_cc=90, marrow_mg_cc=-50, texture_share=0.1,
                      cortex_head_mm=0.8, cortex_neck_mm=1.6, cortex_trochanteric_mm=1.4, cortex_shaft_mm=5.5)


def test_the_shaft_is_filled_with_marrow_inside_the_asked_cortex(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    at = Coordinates(*(np.array([value], dtype=np.float32) for value in (*shape.shaft_point[:2], -140)))
    assert cortical_thickness(shape, at, _bone())[0] == pytest.approx(5.5)
    assert trabecular_density(shape, at, _bone())[0] == pytest.approx(-50)


def test_the_calcar_is_thicker_than_the_neck_s_upper_side(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    upward = np.cross(shape.neck_axis, shape.posterior)
    upward *= np.sign(upward[2])
    along = shape.neck_axis * 28
    columns = np.stack([along + 16 * upward, along - 16 * upward]).T.astype(np.float32)
    upper, lower = cortical_thickness(shape, Coordinates(columns[0], columns[1], columns[2]), _bone())
    assert upper < 1.6 < lower


def _points(*places: np.ndarray) -> Coordinates:
    columns = np.stack(places).T.astype(np.float32)
    return Coordinates(columns[0], columns[1], columns[2])


def test_ward_s_triangle_is_sparser_and_the_compressive_group_denser_than_the_head_s_rim(
        femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    ward = shape.neck_axis * 0.72 * shape.neck_length_mm
    group = 4 * shape.lateral + np.array([0.0, 0.0, -4.0])
    rim = 16.0 * shape.posterior
    in_ward, in_group, at_rim = trabecular_density(shape, _points(ward, group, rim), _bone())
    assert in_ward < 0.3 * at_rim < at_rim < in_group


def test_the_lateral_wall_of_the_trochanter_is_thinner_than_the_medial_one(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    height = np.array([0.0, 0.0, -36.0])
    lateral, medial = cortical_thickness(shape, _points(
        shape.shaft_point + 22 * shape.lateral + height, shape.shaft_point - 18 * shape.lateral + height), _bone())
    assert lateral < 0.75 * medial


def test_cortex_varies_over_the_surface_by_the_asked_spread_and_is_the_same_each_time(
        femur_anatomy: FemurAnatomy) -> None:
    shape, rng = FemurShape(femur_anatomy), np.random.default_rng(3)
    points = _points(*(rng.normal(size=(3000, 3)) * 8))
    ratio = cortical_thickness(shape, points, _bone(), 7) / cortical_thickness(shape, points, _bone())
    assert np.log(ratio).std() == pytest.approx(0.16, rel=0.35)
    assert np.array_equal(cortical_thickness(shape, points, _bone(), 7),
                          cortical_thickness(shape, points, _bone(), 7))


def test_the_shaft_s_cortex_is_denser_than_that_of_the_trochanteric_region(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    low, high = (shape.shaft_point + np.array([15.0, 0.0, z]) for z in (-140.0, -35.0))
    shaft, trochanter = cortical_density(shape, _points(low, high), _bone())
    assert shaft > 980 > trochanter


def test_grain_is_longer_along_the_compressive_group_than_across(femur_anatomy: FemurAnatomy) -> None:
    shape, rng = FemurShape(femur_anatomy), np.random.default_rng(5)
    start = rng.uniform(-5, 5, size=(4000, 3))
    along = np.array([0.45 * shape.lateral[0], 0.45 * shape.lateral[1], -0.89])
    across = shape.posterior

    def agreement(direction: np.ndarray) -> float:
        pair = [oriented_grain(shape, _points(*(start + step * direction)), 9) for step in (0.0, 2.0)]
        return float(np.corrcoef(pair[0], pair[1])[0, 1])

    assert agreement(along) > agreement(across) + 0.2


def test_marrow_in_the_shaft_is_even_and_the_head_is_not(femur_anatomy: FemurAnatomy) -> None:
    shape, rng = FemurShape(femur_anatomy), np.random.default_rng(6)
    jitter = rng.uniform(-4, 4, size=(2000, 3))
    depth = np.full(2000, 8.0, dtype=np.float32)
    shaft = spongy_density(shape, _points(*(shape.shaft_point + np.array([0, 0, -140.0]) + jitter)), depth, _bone(), 1)
    head = spongy_density(shape, _points(*jitter), depth, _bone(), 1)
    assert shaft.std() < 1.0 < 15.0 < head.std()


def test_the_head_s_plate_is_as_patchy_as_the_person_s_bone_says(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    rng = np.random.default_rng(4)
    ball = rng.normal(size=(400, 3))
    ball *= 22.0 / np.linalg.norm(ball, axis=1)[:, None]
    head = _points(*ball[ball @ shape.neck_axis < 0.0])
    shaft = _points(*(np.array([*shape.shaft_point[:2], -60.0]) + rng.uniform(-15, 15, (200, 3))))
    even, patchy = _bone(), replace(_bone(), head_plate_spread=0.6)

    def spread(at: Coordinates, bone: BoneTissue) -> float:
        return float(np.log(cortical_thickness(shape, at, bone, 3) / cortical_thickness(shape, at, bone)).std())

    # Patches of 11 mm read between their points: of the asked spread some four fifths are left.
    assert 3.2 < spread(head, patchy) / spread(head, even) < 4.3
    assert np.array_equal(cortical_thickness(shape, shaft, even, 3), cortical_thickness(shape, shaft, patchy, 3))


def test_spongy_bone_may_fade_towards_the_head_s_surface(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    at = _points(*([np.array([0.0, -12.0, 8.0])] * 2))
    depth = np.array([0.0, 12.0], dtype=np.float32)
    rising = spongy_density(shape, at, depth, replace(_bone(), texture_share=0.0), 3)
    fading = spongy_density(shape, at, depth, replace(_bone(), texture_share=0.0, head_rim_rise=-0.4), 3)
    assert rising[0] > rising[1]
    assert fading[0] < fading[1]
    # Three times the depth at which the rise has fallen to a third, a twentieth of the difference is left.
    assert abs(rising[1] - fading[1]) < 0.06 * abs(rising[0] - fading[0])
