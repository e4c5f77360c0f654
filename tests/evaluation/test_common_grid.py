"""DICOM Segmentations beside other formats: one grid by moving indices, and never another's grid."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series
from dicom_seg_factory import write_seg
from evaluation_cohort import scan, write_mask
from shapes import block

from femur_nnunet.evaluation.case_evaluation import CaseJob, evaluate_case
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.common_grid import on_common_grid
from femur_nnunet.evaluation.mask_reading import MaskError, find_masks, hash_of_mask, read_label_map

CASE = "tulane_0000000a_v01_l"
SHAPE = (9, 8, 16)
SPACING_MM_XYZ, ORIGIN_MM = (0.8, 0.7, 2.5), (-12.5, -30.25, 401.0)
MASK = block(SHAPE, (2, 1, 3), (6, 6, 11)).astype(np.uint8)
SHIFTED = np.roll(MASK, 1, axis=0)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    write_ct_series(tmp_path / "ct", np.zeros(SHAPE, dtype=np.uint16))
    return tmp_path / "ct"


def nifti(path: Path, values: np.ndarray) -> Path:
    return write_mask(path, values, spacing_mm_xyz=SPACING_MM_XYZ, origin_mm=ORIGIN_MM)


def judged(reference: Path, prediction: Path, case: str = CASE) -> list[CaseRow]:
    return evaluate_case(CaseJob(case, scan(case), [reference], [prediction], arm="grl"))


@pytest.mark.parametrize("omit_empty", [False, True], ids=["all slices", "only slices with labels"])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_dicom_segmentation_is_judged_as_the_same_mask_in_nifti(tmp_path, ct, omit_empty, backwards):
    (expected,) = judged(nifti(tmp_path / "r.nii.gz", MASK), nifti(tmp_path / "p.nii.gz", SHIFTED))
    segmentation = write_seg(tmp_path / "p.dcm", ct, SHIFTED, omit_empty=omit_empty, backwards=backwards)
    (row,) = judged(tmp_path / "r.nii.gz", segmentation)
    assert row.status is CaseStatus.OK
    # 3 of 4 slices of either mask are shared.
    assert row.metrics["dice"] == pytest.approx(0.75)
    assert row.metrics["hd_mm"] == pytest.approx(2.5)
    assert row.metrics == pytest.approx(expected.metrics, rel=1e-4, nan_ok=True)


def test_a_reference_in_dicom_segmentation_is_put_into_the_predictions_image(tmp_path, ct):
    (expected,) = judged(nifti(tmp_path / "r.nii.gz", MASK), nifti(tmp_path / "p.nii.gz", SHIFTED))
    (row,) = judged(write_seg(tmp_path / "r.dcm", ct, MASK), tmp_path / "p.nii.gz")
    assert row.metrics == pytest.approx(expected.metrics, rel=1e-4, nan_ok=True)


def test_two_segmentations_of_different_slices_meet_in_the_slices_of_both(tmp_path, ct):
    (row,) = judged(write_seg(tmp_path / "r.dcm", ct, MASK), write_seg(tmp_path / "p.dcm", ct, SHIFTED))
    assert row.status is CaseStatus.OK
    assert row.metrics["dice"] == pytest.approx(0.75)
    # Slices 2 to 6 of the scan: 5 of 2.5 mm, with whole planes of 8 x 16 voxels.
    reference, prediction = on_common_grid(*(read_label_map(tmp_path / name, (1, 2)) for name in ("r.dcm", "p.dcm")))
    assert reference.array.shape == prediction.array.shape == (5, 8, 16)
    assert reference.diagonal_mm == pytest.approx(math.sqrt((5 * 2.5) ** 2 + (8 * 0.7) ** 2 + (16 * 0.8) ** 2))
    np.testing.assert_array_equal(prediction.array, SHIFTED[2:7])


def test_a_turned_image_meets_a_segmentation(tmp_path, ct):
    image = sitk.DICOMOrient(sitk.ReadImage(str(nifti(tmp_path / "p.nii.gz", MASK))), "PIR")
    sitk.WriteImage(image, str(tmp_path / "turned.nii.gz"))
    (row,) = judged(write_seg(tmp_path / "r.dcm", ct, MASK), tmp_path / "turned.nii.gz")
    assert row.metrics["dice"] == 1


def test_a_segmentation_of_another_scan_is_a_geometry_mismatch(tmp_path, ct):
    reference = nifti(tmp_path / "r.nii.gz", MASK)
    write_ct_series(tmp_path / "other", np.zeros(SHAPE, dtype=np.uint16), origin_mm=(-12.5, -30.25, 402.0), series=2)
    elsewhere = write_seg(tmp_path / "p.dcm", tmp_path / "other", MASK)
    for first in (reference, write_seg(tmp_path / "r.dcm", ct, MASK)):
        (row,) = judged(first, elsewhere)
        assert row.status is CaseStatus.GEOMETRY_MISMATCH
        assert row.metrics["dice"] == 0
        assert "1.000 mm" in row.detail


def test_a_segmentation_with_slices_beyond_the_image_is_a_geometry_mismatch(tmp_path, ct):
    (row,) = judged(nifti(tmp_path / "r.nii.gz", MASK[:5]), write_seg(tmp_path / "p.dcm", ct, MASK))
    assert row.status is CaseStatus.GEOMETRY_MISMATCH


def test_two_segmentations_metres_apart_are_not_of_one_scan(tmp_path, ct):
    write_ct_series(tmp_path / "far", np.zeros(SHAPE, dtype=np.uint16), origin_mm=(-12.5, -30.25, 2901.0), series=2)
    near = read_label_map(write_seg(tmp_path / "r.dcm", ct, MASK), (1, 2))
    far = read_label_map(write_seg(tmp_path / "p.dcm", tmp_path / "far", MASK), (1, 2))
    # 2500 mm from the first slice of one to the first of the other, and the four slices of the other.
    with pytest.raises(MaskError, match="cover 2510 mm") as caught:
        on_common_grid(near, far)
    assert caught.value.status is CaseStatus.GEOMETRY_MISMATCH


def test_both_hips_are_told_apart_by_their_segments_and_a_missed_one_is_a_row(tmp_path, ct):
    both = MASK.copy()
    both[:, :, 7:] *= 2
    reference = write_seg(tmp_path / "r.dcm", ct, both)
    prediction = write_seg(tmp_path / "p.dcm", ct, np.where(both == 1, both, 0).astype(np.uint8))
    left, right = judged(reference, prediction, "tulane_0000000a_v01_b")
    assert (left.label, left.status, left.metrics["dice"]) == (1, CaseStatus.OK, 1)
    assert (right.label, right.status, right.metrics["dice"]) == (2, CaseStatus.MISSED, 0)


def test_segments_that_a_case_does_not_have_and_fractions_are_told(tmp_path, ct):
    reference = nifti(tmp_path / "r.nii.gz", MASK)
    (row,) = judged(reference, write_seg(tmp_path / "two.dcm", ct, MASK * 2))
    assert row.status is CaseStatus.UNEXPECTED_LABELS
    half = np.stack([MASK * 0.5, MASK * 0.0], axis=-1).astype(np.float32)
    (row,) = judged(reference, write_seg(tmp_path / "half.dcm", ct, half, kind="FRACTIONAL"))
    # No label map can be made of fractional segments.
    assert row.status is CaseStatus.UNREADABLE


def test_a_folder_named_after_the_case_holds_its_one_segmentation(tmp_path, ct):
    folder = tmp_path / "P" / CASE
    write_seg(folder / "deep" / "IM0001", ct, MASK)
    (tmp_path / "P" / "figures").mkdir()
    assert find_masks(tmp_path / "P") == {CASE: [folder]}
    (row,) = judged(nifti(tmp_path / "r.nii.gz", MASK), folder)
    assert (row.status, row.metrics["dice"]) == (CaseStatus.OK, 1)
    assert row.prediction_sha256 == hash_of_mask(folder) is not None

    write_seg(folder / "second.dcm", ct, MASK)
    (row,) = judged(tmp_path / "r.nii.gz", folder)
    assert row.status is CaseStatus.UNREADABLE
    assert "2 DICOM-SEG" in row.detail


def test_a_case_both_as_a_file_and_as_a_folder_is_there_twice(tmp_path, ct):
    write_seg(tmp_path / "P" / CASE / "a.dcm", ct, MASK)
    nifti(tmp_path / "P" / f"{CASE}.nii.gz", MASK)
    nifti(tmp_path / "r.nii.gz", MASK)
    (row,) = evaluate_case(CaseJob(CASE, scan(CASE), [tmp_path / "r.nii.gz"], find_masks(tmp_path / "P")[CASE], "grl"))
    assert row.status is CaseStatus.DUPLICATE_FILES


def test_empty_segmentations_and_such_of_one_slice_are_read(tmp_path, ct):
    reference = nifti(tmp_path / "r.nii.gz", MASK)
    one_slice = np.where(np.arange(SHAPE[0])[:, None, None] == 3, MASK, 0).astype(np.uint8)
    (row,) = judged(reference, write_seg(tmp_path / "one.dcm", ct, one_slice))
    # One of the reference's four slices: 2 x 1 / (1 + 4).
    assert row.metrics["dice"] == pytest.approx(0.4)
    (row,) = judged(reference, write_seg(tmp_path / "empty.dcm", ct, np.zeros_like(MASK), omit_empty=False))
    assert row.status is CaseStatus.MISSED


def test_other_dicom_files_are_no_mask(tmp_path, ct):
    (row,) = judged(nifti(tmp_path / "r.nii.gz", MASK), next(ct.iterdir()))
    assert row.status is CaseStatus.UNREADABLE
    (tmp_path / "text.dcm").write_text("no DICOM at all")
    (row,) = judged(tmp_path / "r.nii.gz", tmp_path / "text.dcm")
    assert row.status is CaseStatus.UNREADABLE


def test_a_file_that_cannot_be_hashed_has_no_hash(tmp_path):
    assert hash_of_mask(tmp_path / "gone.nii.gz") is None
