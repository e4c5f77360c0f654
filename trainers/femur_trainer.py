"""What all our trainers share: settings from the plan, checked splits, seeds, seeded loaders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import autocast

from femur_nnunet.augmentation.ct_acquisition import (
    CTAcquisitionTransform,
    CTNormalisation,
    with_ct_acquisition,
)
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.loading.augmenters import seeded_augmenter, without_intensity_augmentation
from femur_nnunet.loading.preprocessed_data import check_preprocessed_data
from femur_nnunet.loading.training_cases import read_fold_splits
from femur_nnunet.plan_settings import settings_from_configuration
from femur_nnunet.trainers.labelled_loss import share_of_rank
from femur_nnunet.trainers.random_state import seed_everything
from femur_nnunet.trainers.resumable import ResumableTrainer
from femur_nnunet.trainers.warmup_poly import WarmupPolyScheduler

_AXES_ZYX = ("z", "y", "x")


class FemurTrainer(ResumableTrainer):
    """nnU-Net's trainer with every hyperparameter read from the plan's ``femur_nnunet`` block."""

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict,
                 device: torch.device = torch.device("cuda")) -> None:  # noqa: B008
        # nnU-Net pops this key without a default; its own commands set it, a notebook may not.
        plans.setdefault("continue_training", False)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.settings = settings_from_configuration(self.configuration_manager.configuration)
        if self.label_manager.has_regions or self.label_manager.has_ignore_label or self.is_cascaded:
            raise UsageError("a dataset with regions, an ignore label or a cascade",
                             expected="background and femur, as convert_qct_sites writes them",
                             action="convert with convert_qct_sites, or train with nnU-Net's own trainers")
        schedule = self.settings.schedule
        self.num_epochs = schedule.epochs
        self.num_iterations_per_epoch = schedule.iterations_per_epoch
        self.num_val_iterations_per_epoch = schedule.validation_iterations
        self.save_every = schedule.save_every
        self.initial_lr = self.settings.optimiser.learning_rate
        self.weight_decay = self.settings.optimiser.weight_decay
        # Loaders take the settings' own value: under DDP nnU-Net shares this one out over the ranks' slots,
        # the last ones first, which here would be the unlabelled ones.
        self.oversample_foreground_percent = self.settings.sampling.foreground_fraction
        # The stock rule forces the femur into the last slots of a batch only.
        self.probabilistic_oversampling = True
        self.steps_done = 0

    @property
    def progress(self) -> float:
        """Share of training that is done, from 0 to 1."""
        steps = self.current_epoch * self.num_iterations_per_epoch + self.steps_done
        return steps / (self.num_epochs * self.num_iterations_per_epoch)

    def initialize(self) -> None:
        """Seed, then build network, optimiser and loss."""
        seed_everything(self.settings.schedule.seed, self.local_rank)
        super().initialize()
        check_preprocessed_data(self.plans_manager.plans, self.configuration_manager.configuration,
                                Path(self.preprocessed_dataset_folder_base))
        if self.settings.sampling.labelled_patches > 0:
            self.batch_size = share_of_rank(self.patches_a_step())

    def patches_a_step(self) -> int:
        """Return the patches of a step over all GPUs: as many as the plan wants labelled, or its batch."""
        return self.settings.sampling.labelled_patches or int(self.configuration_manager.batch_size)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Return AdamW or SGD from the plan and the schedule of its rate."""
        chosen = self.settings.optimiser
        parameters = self.network.parameters()
        optimizer: torch.optim.Optimizer
        if chosen.name == "adamw":
            optimizer = torch.optim.AdamW(parameters, lr=self.initial_lr, weight_decay=self.weight_decay)
        else:
            optimizer = torch.optim.SGD(parameters, self.initial_lr, momentum=0.99, nesterov=True,
                                        weight_decay=self.weight_decay)
        return optimizer, WarmupPolyScheduler(optimizer, self.initial_lr, self.num_epochs, chosen.warmup_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(  # noqa: N802
            self) -> tuple[Any, bool, Any, tuple[int, ...]]:
        """Rotate as the plan says; never mirror left and right, in training or at test time."""
        _, dummy_2d, _, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        augmentation = self.settings.augmentation
        radians = augmentation.rotation_degrees * np.pi / 180.0
        rotation = (-radians, radians)
        patch_size = self.configuration_manager.patch_size
        initial_patch_size = get_patch_size(patch_size, rotation, rotation, rotation, (0.85, 1.25))
        if dummy_2d:
            initial_patch_size[0] = patch_size[0]
        forward = list(self.plans_manager.transpose_forward)
        mirror_axes = tuple(sorted(forward.index(_AXES_ZYX.index(axis)) for axis in augmentation.mirror_axes))
        # None, not (): nnU-Net's predictor fails on an empty tuple.
        self.inference_allowed_mirroring_axes = mirror_axes or None
        return rotation, dummy_2d, initial_patch_size, mirror_axes

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return the fold's cases after checking the split's hash, its participants and the fold.

        nnU-Net itself would draw a random split for a fold that the file does not have.
        """
        available = self.dataset_class.get_identifiers(self.preprocessed_dataset_folder)
        train, validation = read_fold_splits(Path(self.preprocessed_dataset_folder_base), self.fold,
                                             allow_all=self.settings.splits.allow_all, available=available)
        self.print_to_log_file(f"Fold {self.fold}: {len(train)} training and {len(validation)} validation cases, "
                               "split hash checked.")
        return train, validation

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Return seeded augmenters for training and validation."""
        scales = self._get_deep_supervision_scales()
        rotation, dummy_2d, initial_size, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size())
        transforms = self.get_training_transforms(
            self.configuration_manager.patch_size, rotation, scales, mirror_axes, dummy_2d,
            use_mask_for_norm=self.configuration_manager.use_mask_for_norm,
            foreground_labels=self.label_manager.foreground_labels)
        if not self.settings.augmentation.nnunet_intensity:
            transforms = without_intensity_augmentation(transforms)
        train, validation = self.do_split()
        training_loader = self.training_loader(train, initial_size, transforms)
        # Every validation patch shows the femur: an epoch without any would make the pseudo Dice, and
        # with it nnU-Net's moving average, NaN for ever.
        validation_loader = nnUNetDataLoader(
            self.dataset_class(self.preprocessed_dataset_folder, validation), self.batch_size,
            self.configuration_manager.patch_size, self.configuration_manager.patch_size, self.label_manager,
            oversample_foreground_percent=1.0, probabilistic_oversampling=True,
            transforms=self.get_validation_transforms(scales, foreground_labels=self.label_manager.foreground_labels))
        stream = (self.settings.schedule.seed, self.local_rank, self.current_epoch)
        on_gpu = self.device.type == "cuda"
        return (seeded_augmenter(training_loader, stream=(*stream, 0), pin_memory=on_gpu),
                seeded_augmenter(validation_loader, stream=(*stream, 1), pin_memory=on_gpu, share=0.5))

    def training_loader(self, train: list[str], initial_size: Any, transforms: Any) -> Any:
        """Return the loader of training patches: here of labelled cases, drawn uniformly."""
        return nnUNetDataLoader(
            self.dataset_class(self.preprocessed_dataset_folder, train), self.batch_size, initial_size,
            self.configuration_manager.patch_size, self.label_manager, transforms=transforms,
            oversample_foreground_percent=self.settings.sampling.foreground_fraction, probabilistic_oversampling=True)

    def get_training_transforms(self, *arguments: Any, **options: Any) -> Any:
        """Return nnU-Net's transforms, with that of CT acquisition among them where the plan asks for it."""
        transforms = super().get_training_transforms(*arguments, **options)
        if not self.settings.augmentation.ct_acquisition:
            return transforms
        plan, configuration = self.plans_manager.plans, self.configuration_manager.configuration
        return with_ct_acquisition(transforms, CTAcquisitionTransform(
            self.settings.augmentation, CTNormalisation.of_plan(plan, configuration),
            self.configuration_manager.spacing, list(self.plans_manager.transpose_forward).index(0)))

    def on_train_epoch_start(self) -> None:
        """Begin to count the epoch's steps."""
        super().on_train_epoch_start()
        self.steps_done = 0

    def train_step(self, batch: dict) -> dict:
        """Do one step on a batch of labelled patches and return its loss."""
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"]
        target = ([level.to(self.device, non_blocking=True) for level in target] if isinstance(target, list)
                  else target.to(self.device, non_blocking=True))
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            loss = self.loss(self.network(data), target)
        self.step_optimizer(loss, [self.network.parameters()])
        return {"loss": loss.detach().cpu().numpy()}

    def precision(self) -> Any:
        """Return the context that networks run in: autocast on a GPU, else none."""
        return autocast(self.device.type) if self.device.type == "cuda" else nullcontext()

    def step_optimizer(self, loss: torch.Tensor, clipped_apart: Sequence[Iterable[torch.nn.Parameter]], *,
                       parts: str = "") -> None:
        """Go back through ``loss`` and step, the gradient of each group of parameters clipped on its own.

        Raises
        ------
        FemurError
            The loss is not finite; ``parts`` says what it was made of.
        """
        if not torch.isfinite(loss):
            raise FemurError(f"a loss of {loss.item()}{parts}", expected="finite losses",
                             action="lower the learning rate or the weights in the plan; go on with --c",
                             subject=f"epoch {self.current_epoch}")
        if self.grad_scaler is not None:
            self.grad_scaler.scale(loss).backward()
            self.grad_scaler.unscale_(self.optimizer)
        else:
            loss.backward()
        for parameters in clipped_apart:
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.optimiser.gradient_clip)
        if self.grad_scaler is not None:
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        else:
            self.optimizer.step()
        self.steps_done += 1
