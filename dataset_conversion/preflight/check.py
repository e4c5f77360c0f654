"""``convert_qct_sites --check``: every row is looked at, one CSV and one HTML page are written, no image."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from femur_nnunet.cohort import MISSING, SCANS_TABLE_NAME, read_scans_table
from femur_nnunet.command_line import ExitCode, progress
from femur_nnunet.dataset_conversion.case_conversion import RowTask
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.conversion_plan import (
    plan_conversion,
    problem_case_ids,
    read_tables,
    refuse_unknown_sites,
    table_paths,
)
from femur_nnunet.dataset_conversion.own_ids_record import refuse_moved_ids
from femur_nnunet.dataset_conversion.participant_ids import read_given_ids
from femur_nnunet.dataset_conversion.preflight.findings import CHECKS, Finding, Verdict, go, look, stop
from femur_nnunet.dataset_conversion.preflight.page import write_page
from femur_nnunet.dataset_conversion.preflight.scan_check import ScanReport, check_row
from femur_nnunet.dataset_conversion.private_files import secret_key
from femur_nnunet.dataset_conversion.row_workers import WorkerLoss, run_rows
from femur_nnunet.files import PARTIAL_PREFIX, hold_folder, sha256_of_file, write_text
from femur_nnunet.provenance import RunRecord

TABLE_NAME, PAGE_NAME = "preflight.csv", "preflight.html"
# Of what is found first; a column a check follows.
FOUND_COLUMNS = ("source", "manifest_row", "site", "case_ids", "verdict", "reasons", "mends")
PREFLIGHT_COLUMNS = (*FOUND_COLUMNS, *(check.replace(" ", "_") for check in CHECKS))


@dataclass
class PreflightSummary:
    """How preflight ended.

    Attributes
    ----------
    folder : Path
        Where table and page lie.
    reports : list of ScanReport
        One a row of the tables, worst first.
    warnings : list of str
        What the tables gave rise to.
    """

    folder: Path
    reports: list[ScanReport]
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """1 if any scan is to be stopped."""
        return ExitCode.SOME_FAILED if self.counts["stop"] else ExitCode.OK

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by verdict, worst first."""
        return {verdict.word: sum(report.verdict == verdict for report in self.reports)
                for verdict in sorted(Verdict, reverse=True)}


def preflight_folder(options: ConversionOptions) -> Path:
    """Return where preflight writes; the name does not begin with ``Dataset``, which nnU-Net would take for one."""
    return options.out / f"preflight_{options.dataset_id:03d}"


def check_sites(options: ConversionOptions) -> PreflightSummary:
    """Check every row of the tables that the options name.

    Parameters
    ----------
    options : ConversionOptions
        As for the conversion.

    Raises
    ------
    UsageError
        The options contradict each other or the tables.
    TargetBusyError
        Another run writes into the folder.
    """
    options.check()
    run = RunRecord("convert_qct_sites --check", asdict(options), seed=options.seed, hide_paths=True)
    run.inputs = {source: sha256_of_file(path) for source, path in table_paths(options).items() if path.is_file()}
    table = read_tables(options)
    refuse_unknown_sites(table, options)
    given_ids = None if options.own_ids is None else read_given_ids(options.own_ids)
    folder = preflight_folder(options)
    with hold_folder(folder) as lock:
        # A killed run may have left half a page, with pictures of patients.
        for left in folder.glob(f"{PARTIAL_PREFIX}*"):
            left.unlink()
        secret = secret_key(options)
        scans_table = options.dataset_folder / SCANS_TABLE_NAME
        listed = read_scans_table(scans_table) if scans_table.exists() else []
        if given_ids is not None:
            refuse_moved_ids(options.dataset_folder, secret, given_ids, table.rows)
        plan = plan_conversion(table, options, secret, listed, given_ids)
        reports = [ScanReport(problem.source, problem.number, problem.row.site if problem.row else MISSING,
                              problem_case_ids(problem, secret, options, given_ids),
                              findings=[stop("table row", f"{problem.error.found}; expected {problem.error.expected}",
                                             problem.error.action)]) for problem in plan.problems]
        bar = progress(_reports(plan.tasks, options, lock), description="checking", total=len(plan.tasks),
                       quiet=options.quiet)
        reports += list(bar)
        _find_same_pixels(reports)
        for report in reports:
            report.findings.sort(key=lambda finding: CHECKS.index(finding.check))
        reports.sort(key=lambda report: (-report.verdict, -_n_of(report, Verdict.STOP), -_n_of(report, Verdict.LOOK),
                                         report.source, report.number))
        summary = PreflightSummary(folder, reports, list(plan.warnings))
        write_text(folder / TABLE_NAME, _table(reports))
        # The page holds pictures of patients.
        write_page(folder / PAGE_NAME, reports, summary.counts, summary.warnings)
        run.counts, run.warnings = summary.counts, summary.warnings
        run.outputs = {name: sha256_of_file(folder / name) for name in (TABLE_NAME, PAGE_NAME)}
        run.write(folder, exit_code=summary.exit_code)
    return summary


def _reports(tasks: Sequence[RowTask], options: ConversionOptions, lock: int) -> Iterator[ScanReport]:
    """Yield reports in the order of the tasks; one scan a worker at a time."""
    for task, result in zip(tasks, run_rows(check_row, tasks, options, lock), strict=True):
        if isinstance(result, WorkerLoss):
            yield ScanReport(task.row.source, task.row.number, task.row.site, task.case_ids, task.key.visit_key,
                             findings=[stop("reading", f"a worker process that {result.reason} on this row",
                                            "copy or export the scan again; run with fewer --jobs")])
        else:
            yield result


def _find_same_pixels(reports: Sequence[ScanReport]) -> None:
    """Stop at voxels that two participants or visits share, whether at one site or at two."""
    owners: dict[str, list[ScanReport]] = defaultdict(list)
    for report in reports:
        if report.hmac is not None:
            owners[report.hmac].append(report)
    for same in owners.values():
        for report in same:
            report.findings.append(_same_pixels(report, [other for other in same if other is not report]))


def _same_pixels(report: ScanReport, others: Sequence[ScanReport]) -> Finding:
    strangers = [other for other in others if other.visit_key != report.visit_key]
    if strangers:
        named = ", ".join(f"{other.source} row {other.number} (site {other.site})" for other in strangers)
        return stop("same pixels", f"the same voxels as {named}, under another participant or visit",
                    "correct path, participant or visit: a scan must not stand on both sides of a fold")
    if others:
        return look("same pixels", "the same scan in another row of this participant and visit",
                    "see that both rows are meant, as for two hips of one scan")
    return go("same pixels")


def _n_of(report: ScanReport, verdict: Verdict) -> int:
    return sum(finding.verdict == verdict for finding in report.findings)


def _table(reports: Sequence[ScanReport]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(PREFLIGHT_COLUMNS)
    for report in reports:
        bad = [finding for finding in report.findings if finding.verdict > Verdict.GO]
        by_check = {check: max((finding.verdict for finding in report.findings if finding.check == check),
                               default=None) for check in CHECKS}
        writer.writerow([
            report.source, report.number, report.site, " ".join(report.case_ids) or MISSING, report.verdict.word,
            " | ".join(f"{finding.check}: {finding.reason}" for finding in bad),
            " | ".join(f"{finding.check}: {finding.mend}" for finding in bad),
            *(MISSING if verdict is None else verdict.word for verdict in by_check.values())])
    return buffer.getvalue()
