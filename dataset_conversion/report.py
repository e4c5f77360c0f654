"""conversion_report.csv: what became of every manifest row and hip."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from femur_nnunet.cohort import MISSING
from femur_nnunet.dataset_conversion.case_conversion import RowOutcome
from femur_nnunet.dataset_conversion.conversion_state import RowState, case_folders
from femur_nnunet.errors import FemurError
from femur_nnunet.files import write_text

REPORT_NAME = "conversion_report.csv"
Status = Literal["converted", "dropped", "failed", "unchanged"]


@dataclass(frozen=True)
class ReportLine:
    """One row of the report: a hip of a manifest row; row 0 stands for a whole table."""

    source: str
    manifest_row: str
    case_id: str
    status: Status
    reason: str = ""
    folder: str = ""


def lines_of_outcome(outcome: RowOutcome, *, kept: bool = False) -> list[ReportLine]:
    """Return the lines of one row: its cases and dropped hips, or its failure once for each hip.

    ``kept`` says that cases of an earlier run stay although the row failed now.
    """
    row = outcome.task.row
    if outcome.state is None:
        return failure_lines(row.source, row.number, outcome.task.case_ids, outcome.error, kept=kept)
    notes = "; ".join(outcome.state.notes)
    lines = [ReportLine(row.source, str(row.number), record.case_id,
                        "unchanged" if outcome.unchanged else "converted", notes, case_folders(record)[0])
             for record in outcome.state.records]
    return lines + [ReportLine(row.source, str(row.number), outcome.task.key.case_id(side), "dropped", reason)
                    for side, reason in outcome.state.dropped.items()]


def failure_lines(source: str, number: int, case_ids: Sequence[str], error: FemurError | None, *,
                  kept: bool = False) -> list[ReportLine]:
    """Return one line for each case id of a failed row, or a single one if the ids are unknown."""
    reason = "not reached" if error is None else FemurError(error.found, expected=error.expected,
                                                            action=error.action).args[0]
    reason += " The case of an earlier run is kept." if kept else ""
    return [ReportLine(source, str(number), case_id, "failed", reason) for case_id in case_ids or [MISSING]]


def lines_of_earlier_run(state: RowState) -> list[ReportLine]:
    """Return the lines of cases whose row the tables no longer have."""
    return [ReportLine("earlier run", MISSING, record.case_id, "unchanged", "not in the tables of this run",
                       case_folders(record)[0]) for record in state.records]


def write_report(path: Path, lines: Iterable[ReportLine]) -> None:
    """Write the report as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [column.name for column in fields(ReportLine)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    write_text(path, buffer.getvalue())
