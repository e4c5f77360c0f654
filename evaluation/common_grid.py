"""Bringing a reference and a prediction onto one grid, by moving indices, never by resampling.

Masks stored as images must lie on one grid as they are. A DICOM Segmentation may leave out slices without a label:
it is put back into the other mask's grid, or, where both are such, into the slices that the two cover together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.mask_reading import GEOMETRY_TOLERANCE_MM, LabelMap, MaskError, check_same_grid
from femur_nnunet.volume_io.masks import place_on_grid
from femur_nnunet.volume_io.volume import Grid

LONGEST_SCAN_MM = 2000.0
"""Two segmentations that together cover more than this along an axis are not of one scan."""


def on_common_grid(reference: LabelMap, prediction: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Return both masks on one grid.

    Raises
    ------
    MaskError
        With status ``geometry_mismatch``: their voxels do not coincide to 0.01 mm.
    """
    if not (reference.may_be_part or prediction.may_be_part):
        check_same_grid(reference, prediction)
        return reference, prediction
    grid = prediction.grid if reference.may_be_part else reference.grid
    if reference.may_be_part and prediction.may_be_part:
        grid = _covering_both(reference.grid, prediction.grid)
    return _placed(reference, grid), _placed(prediction, grid)


def _placed(label_map: LabelMap, grid: Grid) -> LabelMap:
    try:
        array = place_on_grid(label_map.array.astype(np.uint8, copy=False), label_map.grid, grid,
                              tolerance_mm=GEOMETRY_TOLERANCE_MM, may_cover_part=label_map.may_be_part)
    except FemurError as error:
        raise MaskError(CaseStatus.GEOMETRY_MISMATCH, error.found) from None
    return replace(label_map, array=array, grid=grid)


def _covering_both(first: Grid, second: Grid) -> Grid:
    """Return the first grid, made larger so that it holds the slices of the second too."""
    spacing_mm = np.asarray(first.spacing_mm_ijk)
    shift_mm = np.asarray(second.origin_mm_lps) - np.asarray(first.origin_mm_lps)
    starts = np.rint(first.direction_matrix.T @ shift_mm / spacing_mm).astype(int)
    lows = np.minimum(starts, 0)
    highs = np.maximum(starts + second.size_ijk, first.size_ijk)
    extent_mm = float(((highs - lows) * spacing_mm).max())
    if extent_mm > LONGEST_SCAN_MM:
        raise MaskError(CaseStatus.GEOMETRY_MISMATCH, f"two segmentations that together cover {extent_mm:.0f} mm")
    i, j, k = (int(low) for low in lows)
    size_i, size_j, size_k = (int(size) for size in highs - lows)
    origin = first.world_mm_lps((i, j, k))
    return Grid((size_i, size_j, size_k), first.spacing_mm_ijk,
                (float(origin[0]), float(origin[1]), float(origin[2])), first.direction)
