"""The features of one case, from its files to its rows; made to run in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.evaluation.case_evaluation import CaseJob, labels_of_case
from femur_nnunet.evaluation.case_scan import SOURCES, CaseScan, read_case_scan
from femur_nnunet.evaluation.texture.options import TextureOptions
from femur_nnunet.evaluation.texture.radiomics import (
    FeatureValue,
    TextureStatus,
    measure_radiomics,
    without_value,
)
from femur_nnunet.evaluation.texture.radiomics_row import RadiomicsRow

_WITHOUT_MASK = {"reference": TextureStatus.NO_REFERENCE, "prediction": TextureStatus.MISSED}


@dataclass(frozen=True)
class RadiomicsJob:
    """A case, the folder of scans, and how texture is measured."""

    case: CaseJob
    images: Path
    options: TextureOptions


def radiomics_of_case(job: RadiomicsJob) -> list[RadiomicsRow]:
    """Return one row for each hip, mask and feature of a case.

    Nothing that is wrong with a file raises: it becomes the status of rows. A case that scans.tsv does not hold, or
    that has no reference by intention, has no rows.
    """
    record = job.case.record
    if record is None or not (job.case.references or record.labelled):
        return []
    scan = read_case_scan(job.case, job.images)
    rows = []
    for label, side in labels_of_case(record).items():
        for source in SOURCES:
            rows += [RadiomicsRow(
                job.case.arm, job.case.case_id, record.participant_id, record.site, record.sex, side, source,
                one.feature.family, one.feature.name, one.feature.ibsi_code, one.value, one.feature.unit, one.status)
                for one in _measure(scan, source, label, job.options)]
    return rows


def _measure(scan: CaseScan, source: str, label: int, options: TextureOptions) -> list[FeatureValue]:
    label_map = scan.masks.get(source)
    mask = None if label_map is None else label_map.mask_of(label)
    if label_map is None or mask is None or not mask.any():
        return without_value(_WITHOUT_MASK[source])
    problem = TextureStatus(scan.problem.value) if scan.problem else TextureStatus.IMAGE_MISSING
    return measure_radiomics(mask, scan.image_hu, label_map.spacing_mm_zyx, options, image_problem=problem)
