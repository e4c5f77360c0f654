"""What all our trainers share: a training step with the plan's clipping, that stops at a loss that is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import autocast, nn

from femur_nnunet.errors import FemurError
from femur_nnunet.networks.from_plan import check_plan_imports
from femur_nnunet.trainers.seeded_loading import LoadingTrainer


class FemurTrainer(LoadingTrainer):
    """One step on labelled patches; settings, checkpoints and loading lie in the classes that it extends."""

    @staticmethod
    def build_network_architecture(plans_manager: PlansManager, configuration_manager: ConfigurationManager,
                                   num_input_channels: int, num_output_channels: int,
                                   enable_deep_supervision: bool = True) -> nn.Module:
        """Return the network that the plan names, if it is a known one; also called by nnU-Net's predictor."""
        check_plan_imports(configuration_manager.configuration)
        return LoadingTrainer.build_network_architecture(plans_manager, configuration_manager, num_input_channels,
                                                         num_output_channels, enable_deep_supervision)

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
        """Go back through ``loss``, a scalar, and step, the gradient of each group of parameters clipped on its own.

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
