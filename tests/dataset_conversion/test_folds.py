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


def test_the_participants_of_a_cohort_that_is_too_small_are_named() -> None:
    with pytest.raises(FemurError, match=r"2 participants for 5 folds \(sub-00000003, sub-00000007\)"):
        build_split_set([*hips(3), *hips(7)], scheme="kfold5")
    with pytest.raises(FemurError, match=r"sub-00000004 and 3 more"):
        build_split_set([record(number) for number in range(8)], scheme="kfold9")


def test_a_stratum_with_one_member_lies_in_one_fold() -> None:
    records = [*(record(number, sex="F") for number in range(8)), record(99, sex="M", age=95.0)]
    splits = build_split_set(records, scheme="kfold4")
    assert sum("tulane_00000063_v01_l" in fold["val"] for fold in splits.folds) == 1
    assert sorted(len(fold["val"]) for fold in splits.folds) == [2, 2, 2, 3]


def test_leave_site_out_validates_each_labelled_site_once() -> None:
    records = [*hips(1), *hips(2, site="oslo"), *hips(3, site="bern"), *hips(4, site="oslo"),
               *hips(5, site="rochester", labelled=False), *hips(6, site="graz", role="test")]
    splits = build_split_set(records, scheme="leave-site-out")
    assert [(entry["k"], entry["site"]) for entry in splits.index] == [(0, "bern"), (1, "oslo"), (2, "tulane")]
    labelled = {r.case_id for r in records if r.labelled and r.role == "train"}
    for fold, entry in zip(splits.folds, splits.index, strict=True):
        assert set(fold["val"]) == {case for case in labelled if case.startswith(entry["site"])}
        assert set(fold["train"]) == labelled - set(fold["val"])


def test_leave_site_out_of_a_cohort_has_the_sites_of_its_members() -> None:
    records = [*hips(1, sex="F"), *hips(2, sex="F", site="oslo"), *hips(3, sex="M", site="bern")]
    splits = build_split_set(records, scheme="leave-site-out", cohorts=("all", "women"))
    assert [(entry["cohort"], entry["site"]) for entry in splits.index] == [
        ("all", "bern"), ("all", "oslo"), ("all", "tulane"), ("women", "oslo"), ("women", "tulane")]


def test_leave_site_out_with_one_labelled_site_is_refused() -> None:
    records = [*hips(1), *hips(2), *hips(5, site="rochester", labelled=False)]
    with pytest.raises(FemurError, match=r"cohort all: found labelled training participants of tulane alone "
                                         r"\(sub-00000001, sub-00000002\)"):
        build_split_set(records, scheme="leave-site-out")


@pytest.mark.parametrize("scheme", ["kfold1", "kfold", "leave", "5", "kfold5 "])
def test_an_unknown_scheme_is_a_usage_error(scheme: str) -> None:
    with pytest.raises(UsageError, match="kfoldN"):
        parse_scheme(scheme)


@pytest.mark.parametrize("text", ["", "all,girls"])
def test_an_unknown_cohort_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="all, women, men"):
        parse_cohorts(text)
