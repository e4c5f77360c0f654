"""The whole way of a study with real trainings, and the ensemble of V-Net and TransUNet by nnU-Net's own commands."""

from __future__ import annotations

import csv
import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from toy_dataset import DATASET_NAME, write_toy_dataset

from femur_nnunet.env_command import nnunet_environment

SHORT = ("--set", "schedule.iterations_per_epoch=4", "--set", "schedule.validation_iterations=1")
MOST_SECONDS = 180.0


def run(root: Path, *command: str) -> str:
    environment = {**os.environ, **nnunet_environment(root),
                   "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 1), result.stderr[-3000:]
    return result.stdout


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle))


def test_two_folds_of_two_epochs_give_the_table_within_three_minutes(tmp_path):
    write_toy_dataset(tmp_path / "nnUNet_raw", unlabelled=1, test=4)
    study = ("femur_study", "-d", "501", "--preset", "cpu", "--epochs", "2", "--cohorts", "all", "--jobs", "1", "--out",
             str(tmp_path / "study"), *SHORT)
    # CPU time of one process at a time: the wall time on an idle core, also where others are at work.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(tmp_path, *study)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert [(row["fold"], row["n"]) for row in rows_of(tmp_path / "study" / "folds.csv")] == [("0", "2"), ("1", "2")]
    table = rows_of(tmp_path / "study" / "study.csv")
    validation, test = table[0], table[1]
    assert (validation["part"], validation["unit"], validation["n"]) == ("validation", "folds", "2")
    assert (test["part"], test["unit"], test["n"]) == ("test", "participants", "8")
    for row in (validation, test):
        assert 0 <= float(row["dice_mean"]) <= 1
        assert float(row["dice_sd"]) >= 0
    assert float(test["see_ml_mean"]) >= 0
    record = json.loads((tmp_path / "study" / "run.json").read_text())
    assert record["counts"]["missing_folds"] == 0
    # Again: nothing is left to do.
    assert json.loads(run(tmp_path, *study, "--dry-run", "--json"))["commands"] == []
    assert seconds < MOST_SECONDS


@pytest.mark.long
def test_vnet_and_transunet_are_ensembled_by_nnunets_own_commands(tmp_path):
    """The commands of docs/howto_study.md."""
    raw = write_toy_dataset(tmp_path / "nnUNet_raw", unlabelled=1, test=2)
    for architecture in ("vnet", "transunet"):
        run(tmp_path, "femur_plan", "-d", "501", "--preset", "cpu", "--epochs", "1", "--architecture", architecture,
            "--jobs", "1", *SHORT)
    run(tmp_path, "femur_study", "-d", "501", "--trainer", "VNetDiceL2Trainer:FemurVNetPlans_cpu", "--trainer",
        "TransUNetTrainer:FemurPlans_cpu", "--npz", "--jobs", "1", "--out", str(tmp_path / "study"))
    results = tmp_path / "nnUNet_results" / DATASET_NAME
    (results / "VNetDiceL2Trainer__FemurPlans_cpu__3d_fullres").symlink_to(
        "VNetDiceL2Trainer__FemurVNetPlans_cpu__3d_fullres")
    run(tmp_path, "nnUNetv2_find_best_configuration", "501", "-c", "3d_fullres", "-p", "FemurPlans_cpu", "-tr",
        "VNetDiceL2Trainer", "TransUNetTrainer", "-f", "0", "1", "-np", "1")
    found = json.loads((results / "inference_information.json").read_text())
    ensemble = [name for name in found["all_results"] if name.startswith("ensemble___")]
    assert len(found["all_results"]) == 3
    assert len(ensemble) == 1

    # Whichever won: the ensemble itself, as nnU-Net's instructions have it where it wins.
    for number, trainer in enumerate(("VNetDiceL2Trainer", "TransUNetTrainer")):
        run(tmp_path, *shlex.split(
            f"nnUNetv2_predict -d {DATASET_NAME} -i {raw / 'imagesTs'} -o {tmp_path / f'model_{number}'} -f 0 1 "
            f"-tr {trainer} -c 3d_fullres -p FemurPlans_cpu --save_probabilities -device cpu -npp 0 -nps 0"))
    run(tmp_path, "nnUNetv2_ensemble", "-i", str(tmp_path / "model_0"), str(tmp_path / "model_1"), "-o",
        str(tmp_path / "ensemble"), "-np", "1")
    folder = results / "ensembles" / ensemble[0]
    run(tmp_path, "nnUNetv2_determine_postprocessing", "-i", str(folder), "-ref",
        str(tmp_path / "nnUNet_preprocessed" / DATASET_NAME / "gt_segmentations"), "-np", "1")
    run(tmp_path, "nnUNetv2_apply_postprocessing", "-i", str(tmp_path / "ensemble"), "-o", str(tmp_path / "final"),
        "-pp_pkl_file", str(folder / "postprocessing.pkl"), "-np", "1", "-plans_json", str(folder / "plans.json"))
    run(tmp_path, "femur_eval", str(tmp_path / "final"), str(raw / "labelsTs"), "--scans", str(raw / "scans.tsv"),
        "--out", str(tmp_path / "tables"), "--arm", "ensemble", "--jobs", "1")
    rows = rows_of(tmp_path / "tables" / "cases.csv")
    assert len(rows) == 8
    assert {row["status"] for row in rows} <= {"ok", "missed"}
