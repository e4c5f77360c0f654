"""The predictions of an evaluation, each written for finite elements; made to run in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from femur_nnunet.command_line import get_logger, progress
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_evaluation import CaseJob, labels_of_case
from femur_nnunet.evaluation.case_scan import read_case_scan
from femur_nnunet.evaluation.density.case_density import calibration_of, side_shown
from femur_nnunet.evaluation.fe_export.export import ExportStatus, export_femur
from femur_nnunet.evaluation.fe_export.options import FeExportOptions
from femur_nnunet.evaluation.parallel import run_jobs
from femur_nnunet.files import write_json

INDEX_NAME = "export.json"
_log = get_logger(__name__)


@dataclass(frozen=True)
class ExportJob:
    """A case, the folder of scans, and where it goes."""

    case: CaseJob
    images: Path
    options: FeExportOptions


def export_cases(cases: Sequence[CaseJob], images: Path, options: FeExportOptions, *, workers: int = 1,
                 quiet: bool = False) -> list[str]:
    """Write every case with a prediction and export.json, the status of each; return a line for each failure."""
    jobs = [ExportJob(case, images, options) for case in cases if case.predictions and case.record is not None]
    options.folder.mkdir(parents=True, exist_ok=True)
    results: Iterator[dict[str, list[str]]] = run_jobs(export_case, jobs, workers)
    status: dict[str, list[str]] = {}
    for one in progress(results, description="export for finite elements", total=len(jobs), quiet=quiet):
        status |= one
    write_json(options.folder / INDEX_NAME, {"spacing_mm": options.spacing_mm, "femora": dict(sorted(status.items()))})
    fine = {ExportStatus.OK.value, ExportStatus.UNCALIBRATED.value, ExportStatus.SURFACE_HAS_HANDLES.value}
    failures = [f"{name}, export: {', '.join(found)}" for name, found in status.items() if not fine >= set(found)]
    for line in failures:
        _log.warning("%s", line)
    return failures


def export_case(job: ExportJob) -> dict[str, list[str]]:
    """Export the predicted femora of one case; return their statuses by the name of their files."""
    record = job.case.record
    assert record is not None
    scan, found = read_case_scan(job.case, job.images), {}
    for label, side in labels_of_case(record).items():
        name = job.case.case_id if record.side != "both" else f"{job.case.case_id}_{side}"
        label_map = scan.masks.get("prediction")
        if label_map is None or not np.any(label_map.mask_of(label)):
            found[name] = ["no_mask"]
        elif scan.image_hu is None:
            found[name] = [scan.problem.value if scan.problem else "image_missing"]
        else:
            facts = {"case_id": job.case.case_id, "arm": job.case.arm, "side": side,
                     "laterality_flipped": record.laterality_flipped}
            try:
                result = export_femur(job.options.folder, name, scan.image_hu, label_map.mask_of(label), label_map.grid,
                                      side=side_shown(record, side), calibration=calibration_of(record)[0],
                                      spacing_mm=job.options.spacing_mm, facts=facts)
                found[name] = [one.value for one in result.status]
            except FemurError as error:
                found[name] = [error.found]
    return found
