"""The conversion: site folders and manifests into one dataset of nnUNet_raw.

Rows are converted in parallel into a staging folder; the dataset is touched only at the end, by renames,
and dataset.json is its last file. A run that was stopped at any moment is taken up by the same command,
and gives the same bytes as an undisturbed one (run.json and conversion_report.csv aside, which tell of
the run).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from femur_nnunet.case_ids import keyed_hash
from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.command_line import ExitCode, get_logger
from femur_nnunet.dataset_conversion.case_conversion import CALIBRATION_NOTE, RowOutcome
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.conversion_plan import (
    ConversionPlan,
    plan_conversion,
    problem_case_ids,
    problem_key,
    read_tables,
    refuse_unknown_sites,
    table_paths,
)
from femur_nnunet.dataset_conversion.conversion_state import STATE_FOLDER_NAME, RowState, read_states
from femur_nnunet.dataset_conversion.default_splits import update_splits
from femur_nnunet.dataset_conversion.own_ids_record import record_own_ids, refuse_moved_ids
from femur_nnunet.dataset_conversion.participant_ids import GivenIds, read_given_ids
from femur_nnunet.dataset_conversion.private_files import secret_key, update_id_map
from femur_nnunet.dataset_conversion.raw_dataset import (
    clear_leftovers,
    make_data_folders,
    publish,
    unlist,
    withdraw,
    write_dataset_json,
    write_tables,
)
from femur_nnunet.dataset_conversion.report import (
    REPORT_NAME,
    ReportLine,
    failure_lines,
    lines_of_earlier_run,
    lines_of_outcome,
    write_report,
)
from femur_nnunet.dataset_conversion.row_runs import run_tasks
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.files import hold_folder, read_json, sha256_of_file, write_json
from femur_nnunet.provenance import RunRecord

_SETTINGS_NAME = "settings.json"
_logger = get_logger(__name__)


@dataclass
class ConversionSummary:
    """How a conversion ended.

    Attributes
    ----------
    dataset_folder : Path
        The dataset.
    records : list of ScanRecord
        All cases that the dataset lists now.
    lines : list of ReportLine
        The content of conversion_report.csv.
    errors, warnings : list of str
        One line each, without names of files.
    """

    dataset_folder: Path
    records: list[ScanRecord] = field(default_factory=list)
    lines: list[ReportLine] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """1 if any row failed."""
        return ExitCode.SOME_FAILED if self.errors else ExitCode.OK

    @property
    def counts(self) -> dict[str, int]:
        """Number of report lines by status."""
        return dict(sorted(Counter(line.status for line in self.lines).items()))


def convert(options: ConversionOptions) -> ConversionSummary:
    """Convert the sources that the options name.

    A row that fails is reported and logged; the others are converted, and cases of earlier runs stay.

    Parameters
    ----------
    options : ConversionOptions
        What to do.

    Returns
    -------
    ConversionSummary
        Cases, report, errors and warnings.

    Raises
    ------
    UsageError
        The options contradict each other, the tables or the dataset that is there; own ids have moved.
    TargetBusyError
        Another run holds the dataset.
    FemurError
        The key is another one than the dataset's; with ``strict``, a bad row or table; rows that the
        machine kept from being converted (:class:`~femur_nnunet.errors.MachineError`: a full disk, too little memory,
        a killed worker), which leave the dataset as it was.
    """
    options.check()
    run = RunRecord("convert_qct_sites", asdict(options), seed=options.seed, hide_paths=True)
    tables = {**table_paths(options), **({} if options.own_ids is None else {"own ids": options.own_ids})}
    run.inputs = {source: sha256_of_file(path) for source, path in tables.items() if path.is_file()}
    table = read_tables(options)
    refuse_unknown_sites(table, options)
    given_ids = None if options.own_ids is None else read_given_ids(options.own_ids)
    with hold_folder(options.dataset_folder) as lock:
        secret = _secret_of_dataset(options)
        scans_table = options.dataset_folder / SCANS_TABLE_NAME
        listed = read_scans_table(scans_table) if scans_table.exists() else []
        if given_ids is not None:
            refuse_moved_ids(options.dataset_folder, secret, given_ids, table.rows)
        plan = plan_conversion(table, options, secret, listed, given_ids)
        if options.strict and plan.problems:
            raise plan.problems[0].error
        summary = ConversionSummary(options.dataset_folder, warnings=list(plan.warnings))
        for problem in plan.problems:
            _tell(summary, problem.error)
        states = read_states(options.dataset_folder, listed)
        options.staging_folder.mkdir(parents=True, exist_ok=True)
        outcomes = run_tasks(plan.tasks, options, lock, partial(_tell, summary))
        current = {str(task.key) for task in plan.tasks}
        refused = [problem_key(problem, secret, given_ids) for problem in plan.problems]
        current |= {str(key) for key in refused if key is not None}
        absent = set(states) - current
        pruned = absent if options.prune and not summary.errors else set()
        outcomes = _refuse_same_pixels(
            outcomes, [state for key, state in states.items() if key not in pruned], summary)
        if pruned or any(outcome.state is not None and not outcome.unchanged for outcome in outcomes):
            unlist(options.dataset_folder)
        if given_ids is not None:
            record_own_ids(options.dataset_folder, secret, given_ids,
                           [outcome.task.row for outcome in outcomes if outcome.state is not None])
        _report_problems(options, secret, plan, given_ids, states, summary)
        _bring_up_to_date(options, plan, outcomes, states, absent, summary)
        _settle_absent_cases(options, [states[key] for key in sorted(absent & set(states))], states,
                             prune=bool(pruned), summary=summary)
        _collect_cases(options.dataset_folder, states, summary)
        _tell_of_labels_kept(options, summary)
        _tell_of_calibrations(outcomes, summary)
        _finish(options, run, summary)
    return summary


def _secret_of_dataset(options: ConversionOptions) -> bytes:
    """Return the key of the ids; what must not change over the life of a dataset is noted or compared."""
    path = options.dataset_folder / STATE_FOLDER_NAME / _SETTINGS_NAME
    action = "give its --key-file (or --key-seed), or convert into a new dataset (another --dataset-id)"
    expected = "the key of the first conversion, since another one gives every participant a new id"
    if path.exists() and options.key_seed is None and not options.key_path.exists():
        raise UsageError("no key file beside a dataset that has one", expected=expected, action=action)
    secret = secret_key(options)
    settings: dict[str, Any] = {"schema": 1, "key_check": keyed_hash(secret, "key check", digits=16),
                                "bilateral": options.keep_bilateral, "own_ids": options.own_ids is not None}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
        return secret
    noted = read_json(path, what="the settings of the first conversion", action="convert into a new dataset")
    if noted.get("key_check") != settings["key_check"]:
        raise UsageError("another key than the one that this dataset's ids were made with", expected=expected,
                         action=action)
    if noted.get("bilateral") != settings["bilateral"]:
        raise UsageError("whole scans and single hips in one dataset", expected="--keep-bilateral as in the first "
                         "conversion", action="convert into a new dataset (another --dataset-id)")
    if noted.get("own_ids", False) != settings["own_ids"]:
        raise UsageError("your own ids and keyed hashes in one dataset",
                         expected="--own-ids as in the first conversion",
                         action="convert into a new dataset (another --dataset-id)")
    return secret


def _refuse_same_pixels(outcomes: Sequence[RowOutcome], earlier: Sequence[RowState],
                        summary: ConversionSummary) -> list[RowOutcome]:
    """Refuse a scan whose voxels another participant or visit has too: it could stand on both sides of a fold."""
    converted = {outcome.state.visit_key for outcome in outcomes if outcome.state and not outcome.unchanged}
    owner = {value: (state.visit_key, "a case of an earlier run") for state in earlier
             if state.visit_key not in converted for value in state.source_hmacs}
    checked = []
    for outcome in outcomes:
        clash = None
        if outcome.state is not None:
            own = (outcome.state.visit_key, outcome.task.row.label)
            clash = next((other for value in sorted(outcome.state.source_hmacs)
                          if (other := owner.setdefault(value, own))[0] != own[0]), None)
        if clash is None:
            checked.append(outcome)
            continue
        error = FemurError(f"a duplicate case: the same voxels as {clash[1]}, under another participant or visit",
                           expected="every scan once",
                           action="correct path, participant or visit (--prune removes cases of earlier runs "
                           "that the tables no longer have)",
                           subject=outcome.task.subject)
        _tell(summary, error)
        checked.append(RowOutcome(outcome.task, error=error))
    return checked


def _report_problems(options: ConversionOptions, secret: bytes, plan: ConversionPlan, given_ids: GivenIds | None,
                     states: Mapping[str, RowState], summary: ConversionSummary) -> None:
    for problem in plan.problems:
        key = problem_key(problem, secret, given_ids)
        summary.lines += failure_lines(problem.source, problem.number,
                                       problem_case_ids(problem, secret, options, given_ids),
                                       problem.error, kept=key is not None and str(key) in states)


def _bring_up_to_date(options: ConversionOptions, plan: ConversionPlan, outcomes: Sequence[RowOutcome],
                      states: dict[str, RowState], absent: set[str], summary: ConversionSummary) -> None:
    """Publish what was converted, and fill the report."""
    dataset = options.dataset_folder
    make_data_folders(dataset)
    update_id_map(options.id_map_path, plan.tasks)
    for outcome in outcomes:
        key_text = str(outcome.task.key)
        summary.lines += lines_of_outcome(outcome, kept=key_text in states)
        if outcome.state is None or outcome.unchanged:
            continue
        # A row whose side was corrected leaves hips of the same visit behind under its old key.
        replaced = [state for state in states.values() if state.key == key_text
                    or (state.visit_key == outcome.state.visit_key and state.key in absent)]
        publish(dataset, outcome.task.staged, outcome.state, replaced)
        for state in replaced:
            del states[state.key]
        states[key_text] = outcome.state


def _settle_absent_cases(options: ConversionOptions, absent: Sequence[RowState], states: dict[str, RowState], *,
                         prune: bool, summary: ConversionSummary) -> None:
    """Remove or keep the cases whose rows the tables no longer have."""
    n_cases = sum(len(state.records) for state in absent)
    for state in absent:
        if prune:
            withdraw(options.dataset_folder, state)
            del states[state.key]
        else:
            summary.lines += lines_of_earlier_run(state)
    if n_cases and prune:
        summary.warnings.append(f"{n_cases} case(s) of earlier runs were removed (--prune)")
    elif n_cases:
        reason = "since some rows failed" if options.prune else "--prune removes them"
        summary.warnings.append(f"{n_cases} case(s) of earlier runs are not in the tables of this run and stay; "
                                f"{reason}")


def _collect_cases(dataset: Path, states: Mapping[str, RowState], summary: ConversionSummary) -> None:
    """Clear the data folders of leftovers and fill the summary's list of cases."""
    foreign = clear_leftovers(dataset, states.values())
    if foreign:
        summary.warnings.append(f"{len(foreign)} file(s) that no conversion wrote lie in the dataset's data folders; "
                                "nnU-Net may take them for cases")
    summary.records = sorted((record for state in states.values() for record in state.records),
                             key=lambda record: record.case_id)


