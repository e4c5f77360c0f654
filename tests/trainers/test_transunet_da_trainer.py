from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from femur_nnunet.cohort import read_scans_table, write_scans_table
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.trainers import TransUNetDAPlusTrainer, TransUNetDATrainer, TransUNetTrainer
from femur_nnunet.trainers.processor_layout import lay_out_for
from femur_nnunet.trainers.random_state import seed_everything

CURVES = ("train_losses", "val_losses", "domain_loss", "mmd", "site_accuracy", "consistency", "selection_score")


def curves(trainer) -> np.ndarray:
    return np.asarray([trainer.logger.get_value(key, step=None) for key in CURVES], dtype=float)


class StopError(Exception):
    pass


def test_a_resumed_training_has_the_losses_of_an_undisturbed_one(make_trainer, monkeypatch):
    # The trainer with queues, teacher and a choice of checkpoints.
    every_epoch = {"every_epochs": 1}
    undisturbed = make_trainer(TransUNetDAPlusTrainer, results="undisturbed", selection=every_epoch)
    undisturbed.run_training()

    stopped = make_trainer(TransUNetDAPlusTrainer, results="stopped", selection=every_epoch)
    with monkeypatch.context() as patch:
        def stop(*_, **__):
            raise StopError
        stopped.initialize()
        patch.setattr(stopped, "on_epoch_start", lambda: stop() if stopped.current_epoch == 1 else
                      TransUNetDAPlusTrainer.on_epoch_start(stopped))
        with pytest.raises(StopError):
            stopped.run_training()
    seed_everything(99)
    resumed = make_trainer(TransUNetDAPlusTrainer, results="stopped", selection=every_epoch)
    resumed.load_checkpoint(str(Path(resumed.output_folder) / "checkpoint_latest.pth"))
    assert resumed.current_epoch == 1
    assert resumed.best_selection == stopped.best_selection
    resumed.run_training()
    assert np.abs(curves(resumed) - curves(undisturbed)).max() < 1e-6
    for key, value in undisturbed.network.state_dict().items():
        assert torch.allclose(resumed.network.state_dict()[key], value, atol=1e-6), key
    for key, value in undisturbed.teacher.network.state_dict().items():
        assert torch.allclose(resumed.teacher.network.state_dict()[key], value, atol=1e-6), key


def test_a_checkpoint_predicts_the_same_in_plain_nnunet(make_trainer, monkeypatch):
    trainer = make_trainer(TransUNetDATrainer, schedule={"epochs": 1})
    trainer.run_training()
    checkpoint = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)
    assert list(checkpoint["network_weights"]) == list(trainer.bare_network().state_dict())
    assert not any("head" in key for key in checkpoint["network_weights"])
    assert checkpoint["femur_nnunet"]["sites"] == ["tulane", "rochester"]

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,))
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    trainer.network.eval()
    trainer.set_deep_supervision_enabled(False)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        own = trainer.network(image)
        # The predictor keeps channels first, where sums end in other bits; in the trainer's order they are the same.
        torch.testing.assert_close(predictor.network.eval()(image), own, rtol=1e-4, atol=1e-4)
        lay_out_for(predictor.network, torch.device("cpu"))
        assert torch.equal(predictor.network(image), own)
    assert predictor.allowed_mirroring_axes is None


