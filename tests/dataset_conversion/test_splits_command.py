from __future__ import annotations

import json
from pathlib import Path

import pytest

from femur_nnunet.cohort import ScanRecord, write_scans_table
from femur_nnunet.dataset_conversion.splits_command import main
from femur_nnunet.files import hold_folder
from femur_nnunet.splits import read_splits, write_splits


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    dataset = tmp_path / "raw" / "Dataset501_ProximalFemur"
    dataset.mkdir(parents=True)
    records = [ScanRecord(f"tulane_{person:08x}_v01_{side[0]}", f"sub-{person:08x}", "tulane", 1, side,
                          side == "right", True, "test" if person == 9 else "train", sex="FM"[person % 2],
                          age_years=60 + person)
               for person in range(10) for side in ("left", "right")]
    write_scans_table(dataset / "scans.tsv", records)
    return tmp_path / "raw"


def run(raw: Path, *arguments: str) -> int:
    return main(["-d", "501", "--raw", str(raw), "--quiet", *arguments])


def test_folds_of_all_cohorts_are_written_with_index_and_hash(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raw, "--scheme", "kfold3", "--cohorts", "all,women,men", "--seed", "2", "--json") == 0
    splits = read_splits(raw / "Dataset501_ProximalFemur")
    assert len(splits.folds) == 9
    assert [entry["cohort"] for entry in splits.index] == ["all"] * 3 + ["women"] * 3 + ["men"] * 3
    assert splits.test == ["tulane_00000009_v01_l", "tulane_00000009_v01_r"]
    assert json.loads(capsys.readouterr().out)["sha256"] == splits.sha256
    run_record = json.loads((raw / "Dataset501_ProximalFemur" / "splits_run.json").read_text(encoding="utf-8"))
    assert run_record["seed"] == 2
    assert run_record["counts"] == {"folds": 9, "test_cases": 2}


def test_the_seed_fixes_the_folds(raw: Path) -> None:
    hashes = []
    for seed in ("1", "1", "2"):
        assert run(raw, "--seed", seed) == 0
        hashes.append(read_splits(raw / "Dataset501_ProximalFemur").sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_environment_variable_names_the_folder(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(raw))
    assert main(["-d", "501", "--quiet"]) == 0


def test_folds_that_femur_plan_has_placed_are_replaced_too(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = raw.parent / "preprocessed" / "Dataset501_ProximalFemur"
    placed.mkdir(parents=True)
    monkeypatch.setenv("nnUNet_preprocessed", str(placed.parent))
    assert run(raw, "--seed", "1") == 0
    assert not list(placed.iterdir())
    write_splits(placed, read_splits(raw / placed.name), nnunet_name=True)
    assert run(raw, "--seed", "2") == 0
    assert read_splits(placed, nnunet_name=True) == read_splits(raw / placed.name)


def test_more_folds_than_participants_is_told(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raw, "--scheme", "kfold10") == 1
    assert "cohort all: found 9 participants for 10 folds" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--scheme", "leave-one-out"], ["--cohorts", "girls"], ["-d", "502"]])
def test_wrong_usage_exits_with_2(raw: Path, arguments: list[str]) -> None:
    assert run(raw, *arguments) == 2


def test_without_a_folder_of_raw_datasets_the_way_to_set_it_is_told(monkeypatch: pytest.MonkeyPatch,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert main(["-d", "501"]) == 2
    assert "femur_env --root DIR" in capsys.readouterr().err


def test_a_dataset_that_is_being_converted_exits_with_3(raw: Path) -> None:
    with hold_folder(raw / "Dataset501_ProximalFemur"):
        assert run(raw) == 3
