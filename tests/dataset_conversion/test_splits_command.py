from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from femur_nnunet.cohort import ScanRecord, read_scans_table, write_scans_table
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


def test_a_participant_alone_of_its_site_and_sex_is_named_and_needs_the_users_word(
        raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = raw / "Dataset501_ProximalFemur" / "scans.tsv"
    # The only man; the only woman of her decade is none that counts.
    write_scans_table(table, [replace(item, age_years=95.0 if item.participant_id == "sub-00000002" else 60.0,
                                      sex="M" if item.participant_id == "sub-00000001" else "F")
                              for item in read_scans_table(table)])
    assert run(raw, "--scheme", "kfold3") == 2
    error = capsys.readouterr().err
    assert "1 participant(s) alone of their site and sex: sub-00000001 (tulane, M)" in error
    assert "--allow-single-strata" in error
    assert not (table.parent / "splits.json").exists()
    assert run(raw, "--scheme", "kfold3", "--cohorts", "women") == 0
    assert run(raw, "--scheme", "kfold3", "--allow-single-strata") == 0
    assert sum("tulane_00000001_v01_l" in fold["val"] for fold in read_splits(table.parent).folds) == 1


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


def test_the_balance_table_is_written_beside_the_folds_and_printed(raw: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    dataset = raw / "Dataset501_ProximalFemur"
    (dataset / "labelsTr").mkdir()
    image = sitk.GetImageFromArray(np.ones((4, 10, 10), dtype=np.uint8))
    for record in read_scans_table(dataset / "scans.tsv"):
        image.SetSpacing((1.0, 1.0, 10.0 if record.sex == "F" else 20.0))
        if record.role == "train":
            sitk.WriteImage(image, str(dataset / "labelsTr" / f"{record.case_id}.nii.gz"))
    assert main(["-d", "501", "--raw", str(raw), "--scheme", "kfold3", "--cohorts", "all,women"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "SMD women" in printed[0]
    with (dataset / "balance.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["fold"] for row in rows] == ["0", "1", "2", "3", "4", "5", "test"]
    # 400 voxels of 10 mm3 for women and 20 mm3 for men.
    assert {float(row["volume_mean_ml"]) for row in rows if row["cohort"] == "women"} == {4.0}
    assert 4.0 < float(rows[0]["volume_mean_ml"]) < 8.0
    assert (dataset / "balance.md").read_text(encoding="utf-8").startswith("# Balance")
    outputs = json.loads((dataset / "splits_run.json").read_text(encoding="utf-8"))["outputs_sha256"]
    assert {"balance.csv", "balance.md", "femur_volumes.json", "splits.sha256"} <= set(outputs)


def add_participants(raw: Path, numbers: range) -> None:
    table = raw / "Dataset501_ProximalFemur" / "scans.tsv"
    new = [ScanRecord(f"tulane_{number:08x}_v01_l", f"sub-{number:08x}", "tulane", 1, "left", False, True, "train",
                      sex="FM"[number % 2], age_years=70.0) for number in numbers]
    write_scans_table(table, [*read_scans_table(table), *new])


def test_extend_keeps_scheme_cohorts_and_everybody(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = raw / "Dataset501_ProximalFemur"
    assert run(raw, "--scheme", "kfold3", "--cohorts", "all,men", "--seed", "4") == 0
    before = read_splits(dataset)
    add_participants(raw, range(20, 26))
    assert main(["-d", "501", "--raw", str(raw), "--extend"]) == 0
    after = read_splits(dataset)
    assert after.index == before.index
    for old, new in zip(before.folds, after.folds, strict=True):
        assert set(old["val"]) <= set(new["val"])
        assert set(old["train"]) <= set(new["train"])
    # Two newcomers a fold of the whole cohort: 9 participants in threes became 15 in fives.
    assert [len({case.split("_")[1] for case in fold["val"]}) for fold in after.folds[:3]] == [5, 5, 5]
    assert "6 participants joined, 0 left" in capsys.readouterr().out


def test_extending_without_change_changes_nothing(raw: Path) -> None:
    assert run(raw, "--scheme", "kfold3") == 0
    before = read_splits(raw / "Dataset501_ProximalFemur")
    assert run(raw, "--extend", "--seed", "9") == 0
    assert read_splits(raw / "Dataset501_ProximalFemur") == before


def test_extend_refuses_another_scheme_edited_folds_and_a_dataset_without_folds(
        raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raw, "--extend") == 1
    assert "splits.json" in capsys.readouterr().err
    assert run(raw, "--scheme", "kfold3") == 0
    assert run(raw, "--extend", "--scheme", "kfold5") == 2
    assert run(raw, "--extend", "--cohorts", "women") == 2
    assert run(raw, "--extend", "--scheme", "kfold3", "--cohorts", "all") == 0
    path = raw / "Dataset501_ProximalFemur" / "splits.json"
    folds = json.loads(path.read_text(encoding="utf-8"))
    folds[1]["val"], folds[1]["train"] = folds[1]["train"], folds[1]["val"]
    path.write_text(json.dumps(folds), encoding="utf-8")
    capsys.readouterr()
    assert run(raw, "--extend") == 1
    assert "(changed: fold 1)" in capsys.readouterr().err


def test_vanished_participants_need_the_users_word(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = raw / "Dataset501_ProximalFemur" / "scans.tsv"
    assert run(raw, "--scheme", "kfold3") == 0
    write_scans_table(table, [r for r in read_scans_table(table) if not r.participant_id.endswith("4")])
    assert run(raw, "--extend") == 1
    assert "sub-00000004 in the folds but no longer" in capsys.readouterr().err
    assert run(raw, "--drop-vanished") == 2
    assert run(raw, "--extend", "--drop-vanished") == 0
    assert sum(len(fold["val"]) for fold in read_splits(table.parent).folds) == 16


def test_a_participant_of_two_sexes_is_told_with_both_rows(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = raw / "Dataset501_ProximalFemur" / "scans.tsv"
    write_scans_table(table, [replace(r, sex="M") if r.case_id == "tulane_00000002_v01_r" else r
                              for r in read_scans_table(table)])
    assert run(raw) == 1
    assert "sex F in tulane_00000002_v01_l and M in tulane_00000002_v01_r" in capsys.readouterr().err


def test_a_mask_that_cannot_be_read_leaves_the_old_folds(raw: Path) -> None:
    dataset = raw / "Dataset501_ProximalFemur"
    assert run(raw, "--seed", "1") == 0
    before = read_splits(dataset)
    (dataset / "labelsTr").mkdir()
    (dataset / "labelsTr" / "tulane_00000002_v01_l.nii.gz").write_bytes(b"no mask")
    assert run(raw, "--seed", "2") == 1
    assert read_splits(dataset) == before


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
