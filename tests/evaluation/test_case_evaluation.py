from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_cohort import scan, write_mask
from shapes import block

from femur_nnunet.evaluation.case_evaluation import CaseJob, evaluate_case
from femur_nnunet.evaluation.case_status import CaseStatus

CASE = "tulane_0000000a_v01_l"
MASK = block((8, 10, 10), (1, 2, 2), (6, 7, 7))
EMPTY = np.zeros_like(MASK)
DIAGONAL_MM = math.sqrt((8 * 1.5) ** 2 + 2 * (10 * 0.8) ** 2)


def broken(path):
    path.write_text("not an image")
    return path


def run(references, predictions, case_id=CASE, **record):
    known = record.pop("known", True)
    return evaluate_case(CaseJob(case_id, scan(case_id, **record) if known else None, references, predictions,
                                 arm="grl", fold="2", tier_hash="abc"))


@pytest.fixture
def reference(tmp_path):
    return write_mask(tmp_path / "R" / f"{CASE}.nii.gz", MASK)


def prediction_of(kind, folder):
    path = folder / f"{CASE}.nii.gz"
    if kind == "unreadable":
        return [broken(path)]
    if kind == "has_nan":
        return [write_mask(path, np.where(MASK, np.nan, 0).astype(np.float32))]
    if kind == "not_integer":
        return [write_mask(path, MASK.astype(np.float32) * 0.4)]
    if kind == "unexpected_labels":
        return [write_mask(path, MASK.astype(np.uint8) * 7)]
    if kind == "geometry_mismatch":
        return [write_mask(path, MASK, origin_mm=(0.0, 0.0, 0.0))]
    if kind == "duplicate_files":
        return [write_mask(path, MASK), write_mask(folder / f"{CASE}.mha", MASK)]
    if kind == "missed (empty)":
        return [write_mask(path, EMPTY)]
    return []


@pytest.mark.parametrize("kind", ["unreadable", "has_nan", "not_integer", "unexpected_labels", "geometry_mismatch",
                                  "duplicate_files", "missed (empty)", "missed (no file)"])
def test_an_unusable_prediction_is_a_row_that_scores_as_missed(kind, reference, tmp_path):
    (row,) = run([reference], prediction_of(kind, tmp_path))
    assert row.status.value == kind.split()[0]
    assert row.rule.counts_as_missed
    assert row.detail
    assert row.metrics["dice"] == row.metrics["sensitivity"] == 0
    assert math.isnan(row.metrics["hd95_mm"])
    assert row.metrics["hd95_mm_worst"] == pytest.approx(DIAGONAL_MM)
    assert row.metrics["volume_ref_ml"] == pytest.approx(5 * 5 * 5 * 1.5 * 0.8 * 0.8 / 1000)


def test_a_good_case_is_measured_and_carries_where_it_comes_from(reference, tmp_path):
    (row,) = run([reference], [write_mask(tmp_path / f"{CASE}.nrrd", MASK)], sex="F")
    assert row.status is CaseStatus.OK
    assert row.metrics["dice"] == 1
    assert row.detail is None
    assert (row.arm, row.fold, row.tier_hash) == ("grl", "2", "abc")
    assert (row.participant_id, row.site, row.sex, row.side, row.label) == ("sub-0000000a", "tulane", "F", "left", 1)
    assert len(row.reference_sha256) == len(row.prediction_sha256) == 64


def test_a_case_that_scans_tsv_lacks_is_not_scored(reference):
    (row,) = run([reference], [reference], known=False)
    assert row.status is CaseStatus.NOT_IN_SCANS
    assert row.site is None
    assert all(math.isnan(value) for value in row.metrics.values())


def test_a_prediction_without_a_reference_depends_on_whether_one_was_expected(reference):
    assert run([], [reference])[0].status is CaseStatus.NO_REFERENCE_FILE
    assert run([], [reference], labelled=False)[0].status is CaseStatus.UNLABELLED


def test_a_broken_reference_is_not_held_against_the_prediction(reference, tmp_path):
    (row,) = run([broken(tmp_path / "r.nii.gz")], [reference])
    assert row.status is CaseStatus.REFERENCE_UNUSABLE
    assert "unreadable" in row.detail
    assert all(math.isnan(value) for value in row.metrics.values())


def test_empty_references_are_told_apart(reference, tmp_path):
    empty = write_mask(tmp_path / "e.nii.gz", EMPTY)
    assert run([empty], [reference])[0].status is CaseStatus.NO_REFERENCE
    assert run([empty], [empty])[0].status is CaseStatus.BOTH_EMPTY
    assert run([empty], [])[0].status is CaseStatus.REFERENCE_UNUSABLE


def test_a_scan_of_both_hips_gives_a_row_for_each(tmp_path):
    both = MASK.astype(np.uint8)
    both[:, :, 5:] *= 2
    only_left = np.where(both == 1, both, 0)
    case = "rochester_0000000b_v01_b"
    left, right = run([write_mask(tmp_path / "r.nii.gz", both)], [write_mask(tmp_path / "p.nii.gz", only_left)], case)
    assert (left.label, left.side, left.status) == (1, "left", CaseStatus.OK)
    assert (right.label, right.side, right.status) == (2, "right", CaseStatus.MISSED)
    assert left.metrics["dice"] == 1
