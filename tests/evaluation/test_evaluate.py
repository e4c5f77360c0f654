from __future__ import annotations

import csv
import json
import logging
import math

import numpy as np
import pytest
from evaluation_cohort import Cohort, write_mask
from shapes import block

from femur_nnunet.command_line import ExitCode
from femur_nnunet.errors import FemurError, TargetBusyError, UsageError
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.evaluate import evaluate
from femur_nnunet.evaluation.options import EvaluationOptions, StatisticsOptions
from femur_nnunet.files import hold_folder

MASK = block((8, 10, 12), (1, 2, 2), (6, 7, 7))
SHIFTED = np.roll(MASK, 1, 2)


@pytest.fixture
def cohort(tmp_path):
    cohort = Cohort(tmp_path)
    for number, site in enumerate(("tulane", "tulane", "rochester", "rochester")):
        prediction = MASK if site == "tulane" else SHIFTED
        cohort.add(f"{site}_{number:08x}_v01_l", MASK, prediction, sex="FM"[number % 2])
        cohort.add(f"{site}_{number:08x}_v01_r", MASK, prediction, sex="FM"[number % 2])
    cohort.add("tulane_000000aa_v01_l", None, None, role="train")
    return cohort


def options_for(cohort, **changes):
    values = {"predictions": cohort.predictions, "references": cohort.references, "scans": cohort.scans,
              "out": cohort.root / "out", "statistics": StatisticsOptions(resamples=50), "quiet": True} | changes
    return EvaluationOptions(**values)


