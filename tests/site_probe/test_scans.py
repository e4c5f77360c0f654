from __future__ import annotations

import pytest
from toy_dataset import write_toy_dataset

from femur_nnunet.errors import UsageError
from femur_nnunet.site_probe.scans import choose_scans
from femur_nnunet.splits import read_splits, write_splits


def dataset(folder, **counts):
    written = write_toy_dataset(folder, shape_zyx=(8, 8, 8), **counts)
    write_splits(written, read_splits(written), nnunet_name=True)
    return written


def test_the_locked_test_set_is_taken_where_it_is_large_enough(tmp_path):
    folder = dataset(tmp_path, test=3)
    kind, scans = choose_scans("auto", raw=folder, preprocessed=folder, fold=0)
    assert kind == "test"
    assert len(scans) == 12
    assert all(scan.raw_image.is_file() and not scan.unlabelled for scan in scans)
    assert {scan.site for scan in scans} == {"tulane", "rochester"}


@pytest.mark.parametrize("with_raw", [True, False])
def test_a_fold_stands_in_for_a_small_or_absent_test_set(tmp_path, with_raw):
    folder = dataset(tmp_path)
    kind, scans = choose_scans("auto", raw=folder if with_raw else None, preprocessed=folder, fold=0)
    assert kind == "fold"
    validation = read_splits(folder).folds[0]["val"]
    assert sorted(scan.case_id for scan in scans if not scan.unlabelled) == validation
    assert {scan.site for scan in scans if scan.unlabelled} == {"rochester"}


def test_test_scans_can_be_asked_for_and_a_missing_folder_is_told(tmp_path):
    folder = dataset(tmp_path)
    assert choose_scans("test", raw=folder, preprocessed=None, fold=0)[0] == "test"
    with pytest.raises(UsageError, match="no raw folder"):
        choose_scans("test", raw=None, preprocessed=folder, fold=0)
    with pytest.raises(UsageError, match="neither enough test scans nor preprocessed data"):
        choose_scans("auto", raw=folder, preprocessed=None, fold=0)
