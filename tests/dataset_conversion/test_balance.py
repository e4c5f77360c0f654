from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.balance import (
    balance_rows,
    largest_difference,
    standardised_difference,
    standardised_share_difference,
    write_balance,
)
from femur_nnunet.dataset_conversion.folds import build_split_set
from femur_nnunet.splits import SplitSet

WOMAN_1, WOMAN_2, MAN_3, MAN_4, TEST_5 = range(1, 6)


def record(person: int, *, side: str = "left", visit: int = 1, sex: str | None, age: float | None, site: str = "tulane",
           role: str = "train") -> ScanRecord:
    return ScanRecord(f"{site}_{person:08x}_v{visit:02d}_{side[0]}", f"sub-{person:08x}", site, visit, side,  # type: ignore[arg-type]
                      False, True, role, sex=sex, age_years=age)  # type: ignore[arg-type]


@pytest.fixture
def records() -> list[ScanRecord]:
    return [record(WOMAN_1, sex="F", age=60), record(WOMAN_1, side="right", sex="F", age=60),
            record(WOMAN_2, sex="F", age=70), record(MAN_3, sex="M", age=64),
            record(MAN_4, sex="M", age=72, site="oslo"), record(TEST_5, sex="M", age=80, role="test")]


def splits_of(records: list[ScanRecord]) -> SplitSet:
    """Fold 0 validates the first woman and the first man, fold 1 the others."""
    first = {r.case_id for r in records if r.participant_id in ("sub-00000001", "sub-00000003")}
    second = {r.case_id for r in records if r.role == "train"} - first
    return SplitSet([{"train": sorted(a), "val": sorted(b)} for a, b in ((second, first), (first, second))],
                    [{"scheme": "kfold2", "cohort": "all", "k": k} for k in (0, 1)],
                    [r.case_id for r in records if r.role == "test"])


def test_a_row_holds_who_validates_and_how_far_they_are_from_the_rest(records):
    volumes = {r.case_id: 90.0 + 10 * number for number, r in enumerate(records)}
    first, second, test = balance_rows(records, splits_of(records), volumes)
    assert [row["fold"] for row in (first, second, test)] == ["0", "1", "test"]
    assert (first["participants"], first["cases"], first["women"], first["men"]) == (2, 3, 1, 1)
    assert (first["n_oslo"], first["n_tulane"]) == (0, 2)
    assert (first["age_mean_years"], first["age_sd_years"]) == (62, pytest.approx(math.sqrt(8)))
    # Hips of 90 and 100 ml make a participant of 95; the man's is 120.
    assert (first["volume_mean_ml"], first["volume_sd_ml"]) == (107.5, pytest.approx(math.sqrt(2 * 12.5**2)))
    # Ages 60, 64 against 70, 72: means 62 and 71, variances 8 and 2.
    assert first["smd_age"] == pytest.approx(-9 / math.sqrt(5))
    assert first["smd_women"] == 0
    # At oslo 0 of 2 against 1 of 2, p (1 - p) of 0 and .25; at tulane the same with the other sign.
    assert abs(first["smd_site"]) == pytest.approx(0.5 / math.sqrt(0.125))
    assert second["smd_age"] == pytest.approx(-first["smd_age"])
    assert largest_difference([first, second, test]) == pytest.approx(9 / math.sqrt(5))


def test_the_locked_test_set_stands_below_against_all_training_participants(records):
    *_, test = balance_rows(records, splits_of(records), {})
    assert (test["participants"], test["men"], test["age_mean_years"]) == (1, 1, 80)
    # No woman of 1 against 2 of 4: variances 0 and .25.
    assert test["smd_women"] == pytest.approx(-0.5 / math.sqrt(0.125))
    # One value has no variance, and no volume was measured.
    assert math.isnan(test["smd_age"])
    assert math.isnan(test["volume_mean_ml"])


def test_unknown_sex_and_age_are_left_out():
    records = [record(number, sex=None if number == 1 else "F", age=None if number == 1 else 60.0 + number)
               for number in range(1, 7)]
    rows = balance_rows(records, build_split_set(records, scheme="kfold2", seed=0), {})
    holder = next(row for row in rows if row["women"] == row["participants"] - 1)
    assert holder["men"] == 0
    assert math.isfinite(holder["age_mean_years"])


def test_the_age_is_that_of_the_first_visit(records):
    later = [record(WOMAN_1, visit=2, sex="F", age=66), *records]
    first, *_ = balance_rows(later, splits_of(later), {})
    assert first["age_mean_years"] == 62


def test_both_files_hold_every_row(records, tmp_path):
    rows = balance_rows(records, splits_of(records), {r.case_id: 100.0 for r in records})
    csv_path, markdown_path = write_balance(tmp_path, rows)
    with csv_path.open() as handle:
        written = list(csv.DictReader(handle))
    assert [row["fold"] for row in written] == ["0", "1", "test"]
    assert written[0]["volume_mean_ml"] == "100"
    assert written[2]["smd_age"] == "n/a"
    table = [line for line in markdown_path.read_text().splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert table[2].split("|")[1:9] == [" 0 ", " all ", " 2 ", " 3 ", " 1 ", " 1 ", " 0 ", " 2 "]
    assert "62.0 (2.8)" in table[2]


def test_known_differences():
    # Means 2 and 4, both variances 1.
    assert standardised_difference([1, 2, 3], [3, 4, 5]) == -2
    assert standardised_difference([1, 2, 3, math.nan], [3, 4, 5]) == -2
    assert standardised_difference([5, 5], [5, 5]) == 0
    assert math.isnan(standardised_difference([5, 5], [6, 6]))
    assert math.isnan(standardised_difference([5], [6, 7]))
    # .5 and .1: .4 / sqrt((.25 + .09) / 2)
    assert standardised_share_difference(0.5, 0.1) == pytest.approx(0.4 / math.sqrt(0.17))
    assert standardised_share_difference(1.0, 1.0) == 0
    assert math.isnan(standardised_share_difference(1.0, 0.0))


@given(st.lists(st.floats(30, 90), min_size=2, max_size=9), st.lists(st.floats(30, 90), min_size=2, max_size=9),
       st.floats(0.1, 10), st.floats(-50, 50))
def test_units_and_order_do_not_matter(first, second, scale, offset):
    value = standardised_difference(first, second)
    if not math.isfinite(value) or min(np.std(first), np.std(second)) < 1e-3:
        return
    assert standardised_difference(second, first) == pytest.approx(-value)
    moved = standardised_difference([scale * x + offset for x in first], [scale * x + offset for x in second])
    assert moved == pytest.approx(value, rel=1e-6, abs=1e-6)
