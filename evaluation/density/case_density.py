"""Measuring one case, from its files to its rows of density.csv; made to run in a worker process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from femur_nnunet.calibration.units import DensityCalibration, as_density_unit
from femur_nnunet.cohort import ScanRecord
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_evaluation import CaseJob, labels_of_case
from femur_nnunet.evaluation.density.density_row import DensityRow, MaskSource
from femur_nnunet.evaluation.density.density_status import DensityStatus, gravest
from femur_nnunet.evaluation.density.measurement import measure_density
from femur_nnunet.evaluation.mask_reading import (
    GEOMETRY_TOLERANCE_MM,
    MASK_SUFFIXES,
    LabelMap,
    MaskError,
    check_same_grid,
    read_label_map,
)
from femur_nnunet.landmarks.femur_landmarks import SideName
from femur_nnunet.regions import Region
from femur_nnunet.volume_io.image_files import read_raw_image
from femur_nnunet.volume_io.masks import place_on_grid
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.volume import Volume

# nnU-Net's name of the first channel.
_CHANNEL = "_0000"


@dataclass(frozen=True)
class DensityJob:
    """What is needed to measure one case.

    Attributes
    ----------
    case : CaseJob
        Its masks and its row of scans.tsv.
    images : sequence of Path
        Its image files; none or several are statuses.
    """

    case: CaseJob
    images: Sequence[Path]


def measure_case(job: DensityJob) -> list[DensityRow]:
    """Return the rows of a case: five for each mask and side.

    Nothing that is wrong with a file raises: it becomes the rows' status.
    """
    record = job.case.record
    if record is None:
        return []
    sides = labels_of_case(record)
    image = _read_image(job.images)
    files: tuple[tuple[MaskSource, Sequence[Path]], ...] = (
        ("reference", job.case.references), ("prediction", job.case.predictions))
    rows = []
    for source, paths in files:
        mask = image if isinstance(image, DensityStatus) else _read_mask(paths, sides, image)
        for label, side in sides.items():
            if isinstance(image, DensityStatus):
                measured = _without_values(image)
            elif isinstance(mask, DensityStatus):
                measured = _without_values(mask)
            else:
                measured = _measure(image, mask, label, record, side)
            rows += [replace(row, case_id=job.case.case_id, source=source, arm=job.case.arm, side=side)
                     for row in measured]
    return rows


def _measure(image: Volume, mask: LabelMap, label: int, record: ScanRecord, side: str) -> list[DensityRow]:
    inside = mask.mask_of(label)
    if not inside.any():
        return _without_values(DensityStatus.NO_MASK)
    calibration, doubt = calibration_of(record)
    rows = measure_density(image.array, inside, mask.spacing_mm_zyx, side=side_shown(record, side),
                           calibration=calibration)
    return [replace(row, status=gravest(row.status, doubt)) for row in rows]


def _without_values(status: DensityStatus) -> list[DensityRow]:
    return [DensityRow("", "reference", region, None, status=status) for region in Region]


def side_shown(record: ScanRecord, side: str) -> SideName:
    """Return which femur the image shows: a flipped right hip looks like a left one."""
    return "left" if side == "left" or record.laterality_flipped else "right"


def calibration_of(record: ScanRecord) -> tuple[DensityCalibration | None, DensityStatus]:
    """Return the calibration of a scan, and what is wrong with it (``ok`` also where there is none)."""
    unit = as_density_unit(record.density_unit)
    if unit is None or record.density_slope is None or record.density_intercept is None:
        return None, DensityStatus.OK
    try:
        return DensityCalibration(unit, record.density_slope, record.density_intercept), DensityStatus.OK
    except ValueError:
        return None, DensityStatus.CALIBRATION_IMPLAUSIBLE


def find_images(folder: Path) -> dict[str, list[Path]]:
    """Return the images of a folder by case id: ``<case_id>_0000.nii.gz``, or without the channel."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        suffix = max((one for one in MASK_SUFFIXES if path.name.lower().endswith(one)), key=len, default="")
        if suffix and path.is_file() and not path.name.startswith("."):
            found.setdefault(path.name[:-len(suffix)].removesuffix(_CHANNEL), []).append(path)
    return found


def _read_image(paths: Sequence[Path]) -> Volume | DensityStatus:
    """Return the image in LPS on its grid, or why there is none."""
    if len(paths) != 1:
        return DensityStatus.IMAGE_UNREADABLE if paths else DensityStatus.IMAGE_MISSING
    try:
        array, grid, _ = read_raw_image(paths[0])
    except (FemurError, OSError):
        return DensityStatus.IMAGE_UNREADABLE
    if array.ndim != 3 or not np.issubdtype(array.dtype, np.number):
        return DensityStatus.IMAGE_UNREADABLE
    mapping = best_axis_mapping(grid.direction_matrix)
    return Volume(mapping.apply(array), mapping.apply_to_grid(grid))


def _read_mask(paths: Sequence[Path], labels: Mapping[int, str], image: Volume) -> LabelMap | DensityStatus:
    """Return a mask on the image's grid, or why there is none; what is wrong with it stands in cases.csv."""
    if len(paths) != 1:
        return DensityStatus.NO_MASK
    try:
        mask = read_label_map(paths[0], labels)
    except MaskError:
        return DensityStatus.NO_MASK
    try:
        if not mask.may_be_part:
            check_same_grid(LabelMap(mask.array, image.grid), mask)
            return mask
        placed = place_on_grid(mask.array.astype(np.uint8, copy=False), mask.grid, image.grid,
                               tolerance_mm=GEOMETRY_TOLERANCE_MM, may_cover_part=True)
    except (MaskError, FemurError):
        return DensityStatus.IMAGE_GEOMETRY_MISMATCH
    return replace(mask, array=placed, grid=image.grid)
