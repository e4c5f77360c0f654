from __future__ import annotations

from pathlib import Path

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.default_splits import update_splits
from femur_nnunet.dataset_conversion.folds import build_split_set
from femur_nnunet.splits import read_splits, write_splits


def cases(n: int) -> list[ScanRecord]:
    return [ScanRecord(f"tulane_{person:08x}_v01_l", f"sub-{person:08x}", "tulane", 1, "left", False, True, "train",
                       sex="FM"[person % 2]) for person in range(n)]


def test_five_folds_are_drawn_and_kept_while_they_fit(tmp_path: Path) -> None:
    assert update_splits(tmp_path, cases(6), seed=0) == []
    first = read_splits(tmp_path)
    assert len(first.folds) == 5
    assert update_splits(tmp_path, cases(6), seed=99) == []
    assert read_splits(tmp_path) == first


def test_folds_that_the_user_drew_keep_scheme_cohorts_and_everybody_when_cases_join(tmp_path: Path) -> None:
    write_splits(tmp_path, build_split_set(cases(6), scheme="kfold3", cohorts=("all", "women")))
    before = read_splits(tmp_path)
    assert update_splits(tmp_path, cases(6), seed=0) == []
    (warning,) = update_splits(tmp_path, cases(9), seed=0)
    assert "kfold3; all, women" in warning
    splits = read_splits(tmp_path)
    assert [(entry["scheme"], entry["cohort"]) for entry in splits.index] == [("kfold3", "all")] * 3 + [
        ("kfold3", "women")] * 3
    assert sum(len(fold["val"]) for fold in splits.folds[:3]) == 9
    assert all(set(old["val"]) <= set(new["val"]) for old, new in zip(before.folds, splits.folds, strict=True))


def test_a_fold_that_lost_everybody_is_said_and_all_are_drawn_anew(tmp_path: Path) -> None:
    write_splits(tmp_path, build_split_set(cases(6), scheme="kfold3"))
    lost = read_splits(tmp_path).folds[1]["val"]
    warnings = update_splits(tmp_path, [record for record in cases(9) if record.case_id not in lost
                                        and int(record.participant_id[4:], 16) < 6], seed=0)
    assert "fold 1: found nobody left to validate it" in warnings[0]
    assert "drawn anew" in warnings[1]
    assert len(read_splits(tmp_path).folds) == 3


def test_an_edited_file_is_said_and_drawn_anew(tmp_path: Path) -> None:
    update_splits(tmp_path, cases(6), seed=0)
    (tmp_path / "splits.sha256").write_text("0" * 64, encoding="ascii")
    (warning,) = update_splits(tmp_path, cases(6), seed=0)
    assert "drawn anew" in warning
    assert len(read_splits(tmp_path).folds) == 5


def test_too_few_participants_for_the_old_scheme_fall_back_to_fewer_folds(tmp_path: Path) -> None:
    update_splits(tmp_path, cases(6), seed=0)
    warnings = update_splits(tmp_path, cases(3), seed=0)
    assert "their scheme cannot be kept" in warnings[1]
    assert warnings[2] == "3 folds in place of 5: there are 3 labelled training participants"
    assert "1 participant(s) are alone of their site and sex: sub-00000001 (tulane, M)" in warnings[3]


def test_one_participant_leaves_no_folds_behind(tmp_path: Path) -> None:
    update_splits(tmp_path, cases(6), seed=0)
    warnings = update_splits(tmp_path, cases(1), seed=0)
    assert "no folds were drawn: found 1" in warnings[-1]
    assert not list(tmp_path.iterdir())
