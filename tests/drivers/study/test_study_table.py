from __future__ import annotations

import csv
import math

import pytest
from evaluation_cohort import case_row

from femur_nnunet.drivers.study.fold_table import CandidateScore, FoldRow
from femur_nnunet.drivers.study.group_values import AGREEMENT_METRICS, MEAN_METRICS
from femur_nnunet.drivers.study.protocol import Arm
from femur_nnunet.drivers.study.study_table import (
    STUDY_COLUMNS,
    rows_of_test_set,
    validation_row,
    write_study_csv,
    write_study_markdown,
)


def fold(number: int, cohort: str = "all", **values: float) -> FoldRow:
    filled = dict.fromkeys((*MEAN_METRICS, *AGREEMENT_METRICS), math.nan) | values
    return FoldRow("T", "P", "w=1", cohort, number, 4, number, 1.0, "cpu", "now", "p", "f", "s", values=filled)


def cases(site: str = "tulane", first: int = 1) -> list:
    return [case_row(f"{site}_{first + n:08x}_v01_l", sex=sex, dice=dice, volume_ref_ml=100.0 + 20 * n,
                     volume_pred_ml=102.0 + 20 * n)
            for n, (sex, dice) in enumerate((("F", 0.98), ("F", 0.96), ("M", 0.94), ("M", 0.92)))]


def use(rows: list, cohort: str = "all", choices: int = 1) -> list:
    return rows_of_test_set(rows, trainer="T", plans="P", settings="w=1", cohort=cohort, choices=choices)


def test_validation_is_mean_and_deviation_over_folds():
    row = validation_row([fold(0, dice=0.97, r2=0.9, p_value=1e-5), fold(1, dice=0.99, r2=0.8, p_value=1e-3)])
    assert (row.unit, row.n, row.n_missed, row.sex) == ("folds", 2, 1, "all")
    assert row.mean["dice"] == pytest.approx(0.98)
    assert row.sd["dice"] == pytest.approx(0.02 / math.sqrt(2))
    assert row.mean["r2"] == pytest.approx(0.85)
    assert row.mean["p_value"] == 1e-3
    assert math.isnan(row.sd["p_value"])
    assert validation_row([fold(2, cohort="women", dice=0.9)]).sex == "F"


def test_the_test_set_is_told_whole_and_by_sex_with_deviation_over_participants():
    rows = use(cases())
    assert [(row.sex, row.n, row.mean["dice"]) for row in rows] == [
        ("all", 4, pytest.approx(0.95)), ("F", 2, pytest.approx(0.97)), ("M", 2, pytest.approx(0.93))]
    assert rows[0].sd["dice"] == pytest.approx(math.sqrt((2 * 0.03**2 + 2 * 0.01**2) / 3))
    # Each volume is 2 ml too large: SSE 16; volumes 100 to 160: SST 2000.
    assert rows[0].mean["r2"] == pytest.approx(1 - 16 / 2000)
    assert math.isnan(rows[0].sd["r2"])


def test_a_network_of_women_is_told_on_women():
    assert [row.sex for row in use([row for row in cases() if row.sex == "F"], "women")] == ["F"]


def test_several_sites_have_rows_of_their_own():
    assert [row.site for row in use([*cases(), *cases("rochester", 9)]) if row.sex == "all"] == [
        "all", "rochester", "tulane"]


def test_the_table_as_csv_has_numbers_or_n_a(tmp_path):
    write_study_csv(tmp_path / "study.csv", [validation_row([fold(0, dice=0.97), fold(1, dice=0.99)]), *use(cases())])
    with (tmp_path / "study.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == STUDY_COLUMNS
    shown = [(row["part"], row["dice_mean"], row["choices_that_saw_the_test"]) for row in rows[:2]]
    assert shown == [("validation", "0.98", "n/a"), ("test", "0.95", "1")]
    assert rows[1]["specificity_mean"] == "n/a"


def test_the_markdown_stands_beside_the_paper_and_names_the_choice(tmp_path):
    path = tmp_path / "study.md"
    scores = [CandidateScore(Arm("T", "P", ("w=1",)), "all", 2, 0.98, 0.01, True),
              CandidateScore(Arm("T", "Q", ("w=2",)), "all", 2, 0.97, 0.02, False)]
    write_study_markdown(path, [validation_row([fold(0, dice=0.97), fold(1, dice=0.99)]), *use(cases())], scores,
                         ["preset cpu"])
    text = path.read_text()
    assert "| T | validation | all | all | all | 2 folds | 0.9800 ± 0.0141 |" in text
    assert "| T | test | all | women | all | 2 | 0.9700 ± 0.0141 |" in text
    assert "| arXiv 2006.05513 (V-Net) |" in text
    assert "| T | w=2 | Q | all | 2 | 0.9700 ± 0.0200 |  |" in text
    assert "unseen test any more" not in text


def test_a_second_choice_is_said_in_the_table(tmp_path):
    write_study_markdown(tmp_path / "study.md", use(cases(), choices=2), [], [])
    assert "used with 2 different choices of T (`--again`)" in (tmp_path / "study.md").read_text()
