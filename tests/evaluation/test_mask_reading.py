from __future__ import annotations

import gzip

import numpy as np
import pytest
import SimpleITK as sitk
from evaluation_cohort import write_mask
from real_data import real_data
from shapes import block

from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.mask_reading import MaskError, check_same_grid, find_masks, read_label_map

MASK = block((6, 7, 8), (1, 1, 1), (3, 4, 6))
RIGHT_TO_LEFT = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)


def status_of(path, labels=(1,)) -> CaseStatus:
    with pytest.raises(MaskError) as caught:
        read_label_map(path, labels)
    assert caught.value.detail
    return caught.value.status


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_every_format_gives_the_same_array_and_spacing(tmp_path, suffix):
    label_map = read_label_map(write_mask(tmp_path / f"case{suffix}", MASK), (1,))
    np.testing.assert_array_equal(label_map.array, MASK)
    assert label_map.array.dtype == np.uint8
    assert label_map.spacing_mm_zyx == pytest.approx((1.5, 0.8, 0.8))
    assert label_map.diagonal_mm == pytest.approx(np.sqrt((6 * 1.5) ** 2 + (7 * 0.8) ** 2 + (8 * 0.8) ** 2))


def test_any_orientation_is_turned_so_that_z_grows_to_superior(tmp_path):
    plain = read_label_map(write_mask(tmp_path / "a.nii.gz", MASK), (1,))
    image = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "a.nii.gz")), "AIR")
    sitk.WriteImage(image, str(tmp_path / "b.nii.gz"))
    turned = read_label_map(tmp_path / "b.nii.gz", (1,))
    np.testing.assert_array_equal(turned.array, plain.array)
    check_same_grid(plain, turned)


def test_integers_stored_as_floats_are_integers(tmp_path):
    label_map = read_label_map(write_mask(tmp_path / "a.nii.gz", MASK.astype(np.float32)), (1,))
    np.testing.assert_array_equal(label_map.array, MASK)


def test_each_defect_of_the_values_has_its_status(tmp_path):
    probability = MASK.astype(np.float32) * 0.7
    assert status_of(write_mask(tmp_path / "p.nii.gz", probability)) is CaseStatus.NOT_INTEGER
    holes = MASK.astype(np.float32)
    holes[0, 0, 0] = np.nan
    assert status_of(write_mask(tmp_path / "n.nii.gz", holes)) is CaseStatus.HAS_NAN
    holes[0, 0, 0] = np.inf
    assert status_of(write_mask(tmp_path / "i.nii.gz", holes)) is CaseStatus.HAS_NAN
    assert status_of(write_mask(tmp_path / "l.nii.gz", MASK.astype(np.uint8) * 3)) is CaseStatus.UNEXPECTED_LABELS
    assert status_of(write_mask(tmp_path / "m.nii.gz", -MASK.astype(np.int16))) is CaseStatus.UNEXPECTED_LABELS
    assert status_of(write_mask(tmp_path / "h.nii.gz", MASK.astype(np.uint16) * 257)) is CaseStatus.UNEXPECTED_LABELS
    assert status_of(write_mask(tmp_path / "f.nii.gz", MASK * np.float32(1e20))) is CaseStatus.UNEXPECTED_LABELS


def test_two_labels_are_allowed_where_a_case_has_two(tmp_path):
    path = write_mask(tmp_path / "b.nii.gz", MASK.astype(np.uint8) * 2)
    assert read_label_map(path, (1, 2)).array.max() == 2
    assert status_of(path, (1,)) is CaseStatus.UNEXPECTED_LABELS


def test_files_that_are_no_label_map_are_unreadable(tmp_path):
    whole = write_mask(tmp_path / "whole.nii.gz", np.random.default_rng(0).integers(0, 2, (20, 20, 20)).astype(bool))
    content = whole.read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.nii.gz").write_text("no image at all")
    (tmp_path / "zero.nii.gz").write_bytes(b"")
    (tmp_path / "gzipped.nii.gz").write_bytes(gzip.compress(b"no image either"))
    for name in ("cut", "text", "zero", "gzipped", "absent"):
        assert status_of(tmp_path / f"{name}.nii.gz") is CaseStatus.UNREADABLE, name
    colour = sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), dtype=np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.nii.gz"))
    assert status_of(tmp_path / "colour.nii.gz") is CaseStatus.UNREADABLE
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4), dtype=np.uint8)), str(tmp_path / "flat.mha"))
    assert status_of(tmp_path / "flat.mha") is CaseStatus.UNREADABLE


@pytest.mark.parametrize(("change", "fits"), [
    ({"origin_mm": (-40.0, 12.5, 300.009)}, True),
    ({"origin_mm": (-40.0, 12.5, 300.02)}, False),
    # Over 7 slices, 0.001 mm a slice stay within 0.01 mm at the far corner, 0.01 mm do not.
    ({"spacing_mm_xyz": (0.8, 0.8, 1.501)}, True),
    ({"spacing_mm_xyz": (0.8, 0.8, 1.51)}, False),
    ({"direction": RIGHT_TO_LEFT}, False),
])
def test_grids_are_compared_at_their_corners_to_a_hundredth_of_a_millimetre(tmp_path, change, fits):
    reference = read_label_map(write_mask(tmp_path / "r.mha", MASK), (1,))
    prediction = read_label_map(write_mask(tmp_path / "p.mha", MASK, **change), (1,))
    if fits:
        check_same_grid(reference, prediction)
        return
    with pytest.raises(MaskError, match="mm apart") as caught:
        check_same_grid(reference, prediction)
    assert caught.value.status is CaseStatus.GEOMETRY_MISMATCH


def test_another_size_is_another_grid(tmp_path):
    reference = read_label_map(write_mask(tmp_path / "r.mha", MASK), (1,))
    prediction = read_label_map(write_mask(tmp_path / "p.mha", MASK[:-1]), (1,))
    with pytest.raises(MaskError, match="8 x 7 x 5"):
        check_same_grid(reference, prediction)


def test_masks_are_found_by_case_and_other_files_passed_over(tmp_path):
    for name in ("a.nii.gz", "a.mha", "b.NRRD", "c.seg.nrrd", ".partial-x.nii.gz", "dataset.json", "notes"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.nii.gz").mkdir()
    found = find_masks(tmp_path)
    assert {case: [path.name for path in paths] for case, paths in found.items()} == {
        "a": ["a.mha", "a.nii.gz"], "b": ["b.NRRD"], "c": ["c.seg.nrrd"]}


def test_a_real_label_map_stored_with_other_axes_comes_out_in_lps():
    path = real_data("hip_labels", "a84.nii.gz")
    label_map = read_label_map(path, range(1, 6))
    assert label_map.grid.direction_matrix.diagonal() == pytest.approx((1, 1, 1))
    # Label 1 is the right femur: in LPS, x grows to the Left, so it lies at smaller x than label 2.
    x_right, x_left = (np.argwhere(label_map.array == label)[:, 2].mean() for label in (1, 2))
    assert x_right < x_left
    # The sacrum lies above the femora.
    assert np.argwhere(label_map.array == 5)[:, 0].mean() > np.argwhere(label_map.array == 1)[:, 0].mean()
