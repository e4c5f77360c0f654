"""Texture as a further table of ``femur_eval``: radiomics.csv, its agreement, and the summary of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.command_line import progress
from femur_nnunet.evaluation.agreement import AgreementRow
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.extra_tables import ArmCases
from femur_nnunet.evaluation.options import StatisticsOptions
from femur_nnunet.evaluation.parallel import run_jobs
from femur_nnunet.evaluation.texture.case_radiomics import RadiomicsJob, radiomics_of_case
from femur_nnunet.evaluation.texture.radiomics import TextureStatus
from femur_nnunet.evaluation.texture.radiomics_agreement import (
    SUMMARY_NAME,
    measure_radiomics_agreement,
    write_radiomics_summary,
)
from femur_nnunet.evaluation.texture.radiomics_row import RADIOMICS_NAME, RadiomicsRow, read_radiomics, write_radiomics

# A missed or unusable mask is a failure of cases.csv already; a feature may be undefined without anything being wrong.
_FAILURES = (TextureStatus.IMAGE_MISSING, TextureStatus.IMAGE_UNREADABLE, TextureStatus.IMAGE_GEOMETRY_MISMATCH,
             TextureStatus.IMAGE_HAS_NAN, TextureStatus.OUT_OF_RANGE, TextureStatus.LOST_IN_RESAMPLING)


class RadiomicsTable:
    """radiomics.csv."""

    file_name = RADIOMICS_NAME

    def measure(self, cases: ArmCases) -> list[RadiomicsRow]:
        """Return the rows of one arm; none where texture was not asked for."""
        if cases.texture is None:
            return []
        jobs = [RadiomicsJob(case, cases.images, cases.texture) for case in cases.jobs]
        results = progress(run_jobs(radiomics_of_case, jobs, cases.workers), description=f"texture {cases.arm}",
                           total=len(jobs), quiet=cases.quiet)
        return [row for rows in results for row in rows]

    def read(self, path: Path, arm: str) -> list[RadiomicsRow]:
        """Return the rows of an earlier result."""
        return read_radiomics(path, arm)

    def write(self, path: Path, rows: Sequence[RadiomicsRow]) -> None:
        """Write rows of one or several arms."""
        write_radiomics(path, rows)

    def agreement(self, rows: Sequence[RadiomicsRow], case_rows: Sequence[CaseRow], records: Mapping[str, ScanRecord],
                  statistics: StatisticsOptions) -> list[AgreementRow]:
        """Return the agreement of every feature."""
        return measure_radiomics_agreement(rows, resamples=statistics.resamples, seed=statistics.seed)

    def failures(self, rows: Sequence[RadiomicsRow]) -> list[str]:
        """Return one line for each mask whose features could not be measured."""
        return list(dict.fromkeys(f"{row.arm}, {row.case_id}, texture of the {row.source}: {row.status.value}"
                                  for row in rows if row.status in _FAILURES))

    def write_summary(self, out: Path, agreement: Sequence[AgreementRow]) -> dict[str, Path]:
        """Write radiomics_summary.csv and return its path by its name."""
        write_radiomics_summary(out / SUMMARY_NAME, agreement)
        return {SUMMARY_NAME: out / SUMMARY_NAME}
