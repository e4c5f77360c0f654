"""A case's scan, reference and prediction on one grid, for tables that look at intensities inside of masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_evaluation import CaseJob, labels_of_case, read_only_file
from femur_nnunet.evaluation.common_grid import on_common_grid
from femur_nnunet.evaluation.mask_reading import LabelMap, MaskError
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, read_raw_image
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.volume import Grid

_NAME_ENDS = tuple(f"{channel}{suffix}" for channel in ("_0000", "") for suffix in IMAGE_SUFFIXES)
SOURCES = ("reference", "prediction")


class ScanProblem(str, Enum):
    """Why a scan cannot be used."""

    MISSING = "image_missing"
    UNREADABLE = "image_unreadable"
    GEOMETRY_MISMATCH = "image_geometry_mismatch"


class ScanError(Exception):
    """A scan that cannot be used: why, and what was found."""

    def __init__(self, problem: ScanProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


@dataclass
class CaseScan:
    """What could be read of a case; arrays are ``(z, y, x)`` in LPS.

    Attributes
    ----------
    masks : dict
        Label map by source, ``reference`` and ``prediction``; one that cannot be used is left out.
    image_hu : ndarray, optional
        The scan on the grid of the masks, as stored; it may hold NaN.
    problem : ScanProblem, optional
        Why there is no scan.
    detail : str
        What was found then.
    """

    masks: dict[str, LabelMap] = field(default_factory=dict)
    image_hu: NDArray[np.number] | None = None
    problem: ScanProblem | None = None
    detail: str = ""


def read_case_scan(job: CaseJob, images: Path) -> CaseScan:
    """Read the masks and the scan of a case; what is wrong with a file leaves it out.

    A scan must lie on the grid of the masks. A DICOM Segmentation, which may have left out empty slices, is put back
    into the scan's grid.

    Parameters
    ----------
    job : CaseJob
        The case, with its row of scans.tsv.
    images : Path
        Folder of scans.
    """
    found = CaseScan(_read_masks(job))
    if not found.masks:
        return found
    try:
        array, grid = read_scan(images, job.case_id)
        template = LabelMap(np.broadcast_to(np.uint8(0), array.shape), grid)
        found.masks = {source: _on_grid_of_scan(template, mask) for source, mask in found.masks.items()}
        found.image_hu = array
    except ScanError as error:
        found.problem, found.detail = error.problem, error.detail
    return found


def read_scan(images: Path, case_id: str) -> tuple[NDArray[np.number], Grid]:
    """Return the scan (z, y, x) of a case, turned to LPS, and its grid.

    Raises
    ------
    ScanError
        There is none, or it cannot be read.
    """
    path = next((path for path in (images / f"{case_id}{end}" for end in _NAME_ENDS) if path.is_file()), None)
    if path is None:
        raise ScanError(ScanProblem.MISSING, f"no {case_id}_0000.nii.gz")
    try:
        array, grid, _ = read_raw_image(path)
    except FemurError as error:
        raise ScanError(ScanProblem.UNREADABLE, error.found) from None
    except OSError as error:
        raise ScanError(ScanProblem.UNREADABLE, f"a file that the system cannot read (error {error.errno})") from None
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise ScanError(ScanProblem.UNREADABLE, f"voxels of type {array.dtype}")
    mapping = best_axis_mapping(grid.direction_matrix)
    return np.asarray(mapping.apply(array)), mapping.apply_to_grid(grid)


def _read_masks(job: CaseJob) -> dict[str, LabelMap]:
    if job.record is None:
        return {}
    masks: dict[str, LabelMap] = {}
    for source, paths in zip(SOURCES, (job.references, job.predictions), strict=True):
        try:
            if paths:
                masks[source] = read_only_file(paths, labels_of_case(job.record))
        except MaskError:
            # cases.csv says what is wrong with it.
            continue
    try:
        if len(masks) == len(SOURCES):
            masks["reference"], masks["prediction"] = on_common_grid(masks["reference"], masks["prediction"])
    except MaskError:
        del masks["prediction"]
    return masks


def _on_grid_of_scan(template: LabelMap, mask: LabelMap) -> LabelMap:
    try:
        return on_common_grid(template, mask)[1]
    except MaskError as error:
        raise ScanError(ScanProblem.GEOMETRY_MISMATCH, f"masks on another grid than the scan: {error.detail}") from None
