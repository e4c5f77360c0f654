"""Measuring one case, from its files to its rows of density.csv; made to run in a worker process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from femur_nnunet.calibration.units import DensityCalibration, as_density_unit
from femur_nnunet.cohort import ScanRecord
from femur_nnunet.evaluation.case_evaluation import CaseJob, labels_of_case
from femur_nnunet.evaluation.case_scan import CaseScan, read_case_scan
from femur_nnunet.evaluation.density.density_row import DensityRow, MaskSource
from femur_nnunet.evaluation.density.density_status import DensityStatus, gravest
from femur_nnunet.evaluation.density.measurement import measure_density
from femur_nnunet.landmarks.femur_landmarks import SideName
from femur_nnunet.regions import Region

_SOURCES: tuple[MaskSource, ...] = ("reference", "prediction")


@dataclass(frozen=True)
class DensityJob:
    """A case with its row of scans.tsv, and the folder of scans."""

    case: CaseJob
    images: Path


def measure_case(job: DensityJob) -> list[DensityRow]:
    """Return the rows of a case: five for each mask and side.

    Nothing that is wrong with a file raises: it becomes the rows' status.
    """
    record = job.case.record
    if record is None:
        return []
    scan = read_case_scan(job.case, job.images)
    return [replace(row, case_id=job.case.case_id, source=source, arm=job.case.arm, side=side)
            for source in _SOURCES for label, side in labels_of_case(record).items()
            for row in _measure(scan, source, label, record, side)]


def _measure(scan: CaseScan, source: str, label: int, record: ScanRecord, side: str) -> list[DensityRow]:
    label_map = scan.masks.get(source)
    mask = None if label_map is None else label_map.mask_of(label)
    if label_map is None or mask is None or not mask.any():
        return _without_values(DensityStatus.NO_MASK)
    if scan.image_hu is None:
        return _without_values(DensityStatus(scan.problem.value) if scan.problem else DensityStatus.IMAGE_MISSING)
    calibration, doubt = calibration_of(record)
    rows = measure_density(scan.image_hu, mask, label_map.spacing_mm_zyx, side=side_shown(record, side),
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
