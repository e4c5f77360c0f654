"""TransUNet with all means that this package has against the difference of sites."""

from __future__ import annotations

from dataclasses import replace

from femur_nnunet.trainers.adaptation_parts import CONSISTENCY, GRADIENT_REVERSAL, MMD
from femur_nnunet.trainers.adapting_trainer import AdaptingTrainer


class TransUNetDAPlusTrainer(AdaptingTrainer):
    """Gradient reversal, MMD and consistency, with CT augmentation whatever the plan says of it."""

    terms = (GRADIENT_REVERSAL, MMD, CONSISTENCY)

    def initialize(self) -> None:
        """Switch the CT augmentation on, then build as the other arms."""
        self.settings = replace(self.settings, augmentation=replace(self.settings.augmentation, ct_acquisition=True))
        super().initialize()