def _tell_of_labels_kept(options: ConversionOptions, summary: ConversionSummary) -> None:
    """Report labels of an earlier run that the training still sees although their site is to be unlabelled."""
    for site in options.unlabelled_sites:
        kept = [record for record in summary.records if record.site == site and record.labelled
                and record.role == "train"]
        if kept:
            _tell(summary, FemurError(
                f"{len(kept)} labelled training case(s) of an earlier run",
                expected="none, since --unlabelled-site names the site",
                action="mend its failed rows, remove what the tables no longer have with --prune, or convert into a "
                "new dataset (another --dataset-id)", subject=f"site {site}"))


def _tell_of_calibrations(outcomes: Sequence[RowOutcome], summary: ConversionSummary) -> None:
    """Say how many scans have a density scale that somebody should look at; the report says what."""
    odd = sum(any(note.startswith(CALIBRATION_NOTE) for note in outcome.state.notes)
              for outcome in outcomes if outcome.state is not None)
    if odd:
        summary.warnings.append(f"{odd} scan(s) with a remark on their density calibration ({REPORT_NAME})")


def _finish(options: ConversionOptions, run: RunRecord, summary: ConversionSummary) -> None:
    """Write tables, folds, report and run.json, and dataset.json last."""
    dataset, records = options.dataset_folder, summary.records
    write_report(dataset / REPORT_NAME, summary.lines)
    has_tables = bool(records) or (dataset / SCANS_TABLE_NAME).exists()
    if has_tables:
        write_tables(dataset, records)
        summary.warnings += update_splits(dataset, records, options.seed)
    for warning in summary.warnings:
        _logger.warning("%s", warning)
    run.warnings = [*summary.warnings, *summary.errors]
    run.counts = {**summary.counts, "cases": len(records)}
    run.outputs = {name: sha256_of_file(dataset / name) for name in (SCANS_TABLE_NAME, REPORT_NAME)
                   if (dataset / name).exists()}
    run.write(dataset, exit_code=summary.exit_code)
    if has_tables:
        write_dataset_json(dataset, records, name=options.dataset_name, bilateral=options.keep_bilateral)
    shutil.rmtree(options.staging_folder, ignore_errors=True)


def _tell(summary: ConversionSummary, error: FemurError) -> None:
    summary.errors.append(str(error))
    _logger.error("%s", error)
