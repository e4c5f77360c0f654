from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions, parse_mask_labels
from femur_nnunet.errors import UsageError


def test_the_dataset_is_called_by_number_and_name(tmp_path: Path) -> None:
    options = ConversionOptions(tmp_path, dataset_id=7, dataset_name="Hips")
    assert options.dataset_folder == tmp_path / "Dataset007_Hips"


def test_staging_key_and_map_lie_on_the_same_disk_and_outside_the_dataset(tmp_path: Path) -> None:
    options = ConversionOptions(tmp_path)
    for path in (options.staging_folder, options.key_path, options.id_map_path):
        assert path.parent == tmp_path
        assert not path.name.startswith("Dataset")


@pytest.mark.parametrize(("change", "found"), [
    ({"tulane": None}, "no source"),
    ({"dataset_id": 0}, "dataset id 0"),
    ({"dataset_id": 1000}, "dataset id 1000"),
    ({"dataset_name": "a/b"}, "dataset name"),
    ({"test_fraction": 1.0}, "test fraction of 1.0"),
    ({"test_fraction": float("nan")}, "test fraction of nan"),
    ({"key_file": Path("k"), "key_seed": 1}, "--key-file and --key-seed"),
])
def test_options_that_cannot_be_carried_out_are_usage_errors(tmp_path: Path, change: dict[str, object],
                                                             found: str) -> None:
    options = ConversionOptions(tmp_path, tulane=tmp_path)
    options.check()
    with pytest.raises(UsageError, match=found):
        replace(options, **change).check()  # type: ignore[arg-type]


def test_a_key_inside_the_dataset_is_refused(tmp_path: Path) -> None:
    options = ConversionOptions(tmp_path, tulane=tmp_path)
    with pytest.raises(UsageError, match="a key file inside the dataset"):
        replace(options, key_file=options.dataset_folder / "sub" / "key").check()


def test_a_second_dataset_of_the_same_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Dataset501_Other").mkdir()
    with pytest.raises(UsageError, match="found Dataset501_Other"):
        ConversionOptions(tmp_path, tulane=tmp_path).check()


def test_mask_labels_are_meanings_of_values() -> None:
    assert parse_mask_labels("left=2, right=1,background=3,background=4") == (
        (1, "right"), (2, "left"), (3, "background"), (4, "background"))


@pytest.mark.parametrize("text", ["", "left", "left=", "left=0", "left=256", "hip=1", "left=1,right=1", "left=-1",
                                  "background=1"])
def test_bad_mask_labels_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="--mask-labels"):
        parse_mask_labels(text)
