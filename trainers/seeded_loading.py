"""Checked splits, and seeded loaders with the augmentation that the plan asks for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from femur_nnunet.augmentation.ct_acquisition import (
    CTAcquisitionTransform,
    CTNormalisation,
    with_ct_acquisition,
)
from femur_nnunet.errors import UsageError
from femur_nnunet.loading.augmenters import seeded_augmenter, without_intensity_augmentation
from femur_nnunet.loading.preprocessed_data import recorded_files
from femur_nnunet.loading.training_cases import fold_sha256, read_fold_splits
from femur_nnunet.trainers.resumable import ResumableTrainer

_AXES_ZYX = ("z", "y", "x")


class LoadingTrainer(ResumableTrainer):
    """Loads the cases of a checked fold, in an order that the plan's seed decides."""

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

    @cached_property
    def learnt_from(self) -> dict[str, str | None]:
        """Hashes of the fold's lists and of the scans behind the preprocessed data, as training found them."""
        return {"fold_sha256": fold_sha256(Path(self.preprocessed_dataset_folder_base), self.fold),
                "training_files_sha256": recorded_files(Path(self.preprocessed_dataset_folder))}

    def extra_state(self) -> dict[str, Any]:
        """Return what the base classes keep, and what the network has learnt from."""
        return {**super().extra_state(), **self.learnt_from}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what the base classes keep.

        Raises
        ------
        UsageError
            The checkpoint has learnt from other lists: it may have seen what validates now.
        """
        before, now = state.get("fold_sha256"), self.learnt_from["fold_sha256"]
        if None not in (before, now) and before != now:
            raise UsageError(f"a checkpoint of a fold {self.fold} with other cases",
                             expected="the training and validation lists that it was begun with",
                             action="train anew without --c, or restore the folds")
        self.learnt_from.update({name: state.get(name) for name in self.learnt_from})
        super().load_extra_state(state)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Return seeded augmenters for training and validation."""
        _ = self.learnt_from  # now, not when a checkpoint is written: the files may be replaced in between
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
