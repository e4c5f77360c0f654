from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scans import hip_scan
from real_data import real_data

from femur_nnunet.errors import FemurError
from femur_nnunet.landmarks.femur_regions import FemurRegions, PlaneDistances, RegionStatus, find_regions
from femur_nnunet.phantom.one_hip import HipScan
from femur_nnunet.regions import REGION_MAP_LABELS, Region
from femur_nnunet.volume_io.orientation import best_axis_mapping

# Seed, tier, side, pixel and slice spacing; the whole table over more hips is made by benchmarks/density_accuracy.py.
HIPS = [(102, "none", "left", 0.8, 1.0), (103, "moderate", "right", 1.0, 2.0), (104, "mild", "left", 0.9, 3.0)]
PARTS = tuple(REGION_MAP_LABELS)
Found = tuple[HipScan, FemurRegions]


@pytest.fixture(scope="module", params=HIPS, ids=lambda hip: f"{hip[0]}-{hip[1]}-{hip[2]}")
def found(request: pytest.FixtureRequest) -> Found:
    scan = hip_scan(*request.param)
    return scan, find_regions(scan.mask, scan.spacing_mm_zyx, scan.side)


def angle_deg(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


def volume_ml(labels: np.ndarray, region: Region, spacing: tuple[float, float, float]) -> float:
    return float((labels == REGION_MAP_LABELS[region]).sum() * np.prod(spacing) / 1000)


def test_head_centre_and_axes_are_those_of_the_truth(found: Found) -> None:
    scan, regions = found
    marks, truth = regions.landmarks, scan.truth
    assert marks is not None
    centre = marks.head_centre_mm + np.asarray(scan.grid.origin_mm_lps)
    assert np.linalg.norm(centre - truth["head_centre_mm_lps"]) < 1.0
    assert angle_deg(marks.neck_axis, np.array(truth["neck_axis_lps"])) < 2.0
    assert angle_deg(marks.shaft_axis, np.array(truth["shaft_axis_lps"])) < 2.0
    assert marks.neck_shaft_angle_deg == pytest.approx(truth["neck_shaft_angle_deg"], abs=2.0)


@pytest.mark.parametrize("region", PARTS)
def test_each_region_has_its_true_volume_to_three_per_cent(found: Found, region: Region) -> None:
    scan, regions = found
    assert regions.status[region] is RegionStatus.OK
    true_ml = scan.truth["regions"][region.value]["volume_ml"]
    assert volume_ml(regions.label_map, region, scan.spacing_mm_zyx) == pytest.approx(true_ml, rel=0.03)


@pytest.mark.parametrize("region", PARTS)
def test_shares_of_voxels_give_each_region_its_true_volume_with_thick_slices_too(found: Found, region: Region) -> None:
    scan, regions = found
    share_ml = float(regions.shares[region].sum()) * float(np.prod(scan.spacing_mm_zyx)) / 1000
    assert share_ml == pytest.approx(scan.truth["regions"][region.value]["volume_ml"], rel=0.03)


def test_the_shares_of_a_voxel_add_up_to_one(found: Found) -> None:
    _, regions = found
    shares = np.stack(list(regions.shares.values()))
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)