def test_every_batch_holds_both_sites_and_curves_are_logged(make_trainer, monkeypatch):
    trainer = make_trainer(TransUNetDATrainer)
    seen = []
    step = trainer.train_step
    monkeypatch.setattr(trainer, "train_step", lambda batch: seen.append(list(batch["keys"])) or step(batch))
    trainer.run_training()
    assert len(seen) == 4
    for keys in seen:
        assert [key.split("_")[0] for key in keys] == ["tulane", "rochester"] * 2
    with (Path(trainer.output_folder) / "adaptation.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["mmd"]) == pytest.approx(trainer.logger.get_value("mmd", step=1), rel=1e-5)
    # Ramp from .1 to .5 of 4 steps: at progress 0, .25, .5 and .75.
    strengths = [trainer.logger.get_value("reversal_strength", step=epoch) for epoch in (0, 1)]
    assert strengths == pytest.approx([(0 + 0.375) / 2, 1.0])


def test_weights_of_the_terms_change_what_the_encoder_learns(make_trainer):
    def first_weights(**adaptation):
        trainer = make_trainer(TransUNetDATrainer, schedule={"epochs": 1}, adaptation={
            "reversal_schedule": "constant", "ramp_start": 0.0, "ramp_end": 0.01, **adaptation})
        trainer.run_training()
        return next(trainer.bare_network().encoder.parameters()).detach().clone()

    none, domain, mmd = (first_weights(domain_weight=d, mmd_weight=m) for d, m in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    assert not torch.equal(none, domain)
    assert not torch.equal(none, mmd)
    assert not torch.equal(domain, mmd)


def test_one_site_alone_is_refused(make_trainer, toy_root):
    table = toy_root / "nnUNet_preprocessed" / "Dataset501_Toy" / "scans.tsv"
    write_scans_table(table, [r for r in read_scans_table(table) if r.site == "tulane"])
    with pytest.raises(UsageError, match=r"training scans of tulane alone.*TransUNetTrainer"):
        make_trainer(TransUNetDATrainer).initialize()


def test_a_checkpoint_of_other_sites_is_refused(make_trainer):
    trainer = make_trainer(TransUNetDATrainer)
    trainer.initialize()
    with pytest.raises(FemurError, match="a checkpoint for the sites tulane, elsewhere"):
        trainer.load_extra_state({"sites": ["tulane", "elsewhere"], "domain_head": {}})


def test_a_loss_that_is_not_finite_stops_training(make_trainer, monkeypatch):
    trainer = make_trainer(TransUNetDATrainer)
    trainer.initialize()
    monkeypatch.setattr(trainer, "loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(FemurError, match="a loss of nan"):
        trainer.run_training()


def test_left_and_right_are_never_mirrored(make_trainer):
    trainer = make_trainer(TransUNetTrainer, augmentation={"mirror_axes": ["z", "y"]})
    trainer.initialize()
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    left_right = list(trainer.plans_manager.transpose_forward).index(2)
    assert len(axes) == 2
    assert left_right not in axes


def test_the_left_right_axis_is_found_in_a_transposed_plan(make_trainer):
    trainer = make_trainer(TransUNetTrainer, augmentation={"mirror_axes": ["z", "y"]})
    trainer.plans_manager.plans["transpose_forward"] = [2, 0, 1]
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert axes == (1, 2)


def test_the_loaders_keep_the_plans_foreground_fraction_when_nnunet_shares_it_out(make_trainer):
    trainer = make_trainer(TransUNetDATrainer, sampling={"foreground_fraction": 0.4})
    trainer.initialize()
    trainer.oversample_foreground_percent = 0.0
    training, validation = trainer.get_dataloaders()
    assert training.data_loader.oversample_foreground_percent == 0.4
    assert validation.data_loader.oversample_foreground_percent == 1.0


def test_the_checkpoint_has_nnunets_entries_and_ours(make_trainer, tmp_path):
    trainer = make_trainer(TransUNetDATrainer)
    trainer.initialize()
    trainer.save_checkpoint(str(tmp_path / "ours.pth"))
    nnUNetTrainer.save_checkpoint(trainer, str(tmp_path / "stock.pth"))
    ours, stock = (torch.load(tmp_path / name, weights_only=False) for name in ("ours.pth", "stock.pth"))
    assert set(ours) == set(stock) | {"femur_nnunet"}
    assert ours["trainer_name"] == stock["trainer_name"]
    assert ours["current_epoch"] == stock["current_epoch"]


@pytest.mark.parametrize("trainer_class", [TransUNetTrainer, TransUNetDATrainer])
def test_every_arm_clips_by_the_plan(make_trainer, monkeypatch, trainer_class):
    trainer = make_trainer(trainer_class, schedule={"epochs": 1, "iterations_per_epoch": 1},
                           optimiser={"gradient_clip": 1e-3})
    norms = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda p, n: norms.append(n) or clip(p, n))
    trainer.run_training()
    assert set(norms) == {1e-3}


def test_data_of_another_plan_are_refused(make_trainer, toy_root):
    path = next((toy_root / "nnUNet_preprocessed" / "Dataset501_Toy").glob("*_made_with.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "intensities": "other"}))
    with pytest.raises(FemurError, match="preprocessed data whose intensities differ"):
        make_trainer(TransUNetTrainer).initialize()


def test_a_fold_that_was_not_drawn_is_refused(make_trainer):
    with pytest.raises(UsageError, match="found fold 4"):
        make_trainer(TransUNetDATrainer, fold=4).initialize()


def test_a_plan_for_another_network_is_refused(make_trainer):
    with pytest.raises(UsageError, match="a plan for the architecture unet"):
        make_trainer(TransUNetTrainer, architecture={"family": "unet"}).initialize()


def test_plain_transunet_trains_on_labelled_scans_alone(make_trainer):
    trainer = make_trainer(TransUNetTrainer, schedule={"epochs": 1})
    trainer.run_training()
    assert all(case.startswith("tulane") for case in trainer.dataloader_train.data_loader.indices)
    assert not (Path(trainer.output_folder) / "adaptation.csv").exists()
    assert json.loads((Path(trainer.output_folder_base) / "plans.json").read_text())["plans_name"] == "FemurPlans_cpu"
