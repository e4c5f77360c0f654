"""TransUNet with gradient reversal alone."""

from __future__ import annotations

from femur_nnunet.trainers.adaptation_parts import GRADIENT_REVERSAL
from femur_nnunet.trainers.adapting_trainer import AdaptingTrainer


class TransUNetGRLTrainer(AdaptingTrainer):
    """The arm of the ablation without MMD, which is logged but has no weight."""

    terms = (GRADIENT_REVERSAL,)