def test_a_plane_along_faces_gives_each_side_what_lies_on_it() -> None:
    # Slices of 4 mm, the shaft downwards: of voxels centred 1 mm above, on and 1 mm below the plane a quarter,
    # a half and three quarters are shaft. The neck's planes, across x, are far away on the head's side.
    marks = SimpleNamespace(neck_axis=np.array([1.0, 0.0, 0.0]), shaft_axis=np.array([0.0, 0.0, -1.0]))
    beyond = np.full(3, 50, dtype=np.float32)
    shares = PlaneDistances(beyond, beyond, np.array([-1, 0, 1], dtype=np.float32)).shares(marks, (4.0, 1.0, 1.0))
    np.testing.assert_allclose(shares[Region.SHAFT], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(shares[Region.TROCHANTERIC], [0.75, 0.5, 0.25])
    # The head's plane through the middle of voxels of 1 mm along x, the neck's 0.25 mm beyond.
    head, neck = np.zeros(1, dtype=np.float32), np.full(1, -0.25, dtype=np.float32)
    shares = PlaneDistances(head, neck, np.full(1, -50, dtype=np.float32)).shares(marks, (4.0, 1.0, 1.0))
    assert [float(shares[region][0]) for region in PARTS] == pytest.approx([0.5, 0.25, 0.25, 0.0])


def test_every_voxel_of_the_mask_has_a_region_and_no_other_has(found: Found) -> None:
    scan, regions = found
    np.testing.assert_array_equal(regions.label_map > 0, scan.mask > 0)


def cut_below(mask: np.ndarray, head_z: float, spacing: tuple[float, float, float], below_mm: float) -> np.ndarray:
    return mask[max(0, round((head_z - below_mm) / spacing[0])):]


@pytest.fixture(scope="module")
def thick() -> HipScan:
    return hip_scan(*HIPS[2])


def head_height_mm(scan: HipScan) -> float:
    return float(scan.truth["head_centre_mm_lps"][2] - scan.grid.origin_mm_lps[2])


def test_with_a_short_shaft_the_mean_direction_stands_in_and_the_status_says_so(thick: HipScan) -> None:
    # 84 mm below the head's centre: some 10 mm of shaft.
    mask = cut_below(thick.mask, head_height_mm(thick), thick.spacing_mm_zyx, 84.0)
    regions = find_regions(mask, thick.spacing_mm_zyx, thick.side)
    assert regions.status[Region.HEAD] is RegionStatus.OK
    assert regions.status[Region.NECK] is RegionStatus.SHAFT_ASSUMED
    # The direction is off by some degrees, as shafts of people differ: so is the neck, and not the head.
    for region, share in ((Region.HEAD, 0.01), (Region.NECK, 0.15), (Region.TROCHANTERIC, 0.08)):
        true_ml = thick.truth["regions"][region.value]["volume_ml"]
        assert volume_ml(regions.label_map, region, thick.spacing_mm_zyx) == pytest.approx(true_ml, rel=share)


def test_an_image_that_ends_above_the_lesser_trochanter_leaves_the_head_alone_sound(thick: HipScan) -> None:
    mask = cut_below(thick.mask, head_height_mm(thick), thick.spacing_mm_zyx, 45.0)
    regions = find_regions(mask, thick.spacing_mm_zyx, thick.side)
    assert regions.status == {
        Region.TOTAL: RegionStatus.OK, Region.HEAD: RegionStatus.OK, Region.NECK: RegionStatus.TROCHANTER_CUT,
        Region.TROCHANTERIC: RegionStatus.TROCHANTER_CUT, Region.SHAFT: RegionStatus.NOT_IN_VIEW}


def test_a_femur_whose_head_the_image_cuts_is_flagged(thick: HipScan) -> None:
    top = round((head_height_mm(thick) + 8.0) / thick.spacing_mm_zyx[0])
    regions = find_regions(thick.mask[:top], thick.spacing_mm_zyx, thick.side)
    assert regions.status[Region.TOTAL] is RegionStatus.OK
    assert {regions.status[region] for region in PARTS} <= {RegionStatus.HEAD_INCOMPLETE, RegionStatus.NO_HEAD}


def test_a_shaft_without_a_head_has_a_total_alone() -> None:
    z, y, x = np.ogrid[0:80, 0:60, 0:60]
    mask = ((x - 30) ** 2 + (y - 30) ** 2 < 13 ** 2) & (z < 70)
    regions = find_regions(mask, (2.0, 1.0, 1.0), "left")
    assert not regions.label_map.any()
    assert regions.landmarks is None
    assert {region for region, status in regions.status.items() if status is RegionStatus.NO_HEAD} == set(PARTS)
    assert regions.status[Region.TOTAL] is RegionStatus.OK


def test_islands_and_holes_do_not_move_the_planes(thick: HipScan) -> None:
    mask = thick.mask.copy()
    filled = np.argwhere(mask)
    middle = filled[len(filled) // 2]
    mask[tuple(middle)] = 0
    mask[2:4, 2:6, 2:6] = 1
    regions = find_regions(mask, thick.spacing_mm_zyx, thick.side)
    plain = find_regions(thick.mask, thick.spacing_mm_zyx, thick.side)
    both = (mask > 0) & (thick.mask > 0)
    np.testing.assert_array_equal(regions.label_map[both], plain.label_map[both])
    assert regions.label_map[2, 2, 2] > 0


def test_a_right_femur_is_the_mirror_image_of_a_left_one(thick: HipScan) -> None:
    mirrored = find_regions(thick.mask[:, :, ::-1], thick.spacing_mm_zyx, "right")
    plain = find_regions(thick.mask, thick.spacing_mm_zyx, "left")
    # The same planes: voxel centres right on one may fall to either side.
    assert (mirrored.label_map[:, :, ::-1] != plain.label_map).sum() < 50


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(FemurError, match="an empty mask"):
        find_regions(np.zeros((4, 4, 4)), (1.0, 1.0, 1.0), "left")


@pytest.mark.long
@pytest.mark.parametrize(("side", "label"), [("right", 1), ("left", 2)])
def test_the_head_of_a_real_femur_has_the_volume_of_its_sphere(side: str, label: int) -> None:
    image = sitk.ReadImage(str(next(real_data("hip_labels").glob("*s12*.nii.gz"))))
    mapping = best_axis_mapping(np.asarray(image.GetDirection()).reshape(3, 3))
    x_mm, y_mm, z_mm = image.GetSpacing()
    regions = find_regions(mapping.apply(sitk.GetArrayFromImage(image)) == label, (z_mm, y_mm, x_mm), side)
    assert set(regions.status.values()) == {RegionStatus.OK}
    assert regions.landmarks is not None
    # A sphere less the cap beyond 0.85 R: (4/3 - 0.15^2 (3 - 0.15) / 3) pi R^3, plus the fillet to the neck.
    sphere_ml = (4 / 3 - 0.15 ** 2 * 2.85 / 3) * np.pi * regions.landmarks.head_radius_mm ** 3 / 1000
    assert volume_ml(regions.label_map, Region.HEAD, (z_mm, y_mm, x_mm)) == pytest.approx(sphere_ml, rel=0.08)
