from __future__ import annotations

import json
from dataclasses import replace

import pytest
from toy_dataset import case_id

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.cohort import ScanRecord
from femur_nnunet.errors import FemurError
from femur_nnunet.splits import SplitSet, read_splits, write_splits

A, B, C, D = (case_id("tulane", number) for number in (1, 2, 3, 4))
A_RIGHT = case_id("tulane", 1, "r")
INDEX = [{"scheme": "kfold2", "cohort": "all", "k": 0}]


def test_folds_come_back_as_they_were_written(tmp_path):
    splits = SplitSet([{"train": [A, A_RIGHT], "val": [B]}], INDEX, [C])
    write_splits(tmp_path, splits)
    assert read_splits(tmp_path) == splits


@pytest.mark.parametrize(("fold", "test", "where"), [
    ({"train": [A], "val": [A_RIGHT]}, [C], "training and validation"),
    ({"train": [A], "val": [B]}, [A_RIGHT], "training and the locked test set"),
    ({"train": [A], "val": [B]}, [B], "validation and the locked test set"),
])
def test_a_participant_on_two_sides_is_refused(tmp_path, fold, test, where):
    with pytest.raises(FemurError, match=where):
        write_splits(tmp_path, SplitSet([fold], INDEX, test))


def test_an_edited_fold_is_refused(tmp_path):
    write_splits(tmp_path, SplitSet([{"train": [A], "val": [B]}], INDEX, [C]), nnunet_name=True)
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": [A, D], "val": [B]}]))
    with pytest.raises(FemurError, match="folds whose hash is"):
        read_splits(tmp_path, nnunet_name=True)


def test_the_cases_of_a_participant_on_two_sides_are_named(tmp_path):
    with pytest.raises(FemurError, match=f"fold 0: found sub-00000001 in training and validation "
                                         f"\\({A} and {A_RIGHT}; 1 such participants\\)"):
        write_splits(tmp_path, SplitSet([{"train": [A, C], "val": [A_RIGHT]}], INDEX, [D]))
    with pytest.raises(FemurError, match=f"the locked test set \\({A} and {A_RIGHT};"):
        write_splits(tmp_path, SplitSet([{"train": [A], "val": [B]}], INDEX, [A_RIGHT]))


@pytest.mark.parametrize(("fold", "message"), [({"train": [], "val": [B]}, "no case in train"),
                                               ({"train": [A], "val": []}, "no case in val"),
                                               ({"train": [A, A], "val": [B]}, f"{A} twice in train")])
def test_lists_that_no_training_could_use_are_refused(tmp_path, fold, message):
    with pytest.raises(FemurError, match=f"fold 0: found {message}"):
        write_splits(tmp_path, SplitSet([fold], INDEX, []))


def test_the_fold_that_was_edited_is_named(tmp_path):
    index = [{**INDEX[0], "k": k} for k in (0, 1)]
    write_splits(tmp_path, SplitSet([{"train": [A], "val": [B]}, {"train": [B], "val": [A]}], index, [C]))
    path = tmp_path / "splits.json"
    folds = json.loads(path.read_text())
    path.write_text(json.dumps([folds[0], {"train": [B, D], "val": [A]}]))
    with pytest.raises(FemurError, match=r"\(changed: fold 1\)"):
        read_splits(tmp_path)
    path.write_text(json.dumps(folds[:1]))
    with pytest.raises(FemurError, match=r"\(1 folds in place of 2\)"):
        read_splits(tmp_path)


def test_folds_of_an_older_version_without_a_hash_a_fold_are_read(tmp_path):
    splits = SplitSet([{"train": [A], "val": [B]}], INDEX, [C])
    write_splits(tmp_path, splits)
    path = tmp_path / "splits_index.json"
    content = json.loads(path.read_text())
    del content["fold_sha256"]
    path.write_text(json.dumps(content))
    assert read_splits(tmp_path) == splits


@pytest.mark.parametrize(("case", "changes", "message"), [
    (A, {"role": "test"}, f"{A} in train, which has the role test in scans.tsv"),
    (B, {"labelled": False}, f"{B} in val, which is unlabelled"),
    (B, {"sex": "M"}, f"{B} in val, which is of sex M"),
    (A, {"sex": None}, f"{A} in train, which is of sex n/a"),
])
def test_folds_that_contradict_the_table_are_refused_with_the_row(case, changes, message):
    splits = SplitSet([{"train": [A], "val": [B]}], [{"scheme": "kfold2", "cohort": "women", "k": 0}], [])
    table = {name: ScanRecord(name, parse_case_id(name).participant_id, "tulane", 1, "left", False, True, "train",
                              sex="F") for name in (A, B)}
    splits.check_against(table.values())
    table[case] = replace(table[case], **changes)
    with pytest.raises(FemurError, match=message):
        splits.check_against(table.values())
    del table[case]
    with pytest.raises(FemurError, match=f"{case} in (train|val), which has no row"):
        splits.check_against(table.values())


def test_an_edited_test_list_is_refused(tmp_path):
    write_splits(tmp_path, SplitSet([{"train": [A], "val": [B]}], INDEX, [C]))
    path = tmp_path / "splits_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "test": []}))
    with pytest.raises(FemurError, match="folds whose hash is"):
        read_splits(tmp_path)


def test_missing_folds_say_what_to_run(tmp_path):
    with pytest.raises(FemurError, match="run femur_splits"):
        read_splits(tmp_path)
