"""What a scene can hold beside the cohort's hips: arms, spine, contrast medium; and voxels smaller than the grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import Participant
from femur_nnunet.phantom.arms import Arm
from femur_nnunet.phantom.calibration import CalibrationRods
from femur_nnunet.phantom.contrast import NO_CONTRAST, ContrastMedium
from femur_nnunet.phantom.pose import Pose
from femur_nnunet.phantom.scan_grid import RenderGrid
from femur_nnunet.phantom.scene import Scene
from femur_nnunet.phantom.shapes import Coordinates, coverage, rescale_to_distance, sphere
from femur_nnunet.phantom.spine import BODY_MM, DISC_MM, LumbarSpine
from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.phantom.tissue import Tissue
from femur_nnunet.volume_io.volume import Grid

GRID = Grid((72, 48, 24), (6.0, 6.0, 6.0), (-213.0, -145.0, -60.0))


def empty_scene(person: Participant, pose: Pose, scanner: ScannerTier, **options: object) -> Scene:
    rods = CalibrationRods.place("K2HPO4", person.body.half_depth_mm - 6.0)
    return Scene(person, pose, scanner, RenderGrid(GRID, 1, 0, 6.0), rods, **options)


@pytest.fixture(scope="module")
def low_scene(participant: Participant, straight_pose: Pose, plain_scanner: ScannerTier) -> Scene:
    scene = empty_scene(participant, straight_pose, plain_scanner)
    scene.add_soft_tissue()
    return scene


def test_an_arm_lies_in_air_alone(participant: Participant, straight_pose: Pose, plain_scanner: ScannerTier,
                                  low_scene: Scene) -> None:
    scene = empty_scene(participant, straight_pose, plain_scanner)
    scene.hu[...] = low_scene.hu
    wrist = np.array([participant.body.half_width_mm + 8.0, 5.0, 40.0])
    arm = Arm(wrist, np.array([0.0, 0.0, -1.0]), np.array([0.0, 1.0, 0.0]), 40.0, 4.0, -100.0, 50.0, 1300.0, -60.0)
    scene.add_arm(arm)
    changed = scene.hu != low_scene.hu
    assert changed.sum() > 200
    assert (low_scene.hu[changed] < -300).all()
    # Hollow bones of 7 to 9 mm show in voxels of 6 mm by their share of cortex.
    assert scene.hu[changed].max() > 500
    assert (scene.tissue == Tissue.OTHER_BONE).any()


def test_contrast_medium_lights_up_blood_urine_and_bowel_and_no_muscle(
        participant: Participant, straight_pose: Pose, plain_scanner: ScannerTier, low_scene: Scene) -> None:
    scene = empty_scene(participant, straight_pose, plain_scanner,
                        contrast=ContrastMedium(urine_hu=900.0, artery_hu=300.0, vein_hu=0.0, bowel_hu=0.0))
    scene.add_soft_tissue()
    more = scene.hu - low_scene.hu
    # Nothing loses, the bladder gains 894 HU, and most of the body stays as it was.
    assert more.min() > -1
    assert more.max() == pytest.approx(894.0, abs=2)
    assert (np.abs(more) < 1).mean() > 0.9
    arteries = (more > 30) & (more < 290)
    assert arteries.sum() > 10
    assert ContrastMedium() == NO_CONTRAST


def test_a_lumbar_spine_is_a_row_of_vertebrae_with_discs_between() -> None:
    spine = LumbarSpine(np.array([0.0, 40.0, 120.0]))
    z = np.arange(0, 5 * (BODY_MM + DISC_MM), 1.0, dtype=np.float32)
    # Down the middle of the bodies, which lead forwards by 0.12 mm a mm.
    at = Coordinates(np.zeros_like(z), (40.0 - 0.12 * z).astype(np.float32), z + 120.0)
    inside = spine.field(at) < 0
    assert np.count_nonzero(np.diff(inside.astype(int)) == 1) == 5
    assert inside.mean() == pytest.approx(BODY_MM / (BODY_MM + DISC_MM), abs=0.05)


def test_a_smaller_voxel_box_gives_a_sharper_border_of_the_same_volume() -> None:
    axis = np.arange(-30, 30, 2.0, dtype=np.float32)
    field = sphere(Coordinates(axis[None, None, :], axis[None, :, None], axis[:, None, None]), (0.3, 0.1, -0.2), 20.0)
    shares = {}
    for box in (None, (0.6, 0.6, 0.6)):
        distance, width = rescale_to_distance(field, (2.0, 2.0, 2.0), voxel_mm_zyx=box)
        shares[box] = coverage(distance, width)
    partial = {box: ((share > 0) & (share < 1)).sum() for box, share in shares.items()}
    assert partial[0.6, 0.6, 0.6] < 0.45 * partial[None]
    volume = 4 / 3 * np.pi * 20.0 ** 3
    for share in shares.values():
        assert share.sum() * 8 == pytest.approx(volume, rel=0.02)


def test_a_hip_off_the_grid_is_not_shown(participant: Participant, straight_pose: Pose,
                                         plain_scanner: ScannerTier) -> None:
    grid = replace(GRID, size_ijk=(30, 48, 24), origin_mm_lps=(0.0, -145.0, -60.0))
    rods = CalibrationRods.place("K2HPO4", 100.0)
    scene = Scene(participant, straight_pose, plain_scanner, RenderGrid(grid, 1, 0, 6.0), rods)
    assert scene.shows_hip("left")
    assert not scene.shows_hip("right")
