from __future__ import annotations

import json

import numpy as np
import pytest
from randomised_scans import COARSE_MM, rendered
from scipy import ndimage

from femur_nnunet.phantom.map_preparation import PreparedMap
from femur_nnunet.phantom.scanner import field_of_view
from femur_nnunet.randomised.ranges import load_ranges
from femur_nnunet.randomised.rendering import Rendering, render_randomised


@pytest.fixture(scope="module")
def plain(kit_map: PreparedMap) -> Rendering:
    return rendered(kit_map)


def test_the_same_seed_and_number_give_the_same_bytes(kit_map: PreparedMap, plain: Rendering) -> None:
    again = rendered(kit_map)
    assert again.hu.tobytes() == plain.hu.tobytes()
    assert again.mask.tobytes() == plain.mask.tobytes()
    assert again.record == plain.record


def test_every_draw_lies_in_its_declared_range_and_every_range_is_drawn(kit_map: PreparedMap) -> None:
    ranges = load_ranges()
    drawn = render_randomised(kit_map, seed=141, number=1, finest_mm=6.0, fixed={}).record["draws"]
    sides = {f"{part}{side}_{rest}": f"{part}{rest}" for side in ("left", "right") for part, rest in (
        ("arm_", "radius_mm"), ("arm_", "gap_mm"), ("arm_", "wrist_above_heads_mm"), ("arm_", "over_body"))}
    sides |= {f"{side}_leg_{turn}_deg": f"leg_{turn}_deg" for side in ("left", "right")
              for turn in ("rotation", "abduction", "flexion")}
    sides |= {f"shell_{number}{rest}{axis}": f"shell{rest}" for number in (1, 2) for rest, axes in (
        ("", [""]), ("_radius_mm", [""]), ("_cortex_mm", [""]), ("_cortex_hu", [""]), ("_inner_hu", [""]),
        ("_stretch", ["_x", "_y", "_z"]), ("_at", ["_x", "_y", "_z"])) for axis in axes}
    used = {name: sides.get(name, name) for name in drawn}
    assert set(used.values()) == set(ranges)
    assert all(ranges[used[name]].holds(value) for name, value in drawn.items())


def test_the_mask_lies_on_the_bone_voxel_by_voxel(plain: Rendering) -> None:
    """The cortex is the brightest layer: moved by two voxels along any axis the mask's rim reads less."""
    inside = plain.mask > 0
    rim = inside & ~ndimage.binary_erosion(inside)
    # The image's ends cut through bone.
    rim[[0, -1]] = False
    bright = plain.hu[rim].mean()
    for axis in range(3):
        for step in (-2, 2):
            assert plain.hu[np.roll(rim, step, axis)].mean() < bright - 60


def test_left_and_right_lie_on_their_sides(plain: Rendering) -> None:
    columns = {label: np.nonzero(plain.mask == label)[2].mean() for label in (1, 2)}
    # Axes run along LPS: the patient's left has the higher x.
    assert columns[1] > columns[2]


def test_a_head_may_lack_its_shell_and_a_joint_its_gap(kit_map: PreparedMap) -> None:
    """The first box model lost such heads: where the plate is thin and the gap closed, no dark line parts the bones."""
    shell = rendered(kit_map, head_plate_mm=1.4, head_plate_spread=0.1, joint_narrowing_mm=0.0, bone_clearance_mm=1.8,
                     head_rim_rise=0.28, head_trabecular_factor=0.8, cartilage_hu=30.0)
    none = rendered(kit_map, head_plate_mm=0.1, head_plate_spread=0.1, joint_narrowing_mm=2.5, bone_clearance_mm=0.4,
                    head_rim_rise=-0.5, head_trabecular_factor=1.6, cartilage_hu=150.0)
    assert np.array_equal(shell.mask, none.mask)
    femur = shell.mask > 0
    above = np.nonzero(femur.any(axis=(1, 2)))[0].max()
    head = np.zeros_like(femur)
    head[above - 5:above + 1] = True
    rim = femur & ~ndimage.binary_erosion(femur) & head
    gap = ndimage.binary_dilation(femur) & ~femur & head
    assert none.hu[rim].mean() < shell.hu[rim].mean() - 100
    assert none.hu[gap].mean() > shell.hu[gap].mean() + 60


def test_a_hip_with_metal_has_no_label_but_shows_its_metal(kit_map: PreparedMap) -> None:
    scan = rendered(kit_map, metal=True, noise_hu=20.0)
    metal_side = scan.record["metal_side"]
    label = {"left": 1, "right": 2}[metal_side]
    assert not (scan.mask == label).any()
    assert (scan.mask == 3 - label).any()
    metal = np.nonzero(scan.hu > 2800)[2]
    assert metal.size > 20
    assert (metal.mean() > scan.hu.shape[2] / 2) == (metal_side == "left")
    assert metal_side not in scan.record["femur_ml"]


@pytest.mark.parametrize(("field", "label"), [("left hip", 1), ("right hip", 2)])
def test_a_field_of_one_hip_shows_no_part_of_the_other_femur(kit_map: PreparedMap, field: str, label: int) -> None:
    whole, one = rendered(kit_map), rendered(kit_map, field=field)
    assert set(np.unique(one.mask)) == {0, label}
    other = np.nonzero(whole.mask == 3 - label)[2] * whole.grid.spacing_mm_ijk[0] + whole.grid.origin_mm_lps[0]
    first, last = one.grid.origin_mm_lps[0], one.grid.origin_mm_lps[0] + one.grid.spacing_mm_ijk[0] * one.hu.shape[2]
    assert not ((other > first) & (other < last)).any()


def test_outside_the_circle_there_is_padding_and_no_label(kit_map: PreparedMap) -> None:
    scan = rendered(kit_map, field_of_view_factor=0.75, padding_hu=-2048, field_margin_mm=-35.0)
    outside = ~field_of_view(scan.hu.shape[1:], 0.75)
    assert outside.any()
    assert (scan.hu[:, outside] == -2048).all()
    assert not scan.mask[:, outside].any()


def test_noise_changes_the_image_and_not_the_anatomy(kit_map: PreparedMap, plain: Rendering) -> None:
    noisy = rendered(kit_map, noise_hu=60.0)
    assert np.array_equal(noisy.mask, plain.mask)
    assert np.abs(noisy.hu.astype(float) - plain.hu).mean() > 5


def test_a_scan_finer_than_the_grid_keeps_its_own_small_voxels(kit_map: PreparedMap, plain: Rendering) -> None:
    assert plain.record["spacing_mm_xyz"][0] == COARSE_MM
    assert plain.record["voxel_box_mm_zyx"][2] == plain.record["draws"]["native_pixel_mm"]
    assert plain.record["draws"]["native_pixel_mm"] <= 1.5


def test_a_record_is_plain_json(plain: Rendering) -> None:
    assert json.loads(json.dumps(plain.record, allow_nan=False)) == plain.record
