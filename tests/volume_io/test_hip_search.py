from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from real_data import real_data

from femur_nnunet.volume_io import orient_to_lps, read_volume
from femur_nnunet.volume_io.body import find_body
from femur_nnunet.volume_io.hip_search import find_hips
from femur_nnunet.volume_io.volume import Volume


def cropped(scan, columns=slice(None), levels=slice(None)):
    hu = scan.hu[levels, :, columns]
    return Volume(hu, replace(scan.grid, size_ijk=hu.shape[::-1]))


def test_both_hips_are_found_near_the_known_heads(hips_scan):
    volume = Volume(hips_scan.hu, hips_scan.grid)
    hips = find_hips(volume, find_body(volume).midline_x)
    for side in ("left", "right"):
        hip, head = hips.of(side), hips_scan.truth["sides"][side]["head_centre_mm_lps"]
        assert -10 <= hip.joint_level_mm - (head[2] - hips_scan.grid.origin_mm_lps[2]) <= 25
        assert hip.joint_x_mm == pytest.approx(head[0] - hips_scan.grid.origin_mm_lps[0], abs=20)
        assert hip.shaft_length_mm > 30
    assert not hips.one_hip


@pytest.mark.parametrize(("side", "columns"), [("left", slice(66, None)), ("right", slice(0, 66))])
def test_a_narrow_field_of_view_shows_the_shaft_lateral_of_the_head(hips_scan, side, columns):
    hips = find_hips(cropped(hips_scan, columns), None)
    assert hips.one_hip
    assert (hips.left.shaft_x_mm > hips.left.joint_x_mm) == (side == "left")
    assert hips.of(side) is hips.left


def test_a_body_without_bone_has_no_hips(hips_scan):
    soft = Volume(np.minimum(hips_scan.hu, 60), hips_scan.grid)
    hips = find_hips(soft, 66.0)
    assert not hips.left.found
    assert not hips.right.found


def test_a_real_pelvis_has_two_joints_and_no_shafts():
    volume, _ = orient_to_lps(read_volume(real_data("ct", "pelvis_3mm_left_nail.nii.gz")))
    hips = find_hips(volume, find_body(volume).midline_x)
    for side in ("left", "right"):
        assert hips.of(side).joint_level_mm < 85
        assert hips.of(side).shaft_length_mm == 0


def test_a_real_upper_abdomen_has_no_hips():
    volume, _ = orient_to_lps(read_volume(real_data("dicom", "abdomen_2mm_jpeg2000")))
    hips = find_hips(volume, find_body(volume).midline_x)
    assert not hips.left.found
    assert not hips.right.found
