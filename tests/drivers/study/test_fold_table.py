from __future__ import annotations

import csv
import math

import pytest

from femur_nnunet.drivers.study.fold_table import (
    FoldRow,
    add_fold,
    read_folds,
    score_candidates,
    write_grid,
)
from femur_nnunet.drivers.study.group_values import AGREEMENT_METRICS, MEAN_METRICS
from femur_nnunet.drivers.study.protocol import Arm, CohortFolds
from femur_nnunet.errors import FemurError

COHORT = CohortFolds("all", (0, 1), ("t",))
FIRST, SECOND = Arm("T", "P1", ("w=1",)), Arm("T", "P2", ("w=2",))


def row(plans: str, fold: int, dice: float, **changes) -> FoldRow:
    values = dict.fromkeys((*MEAN_METRICS, *AGREEMENT_METRICS), math.nan) | {"dice": dice}
    return FoldRow("T", plans, "w", "all", fold, 5, 0, 12.5, "cpu", "now", "p", "f", "s", values=values, **changes)


def test_rows_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "folds.csv"
    assert read_folds(path) == []
    add_fold(path, row("P1", 0, 1 / 3))
    add_fold(path, row("P1", 1, 0.5))
    read = read_folds(path)
    assert [(one.fold, one.values["dice"], one.seconds, one.n) for one in read] == [
        (0, 1 / 3, 12.5, 5), (1, 0.5, 12.5, 5)]
    assert math.isnan(read[0].values["r2"])


def test_a_fold_has_one_row(tmp_path):
    for dice in (0.1, 0.2):
        add_fold(tmp_path / "folds.csv", row("P1", 0, dice))
    assert [one.values["dice"] for one in read_folds(tmp_path / "folds.csv")] == [0.2]


def test_a_broken_table_is_told_with_its_line(tmp_path):
    path = tmp_path / "folds.csv"
    add_fold(path, row("P1", 0, 0.5))
    path.write_text(path.read_text().replace(",0.5,", ",half,"))
    with pytest.raises(FemurError, match=r"folds.csv line 2"):
        read_folds(path)


def test_the_largest_mean_over_folds_is_chosen(tmp_path):
    rows = [row("P1", 0, 0.99), row("P1", 1, 0.79), row("P2", 0, 0.91), row("P2", 1, 0.89), row("P2", 7, 0.0)]
    scores = score_candidates([FIRST, SECOND], COHORT, rows)
    assert [(one.mean, one.chosen) for one in scores] == [(pytest.approx(0.89), False), (pytest.approx(0.90), True)]
    assert scores[0].sd == pytest.approx(0.1 * math.sqrt(2))
    write_grid(tmp_path / "grid.csv", scores)
    with (tmp_path / "grid.csv").open() as handle:
        assert [(one["settings"], one["chosen"]) for one in csv.DictReader(handle)] == [
            ("w=1", "false"), ("w=2", "true")]


def test_of_equal_candidates_the_first_is_chosen():
    rows = [row(plans, fold, 0.9) for plans in ("P1", "P2") for fold in (0, 1)]
    assert [one.chosen for one in score_candidates([FIRST, SECOND], COHORT, rows)] == [True, False]


def test_a_choice_from_unequal_folds_is_refused():
    rows = [row("P1", 0, 0.9), row("P1", 1, 0.9), row("P2", 0, 1.0)]
    with pytest.raises(FemurError, match=r"1 of 2 folds of T__P2 \(w=2\)"):
        score_candidates([FIRST, SECOND], COHORT, rows)
