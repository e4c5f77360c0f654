from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import FemurAnatomy
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.shapes import Coordinates, coverage, rescale_to_distance
from femur_nnunet.regions import REGION_MAP_LABELS, Region

STEP_MM = 1.5


@pytest.fixture(scope="module")
def field(femur_anatomy: FemurAnatomy) -> tuple[Coordinates, np.ndarray]:
    x = np.arange(-30, 80, STEP_MM, dtype=np.float32)
    y = np.arange(-45, 55, STEP_MM, dtype=np.float32)
    z = np.arange(-160, 32, STEP_MM, dtype=np.float32)
    at = Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])
    distance, width = rescale_to_distance(FemurShape(femur_anatomy).field(at), (STEP_MM,) * 3)
    return at, coverage(distance, width)


def test_the_half_of_the_head_away_from_the_neck_has_a_half_sphere_s_volume(
        field: tuple[Coordinates, np.ndarray], femur_anatomy: FemurAnatomy) -> None:
    at, share = field
    shape = FemurShape(femur_anatomy)
    # Beside the cutting plane the neck's fillet begins, so the cap from 3 mm on is measured.
    cap = share[shape.along_neck(at) < -3.0].sum() * STEP_MM ** 3
    height = femur_anatomy.head_radius_mm - 3.0
    expected = np.pi * height ** 2 * (3 * femur_anatomy.head_radius_mm - height) / 3
    assert cap == pytest.approx(expected, rel=0.02)


def test_neck_and_shaft_axis_enclose_the_neck_shaft_angle(femur_anatomy: FemurAnatomy) -> None:
    to_head, to_knee = -FemurShape(femur_anatomy).neck_axis, np.array([0.0, 0.0, -1.0])
    assert np.degrees(np.arccos(to_head @ to_knee)) == pytest.approx(femur_anatomy.neck_shaft_angle_deg)


def test_the_neck_axis_meets_the_shaft_axis_at_the_offset(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    meeting = shape.neck_axis * shape.neck_length_mm
    assert np.hypot(meeting[0], meeting[1]) == pytest.approx(femur_anatomy.offset_mm)


def test_anteversion_puts_the_head_in_front_of_the_shaft(femur_anatomy: FemurAnatomy) -> None:
    point = FemurShape(femur_anatomy).shaft_point
    assert np.degrees(np.arctan2(point[1], point[0])) == pytest.approx(femur_anatomy.anteversion_deg)


def test_far_below_the_trochanters_the_shaft_s_section_is_a_disc_of_its_radius(
        field: tuple[Coordinates, np.ndarray], femur_anatomy: FemurAnatomy) -> None:
    at, share = field
    sections = share[(at.z[:, 0, 0] < -125) & (at.z[:, 0, 0] > -155)].sum(axis=(1, 2)) * STEP_MM ** 2
    assert sections == pytest.approx(np.pi * femur_anatomy.shaft_radius_mm ** 2, rel=0.02)


def test_the_greater_trochanter_rises_to_its_asked_height(
        field: tuple[Coordinates, np.ndarray], femur_anatomy: FemurAnatomy) -> None:
    at, share = field
    lateral = np.broadcast_to(at.x > femur_anatomy.offset_mm, share.shape)
    tops = np.broadcast_to(at.z, share.shape)[lateral & (share > 0.5)]
    assert tops.max() == pytest.approx(femur_anatomy.trochanter_height_mm, abs=2.5)


def test_the_lesser_trochanter_stands_out_backwards_and_medially(femur_anatomy: FemurAnatomy) -> None:
    without = FemurAnatomy(**{**vars(femur_anatomy), "lesser_trochanter_mm": 0.5})
    shape = FemurShape(femur_anatomy)
    tip = shape._beside_shaft(-20.0, 18.0, -57.0)
    at = Coordinates(*(np.array([value], dtype=np.float32) for value in tip))
    assert shape.field(at)[0] < 0 < FemurShape(without).field(at)[0]


def test_regions_follow_each_other_along_the_bone(femur_anatomy: FemurAnatomy) -> None:
    shape = FemurShape(femur_anatomy)
    points = [(0, 0, 0), tuple(shape.neck_axis * 26), tuple(shape.neck_axis * 50),
              (*shape.shaft_point[:2], -110)]
    columns = np.array(points, dtype=np.float32).T
    regions = shape.region_map(Coordinates(columns[0], columns[1], columns[2]))
    assert regions.tolist() == [REGION_MAP_LABELS[region] for region in (
        Region.HEAD, Region.NECK, Region.TROCHANTERIC, Region.SHAFT)]
