from __future__ import annotations

import json

import pytest
from toy_dataset import case_id

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


def test_an_edited_test_list_is_refused(tmp_path):
    write_splits(tmp_path, SplitSet([{"train": [A], "val": [B]}], INDEX, [C]))
    path = tmp_path / "splits_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "test": []}))
    with pytest.raises(FemurError, match="folds whose hash is"):
        read_splits(tmp_path)


def test_missing_folds_say_what_to_run(tmp_path):
    with pytest.raises(FemurError, match="run femur_splits"):
        read_splits(tmp_path)
