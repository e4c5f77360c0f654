"""femur_probe on a toy dataset and checkpoints that were never trained."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from toy_dataset import DATASET_NAME, write_toy_dataset

from femur_nnunet.drivers.probe_command import main
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.trainers import FemurTrainer, TransUNetDATrainer, TransUNetTrainer

PLANS = "FemurPlans_cpu"


def write_untrained(root: Path, trainer_class, plans_file: Path, seed: int) -> Path:
    plans = json.loads(plans_file.read_text())
    own = plans["configurations"]["3d_fullres"]
    own["patch_size"] = [16, 16, 16]
    own["femur_nnunet"]["schedule"]["seed"] = seed
    if trainer_class is FemurTrainer:
        # A U-Net's plan: the same topology without the transformer.
        own["femur_nnunet"]["architecture"]["family"] = "unet"
        own["architecture"]["network_class_name"] = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
        own["architecture"]["arch_kwargs"].pop("transformer")
    dataset = json.loads((plans_file.parent / "dataset.json").read_text())
    trainer = trainer_class(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    trainer.initialize()
    folder = Path(trainer.output_folder_base)
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(str(folder / "fold_0" / "checkpoint_final.pth"))
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


@pytest.fixture(scope="module")
def probed(planned_toy_root, tmp_path_factory):
    """A root with three untrained arms of the planned toy dataset, and a raw test set of four people a site."""
    root = tmp_path_factory.mktemp("probe")
    shutil.copytree(planned_toy_root / "nnUNet_preprocessed", root / "nnUNet_preprocessed")
    write_toy_dataset(root / "nnUNet_raw", test=4)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in nnunet_environment(root).items():
            patch.setenv(name, value)
        plans_file = root / "nnUNet_preprocessed" / DATASET_NAME / f"{PLANS}.json"
        arms = [write_untrained(root, trainer, plans_file, seed=100 + number)
                for number, trainer in enumerate((TransUNetTrainer, TransUNetDATrainer, FemurTrainer))]
        yield root, arms


def rows_of(out: Path) -> list[dict]:
    with (out / "probe.csv").open() as handle:
        return list(csv.DictReader(handle))


def test_three_arms_are_probed_on_the_locked_test_set(probed, tmp_path, capsys):
    _, arms = probed
    out = tmp_path / "out"
    assert main([*map(str, arms), "-d", "501", "--out", str(out), "--permutations", "50", "--quiet", "--json"]) == 0
    rows = rows_of(out)
    assert [row["arm"] for row in rows] == ["TransUNetTrainer", "TransUNetDATrainer", "FemurTrainer"]
    for row in rows:
        assert (row["layer"], row["scans"], row["n_sites"], row["n_participants"], row["n_scans"]) == (
            "bottleneck", "test", "2", "8", "16")
        assert row["n_unlabelled_scans"] == "0"
        assert 0 <= float(row["ci95_low"]) <= float(row["accuracy"]) <= float(row["ci95_high"]) <= 1
        # Both hips of everybody.
        assert (float(row["chance"]), row["n_permutations"], row["mmd_scans_each"]) == (0.5, "50", "2")
        assert 1 / 51 - 1e-6 <= float(row["p_value"]) <= 1
    printed = json.loads(capsys.readouterr().out)
    assert [row["arm"] for row in printed["rows"]] == [row["arm"] for row in rows]
    record = json.loads((out / "run.json").read_text())
    assert record["counts"] == {"arms": 3, "scans": 16, "participants_rochester": 4, "participants_tulane": 4}
    assert (out / "probe.png").stat().st_size > 10_000


def test_layers_patches_and_the_scans_of_a_fold_can_be_chosen(probed, tmp_path, monkeypatch, capsys):
    _, arms = probed
    out = tmp_path / "out"
    monkeypatch.setattr("femur_nnunet.site_probe.statistics.FEWEST_PARTICIPANTS", 2)
    assert main([f"plain={arms[0]}", "-d", "501", "--out", str(out), "--scans", "fold", "--layers", "bottleneck",
                 "encoder_0", "decoder_0", "--patches", "2", "--permutations", "20", "--quiet"]) == 0
    rows = rows_of(out)
    assert [(row["arm"], row["layer"]) for row in rows] == [
        ("plain", "bottleneck"), ("plain", "encoder_0"), ("plain", "decoder_0")]
    # Validation of fold 0: both hips of two people; unlabelled: both hips of two people.
    assert {(row["scans"], row["n_scans"], row["n_unlabelled_scans"]) for row in rows} == {("fold", "8", "4")}


def test_too_few_participants_are_told_before_anything_is_computed(probed, tmp_path, capsys):
    _, arms = probed
    assert main([str(arms[0]), "-d", "501", "--out", str(tmp_path / "out"), "--scans", "fold"]) == 1
    assert "2 participant(s) of rochester" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_folders_names_and_checkpoints_are_told(probed, tmp_path, capsys):
    _, arms = probed
    common = ["-d", "501", "--out", str(tmp_path / "out")]
    for arguments, code, message in (
            ([str(tmp_path / "nowhere"), *common], 2, "no folder"),
            ([str(arms[0]), str(arms[0]), *common], 2, "two arms of one name"),
            ([str(tmp_path), *common], 1, "plans.json: found no such file"),
            ([str(arms[0]), *common, "-chk", "checkpoint_best.pth"], 1, "there are checkpoint_final.pth"),
            ([str(arms[0]), *common, "--fold", "3"], 1, "no such checkpoint"),
            ([str(arms[0]), *common, "--layers", "encoder_9"], 2, "the layer 'encoder_9'"),
            ([str(arms[0]), "-d", "7", "--out", str(tmp_path / "out")], 2, "none for dataset 7")):
        assert main([*arguments, "--quiet"]) == code
        assert message in capsys.readouterr().err


def test_one_site_alone_is_told(probed, tmp_path, capsys, monkeypatch):
    root, arms = probed
    raw = tmp_path / "raw" / DATASET_NAME
    shutil.copytree(root / "nnUNet_raw" / DATASET_NAME, raw)
    for image in (raw / "imagesTs").glob("rochester*"):
        image.unlink()
    monkeypatch.setenv("nnUNet_raw", str(raw.parent))
    assert main([str(arms[0]), "-d", "501", "--out", str(tmp_path / "out"), "--scans", "test"]) == 1
    assert "scans of tulane alone" in capsys.readouterr().err
