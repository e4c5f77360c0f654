"""TransUNet trained on labelled scans alone."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from femur_nnunet.networks.from_plan import build_transunet
from femur_nnunet.trainers.femur_trainer import FemurTrainer


class TransUNetTrainer(FemurTrainer):
    """The segmentation network and nothing else: no adaptation, no unlabelled scan."""

    @staticmethod
    def build_network_architecture(plans_manager: PlansManager, configuration_manager: ConfigurationManager,
                                   num_input_channels: int, num_output_channels: int,
                                   enable_deep_supervision: bool = True) -> nn.Module:
        """Return the TransUNet that the plan sizes; also called by nnU-Net's predictor."""
        return build_transunet(configuration_manager.configuration, num_input_channels, num_output_channels,
                               deep_supervision=enable_deep_supervision)


