"""A written DICOM Segmentation, read by highdicom, by SimpleITK, and attribute by attribute."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io import read_mask, read_volume
from femur_nnunet.volume_io.dicom_seg_writing import SegmentLabel, write_dicom_seg
from femur_nnunet.volume_io.dicom_series import series_geometry

LABELS = {1: SegmentLabel("Left femur", "left"), 2: SegmentLabel("Right femur", "right")}


@pytest.fixture
def series(tmp_path):
    stored = np.random.default_rng(1).integers(0, 2000, (6, 10, 12)).astype(np.uint16)
    # Instance numbers run against the normal, as caudal scans are numbered: order is by position.
    write_ct_series(tmp_path / "ct", stored,
                    change=lambda dataset, index: setattr(dataset, "InstanceNumber", 9 - index))
    return tmp_path / "ct"


def femora():
    mask = np.zeros((6, 10, 12), dtype=np.uint8)
    mask[1:5, 2:6, 7:11], mask[2:4, 3:7, 1:4] = 1, 2
    mask[0, 0, 11] = 1
    return mask


def written(series, path, mask):
    write_dicom_seg(path, mask, series_geometry(series).planes, LABELS, algorithm_name="demo")
    return path


def test_three_readers_find_every_voxel_where_it_was(series, tmp_path):
    mask, volume = femora(), read_volume(series)
    path = written(series, tmp_path / "seg.dcm", mask)
    np.testing.assert_array_equal(read_mask(path, volume.grid), mask)
    # highdicom, one segment after the other, by the source's own instances.
    segmentation = hd.seg.segread(path)
    sources = {pydicom.dcmread(file).SOPInstanceUID: pydicom.dcmread(file) for file in series.iterdir()}
    ordered = sorted(sources.values(), key=lambda dataset: dataset.ImagePositionPatient[2])
    by_source = segmentation.get_pixels_by_source_instance(
        [dataset.SOPInstanceUID for dataset in ordered], assert_missing_frames_are_empty=True)
    for channel, value in enumerate((1, 2)):
        np.testing.assert_array_equal(by_source[..., channel], mask == value)
    # SimpleITK knows nothing of segments: a stack of frames in the file's order.
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    numbers = [int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
               for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence]
    for value in (1, 2):
        chosen = [frame > 0 for frame, number in zip(frames, numbers, strict=True) if number == value]
        assert sum(frame.sum() for frame in chosen) == (mask == value).sum()


def test_it_belongs_to_the_patient_and_refers_to_the_series(series, tmp_path):
    dataset = pydicom.dcmread(written(series, tmp_path / "seg.dcm", femora()))
    source = pydicom.dcmread(next(series.iterdir()))
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[name].value == source[name].value
    assert dataset.Modality == "SEG"
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    left, right = dataset.SegmentSequence
    assert (left.SegmentLabel, right.SegmentLabel) == ("Left femur", "Right femur")
    kind = left.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("71341001", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert left.SegmentAlgorithmType == "AUTOMATIC"


def test_a_single_right_femur_is_segment_one_and_says_right(series, tmp_path):
    mask = np.where(femora() == 2, 2, 0).astype(np.uint8)
    dataset = pydicom.dcmread(written(series, tmp_path / "seg.dcm", mask))
    assert [(item.SegmentNumber, item.SegmentLabel) for item in dataset.SegmentSequence] == [(1, "Right femur")]


def test_an_empty_mask_and_one_of_another_size_are_refused(series, tmp_path):
    with pytest.raises(FemurError, match="empty mask"):
        written(series, tmp_path / "seg.dcm", np.zeros((6, 10, 12), np.uint8))
    with pytest.raises(FemurError, match="6 planes for a mask of 5"):
        written(series, tmp_path / "seg.dcm", femora()[:5])
    assert not (tmp_path / "seg.dcm").exists()
