"""A trainer whose every hyperparameter is read from the plan's ``femur_nnunet`` block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from femur_nnunet.errors import UsageError
from femur_nnunet.loading.preprocessed_data import check_preprocessed_data
from femur_nnunet.plan_settings import settings_from_configuration
from femur_nnunet.trainers.labelled_loss import share_of_rank
from femur_nnunet.trainers.processor_layout import lay_out_for
from femur_nnunet.trainers.processor_threads import keep_asked_threads
from femur_nnunet.trainers.random_state import seed_everything
from femur_nnunet.trainers.warmup_poly import WarmupPolyScheduler


class PlannedTrainer(nnUNetTrainer):
    """nnU-Net's trainer with length, seed, optimiser and batch of the plan, on data that the plan made.

    Raises
    ------
    UsageError
        The dataset has regions, an ignore label or a cascade.
    """

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
    def steps_of_training(self) -> int:
        """Steps since the start of training, those before a resume included."""
        return int(self.current_epoch * self.num_iterations_per_epoch + self.steps_done)

    @property
    def progress(self) -> float:
        """Share of training that is done, from 0 to 1."""
        return self.steps_of_training / (self.num_epochs * self.num_iterations_per_epoch)

    def initialize(self) -> None:
        """Seed, then build network, optimiser and loss."""
        keep_asked_threads(self.device)
        seed_everything(self.settings.schedule.seed, self.local_rank)
        super().initialize()
        if not self.is_ddp:
            # DDP has laid out its buckets by the weights already.
            lay_out_for(self.network, self.device)
        check_preprocessed_data(self.plans_manager.plans, self.configuration_manager.configuration,
                                Path(self.preprocessed_dataset_folder_base))
        if self.settings.sampling.labelled_patches > 0:
            self.batch_size = share_of_rank(self.patches_a_step())

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict the validation scans whole, unless the plan leaves that out."""
        if self.settings.schedule.whole_scan_validation:
            super().perform_actual_validation(save_probabilities)
        else:
            self.print_to_log_file("The plan leaves the prediction of whole validation scans out.")

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
