"""V-Net with the loss Dice + w * L2 of the V-Net study, on labelled scans alone."""

from __future__ import annotations

import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from femur_nnunet.losses.dice_l2 import DiceL2Loss
from femur_nnunet.networks.from_plan import build_vnet
from femur_nnunet.trainers.femur_trainer import FemurTrainer


class VNetDiceL2Trainer(FemurTrainer):
    """V-Net without deep supervision; the plan's block ``vnet`` chooses the reading of L2 and its weight."""

    extra_log_keys = ("dice_loss", "l2")

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict,
                 device: torch.device = torch.device("cuda")) -> None:  # noqa: B008
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = False
        if self.settings.vnet.l2 == "weights":
            # The penalty stands in the loss; decay by the optimiser would be a second one.
            self.weight_decay = 0.0

    @staticmethod
    def build_network_architecture(plans_manager: PlansManager, configuration_manager: ConfigurationManager,
                                   num_input_channels: int, num_output_channels: int,
                                   enable_deep_supervision: bool = True) -> nn.Module:
        """Return the V-Net that the plan sizes; also called by nnU-Net's predictor."""
        return build_vnet(configuration_manager.configuration, num_input_channels, num_output_channels,
                          deep_supervision=enable_deep_supervision)

    def _build_loss(self) -> DiceL2Loss:
        vnet = self.settings.vnet
        return DiceL2Loss(vnet.l2, vnet.l2_weight, self.bare_network().parameters())

    def train_step(self, batch: dict) -> dict:
        """Do one step on a batch of labelled patches and return the loss and its two parts."""
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"].to(self.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            logits = self.network(data)
        terms = self.loss.terms(logits, target)
        self.step_optimizer(terms.total, [self.network.parameters()],
                            parts=f" (Dice {terms.dice:.4g}, L2 {terms.l2:.4g})")
        return {"loss": terms.total.detach().cpu().numpy(), "dice_loss": terms.dice.item(), "l2": terms.l2.item()}

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log Dice and L2 apart, beside nnU-Net's curve of their sum."""
        super().on_train_epoch_end(train_outputs)
        if self.local_rank != 0:
            return
        for key in self.extra_log_keys:
            self.logger.log(key, sum(step[key] for step in train_outputs) / len(train_outputs), self.current_epoch)
        dice, l2 = (self.logger.get_value(key, step=-1) for key in self.extra_log_keys)
        self.print_to_log_file(f"loss = dice {dice:.4f} + {self.settings.vnet.l2_weight:g} * L2 of "
                               f"{self.settings.vnet.l2} {l2:.6g}")
