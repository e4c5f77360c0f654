"""Whole scans through a model whose mask is known: on the scan's own grid, whichever way it lies."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from threshold_bundle import LARGEST_OTHER_HU, threshold_plans, write_threshold_bundle

import femur_nnunet
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.model_bundle.manifest import Distribution, Postprocessing, TrainingFacts
from femur_nnunet.segmentation.model import SegmentationModel
from femur_nnunet.segmentation.segment import segment_volume
from femur_nnunet.segmentation.warnings_table import Caution
from femur_nnunet.volume_io.orientation import AxisMapping
from femur_nnunet.volume_io.volume import Volume

ORIENTATIONS = [AxisMapping(order, flips) for order, flips in zip(
    itertools.permutations(range(3)),
    [(True, False, False), (False, True, True), (True, True, False), (False, False, True), (True, True, True),
     (False, True, False)], strict=True)]


def turned(volume, mapping):
    return Volume(np.ascontiguousarray(mapping.apply(volume.array)), mapping.apply_to_grid(volume.grid))


def cautions(segmentation, side=None):
    return {finding.caution for finding in segmentation.findings if side in (None, finding.side)}


def one_hip(volume, mask, side, columns):
    keep = slice(volume.array.shape[2] - columns, None) if side == "left" else slice(0, columns)
    array = np.ascontiguousarray(volume.array[:, :, keep])
    origin = volume.grid.world_mm_lps((keep.start, 0, 0))
    grid = replace(volume.grid, size_ijk=array.shape[::-1], origin_mm_lps=tuple(origin))
    return Volume(array, grid), mask[:, :, keep]


def test_both_femora_come_out_voxel_by_voxel(threshold_model, painted_scan, hips_scan):
    segmentation = segment_volume(painted_scan, threshold_model)
    np.testing.assert_array_equal(segmentation.mask, hips_scan.mask)
    assert segmentation.grid == hips_scan.grid
    voxel_ml = 3.0 ** 3 / 1000
    for femur, value in zip(segmentation.femora, (1, 2), strict=True):
        assert femur.looked_at == "box"
        assert femur.volume_ml == pytest.approx((hips_scan.mask == value).sum() * voxel_ml)
        truth = hips_scan.truth["sides"][femur.side]
        assert femur.shape.head_radius_mm == pytest.approx(truth["head_radius_mm"], abs=1.5)
        assert femur.agreement_of == "views"
        assert femur.agreement == 1.0
        # 165 mm of scan: the box leaves out what lies above, beside, before and behind.
        assert np.prod(femur.record.case_grid.size_ijk) < 0.6 * painted_scan.array.size / 2
    assert not cautions(segmentation)


@pytest.mark.parametrize("mapping", ORIENTATIONS, ids=str)
def test_left_and_right_stay_where_they_are_however_a_scan_is_stored(threshold_model, painted_scan, hips_scan, mapping):
    scan = turned(painted_scan, mapping)
    segmentation = segment_volume(scan, threshold_model, second_view=False)
    np.testing.assert_array_equal(segmentation.mask, mapping.apply(hips_scan.mask))
    assert segmentation.grid == scan.grid


@pytest.mark.parametrize(("side", "given"), [("left", None), ("right", None), ("right", "right")])
def test_one_hip_in_view_is_told_by_its_own_form(threshold_model, painted_scan, hips_scan, side, given):
    scan, truth = one_hip(painted_scan, hips_scan.mask, side, columns=66)
    segmentation = segment_volume(scan, threshold_model, side=given, second_view=False)
    assert [femur.side for femur in segmentation.femora] == [side]
    np.testing.assert_array_equal(segmentation.mask, truth)
    assert Caution.SIDE not in cautions(segmentation)


def test_a_side_that_contradicts_the_bone_is_warned_about(threshold_model, painted_scan, hips_scan):
    scan, _ = one_hip(painted_scan, hips_scan.mask, "left", columns=66)
    segmentation = segment_volume(scan, threshold_model, side="right", second_view=False)
    assert Caution.SIDE in cautions(segmentation, "right")


def test_one_side_of_two_is_segmented_alone_where_asked(threshold_model, painted_scan, hips_scan):
    segmentation = segment_volume(painted_scan, threshold_model, side="right", second_view=False)
    np.testing.assert_array_equal(segmentation.mask, np.where(hips_scan.mask == 2, 2, 0))


def test_another_spacing_than_the_plans_keeps_the_femora_but_for_their_surface(tmp_path, painted_scan, hips_scan):
    bundle = write_threshold_bundle(tmp_path / "fine.zip", plans=threshold_plans((2.4, 2.6, 2.6), (40, 40, 40)))
    segmentation = segment_volume(painted_scan, bundle, second_view=False)
    for value in (1, 2):
        found, truth = segmentation.mask == value, hips_scan.mask == value
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.98


def test_a_femur_that_leaves_the_box_makes_it_grow(threshold_model, painted_scan, hips_scan):
    scan = Volume(painted_scan.array.copy(), painted_scan.grid)
    truth = hips_scan.mask.copy()
    # A rod from the left shaft forwards and out of every box around it.
    level = 8
    rows, columns = np.nonzero(truth[level] == 1)
    rod = (slice(level, level + 4), slice(rows.min() - 34, rows.max()), slice(columns.min() + 3, columns.min() + 7))
    scan.array[rod], truth[rod] = 700, 1
    segmentation = segment_volume(scan, threshold_model, second_view=False)
    np.testing.assert_array_equal(segmentation.mask, truth)
    assert [femur.looked_at for femur in segmentation.femora] == ["grown box", "box"]


def test_without_a_joint_in_view_the_whole_half_is_searched(threshold_model, painted_scan, hips_scan):
    levels = slice(0, 13)  # shafts alone
    scan = Volume(np.ascontiguousarray(painted_scan.array[levels]),
                  replace(painted_scan.grid, size_ijk=(*painted_scan.grid.size_ijk[:2], 13)))
    segmentation = segment_volume(scan, threshold_model, second_view=False)
    np.testing.assert_array_equal(segmentation.mask, hips_scan.mask[levels])
    for side in ("left", "right"):
        assert {Caution.WHOLE_HALF, Caution.CUT_ABOVE} <= cautions(segmentation, side)


def test_localisation_can_be_left_out_and_gives_the_same(threshold_model, painted_scan, hips_scan):
    segmentation = segment_volume(painted_scan, threshold_model, localise=False, second_view=False, step=1.0)
    np.testing.assert_array_equal(segmentation.mask, hips_scan.mask)
    assert {femur.looked_at for femur in segmentation.femora} == {"whole half"}


def test_every_kind_of_image_gives_the_same_mask(tmp_path, threshold_model, painted_scan, hips_scan):
    image = sitk.GetImageFromArray(painted_scan.array)
    image.SetSpacing(painted_scan.grid.spacing_mm_ijk)
    image.SetOrigin(painted_scan.grid.origin_mm_lps)
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    fast = {"fast": True, "side": "left"}
    for given, more in ((image, {}), (str(tmp_path / "scan.mha"), {}),
                        (painted_scan.array.astype(np.float64), {"spacing_mm_zyx": (3.0, 3.0, 3.0)})):
        segmentation = femur_nnunet.segment_volume(given, threshold_model, **fast, **more)
        np.testing.assert_array_equal(segmentation.mask == 1, hips_scan.mask == 1)
    result = segmentation.to_simpleitk()
    assert result.GetSize() == image.GetSize()
    assert result.GetSpacing() == image.GetSpacing()


@pytest.mark.parametrize(("image", "more", "message"), [
    (np.zeros((4, 4, 4)), {}, "without its spacing"), ("scan.mha", {"spacing_mm_zyx": (1, 1, 1)}, "spacing beside"),
    (np.zeros((4, 4)), {"spacing_mm_zyx": (1, 1, 1)}, "2 dimensions"), (object(), {}, "object of type object"),
    (np.zeros((4, 4, 4)), {"spacing_mm_zyx": (0, 1, 1)}, "voxel spacing"),
    (np.full((4, 4, 4), np.nan), {"spacing_mm_zyx": (1, 1, 1)}, "NaN"),
    (np.zeros((4, 4, 4), complex), {"spacing_mm_zyx": (1, 1, 1)}, "complex"),
    (sitk.Image(4, 4, sitk.sitkInt16), {}, "2 dimensions"),
    (np.zeros((2, 9, 9)), {"spacing_mm_zyx": (1, 1, 1)}, "at least 3 voxels"),
    (np.full((4, 9, 9), 40), {"spacing_mm_zyx": (1, 1, 1)}, "values from 40")])
def test_what_is_no_ct_volume_is_refused(threshold_model, image, more, message):
    with pytest.raises(FemurError, match=message):
        segment_volume(image, threshold_model, **more)


def test_a_body_without_bone_has_no_hip_and_no_mask(threshold_model, painted_scan):
    soft = Volume(np.minimum(painted_scan.array, LARGEST_OTHER_HU), painted_scan.grid)
    segmentation = segment_volume(soft, threshold_model, second_view=False, step=1.0)
    assert not segmentation.found_any
    assert not segmentation.mask.any()
    assert {(finding.caution, finding.side) for finding in segmentation.findings} == {
        (Caution.NO_HIP, "left"), (Caution.NO_HIP, "right")}


def test_a_mask_where_no_hip_is_seen_is_kept_by_force_alone(threshold_model, painted_scan):
    scan = Volume(np.minimum(painted_scan.array, LARGEST_OTHER_HU), painted_scan.grid)
    scan.array[20:30, 40:45, 20:25] = scan.array[20:30, 40:45, 100:105] = 700  # rods: no joint and no shaft
    refused = segment_volume(scan, threshold_model, second_view=False, step=1.0)
    assert not refused.mask.any()
    assert cautions(refused) == {Caution.NO_HIP}
    forced = segment_volume(scan, threshold_model, second_view=False, step=1.0, force=True)
    assert forced.mask.sum() == 250 * (1 + 2)
    assert Caution.NO_HIP in cautions(forced)


def test_a_hip_without_a_femur_in_the_mask_is_told(tmp_path, painted_scan):
    blind = write_threshold_bundle(tmp_path / "blind.zip", thresholds_hu=(1500.0,))
    segmentation = segment_volume(painted_scan, blind, second_view=False, side="left")
    assert cautions(segmentation) == {Caution.NO_FEMUR}


def test_folds_that_disagree_are_warned_about_and_their_mean_is_taken(tmp_path, painted_scan, hips_scan):
    # One fold sees the femora alone; the other one everything above -50 HU: muscle too.
    bundle = write_threshold_bundle(tmp_path / "two.zip", thresholds_hu=(300.0, -50.0), postprocessing=Postprocessing())
    segmentation = segment_volume(painted_scan, bundle, side="left", uncertainty=True)
    femur = segmentation.femora[0]
    # The mean of the logits is 0 at 125 HU.
    np.testing.assert_array_equal(segmentation.mask == 1, hips_scan.mask == 1)
    assert femur.agreement_of == "folds"
    assert femur.agreement < 0.5
    assert Caution.AGREEMENT in cautions(segmentation, "left")
    inside = hips_scan.mask == 1
    assert segmentation.uncertainty is not None
    assert segmentation.uncertainty[inside].max() < 0.3  # both folds say femur: logits of 4 and 7.5
    muscle = (painted_scan.array > 0) & (hips_scan.mask == 0) & (segmentation.uncertainty > 0)
    assert np.median(segmentation.uncertainty[muscle]) > 0.8


def test_voxels_and_hu_far_from_the_training_are_warned_about(tmp_path, painted_scan):
    fine = Distribution(9, 0.5, 0.6, 0.8, 1.0, 1.2)
    facts = TrainingFacts(spacing_mm=(fine, fine, fine), foreground_hu={"median": 200.0})
    bundle = write_threshold_bundle(tmp_path / "fine.zip", training=facts)
    segmentation = segment_volume(painted_scan, bundle, side="left", second_view=False)
    texts = {finding.caution: finding.text for finding in segmentation.findings}
    assert "slices 3.00 mm apart, expected 0.33 to 1.80" in texts[Caution.SPACING]  # 0.5 / 1.5 and 1.2 x 1.5
    assert "median 700 HU, expected 200" in texts[Caution.HOUNSFIELD]


def test_metal_is_told_for_its_side_alone(threshold_model, painted_scan):
    scan = Volume(painted_scan.array.copy(), painted_scan.grid)
    scan.array[4:20, 50:53, 100:103] = 3000
    segmentation = segment_volume(scan, threshold_model, second_view=False)
    assert Caution.METAL in cautions(segmentation, "left")
    assert Caution.METAL not in cautions(segmentation, "right")


def test_a_femur_at_the_border_of_the_image_is_told(threshold_model, painted_scan, hips_scan):
    columns = np.flatnonzero((hips_scan.mask == 1).any(axis=(0, 1)))
    cut = int(columns[-1]) - 4
    array = np.ascontiguousarray(painted_scan.array[:, :, :cut])
    scan = Volume(array, replace(painted_scan.grid, size_ijk=array.shape[::-1]))
    segmentation = segment_volume(scan, threshold_model, second_view=False, side="both")
    texts = [finding.text for finding in segmentation.findings if finding.caution == Caution.CUT_AT_SIDE]
    assert texts == ["it reaches the image's border at the patient's left"]
    np.testing.assert_array_equal(segmentation.mask, hips_scan.mask[:, :, :cut])


def test_models_of_whole_scans_and_absent_devices_are_refused(tmp_path, threshold_model):
    with pytest.raises(UsageError, match="no device cuda"):
        SegmentationModel.of_bundle(write_threshold_bundle(tmp_path / "m.zip"), device="cuda")
    label = threshold_model.manifest.labels[0]
    both = replace(threshold_model.manifest, labels=tuple(
        replace(label, value=value, femur=side) for value, side in ((1, "left"), (2, "right"))))
    with pytest.raises(UsageError, match="whole scans"):
        replace(threshold_model, manifest=both)


def test_an_installation_without_the_model_in_the_box_says_how_to_get_one(painted_scan, monkeypatch):
    monkeypatch.setattr("femur_nnunet.segmentation.model.BOX_MODEL_FOLDER", "left_out")
    with pytest.raises(UsageError, match="femur_model pack"):
        segment_volume(painted_scan)
