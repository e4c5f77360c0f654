"""Running all rows: a row is judged by its own files, never by what the machine failed at meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from femur_nnunet.command_line import progress, worker_count
from femur_nnunet.dataset_conversion.case_conversion import RowOutcome, RowTask, convert_row
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.row_workers import WorkerLoss, run_rows
from femur_nnunet.errors import FemurError, MachineError


class _CrashError(FemurError):
    """A worker died of itself on a row: the row's fault, unless memory was short."""


def run_tasks(tasks: Sequence[RowTask], options: ConversionOptions, lock: int,
              tell: Callable[[FemurError], None]) -> list[RowOutcome]:
    """Convert all rows; what the machine failed at, and what crashed a worker, is tried once more, alone.

    Several workers need several times the memory and the temporary room of one: on a row that is converted alone,
    neither is missing that a single scan can do without.

    Parameters
    ----------
    tasks : sequence of RowTask
        The rows.
    options : ConversionOptions
        Number of workers, time limit; with ``strict`` the run stops at the first failure.
    lock : int
        File descriptor of the target's lock, which the workers hold as well.
    tell : callable
        Receives each row's error once.

    Returns
    -------
    list of RowOutcome
        In the order of the tasks; those that were not reached have neither state nor error.

    Raises
    ------
    MachineError
        The machine kept rows from being converted. A dataset of the others would have another test set and other
        folds than the whole one, so none may be made of them; what was converted stays in staging.
    """
    outcomes: list[RowOutcome] = []
    again: list[int] = []
    several = min(worker_count(options.jobs), len(tasks)) > 1 and not options.strict
    bar = progress(_outcomes(tasks, options, lock), description="converting", total=len(tasks), quiet=options.quiet)
    for number, outcome in enumerate(bar):
        outcomes.append(outcome)
        if several and isinstance(outcome.error, MachineError | _CrashError):
            again.append(number)
        elif outcome.error is not None:
            tell(outcome.error)
            if options.strict:
                break
    alone = replace(options, jobs=1)
    for number, outcome in zip(again, _outcomes([tasks[number] for number in again], alone, lock), strict=True):
        outcomes[number] = outcome
        if outcome.error is not None:
            tell(outcome.error)
            # The others would only meet the same full disk.
            if isinstance(outcome.error, MachineError):
                break
    _refuse_unsettled(outcomes)
    return outcomes + [RowOutcome(task) for task in tasks[len(outcomes):]]


def _outcomes(tasks: Sequence[RowTask], options: ConversionOptions, lock: int) -> Iterator[RowOutcome]:
    """Yield the outcomes in the order of the tasks; one scan a worker at a time."""
    for task, result in zip(tasks, run_rows(convert_row, tasks, options, lock), strict=True):
        yield RowOutcome(task, error=_loss_error(result, task)) if isinstance(result, WorkerLoss) else result


def _loss_error(loss: WorkerLoss, task: RowTask) -> FemurError:
    if loss.timed_out:
        return FemurError(f"a row that came to no end ({loss.reason})", expected="an end within --row-minutes",
                          action="export the series again, or give more --row-minutes", subject=task.subject)
    if loss.by_machine:
        return MachineError(f"a worker process that {loss.reason} on this row, most likely for lack of memory",
                            expected="memory for three copies of a scan in every worker",
                            action="run the same command again with fewer --jobs", subject=task.subject)
    return _CrashError(f"a worker process that {loss.reason} on this row: its files crash a decoder",
                       expected="files that can be decoded or refused",
                       action="copy or export the scan again, uncompressed", subject=task.subject)


def _refuse_unsettled(outcomes: Sequence[RowOutcome]) -> None:
    """End the run before the dataset is touched if the machine kept a row from being converted."""
    failures = [outcome.error for outcome in outcomes if isinstance(outcome.error, MachineError)]
    if failures:
        raise MachineError(f"{len(failures)} row(s) that the machine, and not their files, kept from being converted: "
                           f"{failures[0].found}", expected=failures[0].expected,
                           action="mend it and run the same command again, or take a row that always fails out of the "
                           "table: what was converted is kept, the dataset is as it was")
