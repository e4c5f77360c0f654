"""A small cohort of masks on disk, with any fault that a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from femur_nnunet.cohort import ScanRecord, write_scans_table
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES

SPACING_MM_XYZ = (0.8, 0.8, 1.5)
_SIDES = {"l": "left", "r": "right", "b": "both"}


def scan(case_id: str, *, role: str = "test", labelled: bool = True, sex: str | None = None) -> ScanRecord:
    """A row of scans.tsv that agrees with the case id."""
    site, participant, visit, side = case_id.split("_")
    return ScanRecord(case_id, f"sub-{participant}", site, int(visit[1:]), _SIDES[side], False, labelled, role, sex=sex)


def write_mask(path: Path, array: NDArray[np.generic], *, spacing_mm_xyz: tuple[float, ...] = SPACING_MM_XYZ,
               origin_mm: tuple[float, ...] = (-40.0, 12.5, 300.0), direction: tuple[float, ...] | None = None) -> Path:
    image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    image.SetSpacing(spacing_mm_xyz)
    image.SetOrigin(origin_mm)
    if direction is not None:
        image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def case_row(case_id: str, *, arm: str = "model", status: CaseStatus = CaseStatus.OK, sex: str | None = "F",
             **metrics: float) -> CaseRow:
    """A row of cases.csv in which all metrics but the named are NaN."""
    values = dict.fromkeys(METRIC_NAMES, float("nan")) | metrics
    site, participant = case_id.split("_")[:2]
    return CaseRow(arm, case_id, status, values, participant_id=f"sub-{participant}", site=site, sex=sex, side="left",
                   label=1)


@dataclass
class Cohort:
    """Folders ``P`` and ``R`` and a scans.tsv below a root."""

    root: Path
    records: list[ScanRecord] = field(default_factory=list)

    @property
    def predictions(self) -> Path:
        return self.root / "P"

    @property
    def references(self) -> Path:
        return self.root / "R"

    @property
    def scans(self) -> Path:
        return self.root / "scans.tsv"

    def add(self, case_id: str, reference: NDArray[np.generic] | None, prediction: NDArray[np.generic] | None,
            *, known: bool = True, suffix: str = ".nii.gz", **record: object) -> None:
        """Write a case's files and note its row."""
        for folder, array in ((self.references, reference), (self.predictions, prediction)):
            folder.mkdir(parents=True, exist_ok=True)
            if array is not None:
                write_mask(folder / f"{case_id}{suffix}", array)
        if known:
            self.records.append(scan(case_id, **record))  # type: ignore[arg-type]
        write_scans_table(self.scans, self.records)
