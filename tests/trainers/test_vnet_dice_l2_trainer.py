from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.planners.plan import make_plan
from femur_nnunet.planners.plan_options import PlanOptions
from femur_nnunet.trainers import TransUNetTrainer, VNetDiceL2Trainer

DATASET = "Dataset501_Toy"


@pytest.fixture(scope="module")
def vnet_plan(planned_toy_root, tmp_path_factory):
    """The text of the plan that femur_plan --architecture vnet writes for the toy dataset."""
    root = tmp_path_factory.mktemp("vnet")
    (root / "nnUNet_raw").symlink_to(planned_toy_root / "nnUNet_raw")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in nnunet_environment(root).items():
            patch.setenv(name, value)
        make_plan(PlanOptions(501, architecture="vnet", preset="cpu", jobs=1, quiet=True, preprocess=False))
    return (root / "nnUNet_preprocessed" / DATASET / "FemurVNetPlans_cpu.json").read_text()


@pytest.fixture
def make(toy_root, vnet_plan):
    """Trainers on that plan, with blocks changed as given."""
    (toy_root / "nnUNet_preprocessed" / DATASET / "FemurVNetPlans_cpu.json").write_text(vnet_plan)

    def build(*, schedule=None, **blocks):
        plans = json.loads(vnet_plan)
        configuration = plans["configurations"]["3d_fullres"]
        configuration["patch_size"] = [16, 16, 16]
        configuration["femur_nnunet"]["schedule"].update({"epochs": 1, "iterations_per_epoch": 2,
                                                          "validation_iterations": 1, **(schedule or {})})
        for block, values in blocks.items():
            configuration["femur_nnunet"][block].update(values)
        dataset = json.loads((toy_root / "nnUNet_preprocessed" / DATASET / "dataset.json").read_text())
        return VNetDiceL2Trainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))

    return build


def test_one_epoch_trains_on_labelled_scans_logs_both_terms_and_predicts_in_plain_nnunet(make):
    trainer = make()
    trainer.run_training()
    assert all(case.startswith("tulane") for case in trainer.dataloader_train.data_loader.indices)
    total, dice, l2 = (trainer.logger.get_value(key, step=0) for key in ("train_losses", "dice_loss", "l2"))
    assert total == pytest.approx(dice + 1e-5 * l2, rel=1e-5)
    assert 0 < dice <= 1
    log = next(Path(trainer.output_folder).glob("training_log_*.txt")).read_text()
    assert "+ 1e-05 * L2 of weights" in log

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,))
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(predictor.network.eval()(image), trainer.network.eval()(image))

    resumed = make(schedule={"epochs": 2})
    resumed.load_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    assert resumed.current_epoch == 1
    assert resumed.logger.get_value("l2", step=0) == l2


def test_the_plan_of_femur_plan_sizes_a_vnet(vnet_plan):
    configuration = json.loads(vnet_plan)["configurations"]["3d_fullres"]
    assert configuration["architecture"]["network_class_name"] == "femur_nnunet.networks.vnet.VNet"
    assert configuration["femur_nnunet"]["architecture"]["family"] == "vnet"
    assert configuration["femur_nnunet"]["vnet"] == {"l2": "weights", "l2_weight": 1e-5, "levels": 3,
                                                     "base_features": 8, "kernel_size": 3}
    assert configuration["femur_nnunet"]["optimiser"]["weight_decay"] == 0
    assert len(configuration["architecture"]["arch_kwargs"]["strides"]) - 1 <= 3


def test_with_the_norm_of_the_weights_no_other_decay_is_left_and_with_the_residual_the_plans_stays(make):
    for l2, expected in (("weights", 0.0), ("residual", 0.01)):
        trainer = make(vnet={"l2": l2}, optimiser={"weight_decay": 0.01})
        trainer.initialize()
        assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [expected]
        assert trainer.weight_decay == expected


def test_a_step_with_the_norm_of_the_weights_shrinks_them_by_its_gradient(make):
    trainer = make(vnet={"l2_weight": 0.5}, optimiser={"name": "sgd", "learning_rate": 0.01, "gradient_clip": 1e9})
    trainer.initialize()
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    # Without any femur in the batch Dice has no gradient: what is left is 2 w theta = theta.
    record = trainer.train_step({"data": torch.randn(2, 1, 16, 16, 16), "target": torch.zeros(2, 1, 16, 16, 16)})
    assert record["dice_loss"] == 0
    assert record["l2"] == pytest.approx(sum(float(values.double().square().sum()) for values in before), rel=1e-5)
    # The first step of SGD with Nesterov's momentum of .99 is (1 + .99) times the gradient.
    for parameter, old in zip(trainer.network.parameters(), before, strict=True):
        assert torch.allclose(parameter.detach(), old * (1 - 0.01 * 1.99), rtol=1e-4, atol=1e-6)


def test_the_plan_chooses_the_residual(make):
    trainer = make(vnet={"l2": "residual", "l2_weight": 2.0})
    trainer.initialize()
    record = trainer.train_step({"data": torch.randn(2, 1, 16, 16, 16), "target": torch.ones(2, 1, 16, 16, 16)})
    assert 0 < record["l2"] < 1
    assert record["loss"] == pytest.approx(record["dice_loss"] + 2 * record["l2"], rel=1e-5)


def test_a_stock_plan_trains_with_derived_sizes_and_defaults(make, toy_root):
    folder = toy_root / "nnUNet_preprocessed" / DATASET
    plans = json.loads((folder / "FemurPlans_cpu.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    del configuration["femur_nnunet"], configuration["architecture"]["arch_kwargs"]["transformer"]
    trainer = VNetDiceL2Trainer(plans, "3d_fullres", 0, json.loads((folder / "dataset.json").read_text()),
                                torch.device("cpu"))
    trainer.initialize()
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0
    assert trainer.loss.l2 == "weights"
    assert trainer.loss.weight == 1e-5
    assert trainer.network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


def test_plans_and_trainers_of_different_networks_do_not_go_together(make, make_trainer):
    with pytest.raises(UsageError, match=r"a plan for the architecture transunet.*femur_plan --architecture vnet"):
        make_trainer(VNetDiceL2Trainer).initialize()
    with pytest.raises(UsageError, match="a plan for the architecture vnet"):
        make_trainer(TransUNetTrainer, architecture={"family": "vnet"}).initialize()


def test_a_loss_that_is_not_finite_names_its_parts(make):
    trainer = make()
    trainer.initialize()
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(FemurError, match=r"a loss of nan \(Dice nan, L2 nan\)"):
        trainer.train_step({"data": torch.zeros(1, 1, 16, 16, 16), "target": torch.ones(1, 1, 16, 16, 16)})


def test_nnunets_search_finds_the_trainer(make):
    from nnunetv2.run.run_training import get_trainer_from_args

    assert "nnUNet_extTrainer" in os.environ
    trainer = get_trainer_from_args("501", "3d_fullres", 0, "VNetDiceL2Trainer", "FemurVNetPlans_cpu",
                                    device=torch.device("cpu"))
    assert type(trainer).__name__ == "VNetDiceL2Trainer"
