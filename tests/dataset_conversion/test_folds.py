from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.folds import build_split_set, draw_folds, parse_cohorts, parse_scheme
from femur_nnunet.dataset_conversion.strata import Participant
from femur_nnunet.errors import FemurError, UsageError


def record(person: int, side: str = "left", *, visit: int = 1, site: str = "tulane", role: str = "train",
           labelled: bool = True, sex: str | None = "F", age: float | None = 70) -> ScanRecord:
    return ScanRecord(f"{site}_{person:08x}_v{visit:02d}_{side[0]}", f"sub-{person:08x}", site, visit, side,
                      side == "right", labelled, role, sex=sex, age_years=age)


def hips(person: int, **columns: object) -> list[ScanRecord]:
    return [record(person, side, **columns) for side in ("left", "right")]  # type: ignore[arg-type]


@st.composite
def cohorts(draw: st.DrawFn) -> list[Participant]:
    rows = draw(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["F", "M"]),
                                   st.sampled_from(["60-69", "70-79", "n/a"])), min_size=2, max_size=40))
    return [Participant(f"{number:08x}", *row) for number, row in enumerate(rows)]


@st.composite
def datasets(draw: st.DrawFn) -> list[ScanRecord]:
    """Participants with one or two visits, one or two hips, of both roles, labelled or not."""
    records = []
    for person in range(draw(st.integers(4, 16))):
        common = {"role": draw(st.sampled_from(["train", "train", "train", "test"])),
                  "site": draw(st.sampled_from(["tulane", "rochester"])), "sex": draw(st.sampled_from(["F", "M"])),
                  "age": draw(st.sampled_from([45.0, 65.0, 89.0, None]))}
        for visit in range(1, draw(st.integers(1, 2)) + 1):
            for side in draw(st.sampled_from([["left"], ["right"], ["left", "right"]])):
                records.append(record(person, side, visit=visit, labelled=draw(st.booleans()), **common))
    return records


@given(cohorts(), st.integers(2, 6), st.integers(0, 3))
def test_every_participant_validates_once_and_folds_differ_by_one_at_every_level(
        cohort: list[Participant], n_folds: int, seed: int) -> None:
    if len(cohort) < n_folds:
        with pytest.raises(FemurError, match=r"participants for \d folds"):
            draw_folds(cohort, n_folds, seed)
        return
    folds = draw_folds(cohort, n_folds, seed)
    assert sorted(person for fold in folds for person in fold) == sorted(p.participant_id for p in cohort)
    by_id = {person.participant_id: person for person in cohort}
    for depth in range(4):
        counts = [Counter(by_id[person].stratum[:depth] for person in fold) for fold in folds]
        for level in {person.stratum[:depth] for person in cohort}:
            sizes = [count[level] for count in counts]
            assert max(sizes) - min(sizes) <= 1


@given(cohorts(), st.randoms(use_true_random=False))
def test_folds_depend_on_seed_and_not_on_order(cohort: list[Participant], random: object) -> None:
    shuffled = list(cohort)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert draw_folds(shuffled, 2, 7) == draw_folds(cohort, 2, 7)


def test_another_seed_gives_other_folds() -> None:
    cohort = [Participant(f"{number:08x}", "tulane", "F", "60-69") for number in range(20)]
    assert draw_folds(cohort, 5, 0) != draw_folds(cohort, 5, 1)


@given(datasets(), st.integers(0, 3))
def test_no_participant_leaks_and_only_labelled_training_cases_are_listed(
        records: list[ScanRecord], seed: int) -> None:
    usable = {r.case_id for r in records if r.role == "train" and r.labelled}
    if len({parse_case_id(case).participant_id for case in usable}) < 3:
        return
    splits = build_split_set(records, scheme="kfold3", seed=seed)
    test_people = {r.participant_id for r in records if r.role == "test"}
    validated: list[str] = []
    for fold in splits.folds:
        assert set(fold["train"]) | set(fold["val"]) == usable
        train, val = ({parse_case_id(case).participant_id for case in fold[key]} for key in ("train", "val"))
        assert not train & val
        assert not (train | val) & test_people
        validated += fold["val"]
    assert sorted(validated) == sorted(usable)
    assert splits.test == sorted(r.case_id for r in records if r.role == "test")


def test_cohorts_are_numbered_all_then_women_then_men() -> None:
    records = [r for number in range(4) for r in hips(number, sex="F" if number < 2 else "M")]
    splits = build_split_set(records, scheme="kfold2", cohorts=("men", "all", "women"))
    assert [(entry["cohort"], entry["k"]) for entry in splits.index] == list(product(("all", "women", "men"), (0, 1)))
    assert all(entry["scheme"] == "kfold2" for entry in splits.index)
    women = {r.case_id for r in records if r.sex == "F"}
    for fold in splits.folds[2:4]:
        assert set(fold["train"]) | set(fold["val"]) == women


def test_fewer_women_than_folds_is_told_with_the_cohort() -> None:
    records = [r for number in range(4) for r in hips(number, sex="F" if number < 1 else "M")]
    with pytest.raises(FemurError, match="cohort women: found 1 participants for 2 folds"):
        build_split_set(records, scheme="kfold2", cohorts=("all", "women"))


def test_a_participant_of_two_sexes_is_refused_with_both_cases() -> None:
    records = [*hips(1), *hips(2), record(3, sex="F"), record(3, visit=2, sex="M")]
    with pytest.raises(FemurError, match="tulane_00000003_v01_l and M in tulane_00000003_v02_l"):
        build_split_set(records, scheme="kfold2")


@pytest.mark.parametrize("scheme", ["kfold1", "kfold", "leave", "5", "kfold5 "])
def test_an_unknown_scheme_is_a_usage_error(scheme: str) -> None:
    with pytest.raises(UsageError, match="kfoldN"):
        parse_scheme(scheme)


@pytest.mark.parametrize("text", ["", "all,girls"])
def test_an_unknown_cohort_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="all, women, men"):
        parse_cohorts(text)
