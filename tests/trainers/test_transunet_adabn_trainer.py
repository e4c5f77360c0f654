from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from femur_nnunet.errors import UsageError
from femur_nnunet.loading.drawn_patches import drawn_patches
from femur_nnunet.networks.from_plan import NORMALISATION_PATHS
from femur_nnunet.trainers import TransUNetAdaBNTrainer
from femur_nnunet.trainers.transunet_adabn_trainer import SOURCE_STATISTICS_NAME

SETTINGS = {"adaptation": {"statistics_patches": 4}, "sampling": {"labelled_patches": 2}}


def with_batch_normalisation(make_trainer, **blocks):
    trainer = make_trainer(TransUNetAdaBNTrainer, **(SETTINGS | blocks))
    architecture = trainer.configuration_manager.configuration["architecture"]
    architecture["arch_kwargs"]["norm_op"] = NORMALISATION_PATHS["batch"]
    return trainer


def weights_of(trainer, name):
    path = Path(trainer.output_folder) / name
    return torch.load(path, map_location="cpu", weights_only=False)["network_weights"]


def is_statistic(key):
    return key.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")


def test_both_checkpoints_share_their_weights_and_differ_in_every_layers_statistics(make_trainer):
    trainer = with_batch_normalisation(make_trainer)
    trainer.run_training()
    source, final = weights_of(trainer, SOURCE_STATISTICS_NAME), weights_of(trainer, "checkpoint_final.pth")
    assert all(torch.equal(source[key], final[key]) for key in source if not is_statistic(key))
    means = [key for key in source if key.endswith("running_mean")]
    layers = [module for module in trainer.bare_network().modules() if isinstance(module, _BatchNorm)]
    assert len({id(layer) for layer in layers}) > 0
    assert all(not torch.equal(source[key], final[key]) for key in means)
    # Four patches, two a batch; training has done two epochs of two steps.
    assert {int(final[key]) for key in final if key.endswith("num_batches_tracked")} == {2}
    assert {int(source[key]) for key in source if key.endswith("num_batches_tracked")} == {4}


def test_the_first_layers_mean_is_that_of_unlabelled_patches(make_trainer, monkeypatch):
    seen = []
    trainer = with_batch_normalisation(make_trainer)
    trainer.run_training()
    cases = [*trainer.cases.unlabelled, *trainer.scoring_cases]
    assert cases
    assert not set(cases) & set(trainer.cases.train)
    dataset = trainer.two_folder_dataset(trainer.cases.train, cases)
    load = type(dataset).load_case
    monkeypatch.setattr(type(dataset), "load_case", lambda self, case: seen.append(case) or load(self, case))
    asked = {}
    monkeypatch.setattr("femur_nnunet.trainers.transunet_adabn_trainer.drawn_patches",
                        lambda *rest, **options: asked.update(options) or drawn_patches(*rest, **options))
    trainer._statistics_taken = False
    trainer._take_statistics()
    assert set(seen) <= set(cases)
    assert len(seen) == 4
    # As often centred on the femur as training's patches are.
    assert asked == {"foreground_fraction": 0.33, "seed": 1}


def test_training_sees_labelled_patches_alone_and_as_many_as_the_source_only_arm(make_trainer):
    trainer = with_batch_normalisation(make_trainer)
    trainer.initialize()
    trainer.on_train_start()
    keys = [key for _ in range(6) for key in next(trainer.dataloader_train)["keys"]]
    assert len(keys) == 12
    assert set(keys) <= set(trainer.cases.train)


def test_going_on_after_the_end_leaves_both_checkpoints_as_they_are(make_trainer):
    trainer = with_batch_normalisation(make_trainer)
    trainer.run_training()
    before = {name: weights_of(trainer, name) for name in (SOURCE_STATISTICS_NAME, "checkpoint_final.pth")}
    again = with_batch_normalisation(make_trainer)
    again.initialize()
    again.load_checkpoint(str(Path(again.output_folder) / "checkpoint_final.pth"))
    again.run_training()
    for name, weights in before.items():
        assert all(torch.equal(value, weights[key]) for key, value in weights_of(again, name).items())


def test_a_plan_with_instance_normalisation_is_refused_at_the_start(make_trainer):
    trainer = make_trainer(TransUNetAdaBNTrainer, **SETTINGS)
    with pytest.raises(UsageError, match=r"femur_plan --set architecture\.normalisation=batch"):
        trainer.run_training()
    assert not Path(trainer.output_folder, SOURCE_STATISTICS_NAME).exists()
