"""density.csv as a further table of ``femur_eval``, and what it adds to agreement.csv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.command_line import get_logger, progress
from femur_nnunet.evaluation.agreement import AgreementRow, agreement_row, paired_means
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.density.case_density import DensityJob, measure_case
from femur_nnunet.evaluation.density.density_row import (
    DENSITY_NAME,
    DensityRow,
    read_density,
    write_density,
)
from femur_nnunet.evaluation.density.density_status import DENSITY_RULES
from femur_nnunet.evaluation.density.quantities import QUANTITIES, unit_of
from femur_nnunet.evaluation.density.significant_change import margin
from femur_nnunet.evaluation.extra_tables import ArmCases
from femur_nnunet.evaluation.options import StatisticsOptions
from femur_nnunet.evaluation.parallel import run_jobs
from femur_nnunet.evaluation.participants import ALL, groups, missed_participants
from femur_nnunet.regions import Region

_log = get_logger(__name__)


class DensityTable:
    """The further table density.csv."""

    file_name = DENSITY_NAME

    def measure(self, cases: ArmCases) -> list[DensityRow]:
        """Measure reference and prediction of every case of an arm."""
        jobs = [DensityJob(case, cases.images) for case in cases.jobs]
        rows: list[DensityRow] = []
        for found in progress(run_jobs(measure_case, jobs, cases.workers), description=f"density {cases.arm}",
                              total=len(jobs), quiet=cases.quiet):
            rows += found
        for line in self.failures(rows):
            _log.warning("%s", line)
        return rows

    def read(self, path: Path, arm: str) -> list[DensityRow]:
        """Read an earlier density.csv under another name of the arm."""
        return read_density(path, arm)

    def write(self, path: Path, rows: Sequence[DensityRow]) -> None:
        """Write density.csv."""
        write_density(path, rows)

    def agreement(self, rows: Sequence[DensityRow], case_rows: Sequence[CaseRow], records: Mapping[str, ScanRecord],
                  statistics: StatisticsOptions) -> list[AgreementRow]:
        """Return the agreement of every quantity and region by arm, site and sex.

        Densities of different units never meet in a row: each unit of a site has its own, and there is none over all
        sites of an arm where these differ. The volume of the whole femur is left out: agreement.csv has it without
        any scan, of all hips.
        """
        return [row for region in Region for quantity in QUANTITIES
                if (quantity, region) != ("volume_ml", Region.TOTAL)
                for row in _agreement_of(quantity, region, rows, case_rows, statistics)]

    def failures(self, rows: Sequence[DensityRow]) -> list[str]:
        """Return a line for each case and source with a failure."""
        told = {(row.arm or "", row.case_id, row.source, row.status): None for row in rows if row.rule.is_failure}
        return [f"{arm}, {case_id}, density of the {source}: {status.value}: {DENSITY_RULES[status].meaning}"
                for arm, case_id, source, status in told]


def _agreement_of(quantity: str, region: Region, rows: Sequence[DensityRow], case_rows: Sequence[CaseRow],
                  statistics: StatisticsOptions) -> list[AgreementRow]:
    pairs = paired_values(quantity, region, rows)
    by_unit: dict[str, list[CaseRow]] = {}
    for case_row in case_rows:
        pair = pairs.get((case_row.arm, case_row.case_id, case_row.side))
        if pair is not None:
            unit, reference, prediction = pair
            by_unit.setdefault(unit, []).append(
                replace(case_row, metrics={"reference": reference, "prediction": prediction}))
    table = []
    for unit, own in sorted(by_unit.items()):
        mixed = {row.arm for other, others in by_unit.items() if other != unit for row in others}
        for arm, site, sex, group in groups(own):
            if site == ALL and arm in mixed:
                continue
            values = paired_means(group, "reference", "prediction")
            mean = float(np.mean(values[0])) if values[0].size else math.nan
            table.append(replace(agreement_row(
                *values, arm=arm, quantity=quantity, region=region, site=site, sex=sex,
                n_missed=missed_participants(_of_group(case_rows, arm, site, sex)), resamples=statistics.resamples,
                seed=statistics.seed, tost_margin=margin(quantity, region, mean, statistics.lsc_percent)), unit=unit))
    return table


def _of_group(case_rows: Iterable[CaseRow], arm: str, site: str, sex: str) -> list[CaseRow]:
    return [row for row in case_rows if row.arm == arm and site in (ALL, row.site) and sex in (ALL, row.sex)]


def paired_values(quantity: str, region: Region,
                  rows: Iterable[DensityRow]) -> dict[tuple[str | None, str, str | None], tuple[str, float, float]]:
    """Return unit, reference and prediction by arm, case and side, where both were measured soundly in one unit."""
    values: dict[tuple[str | None, str, str | None], dict[str, DensityRow]] = {}
    for row in rows:
        if row.region is region and quantity in row.rule.agreeing and math.isfinite(getattr(row, quantity)):
            values.setdefault((row.arm, row.case_id, row.side), {})[row.source] = row
    found = {}
    for key, both in values.items():
        if len(both) == 2 and both["reference"].unit == both["prediction"].unit:
            found[key] = (unit_of(quantity, both["reference"].unit), getattr(both["reference"], quantity),
                          getattr(both["prediction"], quantity))
    return found
