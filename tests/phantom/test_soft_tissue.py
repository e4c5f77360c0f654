from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from femur_nnunet.phantom.anatomy import Participant, with_findings
from femur_nnunet.phantom.calibration import CalibrationRods
from femur_nnunet.phantom.findings import Findings
from femur_nnunet.phantom.pose import Pose
from femur_nnunet.phantom.scan_grid import RenderGrid
from femur_nnunet.phantom.scene import Scene
from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.volume_io.volume import Grid

# Slices of 5 mm are four fine slices each.
FINE_STEP_MM = 1.25
GRID = Grid((160, 110, 36), (2.6, 2.6, 5.0), (-206.0, -150.0, -110.0))


def _object(person: Participant, pose: Pose, scanner: ScannerTier) -> np.ndarray:
    """Return the HU of skin, fat, muscle and organs without bone, noise or blur."""
    fine = RenderGrid.build(GRID, 5.0)
    scene = Scene(person, pose, scanner, fine, CalibrationRods.place("K2HPO4", person.body.half_depth_mm - 6.0))
    scene.add_soft_tissue()
    return scene.hu


@pytest.fixture(scope="module")
def lean(participant: Participant) -> Participant:
    return with_findings(replace(participant, body=replace(participant.body, fat_infiltration=0.1)), Findings())


def test_more_infiltration_means_more_fat_between_and_within_the_muscles(
        lean: Participant, straight_pose: Pose, plain_scanner: ScannerTier) -> None:
    fatty = replace(lean, body=replace(lean.body, fat_infiltration=0.9))
    volumes = [_object(person, straight_pose, plain_scanner) for person in (lean, fatty)]
    muscle = [((hu > 35) & (hu < 75)).sum() for hu in volumes]
    assert muscle[1] < 0.9 * muscle[0]


def test_muscles_fill_a_man_s_thigh_and_are_parted_by_fat(lean: Participant, straight_pose: Pose,
                                                         plain_scanner: ScannerTier) -> None:
    plane = _object(lean, straight_pose, plain_scanner)[0]
    left = plane[:, 80:]
    inside = ndimage.binary_fill_holes(left > -200)
    share = ((left > 25) & inside).sum() / inside.sum()
    # Muscle is between 45 and 85 % of a thigh's section on CT of adults; bone is not drawn here.
    assert 0.4 < share < 0.85
    parts, count = ndimage.label(ndimage.binary_erosion((left > 25) & inside))
    sizes = ndimage.sum_labels(np.ones_like(parts), parts, np.arange(1, count + 1))
    assert (sizes > 12).sum() >= 4


def test_calcium_and_contrast_appear_only_in_those_who_have_them(lean: Participant, straight_pose: Pose,
                                                                plain_scanner: ScannerTier) -> None:
    ill = with_findings(lean, Findings(calcified_vessels=True, bladder_contrast=True))
    plain, changed = (_object(person, straight_pose, plain_scanner)[:, :88] for person in (lean, ill))
    assert plain.max() < 120
    # Voxels wholly inside the ellipsoid read 650 HU; the rectum, uterus and symphysis take none of it.
    radius = lean.body.bladder_radius_mm
    voxels = 4 / 3 * np.pi * 1.05 * 0.8 * 0.78 * radius ** 3 / (2.6 * 2.6 * FINE_STEP_MM)
    assert (np.abs(changed - 650) < 5).sum() == pytest.approx(voxels, rel=0.2)
    assert changed.max() > 400


def test_gas_lies_in_the_rectum_of_those_with_gas_alone(lean: Participant, straight_pose: Pose,
                                                       plain_scanner: ScannerTier) -> None:
    found = []
    for gas in (True, False):
        person = replace(lean, body=replace(lean.body, rectal_gas=gas))
        hu = _object(person, straight_pose, plain_scanner)
        # From the heads' height (10 mm) to 20 mm above it, around the rectum in the midline.
        low = round((10.0 - GRID.origin_mm_lps[2]) / FINE_STEP_MM)
        found.append((hu[low:low + 16, 75:85, 72:88] < -500).sum())
    assert found[0] > 0
    assert found[1] == 0
