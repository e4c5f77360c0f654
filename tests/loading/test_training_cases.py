from __future__ import annotations

import json
from dataclasses import replace

import pytest
from toy_dataset import case_id, write_toy_dataset

from femur_nnunet.cohort import read_scans_table, write_scans_table
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.loading.training_cases import FoldCases, fold_cases, hold_out_unlabelled, read_fold_splits
from femur_nnunet.splits import SplitSet, read_splits, write_splits


@pytest.fixture
def folder(tmp_path):
    written = write_toy_dataset(tmp_path, shape_zyx=(8, 8, 8))
    write_splits(written, read_splits(written), nnunet_name=True)
    return written


def available(folder):
    return [r.case_id for r in read_scans_table(folder / "scans.tsv") if r.labelled and r.role == "train"]


def test_a_fold_comes_with_the_unlabelled_cases_of_training_role(folder):
    train, validation = read_fold_splits(folder, 0, allow_all=False, available=available(folder))
    cases = fold_cases(folder, train, validation)
    assert cases.sites == ["tulane", "rochester"]
    assert len(cases.train) == len(cases.validation) == len(cases.unlabelled) == 4
    assert all(case.startswith("rochester") for case in cases.unlabelled)


def test_a_fold_of_women_takes_unlabelled_scans_of_women_alone(folder):
    train, validation = read_fold_splits(folder, 0, allow_all=False, available=available(folder))
    sex_of = {r.case_id: r.sex for r in read_scans_table(folder / "scans.tsv")}
    women = fold_cases(folder, train, validation, cohort="women").unlabelled
    assert len(women) == 2
    assert {sex_of[case] for case in women} == {"F"}


def test_an_unlabelled_scan_of_a_validation_participant_is_left_out(folder):
    train, validation = read_fold_splits(folder, 0, allow_all=False, available=available(folder))
    records = read_scans_table(folder / "scans.tsv")
    held_out = validation[0]
    hidden = next(r for r in records if r.case_id == held_out)
    second_visit = type(hidden)(**{**vars(hidden), "case_id": held_out.replace("_v01_", "_v02_"), "visit": 2,
                                   "labelled": False})
    write_scans_table(folder / "scans.tsv", [*records, second_visit])
    assert second_visit.case_id not in fold_cases(folder, train, validation).unlabelled


@pytest.mark.parametrize("fold", [2, 7, -1])
def test_a_fold_outside_the_file_is_refused_instead_of_drawn_at_random(folder, fold):
    with pytest.raises(UsageError, match=f"found fold {fold}; expected a fold from 0 to 1"):
        read_fold_splits(folder, fold, allow_all=False, available=available(folder))


def test_fold_all_must_be_allowed_by_the_plan(folder):
    with pytest.raises(UsageError, match="found fold all"):
        read_fold_splits(folder, "all", allow_all=False, available=available(folder))
    train, validation = read_fold_splits(folder, "all", allow_all=True, available=available(folder))
    assert train == validation == sorted(available(folder))


def test_an_edited_split_is_refused(folder):
    folds = json.loads((folder / "splits_final.json").read_text())
    folds[0]["train"].append(folds[0]["val"][0])
    (folder / "splits_final.json").write_text(json.dumps(folds))
    with pytest.raises(FemurError, match="hash"):
        read_fold_splits(folder, 0, allow_all=False, available=available(folder))


def test_a_test_case_in_a_training_list_is_refused_even_when_the_test_list_does_not_know_it(folder):
    table = folder / "scans.tsv"
    splits = read_splits(folder)
    person = splits.folds[0]["train"][0].split("_")[1]
    write_scans_table(table, [replace(r, role="test") if person in r.case_id else r for r in read_scans_table(table)])
    with pytest.raises(FemurError, match=f"fold 0: found tulane_{person}_v01_l in train, which has the role test"):
        read_fold_splits(folder, 0, allow_all=False, available=available(folder))


def test_a_case_that_is_not_preprocessed_is_named(folder):
    with pytest.raises(FemurError, match="not preprocessed, the first tulane_"):
        read_fold_splits(folder, 0, allow_all=False, available=available(folder)[1:])


def test_a_missing_split_file_is_refused_instead_of_created(folder):
    (folder / "splits_final.json").unlink()
    with pytest.raises(FemurError, match="no such file"):
        read_fold_splits(folder, 0, allow_all=False, available=available(folder))
    assert not (folder / "splits_final.json").exists()


def test_a_case_without_a_row_is_refused(folder):
    with pytest.raises(FemurError, match="no row for tulane_000000ff"):
        fold_cases(folder, [case_id("tulane", 255)], [])


def test_a_leak_into_the_test_set_is_refused_even_with_a_right_hash(folder):
    splits = read_splits(folder)
    leaking = SplitSet(splits.folds, splits.index, [splits.folds[0]["train"][0]])
    with pytest.raises(FemurError, match="training and the locked test set"):
        write_splits(folder, leaking)


def unlabelled_of(site: str, participants: int) -> list[str]:
    return [case_id(site, number, side) for number in range(participants) for side in "lr"]


def test_scans_for_scoring_are_held_out_by_participant_and_by_site():
    cases = unlabelled_of("rochester", 20) + unlabelled_of("augusta", 6)
    kept, scoring = hold_out_unlabelled(cases, 0.1)
    assert sorted(kept + scoring) == sorted(cases)
    assert not {case[:-2] for case in kept} & {case[:-2] for case in scoring}
    # Two of 20 participants and one of 6 (rounded), with both hips.
    assert [sum(case.startswith(site) for case in scoring) for site in ("rochester", "augusta")] == [4, 2]
    assert hold_out_unlabelled(cases, 0.1) == (kept, scoring)


def test_of_a_site_with_few_participants_nobody_is_held_out():
    cases = unlabelled_of("rochester", 4)
    assert hold_out_unlabelled(cases, 0.5) == (cases, [])


def test_a_fraction_of_zero_holds_out_nobody():
    cases = unlabelled_of("rochester", 20)
    assert hold_out_unlabelled(cases, 0.0) == (cases, [])


def test_unlabelled_scans_of_a_labelled_site_are_no_targets():
    cases = FoldCases([case_id("tulane", 1), case_id("augusta", 2)], [],
                      [case_id("augusta", 4), case_id("rochester", 3), case_id("tulane", 5)],
                      ["augusta", "tulane", "rochester"])
    found = cases.without_unlabelled_of_labelled_sites()
    assert found.unlabelled == [case_id("rochester", 3)]
    assert (found.train, found.validation, found.sites) == (cases.train, cases.validation, cases.sites)


def test_labelled_sites_are_those_with_labelled_training_cases():
    cases = FoldCases([case_id("tulane", 1), case_id("augusta", 2)], [], [case_id("rochester", 3)],
                      ["augusta", "tulane", "rochester"])
    assert cases.labelled_sites == ["augusta", "tulane"]
