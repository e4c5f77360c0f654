from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.extended_folds import best_fold, extend_split_set
from femur_nnunet.dataset_conversion.folds import build_split_set
from femur_nnunet.dataset_conversion.strata import Participant
from femur_nnunet.errors import FemurError


def record(person: int, *, visit: int = 1, side: str = "left", site: str = "tulane", sex: str | None = "F",
           age: float = 65, role: str = "train", labelled: bool = True) -> ScanRecord:
    return ScanRecord(f"{site}_{person:08x}_v{visit:02d}_{side[0]}", f"sub-{person:08x}", site, visit, side,  # type: ignore[arg-type]
                      False, labelled, role, sex=sex, age_years=age)  # type: ignore[arg-type]


def cohort(n: int, **columns: object) -> list[ScanRecord]:
    return [record(person, sex="FM"[person % 2], **columns) for person in range(n)]  # type: ignore[arg-type]


def homes(splits) -> dict[tuple[str, str], int]:
    """Where each participant validates, by cohort."""
    return {(entry["cohort"], parse_case_id(case).participant_id): number
            for number, (fold, entry) in enumerate(zip(splits.folds, splits.index, strict=True))
            for case in fold["val"]}


@settings(deadline=None)
@given(st.integers(8, 20), st.lists(st.tuples(st.sampled_from("FM"), st.sampled_from([45, 65, 85])), max_size=12),
       st.integers(2, 4), st.integers(0, 2))
def test_everybody_stays_and_every_newcomer_validates_once_a_cohort(first, newcomers, n_folds, seed):
    before = build_split_set(cohort(first), scheme=f"kfold{n_folds}", cohorts=("all", "women", "men"), seed=1)
    records = [*cohort(first), *(record(100 + number, sex=sex, age=age)
                                 for number, (sex, age) in enumerate(newcomers))]
    extended = extend_split_set(records, before, seed=seed)
    extended.splits.check()
    extended.splits.check_against(records)
    assert homes(before).items() <= homes(extended.splits).items()
    assert extended.joined == sorted({f"sub-{100 + number:08x}" for number in range(len(newcomers))})
    assert extended.splits.index == before.index
    for fold, entry in zip(extended.splits.folds, extended.splits.index, strict=True):
        wanted = {item.case_id for item in records
                  if entry["cohort"] == "all" or item.sex == {"women": "F", "men": "M"}[entry["cohort"]]}
        assert set(fold["train"]) | set(fold["val"]) == wanted


def test_newcomers_even_out_folds_of_a_whole_site():
    before = build_split_set(cohort(8), scheme="kfold4", seed=0)
    records = [*cohort(8), *(record(100 + number, site="oslo", sex="FM"[number % 2]) for number in range(8))]
    splits = extend_split_set(records, before).splits
    site_of_fold = [Counter(parse_case_id(case).site for case in fold["val"]) for fold in splits.folds]
    assert site_of_fold == [{"tulane": 2, "oslo": 2}] * 4


def test_a_new_man_goes_where_men_of_his_age_lack():
    woman, man = Participant("w", "tulane", "F", "60-69"), Participant("m", "tulane", "M", "60-69")
    old_man = Participant("o", "tulane", "M", "80+")
    assert best_fold([[woman, man], [woman, woman], [woman, old_man]], man) == 1
    assert best_fold([[woman, man], [woman, man], [woman, old_man]], man) == 2


def test_the_change_of_imbalance_is_that_of_the_sum_of_squares_over_what_is_expected():
    people = [Participant(str(number), "ab"[number % 2], "FM"[number // 2 % 2], ("60-69", "80+")[number % 3 % 2])
              for number in range(9)]
    folds, new = [people[:4], people[4:5], people[5:]], Participant("new", "a", "M", "80+")

    def imbalance(candidate):
        total = 0.0
        for level in (lambda p: True, lambda p: p.site == "a", lambda p: p.sex == "M", lambda p: p.age_band == "80+",
                      lambda p: (p.site, p.sex) == ("a", "M"), lambda p: p.stratum == new.stratum):
            counts = [sum(map(level, fold)) + (number == candidate) for number, fold in enumerate(folds)]
            total += sum((count - sum(counts) / 3) ** 2 / (sum(counts) / 3) for count in counts)
        return total

    assert best_fold(folds, new) == min(range(3), key=imbalance)


def test_a_new_visit_of_a_participant_joins_its_fold():
    before = build_split_set(cohort(6), scheme="kfold3", seed=0)
    extended = extend_split_set([*cohort(6), record(2, visit=2), record(2, side="right")], before)
    assert extended.joined == []
    assert homes(extended.splits) == homes(before)
    assert {"tulane_00000002_v02_l", "tulane_00000002_v01_r"} <= set(
        extended.splits.folds[homes(before)["all", "sub-00000002"]]["val"])


def test_vanished_participants_are_named_and_left_out_only_when_asked():
    before = build_split_set(cohort(8), scheme="kfold2", seed=0)
    with pytest.raises(FemurError, match=r"sub-00000007 in the folds but no longer.*--drop-vanished"):
        extend_split_set(cohort(7), before)
    extended = extend_split_set(cohort(7), before, drop_vanished=True)
    assert extended.vanished == ["sub-00000007"]
    assert homes(extended.splits).items() <= homes(before).items()


def test_who_has_lost_the_mask_or_become_a_test_participant_has_vanished():
    before = build_split_set(cohort(8), scheme="kfold2", seed=0)
    for change in ({"labelled": False}, {"role": "test"}):
        records = [replace(item, **change) if item.participant_id.endswith("7") else item for item in cohort(8)]
        with pytest.raises(FemurError, match="sub-00000007 in the folds"):
            extend_split_set(records, before)


def test_a_test_participant_never_becomes_a_training_one():
    records = [*cohort(6), record(9, role="test")]
    before = build_split_set(records, scheme="kfold2")
    with pytest.raises(FemurError, match=r"sub-00000009 with the role train.*never moves"):
        extend_split_set([*cohort(6), record(9)], before)


def test_a_fold_that_would_be_empty_is_refused():
    before = build_split_set(cohort(3), scheme="kfold3", seed=0)
    with pytest.raises(FemurError, match="nobody left to validate it"):
        extend_split_set(cohort(2), before, drop_vanished=True)


def test_leave_site_out_takes_newcomers_into_their_sites_fold_and_refuses_a_new_site():
    records = [*cohort(3), *(record(50 + n, site="oslo") for n in range(2))]
    before = build_split_set(records, scheme="leave-site-out")
    splits = extend_split_set([*records, record(60, site="oslo")], before).splits
    assert [entry["site"] for entry in splits.index] == ["oslo", "tulane"]
    assert "oslo_0000003c_v01_l" in splits.folds[0]["val"]
    with pytest.raises(FemurError, match="sub-00000046 of the new site bern"):
        extend_split_set([*records, record(70, site="bern")], before)


def test_two_sexes_in_two_rows_are_refused():
    before = build_split_set(cohort(6), scheme="kfold2")
    with pytest.raises(FemurError, match="sex F in tulane_00000002_v01_l and M in tulane_00000002_v02_l"):
        extend_split_set([*cohort(6), record(2, visit=2, sex="M")], before)
