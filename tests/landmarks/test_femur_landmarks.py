from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.errors import FemurError
from femur_nnunet.landmarks.femur_landmarks import FemurLandmarks, find_landmarks
from femur_nnunet.phantom.anatomy import FemurAnatomy, draw_participant
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.pose import LegPose
from femur_nnunet.phantom.shapes import Coordinates
from femur_nnunet.phantom.tiers import load_tiers

SPACING_MM = (1.2, 0.9, 0.9)
Built = tuple[FemurLandmarks, FemurShape, np.ndarray]


def angle_deg(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


def drawn_femur(seed: int) -> tuple[FemurAnatomy, LegPose]:
    rng = np.random.default_rng(seed)
    person = draw_participant("F" if seed % 2 else "M", load_tiers().population, rng)
    return person.femora["left"], LegPose(rng.normal(5, 8), rng.normal(3, 3), rng.uniform(0, 10))


def measured(seed: int, *, lowest_mm: float = 165.0) -> Built:
    """Voxelise a drawn femur, right ones in a mirror, and measure it."""
    anatomy, leg = drawn_femur(seed)
    side = "left" if seed % 3 else "right"
    mirror = np.diag([1.0 if side == "left" else -1.0, 1.0, 1.0])
    rotation = mirror @ leg.rotation_matrix
    x, y, z = (np.arange(low, high, step, dtype=np.float32) for low, high, step in zip(
        (-40.0, -75.0, -lowest_mm), (115.0, 80.0, 40.0), SPACING_MM[::-1], strict=True))
    x = x if side == "left" else -x[::-1]
    shape = FemurShape(anatomy)
    at = Coordinates(x[None, None, :], y[None, :, None], z[:, None, None]).moved(rotation, (0, 0, 0))
    found = find_landmarks(shape.field(at) < 0, SPACING_MM, side, head_line=rotation @ np.array([1.0, 0, 0]),
                           origin_mm_xyz=(float(x[0]), float(y[0]), float(z[0])))
    return found, shape, rotation


@pytest.fixture(scope="module", params=[101, 102, 104, 105])
def built(request: pytest.FixtureRequest) -> Built:
    return measured(request.param)


def test_the_head_is_found_to_a_fraction_of_a_millimetre(built: Built) -> None:
    found, shape, _ = built
    # The frame's origin is the head centre.
    assert np.linalg.norm(found.head_centre_mm) < 0.3
    assert found.head_radius_mm == pytest.approx(shape.anatomy.head_radius_mm, abs=0.2)
    assert not found.missing.keys() - {"bow_radius_mm"}


def test_both_axes_lie_within_two_degrees(built: Built) -> None:
    found, shape, rotation = built
    assert angle_deg(found.neck_axis, rotation @ shape.neck_axis) < 1.0
    assert found.shaft_axis is not None
    assert angle_deg(found.shaft_axis, rotation @ np.array([0.0, 0.0, -1.0])) < 2.0


def test_angles_and_lengths_are_those_of_the_shape(built: Built) -> None:
    found, shape, _ = built
    anatomy = shape.anatomy
    assert found.neck_shaft_angle_deg == pytest.approx(anatomy.neck_shaft_angle_deg, abs=2.0)
    assert found.anteversion_deg == pytest.approx(anatomy.anteversion_deg, abs=2.0)
    assert found.offset_mm == pytest.approx(anatomy.offset_mm, abs=2.0)
    assert found.neck_length_mm == pytest.approx(shape.neck_length_mm, abs=2.0)
    assert found.shaft_radius_mm == pytest.approx(anatomy.shaft_radius_mm, abs=0.3)
    assert found.trochanter_height_mm == pytest.approx(anatomy.trochanter_height_mm, abs=2.0)
    assert found.trochanter_width_mm == pytest.approx(anatomy.trochanter_width_mm, abs=1.0)


def test_the_neck_s_half_axes_are_those_of_its_narrowest_section(built: Built) -> None:
    found, shape, _ = built
    # The fillet to the head widens the narrowest section by some tenths of a millimetre.
    assert found.neck_half_minor_mm == pytest.approx(shape.anatomy.neck_half_minor_mm, abs=0.7)
    assert found.neck_half_major_mm == pytest.approx(shape.anatomy.neck_half_major_mm, abs=0.7)


def test_a_short_shaft_leaves_out_what_rests_on_it_and_says_why() -> None:
    found, _, _ = measured(101, lowest_mm=70.0)
    assert np.linalg.norm(found.head_centre_mm) < 0.3
    assert found.neck_shaft_angle_deg is None
    assert found.offset_mm is None
    assert "shaft" in found.missing["offset_mm"]


def test_an_assumed_shaft_axis_is_used_and_flagged() -> None:
    anatomy, leg = drawn_femur(101)
    z = np.arange(-75.0, 40.0, 1.2, dtype=np.float32)
    x, y = (np.arange(low, high, 0.9, dtype=np.float32) for low, high in ((-40.0, 115.0), (-75.0, 80.0)))
    at = Coordinates(x[None, None, :], y[None, :, None], z[:, None, None]).moved(leg.rotation_matrix, (0, 0, 0))
    down = leg.rotation_matrix @ np.array([0.0, 0.0, -1.0])
    found = find_landmarks(FemurShape(anatomy).field(at) < 0, SPACING_MM, "left", assumed_shaft_axis=down,
                           origin_mm_xyz=(-40.0, -75.0, -75.0))
    assert found.flags == ("shaft axis assumed",)
    assert found.neck_shaft_angle_deg == pytest.approx(anatomy.neck_shaft_angle_deg, abs=1.5)


def rods_and_ball(radius_mm: float) -> np.ndarray:
    """A ball at (40, 60, 150) on a rod of 13 mm at 125 degrees to an upright rod of 14 mm at x = 85, in 1 mm voxels."""
    z, y, x = np.ogrid[0:180, 0:120, 0:130]
    ball = (x - 40) ** 2 + (y - 60) ** 2 + (z - 150) ** 2 < radius_mm ** 2
    drop = 45.0 * np.tan(np.radians(35.0))
    along = np.clip(((x - 40) * 45.0 - (z - 150) * drop) / (45.0 ** 2 + drop ** 2), 0, 1)
    rod = (x - 40 - 45.0 * along) ** 2 + (y - 60) ** 2 + (z - 150 + drop * along) ** 2 < 13.0 ** 2
    shaft = ((x - 85) ** 2 + (y - 60) ** 2 < 14.0 ** 2) & (z < 125)
    return np.asarray(ball | rod | shaft)


def test_a_ball_on_two_rods_gives_its_construction() -> None:
    found = find_landmarks(rods_and_ball(24.0), (1.0, 1.0, 1.0), "left")
    assert found.head_centre_mm == pytest.approx([40.0, 60.0, 150.0], abs=0.2)
    assert found.head_radius_mm == pytest.approx(24.0, abs=0.25)
    assert found.neck_shaft_angle_deg == pytest.approx(125.0, abs=1.0)
    assert found.offset_mm == pytest.approx(45.0, abs=0.5)
    assert found.anteversion_deg == pytest.approx(0.0, abs=0.7)
    assert found.neck_half_minor_mm == pytest.approx(13.0, abs=0.3)
    assert found.shaft_radius_mm == pytest.approx(14.0, abs=0.2)


def test_a_hollow_in_the_head_does_not_shift_the_sphere() -> None:
    bone = rods_and_ball(24.0)
    z, y, x = np.ogrid[0:180, 0:120, 0:130]
    # A fovea of 6 mm radius on the medial side.
    bone &= ~((x - 16) ** 2 + (y - 60) ** 2 + (z - 148) ** 2 < 36.0)
    found = find_landmarks(bone, (1.0, 1.0, 1.0), "left")
    assert found.head_centre_mm == pytest.approx([40.0, 60.0, 150.0], abs=0.3)
    assert found.head_radius_mm == pytest.approx(24.0, abs=0.3)


def test_a_rod_without_a_head_is_refused() -> None:
    mask = np.zeros((150, 60, 60), dtype=bool)
    z, y, x = np.ogrid[0:150, 0:60, 0:60]
    mask |= ((x - 30) ** 2 + (y - 30) ** 2 < 8.0 ** 2) & (z < 140)
    with pytest.raises(FemurError, match="no sphere of a femoral head"):
        find_landmarks(mask, (1.0, 1.0, 1.0), "left", subject="rod")


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(FemurError, match="an empty mask"):
        find_landmarks(np.zeros((9, 9, 9), dtype=np.uint8), (1.0, 1.0, 1.0), "right")


def test_a_mask_that_its_smoothing_makes_vanish_is_refused() -> None:
    mask = np.zeros((9, 9, 9), dtype=np.uint8)
    mask[4, 4, 4] = 1
    with pytest.raises(FemurError, match="a mask of 1 voxel"):
        find_landmarks(mask, (1.0, 1.0, 1.0), "left")
