"""Reading label masks of any format onto the grid of their image, by index mapping, never by resampling."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io.archives import ARCHIVE_SUFFIXES, on_disk
from femur_nnunet.volume_io.dicom_headers import PARSE_ERRORS, looks_like_dicom, read_dicom_file
from femur_nnunet.volume_io.dicom_seg import read_dicom_seg, read_dicom_seg_slices
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, image_suffix, read_raw_image
from femur_nnunet.volume_io.orientation import AxisMapping, best_axis_mapping
from femur_nnunet.volume_io.rt_structures import LARGEST_LABEL, read_rt_structures
from femur_nnunet.volume_io.slice_positions import SlicePositions
from femur_nnunet.volume_io.volume import Grid


def read_mask(path: Path, grid: Grid, *, subject: str = "", tolerance_mm: float = 0.01,
              slices: SlicePositions | None = None) -> NDArray[np.uint8]:
    """Read a mask and return its label values on the image's own grid.

    A mask whose axes are permuted or reversed against the image's is brought into the image's order exactly.
    A DICOM Segmentation may leave out empty slices at the ends; they are filled with 0.

    Parameters
    ----------
    path : Path
        A file (.nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr), a DICOM Segmentation or RT Structure Set (file, or folder with
        one of them), or an archive of one of these. For DICOM the label value is the segment's or the ROI's number.
    grid : Grid
        The image's own grid, as :func:`~femur_nnunet.volume_io.reading.read_volume` gives it.
    subject : str, optional
        What errors are about. Errors hold no names and no paths.
    tolerance_mm : float, optional
        How far a corner voxel of the mask may lie from the image's. NIfTI's 32-bit positions need about 1e-4 mm.
    slices : SlicePositions, optional
        ``volume.slices`` of an image that was resampled (uneven spacing, tilt). The mask may then lie on the
        image's new grid, or belong to the source's slices: with as many slices as the series and the first one in
        place, or by the positions of its frames or contours. It follows the image by nearest neighbour.

    Returns
    -------
    ndarray of uint8
        Shape ``(k, j, i)`` of ``grid``.

    Raises
    ------
    FemurError
        No or an unreadable mask, another geometry than the image's (the largest deviation is in the message), or
        label values that are not integers from 0 to 255.
    """
    try:
        with on_disk(path, subject=subject) as source:
            return _read(source, grid, subject, tolerance_mm, slices)
    except OSError as error:
        raise_machine_failure(error, subject)
        # The system's own text would hold the path.
        raise FemurError(f"a mask that the system cannot read (error {error.errno})", expected="readable files",
                         action="check permissions and the disk", subject=subject) from None


def _read(path: Path, grid: Grid, subject: str, tolerance_mm: float,
          slices: SlicePositions | None) -> NDArray[np.uint8]:
    modality: str | None
    if path.is_dir():
        file, modality = only_dicom_mask_in(path, subject=subject)
    elif not path.is_file():
        raise FemurError("no file or folder where the mask should be", expected="a mask file",
                         action="correct the mask column of the table, or leave it empty", subject=subject)
    else:
        file = path
        modality = None if image_suffix(path) else _dicom_modality(path, subject)
    if modality == "RTSTRUCT":
        return read_rt_structures(file, grid, subject=subject, slices=slices)
    if modality == "SEG" and slices is not None:
        return slices.resample_nearest(_label_values(read_dicom_seg_slices(file, slices, subject=subject), subject))
    if modality == "SEG":
        values, mask_grid = read_dicom_seg(file, subject=subject)
        return place_on_grid(_label_values(values, subject), mask_grid, grid, subject=subject,
                             tolerance_mm=tolerance_mm, may_cover_part=True)
    if modality is not None or image_suffix(file) is None:
        kinds = ", ".join((*IMAGE_SUFFIXES, *ARCHIVE_SUFFIXES))
        raise FemurError(f"a DICOM file of modality {modality} as a mask" if modality else "a mask of an unknown "
                         "kind", expected=f"one of {kinds}, DICOM-SEG or RTSTRUCT",
                         action="export the mask in one of these formats", subject=subject)
    values, mask_grid, _ = read_raw_image(file, subject=subject)
    labels = _label_values(values, subject)
    if slices is not None and (stack := _slice_by_slice(labels, mask_grid, slices, tolerance_mm)) is not None:
        return slices.resample_nearest(stack)
    return place_on_grid(labels, mask_grid, grid, subject=subject, tolerance_mm=tolerance_mm)


def _slice_by_slice(labels: NDArray[np.uint8], mask_grid: Grid, slices: SlicePositions,
                    tolerance_mm: float) -> NDArray[np.uint8] | None:
    """Return a mask of as many slices as the source has in the source's order, or None if it is no such mask.

    A regular grid cannot tell uneven positions, so only the first slice's corners are compared.
    """
    mapping = best_axis_mapping(slices.grid.direction_matrix.T @ mask_grid.direction_matrix)
    mapped = mapping.apply_to_grid(mask_grid)
    n_slices, n_rows, n_columns = slices.stack_shape
    if mapped.size_ijk != (n_columns, n_rows, n_slices):
        return None
    first = Grid((n_columns, n_rows, 1), slices.grid.spacing_mm_ijk,
                 _three_numbers(slices.plane_origin_mm(0)), slices.grid.direction)
    of_mask = Grid((n_columns, n_rows, 1), mapped.spacing_mm_ijk, mapped.origin_mm_lps, mapped.direction)
    deviation_mm = float(np.linalg.norm(of_mask.corners_mm_lps() - first.corners_mm_lps(), axis=1).max())
    return np.ascontiguousarray(mapping.apply(labels)) if deviation_mm <= tolerance_mm else None


def _three_numbers(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def place_on_grid(values: NDArray[np.uint8], mask_grid: Grid, grid: Grid, *, subject: str = "",
                  tolerance_mm: float = 0.01, may_cover_part: bool = False) -> NDArray[np.uint8]:
    """Bring label values from one grid onto another that has the same voxels, in any axis order.

    Parameters
    ----------
    values : ndarray of uint8
        Shape ``(k, j, i)`` of ``mask_grid``.
    mask_grid, grid : Grid
        Where the values lie, and where they are wanted.
    subject : str, optional
        What errors are about.
    tolerance_mm : float, optional
        Largest allowed distance between corner voxels of both grids.
    may_cover_part : bool, optional
        Whether the mask's grid may be a part of the image's; the rest becomes 0.

    Raises
    ------
    FemurError
        The grids do not have the same voxels.
    """
    mapping = best_axis_mapping(grid.direction_matrix.T @ mask_grid.direction_matrix)
    mapped = mapping.apply_to_grid(mask_grid)
    start_ijk, target = _part_of(grid, mapped) if may_cover_part else ((0, 0, 0), grid)
    deviation_mm = float(np.linalg.norm(mapped.corners_mm_lps() - target.corners_mm_lps(), axis=1).max())
    if mapped.size_ijk != target.size_ijk or not deviation_mm <= tolerance_mm:
        raise FemurError("a mask on another grid than its image "
                         f"({_differences(mapped, target, mapping, tolerance_mm)}; "
                         f"corner voxels differ by up to {deviation_mm:.3f} mm)",
                         expected=f"the image's grid, axes in any order, within {tolerance_mm:g} mm",
                         action="export the mask on the image's grid; masks are never resampled here", subject=subject)
    whole = np.zeros(grid.shape_kji, dtype=np.uint8)
    (i, j, k), (ni, nj, nk) = start_ijk, mapped.size_ijk
    whole[k:k + nk, j:j + nj, i:i + ni] = mapping.apply(values)
    return whole


def _part_of(grid: Grid, mapped: Grid) -> tuple[tuple[int, int, int], Grid]:
    """Return where a smaller grid begins within ``grid`` and that part of ``grid``; all of it if it fits nowhere."""
    shift_mm = np.asarray(mapped.origin_mm_lps) - np.asarray(grid.origin_mm_lps)
    i, j, k = (round(float(value)) for value in grid.direction_matrix.T @ shift_mm / np.asarray(grid.spacing_mm_ijk))
    if any(start < 0 or start + size > whole
           for start, size, whole in zip((i, j, k), mapped.size_ijk, grid.size_ijk, strict=True)):
        return (0, 0, 0), grid
    origin = grid.world_mm_lps((i, j, k))
    return (i, j, k), Grid(mapped.size_ijk, grid.spacing_mm_ijk,
                           _three_numbers(origin), grid.direction)


def _differences(mapped: Grid, grid: Grid, mapping: AxisMapping, tolerance_mm: float) -> str:
    """Name which parts of two grids differ, with their values."""
    parts = []
    if mapped.size_ijk != grid.size_ijk:
        parts.append(f"size {_times(mapped.size_ijk)} against {_times(grid.size_ijk)}")
    # What a spacing is wrong by adds up over the axis.
    across = [abs(a - b) * (n - 1) for a, b, n in zip(mapped.spacing_mm_ijk, grid.spacing_mm_ijk, grid.size_ijk,
                                                      strict=True)]
    if max(across) > tolerance_mm:
        parts.append(f"spacing {_times(mapped.spacing_mm_ijk)} against {_times(grid.spacing_mm_ijk)} mm")
    turn = np.clip((np.trace(grid.direction_matrix.T @ mapped.direction_matrix) - 1) / 2, -1, 1)
    if np.abs(mapped.direction_matrix - grid.direction_matrix).max() > 1e-4:
        parts.append(f"direction turned by {np.degrees(np.arccos(turn)):.2f} degrees")
    shift_mm = np.linalg.norm(np.asarray(mapped.origin_mm_lps) - np.asarray(grid.origin_mm_lps))
    if shift_mm > tolerance_mm:
        parts.append(f"origin apart by {shift_mm:.3f} mm")
    if mapping.permutation != (0, 1, 2):
        parts.append("after bringing the axes into the image's order")
    return ", ".join(parts) if parts else "small differences that add up"


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _label_values(values: NDArray[np.generic], subject: str) -> NDArray[np.uint8]:
    """Return the values as uint8, or refuse them."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if not np.issubdtype(values.dtype, np.integer):
        n_bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        if n_bad:
            raise FemurError(f"{n_bad} NaN or infinite voxel(s) in the mask", expected="integer label values",
                             action="export the mask again", subject=subject)
        n_fractional = int(np.count_nonzero(values != np.rint(values)))
        if n_fractional:
            raise FemurError(f"{n_fractional} mask voxel(s) with a fractional value", expected="integer label values",
                             action="export a label map, not probabilities or a resampled mask", subject=subject)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > LARGEST_LABEL:
        raise FemurError(f"mask values from {low:g} to {high:g}", expected=f"label values from 0 to {LARGEST_LABEL}",
                         action="export a label map (this may be the image itself)", subject=subject)
    return values.astype(np.uint8)


def only_dicom_mask_in(folder: Path, *, subject: str = "") -> tuple[Path, str]:
    """Return the one DICOM mask in a folder, searched to any depth, and its modality, ``SEG`` or ``RTSTRUCT``.

    Raises
    ------
    FemurError
        There is none, or more than one.
    """
    found = []
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            modality = _dicom_modality(Path(parent) / name, subject)
            if modality in ("SEG", "RTSTRUCT"):
                found.append((Path(parent) / name, modality))
    if len(found) != 1:
        raise FemurError(f"{len(found)} DICOM-SEG or RTSTRUCT files in the mask folder", expected="exactly one",
                         action="name the mask file itself", subject=subject)
    return found[0]


def _dicom_modality(path: Path, subject: str) -> str | None:
    """Return the modality of a DICOM file, or None for other or damaged files."""
    try:
        return read_dicom_file(path).modality if looks_like_dicom(path) else None
    except PARSE_ERRORS as error:
        raise_machine_failure(error, subject)
        return None
