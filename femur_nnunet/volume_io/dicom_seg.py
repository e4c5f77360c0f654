"""Reading DICOM Segmentation objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io.dicom_headers import PARSE_ERRORS, quiet_pydicom, read_dataset
from femur_nnunet.volume_io.slice_positions import SlicePositions
from femur_nnunet.volume_io.volume import Grid

# How far a frame may lie from the slice that it belongs to: slices that slide by less than 0.1 mm count as straight.
FRAME_TOLERANCE_MM = 0.15


def read_dicom_seg(path: Path, *, subject: str = "") -> tuple[NDArray[np.generic], Grid]:
    """Read a DICOM Segmentation as one label map; the label value is the segment's number.

    Parameters
    ----------
    path : Path
        The file.
    subject : str, optional
        What errors are about.

    Returns
    -------
    values : ndarray
        Shape ``(k, j, i)`` of the grid; fractional segmentations keep their fractions.
    grid : Grid
        The grid of the planes that the object holds, which may be fewer than the image's.

    Raises
    ------
    FemurError
        Damaged object, overlapping segments, or planes that make no volume.
    """
    # highdicom is slow to import and only masks of this one kind need it.
    import highdicom

    dataset = _read_counted(path, subject)
    try:
        with quiet_pydicom():
            segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
            volume = segmentation.get_volume(combine_segments=True, rescale_fractional=True)
    # The library's own text may quote attributes of the file, so only the kind of failure is told.
    except (*PARSE_ERRORS, RuntimeError) as error:
        raise_machine_failure(error, subject)
        raise FemurError(f"a DICOM Segmentation that cannot be read as one label map ({type(error).__name__}: damaged, "
                         "overlapping segments, or planes that make no volume)",
                         expected="a segmentation of the image's planes without overlap",
                         action="export it again, or as NIfTI", subject=subject) from None
    return np.asarray(volume.array), _grid(np.asarray(volume.affine, dtype=np.float64), volume.array.shape)


def read_dicom_seg_slices(path: Path, slices: SlicePositions, *, subject: str = "") -> NDArray[np.generic]:
    """Read a DICOM Segmentation frame by frame onto the slices of a series that makes no regular grid.

    Parameters
    ----------
    path : Path
        The file.
    slices : SlicePositions
        Where the series' slices lie.
    subject : str, optional
        What errors are about.

    Returns
    -------
    ndarray
        Shape ``slices.stack_shape``; slices without a frame are 0.

    Raises
    ------
    FemurError
        Damaged object, frames that lie on no slice, or segments that overlap.
    """
    labels: NDArray[np.int32] = np.zeros(slices.stack_shape, dtype=np.int32)
    dataset = _read_counted(path, subject)
    origins = np.stack([slices.plane_origin_mm(index) for index in range(len(slices.along_mm))])
    try:
        with quiet_pydicom():
            frames = np.asarray(dataset.pixel_array).reshape(-1, dataset.Rows, dataset.Columns)
            kind = str(dataset.SegmentationType)
            full = int(dataset.MaximumFractionalValue) if kind == "FRACTIONAL" else 1
            shared = dataset.SharedFunctionalGroupsSequence[0]
            placed = []
            for group in dataset.PerFrameFunctionalGroupsSequence:
                position = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
                turned = (group if "PlaneOrientationSequence" in group else shared).PlaneOrientationSequence[0]
                number = 0 if kind == "LABELMAP" else int(
                    group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
                placed.append((position, np.asarray(turned.ImageOrientationPatient, dtype=np.float64), number))
    except PARSE_ERRORS as error:
        raise _unreadable(error, subject) from None
    expected_axes = slices.grid.direction_matrix[:, :2].T.ravel()
    for frame, (position, axes, number) in zip(frames, placed, strict=True):
        distances = np.linalg.norm(origins - position, axis=1)
        index = int(np.argmin(distances))
        fits = frame.shape == labels.shape[1:] and np.abs(axes - expected_axes).max() < 1e-3
        if not fits or not distances[index] <= FRAME_TOLERANCE_MM:
            raise FemurError(f"a frame of a DICOM Segmentation that is {distances[index]:.2f} mm away from the nearest "
                             "slice, or turned or sized otherwise", expected="frames on the series' own slices",
                             action="export the segmentation for this very series", subject=subject)
        if number and not np.isin(frame, (0, full)).all():
            raise FemurError("a fractional DICOM Segmentation", expected="whole voxels, as of a label map",
                             action="export it as a binary segmentation", subject=subject)
        values = frame.astype(np.int32) if number == 0 else np.where(frame == full, number, 0)
        if np.any((labels[index] != 0) & (values != 0)):
            raise FemurError("segments of a DICOM Segmentation that overlap", expected="one label a voxel",
                             action="export the femur alone", subject=subject)
        labels[index] += values
    return labels


def _read_counted(path: Path, subject: str) -> pydicom.Dataset:
    """Read an object whose frames and their descriptions match: else a frame would be lost, or lie elsewhere."""
    try:
        with quiet_pydicom():
            dataset = read_dataset(path, force=True)
            n_frames = int(dataset.get("NumberOfFrames") or 1)
            n_described = len(dataset.PerFrameFunctionalGroupsSequence)
            needed = (int(dataset.Rows) * int(dataset.Columns) * n_frames * int(dataset.BitsAllocated) + 7) // 8
            # Compressed pixels have no length of their own; the decoder counts their frames.
            spare = 0 if dataset.file_meta.TransferSyntaxUID.is_encapsulated else len(dataset.PixelData) - needed
    except PARSE_ERRORS as error:
        raise _unreadable(error, subject) from None
    # One byte makes the length even.
    if n_frames == n_described and spare <= 1:
        return dataset
    beyond = f" and {spare} bytes of pixels beyond them" if spare > 1 else ""
    raise FemurError(f"a DICOM Segmentation of {n_frames} frames with {n_described} descriptions{beyond}",
                     expected="as many descriptions as frames, and their pixels alone",
                     action="export it again, or as NIfTI", subject=subject)


def _unreadable(error: Exception, subject: str) -> FemurError:
    raise_machine_failure(error, subject)
    return FemurError(f"a DICOM Segmentation that cannot be read ({type(error).__name__})", expected="a sound one",
                      action="export it again, or as NIfTI", subject=subject)


def _grid(affine_kji: NDArray[np.float64], shape_kji: tuple[int, ...]) -> Grid:
    """Return the grid of an affine whose columns belong to slices, rows and columns, in that order (LPS)."""
    steps = affine_kji[:3, 2::-1]
    spacing = np.linalg.norm(steps, axis=0)
    origin = affine_kji[:3, 3]
    return Grid(size_ijk=(shape_kji[2], shape_kji[1], shape_kji[0]),
                spacing_mm_ijk=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
                origin_mm_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
                direction=tuple(float(value) + 0.0 for value in (steps / spacing).ravel()))
