"""Trainers on a copy of the planned toy dataset, in this process and with one thread of loading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from femur_nnunet.env_command import nnunet_environment

DATASET = "Dataset501_Toy"
SCHEDULE = {"epochs": 2, "iterations_per_epoch": 2, "validation_iterations": 1, "save_every": 1}


@pytest.fixture
def toy_root(planned_toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(planned_toy_root / "nnUNet_preprocessed", tmp_path / "nnUNet_preprocessed")
    for name, value in nnunet_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    # nnU-Net draws its curves after every epoch, which takes longer than these epochs.
    monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda *_: None)
    torch.set_num_threads(1)
    return tmp_path


@pytest.fixture
def make_trainer(toy_root: Path) -> Callable:
    def make(trainer_class, *, fold=0, results: str = "nnUNet_results", schedule=None, **blocks):
        folder = toy_root / "nnUNet_preprocessed" / DATASET
        plans = json.loads((folder / "FemurPlans_cpu.json").read_text())
        own = plans["configurations"]["3d_fullres"]["femur_nnunet"]
        own["schedule"].update(SCHEDULE | (schedule or {}))
        for block, values in blocks.items():
            own[block].update(values)
        plans["configurations"]["3d_fullres"]["patch_size"] = [16, 16, 16]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("nnUNet_results", str(toy_root / results))
            return trainer_class(plans, "3d_fullres", fold, json.loads((folder / "dataset.json").read_text()),
                                 torch.device("cpu"))

    return make
