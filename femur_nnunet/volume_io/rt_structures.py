"""Filling the contours of a DICOM RT Structure Set on the grid of their image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from skimage.measure import grid_points_in_poly

from femur_nnunet.errors import FemurError
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io.dicom_headers import PARSE_ERRORS, quiet_pydicom, read_dataset
from femur_nnunet.volume_io.slice_positions import SlicePositions
from femur_nnunet.volume_io.volume import Grid

# A contour may leave its image slice by this fraction of the slice spacing.
PLANE_TOLERANCE_SLICES = 0.1
LARGEST_LABEL = 255


def read_rt_structures(path: Path, grid: Grid, *, subject: str = "",
                       slices: SlicePositions | None = None) -> NDArray[np.uint8]:
    """Fill every closed planar contour; the label value is the ROI's number.

    A voxel belongs to a ROI if its centre lies inside an odd number of the ROI's contours on its slice, so that
    a contour within a contour is a hole.

    Parameters
    ----------
    path : Path
        The file.
    grid : Grid
        The image's own grid; every contour must lie in one of its k planes.
    subject : str, optional
        What errors are about.
    slices : SlicePositions, optional
        Where the source's slices lay, if the image was resampled; contours are then filled on them, and the
        result follows the image by nearest neighbour.

    Returns
    -------
    ndarray of uint8
        Shape ``(k, j, i)`` of ``grid``.

    Raises
    ------
    FemurError
        Damaged object, contours between or outside the slices, overlapping ROIs, no contour at all.
    """
    try:
        with quiet_pydicom():
            contours = _contours(read_dataset(path, force=True))
    except PARSE_ERRORS as error:
        raise_machine_failure(error, subject)
        raise FemurError(f"a damaged RT Structure Set ({type(error).__name__})", expected="a sound one",
                         action="export it again, or as NIfTI", subject=subject) from None
    if not contours:
        raise FemurError("an RT Structure Set without closed planar contours", expected="contours of the femur",
                         action="export the structure again", subject=subject)
    labels = np.zeros(grid.shape_kji if slices is None else slices.stack_shape, dtype=np.uint8)
    for number in sorted({number for number, _ in contours}):
        if not 0 < number <= LARGEST_LABEL:
            raise FemurError(f"the ROI number {number}", expected=f"numbers from 1 to {LARGEST_LABEL}",
                             action="export the femur alone", subject=subject)
        inside = np.zeros(labels.shape, dtype=bool)
        for points_mm in (points for owner, points in contours if owner == number):
            _fill(inside, _indices(points_mm, grid, slices), subject)
        overlap = int(np.count_nonzero(labels[inside]))
        if overlap:
            raise FemurError(f"{overlap} voxel(s) inside two ROIs of an RT Structure Set",
                             expected="ROIs that do not overlap", action="export the femur alone", subject=subject)
        labels[inside] = number
    return labels if slices is None else slices.resample_nearest(labels)


def _contours(dataset: pydicom.Dataset) -> list[tuple[int, NDArray[np.float64]]]:
    """Return ROI number and points (n, 3) in LPS mm of every closed planar contour."""
    return [(int(roi.ReferencedROINumber), np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3))
            for roi in dataset.ROIContourSequence for contour in roi.get("ContourSequence") or []
            if str(contour.get("ContourGeometricType")).startswith("CLOSED_PLANAR")]


def _indices(points_mm: NDArray[np.float64], grid: Grid, slices: SlicePositions | None) -> NDArray[np.float64]:
    """Return the (i, j, k) indices of points on the grid, or on the slices that it was resampled from."""
    spacing = np.asarray(grid.spacing_mm_ijk)
    indices = np.asarray((points_mm - np.asarray(grid.origin_mm_lps)) @ grid.direction_matrix / spacing)
    if slices is None or not np.isfinite(indices).all():
        return indices
    along = np.asarray(slices.along_mm)
    k = np.abs(along - indices[:, 2].mean() * spacing[2]).argmin()
    # A contour's distance from its slice is counted in the finest gaps, which are the grid's spacing.
    indices[:, 2] += k - along[k] / spacing[2]
    indices[:, :2] -= np.asarray(slices.offset_ij) + np.asarray(slices.shift_ij[k])
    return indices


def _fill(inside: NDArray[np.bool_], indices: NDArray[np.float64], subject: str) -> None:
    """Toggle the voxels within one contour."""
    k = round(float(indices[:, 2].mean())) if np.isfinite(indices).all() else -1
    off_slices = float(np.abs(indices[:, 2] - k).max())
    if not 0 <= k < inside.shape[0] or off_slices > PLANE_TOLERANCE_SLICES:
        raise FemurError("a contour that lies outside the image or between its slices",
                         expected=f"contours within {PLANE_TOLERANCE_SLICES} slice spacings of a slice",
                         action="export the structure for this very series", subject=subject)
    inside[k] ^= grid_points_in_poly(inside.shape[1:], indices[:, [1, 0]])
