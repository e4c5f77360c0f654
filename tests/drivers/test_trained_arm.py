from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs import nnUNetTrainer_1epoch
from small_plan import configuration

from femur_nnunet.drivers.checkpoint_file import load_checkpoint_safely
from femur_nnunet.drivers.trained_arm import load_arm
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.networks.from_plan import build_unet


class RunsACommand:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_checkpoint_that_would_run_a_command_is_refused_and_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"network_weights": {}, "trainer_name": "x", "init_args": RunsACommand()}, tmp_path / "c.pth")
    with pytest.raises(FemurError, match="unsafe or broken content"):
        load_checkpoint_safely(tmp_path / "c.pth")
    assert not (tmp_path / "executed").exists()


def test_numbers_of_numpy_are_taken(tmp_path):
    content = {"network_weights": {"w": torch.ones(2)}, "trainer_name": "x",
               "init_args": {"device": torch.device("cpu")},
               "logging": {"a": [np.float64(1.5), np.float32(2.5)], "b": np.arange(3)}, "_best_ema": np.float64(0.5)}
    torch.save(content, tmp_path / "c.pth")
    assert load_checkpoint_safely(tmp_path / "c.pth")["logging"]["a"] == [1.5, 2.5]


def test_missing_broken_and_foreign_files_are_told_apart(tmp_path):
    (tmp_path / "checkpoint_best.pth").write_bytes(b"no checkpoint")
    with pytest.raises(FemurError, match=r"no such checkpoint \(there are checkpoint_best.pth\)"):
        load_checkpoint_safely(tmp_path / "checkpoint_final.pth")
    with pytest.raises(FemurError, match="no such checkpoint;"):
        load_checkpoint_safely(tmp_path / "fold_3" / "checkpoint_final.pth")
    with pytest.raises(FemurError, match="broken content"):
        load_checkpoint_safely(tmp_path / "checkpoint_best.pth")
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(FemurError, match="a file of another kind"):
        load_checkpoint_safely(tmp_path / "other.pth")


def write_arm(folder, trainer_name, *, network_class_name=None, weights=None, **arch_kwargs):
    """A trained folder of a stock plan, with changes of its network and the trainer that its checkpoint names."""
    planned = configuration(own_block=False)
    planned["architecture"]["arch_kwargs"] |= arch_kwargs
    planned["architecture"]["network_class_name"] = (network_class_name
                                                     or planned["architecture"]["network_class_name"])
    planned |= {"data_identifier": "x", "normalization_schemes": ["CTNormalization"], "spacing": [1.0, 1.0, 1.0]}
    plans = {"plans_name": "x", "dataset_name": "Dataset501_x", "transpose_forward": [0, 1, 2],
             "configurations": {"3d_fullres": planned}, "label_manager": "LabelManager"}
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "femur": 1}, "file_ending": ".nii.gz"}
    (folder / "fold_0").mkdir()
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    torch.save({"network_weights": weights or {}, "trainer_name": trainer_name,
                "init_args": {"configuration": "3d_fullres"}}, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def load(folder):
    return load_arm(folder, fold=0, checkpoint_name="checkpoint_final.pth", device=torch.device("cpu"))


@pytest.mark.parametrize("trainer_name", ["FemurTrainer", "TransUNetTrainer", "VNetDiceL2Trainer", "nnUNetTrainer"])
def test_a_plan_that_names_a_command_is_refused_and_nothing_is_run(tmp_path, trainer_name):
    mark = tmp_path / "executed"
    write_arm(tmp_path, trainer_name, nonlin="os.system", nonlin_kwargs={"command": f"touch {mark}"})
    with pytest.raises(UsageError, match=r"plans\.json: found os\.system in the plan"):
        load(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("trainer_name", ["FemurTrainer", "nnUNetTrainer"])
def test_a_plan_that_names_a_foreign_network_is_refused_and_its_module_is_not_imported(
        tmp_path, trainer_name, monkeypatch):
    (tmp_path / "foreign_network.py").write_text("class Network:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    write_arm(tmp_path, trainer_name, network_class_name="foreign_network.Network")
    with pytest.raises(UsageError, match=r"foreign_network\.Network in the plan"):
        load(tmp_path)
    assert "foreign_network" not in sys.modules


# A trainer of the user's own folder, a module and a package's import of the same name as asked, a part of a trainer.
@pytest.mark.parametrize("trainer_name", ["ForeignTrainer", "femur_trainer", "np", "join", "FemurTrainer.__init__", 3])
def test_a_checkpoint_that_names_no_trainer_of_nnunet_or_ours_is_refused(tmp_path, trainer_name, monkeypatch):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "foreign.py").write_text(
        "from pathlib import Path\n"
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        f"Path({str(tmp_path / 'executed')!r}).touch()\n"
        "class ForeignTrainer(nnUNetTrainer):\n    pass\n")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "plugin"))
    write_arm(tmp_path, trainer_name)
    with pytest.raises(FemurError, match="a checkpoint of the trainer"):
        load(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("trainer_name", ["FemurTrainer", "nnUNetTrainer", nnUNetTrainer_1epoch.__name__])
def test_trainers_of_nnunet_and_ours_are_taken_with_a_stock_plan(tmp_path, trainer_name):
    network = build_unet(configuration(own_block=False), 1, 2, deep_supervision=False)
    loaded = load(write_arm(tmp_path, trainer_name, weights=network.state_dict()))
    image = torch.randn(1, 1, 16, 16, 16)
    assert loaded.trainer_name == trainer_name
    assert torch.equal(loaded.network(image), network.eval()(image))
