"""The evaluation of one arm: every expected case, every table, one record of the run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from femur_nnunet.cohort import ScanRecord, read_scans_table
from femur_nnunet.command_line import ExitCode, format_table, get_logger, progress, worker_count
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.evaluation.agreement import AGREEMENT_NAME, AgreementRow, measure_agreement, write_agreement
from femur_nnunet.evaluation.case_evaluation import CaseJob, evaluate_case
from femur_nnunet.evaluation.case_status import CaseStatus, Outcome
from femur_nnunet.evaluation.case_table import CASES_NAME, CaseRow, write_cases
from femur_nnunet.evaluation.extra_tables import ArmCases, ExtraRows, measure_extra, write_extra
from femur_nnunet.evaluation.fe_export.options import FeExportOptions
from femur_nnunet.evaluation.gap_table import GAP_NAME, GapRow, measure_gaps, write_gaps
from femur_nnunet.evaluation.mask_reading import find_masks
from femur_nnunet.evaluation.options import EvaluationOptions, StatisticsOptions
from femur_nnunet.evaluation.parallel import run_jobs
from femur_nnunet.evaluation.participants import ALL, arms_of, judged, select, sites_of
from femur_nnunet.evaluation.site_table import SITES_NAME, SiteRow, summarise_sites, write_sites
from femur_nnunet.files import hold_folder
from femur_nnunet.provenance import RunRecord

_SHOWN_METRICS = (("dice", "Dice"), ("hd95_mm", "HD95 mm"), ("assd_mm", "ASSD mm"))
_log = get_logger(__name__)


@dataclass(frozen=True)
class EvaluationSummary:
    """The tables of an evaluation, as they were written.

    Attributes
    ----------
    rows : list of CaseRow
        cases.csv.
    sites : list of SiteRow
        sites.csv.
    gaps : list of GapRow
        gap.csv.
    agreement : list of AgreementRow
        agreement.csv.
    files : dict
        Path of each table by its file name.
    skipped : int
        Files of cases whose role was not asked for.
    failures : list of str
        What went wrong in tables beside cases.csv, a line a row.
    """

    rows: list[CaseRow]
    sites: list[SiteRow]
    gaps: list[GapRow]
    agreement: list[AgreementRow]
    files: dict[str, Path]
    skipped: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def status_counts(self) -> dict[str, int]:
        """Number of rows of each status."""
        return dict(sorted(Counter(row.status.value for row in self.rows).items()))

    @property
    def exit_code(self) -> ExitCode:
        """``OK`` where no row failed and something was measured."""
        failed = bool(self.failures) or any(row.rule.is_failure for row in self.rows)
        measured = any(row.rule.outcome is not Outcome.NOTHING for row in self.rows)
        return ExitCode.OK if measured and not failed else ExitCode.SOME_FAILED

    def site_value(self, metric: str, site: str, *, sex: str = ALL, arm: str | None = None) -> SiteRow | None:
        """Return the summary of a metric at a site, of the first arm where none is named."""
        for summary in self.sites:
            if (summary.metric, summary.site, summary.sex) == (metric, site, sex) and arm in (None, summary.arm):
                return summary
        return None

    def table_lines(self) -> list[str]:
        """Return the printed table by arm and site: mean and SD over participants."""
        header = ["arm", "site", *(title for _, title in _SHOWN_METRICS), "n", "n_missed", "cases"]
        lines = []
        for arm in arms_of(judged(self.rows)):
            own = [row for row in judged(self.rows) if row.arm == arm]
            for site in (*sites_of(own), ALL):
                shown = [self.site_value(metric, site, arm=arm) for metric, _ in _SHOWN_METRICS]
                first = shown[0]
                if first is not None:
                    lines.append([arm, site, *(_mean_and_sd(one) for one in shown), first.n, first.n_missed,
                                  len(select(own, site=site))])
        return format_table(header, lines)


def evaluate(options: EvaluationOptions) -> EvaluationSummary:
    """Evaluate the predictions of one arm and write cases.csv, sites.csv, gap.csv, agreement.csv and run.json.

    Expected are the cases of the references that scans.tsv holds in the asked role. One of them without
    a prediction is a row, as is every prediction without a reference.

    Raises
    ------
    UsageError
        A folder or scans.tsv is missing.
    FemurError
        scans.tsv is broken, or there is no case to evaluate.
    TargetBusyError
        Another run holds ``out``.
    """
    record = RunRecord("femur_eval", _arguments(options), seed=options.statistics.seed)
    records = read_scans(options.scans)
    record.add_inputs([options.scans])
    with hold_folder(options.out):
        rows, skipped = evaluate_arm(options, records)
        extra = measure_extra_of_arm(options, records) if options.images else None
        summary = write_tables(rows, records, options.out, options.statistics, skipped=skipped, extra=extra)
        if options.fe_export is not None:
            summary.failures.extend(_export(options, options.fe_export, records))
        finish_record(record, summary, options.out)
    return summary


def evaluate_arm(options: EvaluationOptions, records: Mapping[str, ScanRecord]) -> tuple[list[CaseRow], int]:
    """Return the rows of one arm, and the number of cases passed over for their role.

    Raises
    ------
    UsageError
        A folder is missing.
    FemurError
        There is no case to evaluate.
    """
    jobs, skipped = plan_cases(options, records)
    if not jobs:
        raise FemurError(
            f"no case of role {options.role} ({skipped} of another role)",
            expected="references named <case_id>.nii.gz (.mha, .nrrd, .dcm) of cases that scans.tsv has in that role",
            action="name the folder of references, or another --role", subject=str(options.references))
    if skipped:
        _log.info("%s: %d cases of another role than %s are not evaluated", options.arm, skipped, options.role)
    rows: list[CaseRow] = []
    results = run_jobs(evaluate_case, jobs, worker_count(options.jobs))
    for case_rows in progress(results, description=f"evaluate {options.arm}", total=len(jobs), quiet=options.quiet):
        rows += case_rows
    for row in rows:
        if row.rule.is_failure:
            _log.warning("%s, %s: %s: %s", row.arm, row.case_id, row.status.value, row.detail)
        elif row.status is not CaseStatus.OK:
            _log.info("%s, %s: %s: %s", row.arm, row.case_id, row.status.value, row.detail)
    return rows, skipped


def measure_extra_of_arm(options: EvaluationOptions, records: Mapping[str, ScanRecord]) -> ExtraRows:
    """Return the rows of the tables that need the scans, by file name.

    Raises
    ------
    UsageError
        The folder of scans is missing or was not named.
    """
    if options.images is None:
        raise UsageError("no folder of scans", expected="imagesTs of the raw dataset", action="add --images")
    jobs, _ = plan_cases(options, records)
    return measure_extra(ArmCases(options.arm, jobs, _folder(options.images, "scans"), worker_count(options.jobs),
                                  options.quiet, options.texture))


def _export(options: EvaluationOptions, export: FeExportOptions, records: Mapping[str, ScanRecord]) -> list[str]:
    # Imported here for the same reason as the further tables.
    from femur_nnunet.evaluation.fe_export.case_export import export_cases

    if options.images is None:
        raise UsageError("an export without scans", expected="--images beside --fe-export", action="add --images")
    jobs, _ = plan_cases(options, records)
    return export_cases(jobs, options.images, export, workers=worker_count(options.jobs), quiet=options.quiet)


def plan_cases(options: EvaluationOptions, records: Mapping[str, ScanRecord]) -> tuple[list[CaseJob], int]:
    """Return one job for each case with a reference or a prediction, and the number of another role."""
    references = find_masks(_folder(options.references, "references"))
    predictions = find_masks(_folder(options.predictions, "predictions"))
    jobs, skipped = [], 0
    for case_id in sorted(references.keys() | predictions.keys()):
        known = records.get(case_id)
        if known is not None and options.role not in ("all", known.role):
            skipped += 1
            continue
        jobs.append(CaseJob(case_id, known, references.get(case_id, []), predictions.get(case_id, []), options.arm,
                            options.fold, options.tier_hash))
    return jobs, skipped


def write_tables(rows: Sequence[CaseRow], records: Mapping[str, ScanRecord], out: Path,
                 statistics: StatisticsOptions, *, skipped: int = 0,
                 extra: ExtraRows | None = None) -> EvaluationSummary:
    """Make the tables of one or several arms and write them into ``out``."""
    added = write_extra(extra or {}, rows, records, out, statistics)
    sources = statistics.source_sites or training_sites(records.values())
    if not sources:
        _log.warning("no labelled training row in scans.tsv and no --source-site: gap.csv stays empty")
    resampling: dict[str, Any] = {"resamples": statistics.resamples, "seed": statistics.seed}
    sites = summarise_sites(rows, **resampling)
    gaps = measure_gaps(rows, sources, **resampling)
    agreement = [*measure_agreement(rows, tost_margin_ml=statistics.tost_margin_ml, **resampling), *added.agreement]
    files = {name: out / name for name in (CASES_NAME, SITES_NAME, GAP_NAME, AGREEMENT_NAME)}
    write_cases(files[CASES_NAME], rows)
    write_sites(files[SITES_NAME], sites)
    write_gaps(files[GAP_NAME], gaps)
    write_agreement(files[AGREEMENT_NAME], agreement)
    return EvaluationSummary(list(rows), sites, gaps, agreement, files | added.files, skipped, added.failures)


def training_sites(records: Iterable[ScanRecord]) -> tuple[str, ...]:
    """Return the sites with labelled cases in the training role: those that a model learns from."""
    return tuple(sorted({record.site for record in records if record.labelled and record.role == "train"}))


def read_scans(path: Path) -> dict[str, ScanRecord]:
    """Return the rows of scans.tsv by case id.

    Raises
    ------
    UsageError
        There is no such file.
    """
    if not path.is_file():
        raise UsageError("no such file", expected="the scans.tsv that convert_qct_sites writes",
                         action="name it with --scans", subject=str(path))
    return {record.case_id: record for record in read_scans_table(path)}


def finish_record(record: RunRecord, summary: EvaluationSummary, out: Path) -> None:
    """Write run.json: counts of every status, a line for every failed row, hashes of all tables."""
    record.counts = {"rows": len(summary.rows), "cases_of_another_role": summary.skipped, **summary.status_counts}
    record.warnings = [f"{row.arm}, {row.case_id}: {row.status.value}: {row.detail}" for row in summary.rows
                       if row.rule.is_failure] + summary.failures
    record.add_outputs(summary.files.values())
    record.write(out, exit_code=summary.exit_code)


def _folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        raise UsageError("no such folder", expected=f"the folder of {what}", action="correct the path",
                         subject=str(path))
    return path


def _arguments(options: EvaluationOptions) -> dict[str, Any]:
    arguments = dataclasses.asdict(options)
    statistics: dict[str, Any] = arguments.pop("statistics")
    return arguments | statistics


def _mean_and_sd(summary: SiteRow | None) -> str:
    if summary is None or summary.n == 0:
        return "n/a"
    digits = 4 if summary.metric == "dice" else 2
    spread = f" ± {summary.sd:.{digits}f}" if summary.n > 1 else ""
    return f"{summary.mean:.{digits}f}{spread}"
