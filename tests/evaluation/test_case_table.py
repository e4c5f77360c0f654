from __future__ import annotations

import csv
import math

import pytest
from evaluation_cohort import case_row

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.case_table import CASE_COLUMNS, read_cases, write_cases
from femur_nnunet.evaluation.csv_table import cell_text

ROWS = [case_row("tulane_0000000b_v01_r", dice=0.5, hd95_mm=3.25),
        case_row("rochester_0000000a_v01_l", status=CaseStatus.MISSED, sex=None, dice=0.0)]


def test_the_columns_begin_as_the_design_says():
    assert CASE_COLUMNS[:26] == (
        "arm", "fold", "case_id", "participant_id", "site", "sex", "side", "label", "status", "dice", "iou",
        "sensitivity", "specificity", "specificity_near", "precision", "hd_mm", "hd95_mm", "assd_mm",
        "surface_dice_1mm", "surface_dice_2mm", "hd95_mm_worst", "assd_mm_worst", "contour_distance_mm",
        "surface_roughness_mm", "volume_ref_ml", "volume_pred_ml")


def test_rows_come_back_as_they_were_written_sorted_by_case(tmp_path):
    write_cases(tmp_path / "cases.csv", ROWS)
    back = read_cases(tmp_path / "cases.csv")
    assert [row.case_id for row in back] == ["rochester_0000000a_v01_l", "tulane_0000000b_v01_r"]
    assert back[0].status is CaseStatus.MISSED
    assert back[0].sex is None
    assert back[1].metrics["hd95_mm"] == 3.25
    assert math.isnan(back[1].metrics["iou"])
    assert back[1].label == 1


def test_missing_values_are_written_as_in_the_cohort_table(tmp_path):
    write_cases(tmp_path / "cases.csv", ROWS)
    with (tmp_path / "cases.csv").open(newline="") as handle:
        first = next(csv.DictReader(handle))
    assert first["sex"] == first["hd95_mm"] == first["detail"] == "n/a"
    assert cell_text(1 / 3) == "0.3333333"
    assert float(cell_text(1 / 3, exact=True)) == 1 / 3


@pytest.mark.parametrize(("old", "new", "named"), [
    (",dice,", ",dicee,", "dice"), ("missed", "lost", "lost"), ("0.5", "half", "half"), (",1\n", ",99\n", "schema 99")])
def test_a_table_that_was_changed_is_refused_with_the_reason(tmp_path, old, new, named):
    path = tmp_path / "cases.csv"
    write_cases(path, ROWS)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(FemurError, match=named):
        read_cases(path)


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(FemurError, match=r"cases\.csv"):
        read_cases(tmp_path / "cases.csv")
