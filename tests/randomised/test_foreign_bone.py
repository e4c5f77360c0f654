from __future__ import annotations

import numpy as np
import pytest
from randomised_scans import rendered

from femur_nnunet.phantom.anatomy import draw_participant
from femur_nnunet.phantom.map_preparation import PreparedMap
from femur_nnunet.phantom.tiers import load_tiers
from femur_nnunet.randomised.foreign_bone import LOWEST_MM, draw_foreign_bones
from femur_nnunet.randomised.ranges import Drawer

# A ball in the middle of the trunk, wholly inside a scan that ends 120 mm above the heads.
BALL = {"top_above_heads_mm": 120.0, "shell_1": True, "shell_2": False, "ribs": False, "shell_1_radius_mm": 16.0,
        "shell_1_stretch_x": 1.0, "shell_1_stretch_y": 1.0, "shell_1_stretch_z": 1.0, "shell_1_at_x": 0.0,
        "shell_1_at_y": -0.5, "shell_1_at_z": -1.0, "shell_1_cortex_mm": 6.0, "shell_1_cortex_hu": 1500.0,
        "shell_1_inner_hu": -100.0, "edge_enhancement": 0.0, "psf_fwhm_mm": 0.6}


@pytest.mark.parametrize("top_mm", [60.0, 130.0, 230.0])
def test_no_foreign_bone_reaches_down_to_the_joints(top_mm: float) -> None:
    rng = np.random.default_rng(17)
    person = draw_participant("F", load_tiers().population, rng)
    bones = [bone for _ in range(60) for bone in draw_foreign_bones(Drawer(rng), person, top_mm)]
    assert (len(bones) > 30) if top_mm > 100 else bones
    assert all(bone.box_mm[0, 2] >= LOWEST_MM - 3.0 - 1e-6 for bone in bones)


def test_a_shell_shows_in_the_image_and_not_in_the_mask(kit_map: PreparedMap) -> None:
    with_ball, without = rendered(kit_map, **BALL), rendered(kit_map, **{**BALL, "shell_1": False})
    assert np.array_equal(with_ball.mask, without.mask)
    change = with_ball.hu.astype(int) - without.hu
    z = np.nonzero(change > 500)[0]
    voxel = with_ball.grid.spacing_mm_ijk
    # A shell of 16 mm and 10 mm radius holds 13 ml.
    assert z.size * np.prod(voxel) / 1000 == pytest.approx(13.0, rel=0.35)
    heights = with_ball.grid.origin_mm_lps[2] + z * voxel[2]
    assert heights.min() >= LOWEST_MM - voxel[2]
    assert heights.mean() == pytest.approx(LOWEST_MM + 16.0, abs=3.0)
