"""Evaluating one case, from its files to its rows; made to run in a worker process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.evaluation.case_metrics import measure, measure_reference_alone
from femur_nnunet.evaluation.case_status import STATUS_RULES, CaseStatus
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.common_grid import on_common_grid
from femur_nnunet.evaluation.mask_reading import LabelMap, MaskError, hash_of_mask, read_label_map
from femur_nnunet.evaluation.metric_catalogue import score


@dataclass(frozen=True)
class CaseJob:
    """What is needed to evaluate one case.

    Attributes
    ----------
    case_id : str
        The case.
    record : ScanRecord or None
        Its row of scans.tsv.
    references, predictions : sequence of Path
        Its files; none where there is none, several where the case lies there in several formats.
    arm : str
        Name of the model or method.
    fold, tier_hash : str, optional
        Written into the rows.
    """

    case_id: str
    record: ScanRecord | None
    references: Sequence[Path]
    predictions: Sequence[Path]
    arm: str
    fold: str | None = None
    tier_hash: str | None = None


def evaluate_case(job: CaseJob) -> list[CaseRow]:
    """Return the rows of one case: one for each label of it.

    Nothing that is wrong with a file raises: it becomes the row's status and detail.
    """
    record = job.record
    if record is None:
        return [_row(job, CaseStatus.NOT_IN_SCANS, detail=STATUS_RULES[CaseStatus.NOT_IN_SCANS].meaning)]
    sides = labels_of_case(record)
    if not job.references:
        status = CaseStatus.NO_REFERENCE_FILE if record.labelled else CaseStatus.UNLABELLED
        return [_row(job, status, label, side, detail=STATUS_RULES[status].meaning) for label, side in sides.items()]
    try:
        reference = read_only_file(job.references, sides)
    except MaskError as error:
        return [_row(job, CaseStatus.REFERENCE_UNUSABLE, label, side, detail=f"{error.status.value}: {error.detail}")
                for label, side in sides.items()]
    prediction: LabelMap | None = None
    problem = MaskError(CaseStatus.MISSED, "no prediction file")
    if job.predictions:
        try:
            prediction = read_only_file(job.predictions, sides)
            reference, prediction = on_common_grid(reference, prediction)
        except MaskError as error:
            prediction, problem = None, error
    if prediction is not None:
        return [_judge(job, reference, prediction, label, side) for label, side in sides.items()]
    return [_judge_without_prediction(job, reference, label, side, problem) for label, side in sides.items()]


def labels_of_case(record: ScanRecord) -> dict[int, str]:
    """Return the label values of a case with the side that each stands for."""
    return {1: "left", 2: "right"} if record.side == "both" else {1: record.side}


def _judge(job: CaseJob, reference: LabelMap, prediction: LabelMap, label: int, side: str) -> CaseRow:
    status, metrics = measure(reference.mask_of(label), prediction.mask_of(label), reference.spacing_mm_zyx)
    detail = None if status is CaseStatus.OK else STATUS_RULES[status].meaning
    if status is CaseStatus.MISSED:
        detail = "the prediction is empty"
    return dataclasses.replace(_row(job, status, label, side, detail=detail), metrics=metrics)


def _judge_without_prediction(job: CaseJob, reference: LabelMap, label: int, side: str,
                              problem: MaskError) -> CaseRow:
    mask = reference.mask_of(label)
    if not mask.any():
        # Nothing to find and nothing that could be read: the reference is what is wrong here.
        return _row(job, CaseStatus.REFERENCE_UNUSABLE, label, side,
                    detail=f"the reference is empty, and of the prediction: {problem.detail}")
    metrics = score(STATUS_RULES[problem.status].outcome, measure_reference_alone(mask, reference.spacing_mm_zyx),
                    reference.diagonal_mm)
    return dataclasses.replace(_row(job, problem.status, label, side, detail=problem.detail), metrics=metrics)


def read_only_file(paths: Sequence[Path], labels: dict[int, str]) -> LabelMap:
    """Return the label map of a case's one file.

    Raises
    ------
    MaskError
        There are several files, or this one cannot be used.
    """
    if len(paths) > 1:
        raise MaskError(CaseStatus.DUPLICATE_FILES, f"{' and '.join(path.name for path in paths)}; which one is meant "
                        "cannot be told")
    return read_label_map(paths[0], labels)


def _row(job: CaseJob, status: CaseStatus, label: int | None = None, side: str | None = None, *,
         detail: str | None = None) -> CaseRow:
    record = job.record
    return CaseRow(
        arm=job.arm, case_id=job.case_id, status=status, metrics=score(STATUS_RULES[status].outcome, {}),
        fold=job.fold, participant_id=record.participant_id if record else None, site=record.site if record else None,
        sex=record.sex if record else None, side=side, label=label, detail=detail,
        reference_sha256=_hash(job.references), prediction_sha256=_hash(job.predictions), tier_hash=job.tier_hash)


def _hash(paths: Sequence[Path]) -> str | None:
    return hash_of_mask(paths[0]) if len(paths) == 1 else None
