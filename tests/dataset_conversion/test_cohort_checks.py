from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from femur_nnunet.dataset_conversion import cohort_checks
from femur_nnunet.dataset_conversion.cohort_checks import alike_participants, check_cohort, refuse_hash_collisions
from femur_nnunet.dataset_conversion.manifest import ManifestRow


def row(number: int, participant: str = "P1", **columns: Any) -> ManifestRow:
    return ManifestRow(source="tulane", number=number, site=columns.pop("site", "tulane"), participant=participant,
                       image=Path(f"{number}.mha"), **columns)


@pytest.mark.parametrize(("first", "second"), [("left", "left"), ("both", "right"), ("left", "both")])
def test_a_second_row_of_the_same_hip_is_refused_and_the_first_stays(first: Any, second: Any) -> None:
    sound, problems = check_cohort([row(2, side=first), row(3, side=second)])
    assert [item.number for item in sound] == [2]
    assert str(problems[0].error).startswith("tulane row 3: found a duplicate case: tulane row 2 ")


def test_other_sides_visits_and_sites_are_no_duplicates() -> None:
    rows = [row(2, side="left"), row(3, side="right"), row(4, visit=2), row(5, site="oslo")]
    sound, problems = check_cohort(rows)
    assert sound == rows
    assert not problems


def test_a_participant_of_two_sexes_is_refused_with_all_rows_named() -> None:
    sound, problems = check_cohort([row(2, sex="F"), row(3, visit=2), row(4, visit=3, sex="M"), row(5, "P2")])
    assert [item.number for item in sound] == [5]
    assert [problem.number for problem in problems] == [2, 3, 4]
    assert "a participant of two sexes (F in tulane row 2, M in tulane row 4)" in str(problems[1].error)


def test_a_participant_of_two_roles_is_refused() -> None:
    sound, problems = check_cohort([row(2, role="train"), row(3, visit=2, role="test")])
    assert not sound
    assert "two roles (train in tulane row 2, test in tulane row 3)" in str(problems[0].error)


def test_sex_and_role_of_one_row_count_for_all_rows_of_the_participant() -> None:
    sound, _ = check_cohort([row(2), row(3, visit=2, sex="F", role="test"), row(4, "P2")])
    assert [(item.sex, item.role) for item in sound] == [("F", "test"), ("F", "test"), (None, None)]


def test_two_participants_of_one_hash_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_checks, "participant_hash", lambda key, site, participant: "00000000")
    sound, problems = refuse_hash_collisions([row(2), row(3, visit=2), row(4, "P2"), row(5, site="oslo")], b"key")
    assert [item.number for item in sound] == [2, 3, 5]
    assert "whose hash another participant has too" in str(problems[0].error)


@pytest.mark.parametrize(("one", "other"), [("P1", "p1"), ("007", "7"), ("Doe 1", "Doe1"), ("A-1", "A1"),
                                            ("M\u00fcller", "Mu\u0308ller"), ("P1", "P1\u00a0")])
def test_names_that_may_mean_one_person_are_warned_of_by_their_rows(one: str, other: str) -> None:
    (line,) = alike_participants([row(2, one), row(3, one, visit=2), row(4, other), row(5, "somebody")])
    assert line.startswith("tulane row 2 and tulane row 4: found participant_ids that differ only in")
    assert one not in line.replace("one", "")


def test_other_names_and_the_same_name_at_two_sites_are_not_warned_of() -> None:
    assert not alike_participants([row(2, "P1"), row(3, "P10"), row(4, "P2"), row(5, "p1", site="oslo")])
