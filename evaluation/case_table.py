"""cases.csv: one row a case and label, written and read again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet._version import __version__
from femur_nnunet.cohort import MISSING
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_status import STATUS_RULES, CaseStatus, StatusRule
from femur_nnunet.evaluation.csv_table import read_table, write_table
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES, METRICS_SCHEMA

CASES_NAME = "cases.csv"
IDENTITY_COLUMNS = ("arm", "fold", "case_id", "participant_id", "site", "sex", "side", "label", "status")
PROVENANCE_COLUMNS = ("detail", "reference_sha256", "prediction_sha256", "tier_hash", "package_version",
                      "metrics_schema")
CASE_COLUMNS: tuple[str, ...] = (*IDENTITY_COLUMNS, *METRIC_NAMES, *PROVENANCE_COLUMNS)


@dataclass(frozen=True)
class CaseRow:
    """One row of cases.csv.

    ``None`` is written as ``n/a``; so is a metric that is NaN. ``metrics`` holds every metric of the
    catalogue. ``detail`` says in words what was wrong.
    """

    arm: str
    case_id: str
    status: CaseStatus
    metrics: Mapping[str, float]
    fold: str | None = None
    participant_id: str | None = None
    site: str | None = None
    sex: str | None = None
    side: str | None = None
    label: int | None = None
    detail: str | None = None
    reference_sha256: str | None = None
    prediction_sha256: str | None = None
    tier_hash: str | None = None
    package_version: str = __version__
    metrics_schema: int = METRICS_SCHEMA

    @property
    def rule(self) -> StatusRule:
        """What the status of this row does."""
        return STATUS_RULES[self.status]


def write_cases(path: Path, rows: Iterable[CaseRow]) -> None:
    """Write cases.csv, sorted by arm, case and label, so that reading it gives back the very same numbers."""
    ordered = sorted(rows, key=lambda row: (row.arm, row.fold or "", row.case_id, row.label or 0))
    write_table(path, CASE_COLUMNS, [[_value(row, column) for column in CASE_COLUMNS] for row in ordered], exact=True)


def read_cases(path: Path) -> list[CaseRow]:
    """Read a cases.csv that femur_eval wrote.

    Raises
    ------
    FemurError
        The file is missing, lacks a column, holds a value that is none, or was made with other
        definitions of the metrics.
    """
    action = "run femur_eval again on the predictions of this arm"
    rows = read_table(path, CASE_COLUMNS, _row, action=action)
    other = next((row for row in rows if row.metrics_schema != METRICS_SCHEMA), None)
    if other is not None:
        raise FemurError(f"metrics of schema {other.metrics_schema}", expected=f"schema {METRICS_SCHEMA}",
                         action=action, subject=str(path))
    return rows


def _value(row: CaseRow, column: str) -> object:
    if column in METRIC_NAMES:
        return row.metrics[column]
    value = getattr(row, column)
    return value.value if isinstance(value, CaseStatus) else value


def _row(texts: Mapping[str, str]) -> CaseRow:
    given = {column: None if texts[column] == MISSING else texts[column] for column in CASE_COLUMNS}
    return CaseRow(
        arm=texts["arm"], case_id=texts["case_id"], status=CaseStatus(texts["status"]),
        metrics={name: math.nan if given[name] is None else float(texts[name]) for name in METRIC_NAMES},
        fold=given["fold"], participant_id=given["participant_id"], site=given["site"], sex=given["sex"],
        side=given["side"], label=None if given["label"] is None else int(texts["label"]), detail=given["detail"],
        reference_sha256=given["reference_sha256"], prediction_sha256=given["prediction_sha256"],
        tier_hash=given["tier_hash"], package_version=texts["package_version"],
        metrics_schema=int(texts["metrics_schema"]))
