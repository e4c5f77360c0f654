"""What can become of a case, and what each outcome means for its scores: data, not scattered ifs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """How a row is scored."""

    MEASURED = "measured"
    """Both masks hold the label: every metric is computed."""
    MISSED = "missed"
    """A reference without a usable prediction: the worst value where there is one."""
    FALSE_ALARM = "false_alarm"
    """A prediction where the reference is empty: the worst value where there is one."""
    NOTHING = "nothing"
    """There is nothing to judge: no value, and the row enters no statistic."""


class CaseStatus(str, Enum):
    """Status of one row of cases.csv."""

    OK = "ok"
    BOTH_EMPTY = "both_empty"
    MISSED = "missed"
    UNREADABLE = "unreadable"
    DUPLICATE_FILES = "duplicate_files"
    GEOMETRY_MISMATCH = "geometry_mismatch"
    UNEXPECTED_LABELS = "unexpected_labels"
    NOT_INTEGER = "not_integer"
    HAS_NAN = "has_nan"
    NO_REFERENCE = "no_reference"
    NO_REFERENCE_FILE = "no_reference_file"
    REFERENCE_UNUSABLE = "reference_unusable"
    NOT_IN_SCANS = "not_in_scans"
    UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class StatusRule:
    """What a status does to a row.

    Attributes
    ----------
    outcome : Outcome
        How the row is scored; the catalogue of metrics says the value of each metric for it.
    counts_as_missed : bool
        The participant counts in ``n_missed``.
    is_failure : bool
        The row makes the command end with exit code 1 and is written to the log as a warning.
    meaning : str
        One line for the log and the documentation.
    """

    outcome: Outcome
    counts_as_missed: bool
    is_failure: bool
    meaning: str


STATUS_RULES: dict[CaseStatus, StatusRule] = {
    CaseStatus.OK: StatusRule(Outcome.MEASURED, False, False, "both masks hold the label"),
    CaseStatus.BOTH_EMPTY: StatusRule(Outcome.NOTHING, False, False, "reference and prediction are both empty"),
    CaseStatus.MISSED: StatusRule(Outcome.MISSED, True, True, "the prediction is missing or empty"),
    CaseStatus.UNREADABLE: StatusRule(Outcome.MISSED, True, True, "the prediction cannot be read"),
    CaseStatus.DUPLICATE_FILES: StatusRule(
        Outcome.MISSED, True, True, "the prediction lies there in more than one format"),
    CaseStatus.GEOMETRY_MISMATCH: StatusRule(
        Outcome.MISSED, True, True, "the prediction lies on another grid than the reference"),
    CaseStatus.UNEXPECTED_LABELS: StatusRule(
        Outcome.MISSED, True, True, "the prediction holds values that are no label of this case"),
    CaseStatus.NOT_INTEGER: StatusRule(
        Outcome.MISSED, True, True, "the prediction holds fractions, as a probability map does"),
    CaseStatus.HAS_NAN: StatusRule(Outcome.MISSED, True, True, "the prediction holds NaN or infinity"),
    CaseStatus.NO_REFERENCE: StatusRule(
        Outcome.FALSE_ALARM, False, True, "the reference is empty, the prediction is not"),
    CaseStatus.NO_REFERENCE_FILE: StatusRule(
        Outcome.NOTHING, False, True, "scans.tsv says labelled, but there is no reference file"),
    CaseStatus.REFERENCE_UNUSABLE: StatusRule(Outcome.NOTHING, False, True, "the reference cannot be used"),
    CaseStatus.NOT_IN_SCANS: StatusRule(Outcome.NOTHING, False, True, "scans.tsv has no row for this file"),
    CaseStatus.UNLABELLED: StatusRule(
        Outcome.NOTHING, False, False, "scans.tsv says that the case has no reference"),
}
