"""DICOM Segmentations, written by highdicom, land on the grid of the CT that they reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_factory import write_ct_series
from dicom_seg_factory import write_seg

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.masks import read_mask
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.slice_positions import SlicePositions

SHAPE = (7, 8, 16)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    stored = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.uint16)
    write_ct_series(tmp_path / "ct", stored)
    return tmp_path / "ct"


def labels() -> np.ndarray:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[2:5, 1:4, 9:14] = 1
    values[3:6, 4:7, 2:6] = 2
    return values


@pytest.mark.parametrize("omit_empty", [False, True], ids=["all slices", "only slices with labels"])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_segmentation_lies_on_its_images_grid(tmp_path: Path, scan: Path, omit_empty: bool, backwards: bool) -> None:
    path = write_seg(tmp_path / "seg" / "mask.dcm", scan, labels(), omit_empty=omit_empty, backwards=backwards)
    grid = read_volume(scan).grid

    for where in (path, path.parent):
        np.testing.assert_array_equal(read_mask(where, grid), labels())


def test_a_fractional_segmentation_of_whole_values_is_read_and_other_fractions_are_refused(
        tmp_path: Path, scan: Path) -> None:
    grid = read_volume(scan).grid
    one = (labels() == 1).astype(np.float32)
    stacked = np.stack([one, (labels() == 2).astype(np.float32)], axis=-1)
    whole = write_seg(tmp_path / "whole.dcm", scan, stacked, kind="FRACTIONAL")
    half = write_seg(tmp_path / "half.dcm", scan, stacked * 0.5, kind="FRACTIONAL")

    np.testing.assert_array_equal(read_mask(whole, grid), labels())
    with pytest.raises(FemurError):
        read_mask(half, grid)


def test_a_segmentation_of_another_scan_is_refused(tmp_path: Path, scan: Path) -> None:
    path = write_seg(tmp_path / "mask.dcm", scan, labels())
    write_ct_series(tmp_path / "other", np.zeros(SHAPE, dtype=np.uint16), origin_mm=(0.0, 0.0, 100.0), series=2)

    with pytest.raises(FemurError, match="row 6: found a mask on another grid"):
        read_mask(path, read_volume(tmp_path / "other").grid, subject="row 6")


def test_overlapping_segments_are_refused(tmp_path: Path, scan: Path) -> None:
    both = np.stack([labels() > 0, labels() == 2], axis=-1).astype(np.uint8)
    path = write_seg(tmp_path / "mask.dcm", scan, both)

    with pytest.raises(FemurError, match="overlapping segments"):
        read_mask(path, read_volume(scan).grid)


def test_a_truncated_segmentation_is_refused(tmp_path: Path, scan: Path) -> None:
    path = write_seg(tmp_path / "mask.dcm", scan, labels())
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(FemurError, match="a DICOM Segmentation that cannot be read"):
        read_mask(path, read_volume(scan).grid)


def test_a_ct_in_place_of_a_segmentation_is_refused(scan: Path) -> None:
    with pytest.raises(FemurError, match="a DICOM file of modality CT as a mask"):
        read_mask(next(scan.iterdir()), read_volume(scan).grid)


def test_two_masks_in_one_folder_are_refused(tmp_path: Path, scan: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        write_seg(tmp_path / "seg" / name, scan, labels())

    with pytest.raises(FemurError, match="2 DICOM-SEG or RTSTRUCT files"):
        read_mask(tmp_path / "seg", read_volume(scan).grid)


@pytest.mark.parametrize("resampled", [False, True], ids=["regular grid", "slice by slice"])
@pytest.mark.parametrize(("what", "told"), [
    ("a description lacks", "of 6 frames with 5 descriptions; expected"),
    ("a description too many", "of 6 frames with 7 descriptions; expected"),
    ("a frame is not counted", "of 5 frames with 6 descriptions and 16 bytes of pixels beyond them")])
def test_frames_and_descriptions_of_different_numbers_are_refused(tmp_path: Path, scan: Path, what: str, told: str,
                                                                  resampled: bool) -> None:
    path = write_seg(tmp_path / "mask.dcm", scan, labels())
    dataset = pydicom.dcmread(path)
    assert (dataset.NumberOfFrames, len(dataset.PerFrameFunctionalGroupsSequence)) == (6, 6)
    groups = dataset.PerFrameFunctionalGroupsSequence
    if what == "a description lacks":
        del groups[-1]
    elif what == "a description too many":
        groups.append(groups[-1])
    else:
        dataset.NumberOfFrames = 5
    dataset.save_as(path)
    volume = read_volume(scan)
    straight = SlicePositions(tuple(2.5 * k for k in range(7)), ((0.0, 0.0),) * 7, (16, 8), (0, 0), volume.grid)

    with pytest.raises(FemurError, match=told):
        read_mask(path, volume.grid, slices=straight if resampled else None)