def table(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_sound_cohort_gives_every_table_and_a_record_of_the_run(cohort):
    summary = evaluate(options_for(cohort, arm="grl", fold="0"))
    out = cohort.root / "out"
    assert summary.exit_code == ExitCode.OK
    assert summary.status_counts == {"ok": 8}
    assert len(table(out / "cases.csv")) == 8
    assert {row["arm"] for row in table(out / "cases.csv")} == {"grl"}
    assert summary.site_value("dice", "tulane").mean == 1
    rochester = summary.site_value("hd95_mm", "rochester")
    assert (rochester.n, rochester.mean) == (2, pytest.approx(0.8))
    gap = next(row for row in table(out / "gap.csv") if row["metric"] == "dice")
    assert (gap["source_site"], gap["target_site"]) == ("tulane", "rochester")
    assert float(gap["gap"]) == pytest.approx(0.8 - 1)
    assert (out / "sites.csv").exists()
    assert (out / "agreement.csv").exists()
    record = json.loads((out / "run.json").read_text())
    assert record["counts"]["ok"] == 8
    assert record["exit_code"] == 0
    assert set(record["outputs_sha256"]) == {"cases.csv", "sites.csv", "gap.csv", "agreement.csv"}


def test_one_case_of_every_fault_is_a_row_each_and_the_rest_goes_on(cohort, caplog, monkeypatch):
    predictions, references = cohort.predictions, cohort.references
    faults = {"missed": "tulane_000000b0_v01_l", "unreadable": "tulane_000000b1_v01_l",
              "has_nan": "tulane_000000b2_v01_l", "not_integer": "tulane_000000b3_v01_l",
              "unexpected_labels": "tulane_000000b4_v01_l", "geometry_mismatch": "tulane_000000b5_v01_l",
              "duplicate_files": "tulane_000000b6_v01_l", "no_reference": "tulane_000000b7_v01_l",
              "no_reference_file": "tulane_000000b8_v01_l", "reference_unusable": "tulane_000000b9_v01_l",
              "both_empty": "tulane_000000ba_v01_l", "not_in_scans": "tulane_000000bb_v01_l",
              "unlabelled": "tulane_000000bc_v01_l"}
    empty = np.zeros_like(MASK)
    for status, case in faults.items():
        reference = None if status in ("no_reference_file", "unlabelled") else (
            empty if status in ("no_reference", "both_empty") else MASK)
        prediction = None if status == "missed" else empty if status == "both_empty" else MASK
        cohort.add(case, reference, prediction, known=status != "not_in_scans", labelled=status != "unlabelled")
    (predictions / f"{faults['unreadable']}.nii.gz").write_bytes(b"\x1f\x8bbroken")
    write_mask(predictions / f"{faults['has_nan']}.nii.gz", np.where(MASK, np.nan, 0).astype(np.float32))
    write_mask(predictions / f"{faults['not_integer']}.nii.gz", MASK.astype(np.float32) / 3)
    write_mask(predictions / f"{faults['unexpected_labels']}.nii.gz", MASK.astype(np.uint8) * 2)
    write_mask(predictions / f"{faults['geometry_mismatch']}.nii.gz", MASK[1:])
    write_mask(predictions / f"{faults['duplicate_files']}.mha", MASK)
    (references / f"{faults['reference_unusable']}.nii.gz").write_text("")

    # The command switches it off, so that its own handler alone speaks.
    monkeypatch.setattr(logging.getLogger("femur_nnunet"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="femur_nnunet"):
        summary = evaluate(options_for(cohort))
    by_case = {row.case_id: row for row in summary.rows}
    assert {status: by_case[case].status.value for status, case in faults.items()} == {name: name for name in faults}
    assert summary.status_counts["ok"] == 8
    assert summary.exit_code == ExitCode.SOME_FAILED
    for status, case in faults.items():
        assert [message for message in caplog.messages if case in message], status
        assert by_case[case].metrics["dice"] == 0 or math.isnan(by_case[case].metrics["dice"])
    dice = summary.site_value("dice", "tulane")
    # 2 sound participants at 1, 7 unusable predictions and 1 false alarm at 0.
    assert (dice.n, dice.n_missed, dice.mean) == (10, 7, pytest.approx(0.2))
    record = json.loads((cohort.root / "out" / "run.json").read_text())
    assert len(record["warnings"]) == 11
    assert record["exit_code"] == 1


def test_scans_of_another_role_are_never_evaluated_unless_asked_for(cohort):
    cohort.add("tulane_000000c0_v01_l", MASK, MASK, role="train")
    assert evaluate(options_for(cohort)).skipped == 1
    summary = evaluate(options_for(cohort, role="train"))
    assert [row.case_id for row in summary.rows] == ["tulane_000000c0_v01_l"]
    assert len(evaluate(options_for(cohort, role="all")).rows) == 9


def test_the_source_site_can_be_named_and_without_one_there_is_no_gap(cohort):
    named = StatisticsOptions(resamples=20, source_sites=("rochester",))
    assert {gap.source_site for gap in evaluate(options_for(cohort, statistics=named)).gaps} == {"rochester"}
    cohort.records = [record for record in cohort.records if record.role == "test"]
    cohort.add("tulane_000000dd_v01_l", MASK, MASK)
    assert evaluate(options_for(cohort)).gaps == []


def test_workers_and_a_second_run_change_no_byte_of_the_tables(cohort):
    evaluate(options_for(cohort, out=cohort.root / "one"))
    evaluate(options_for(cohort, out=cohort.root / "two", jobs=2))
    for name in ("cases.csv", "sites.csv", "gap.csv", "agreement.csv"):
        assert (cohort.root / "one" / name).read_bytes() == (cohort.root / "two" / name).read_bytes()


def test_predictions_of_any_format_meet_references_of_any_other(cohort):
    case = "rochester_000000e0_v01_l"
    cohort.add(case, MASK, None, suffix=".nrrd")
    write_mask(cohort.predictions / f"{case}.mha", MASK)
    (row,) = [row for row in evaluate(options_for(cohort)).rows if row.case_id == case]
    assert row.status is CaseStatus.OK


def test_wrong_folders_are_wrong_usage(cohort):
    for change in ({"predictions": cohort.root / "none"}, {"references": cohort.root / "none"},
                   {"scans": cohort.root / "none.tsv"}):
        with pytest.raises(UsageError):
            evaluate(options_for(cohort, **change))


def test_a_folder_without_any_case_is_told(cohort):
    (cohort.root / "empty").mkdir()
    with pytest.raises(FemurError, match="no case"):
        evaluate(options_for(cohort, predictions=cohort.root / "empty", references=cohort.root / "empty"))


def test_a_folder_that_another_run_holds_is_left_alone(cohort):
    with hold_folder(cohort.root / "out"), pytest.raises(TargetBusyError):
        evaluate(options_for(cohort))


def test_the_printed_table_has_a_line_a_site_with_n_and_missed(cohort):
    lines = evaluate(options_for(cohort)).table_lines()
    assert lines[0].split() == ["arm", "site", "Dice", "HD95", "mm", "ASSD", "mm", "n", "n_missed", "cases"]
    assert [line.split()[1] for line in lines[2:]] == ["rochester", "tulane", "all"]
    assert lines[3].split()[2:5] == ["1.0000", "±", "0.0000"]
    assert lines[4].split()[-3:] == ["4", "0", "8"]
