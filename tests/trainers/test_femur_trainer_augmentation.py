from __future__ import annotations

import pytest

from femur_nnunet.augmentation.ct_acquisition import CTAcquisitionTransform
from femur_nnunet.errors import UsageError
from femur_nnunet.trainers import TransUNetTrainer


def steps_of(trainer) -> list:
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    assert not any(isinstance(step, CTAcquisitionTransform) for step in validation.data_loader.transforms.transforms)
    return [step for step in training.data_loader.transforms.transforms if isinstance(step, CTAcquisitionTransform)]


def test_ct_acquisition_is_off_by_default(make_trainer):
    assert steps_of(make_trainer(TransUNetTrainer)) == []


@pytest.mark.parametrize("nnunet_intensity", [True, False])
def test_the_plan_switches_ct_acquisition_on_with_or_without_nnunets_own(make_trainer, nnunet_intensity):
    trainer = make_trainer(TransUNetTrainer, augmentation={"ct_acquisition": True, "ct_probability": 1.0,
                                                           "nnunet_intensity": nnunet_intensity})
    (step,) = steps_of(trainer)
    assert step.slice_spacing_mm == 3.0
    statistics = trainer.plans_manager.plans["foreground_intensity_properties_per_channel"]["0"]
    assert step.normalisation.mean_hu == statistics["mean"]


def test_a_training_with_ct_acquisition_runs(make_trainer):
    trainer = make_trainer(TransUNetTrainer, schedule={"epochs": 1},
                           augmentation={"ct_acquisition": True, "ct_probability": 1.0})
    trainer.run_training()
    assert trainer.logger.get_value("train_losses", step=0) == pytest.approx(
        trainer.logger.get_value("train_losses", step=0), nan_ok=False)


def test_a_range_that_falls_is_refused(make_trainer):
    with pytest.raises(UsageError, match=r"\[30.0, 0.0\] for augmentation.ct_noise_hu"):
        make_trainer(TransUNetTrainer, augmentation={"ct_noise_hu": [30.0, 0.0]})
