"""TransUNet with MMD alone."""

from __future__ import annotations

from femur_nnunet.trainers.adaptation_parts import MMD
from femur_nnunet.trainers.adapting_trainer import AdaptingTrainer


class TransUNetMMDTrainer(AdaptingTrainer):
    """The arm of the ablation without gradient reversal; the site classifier looks on, for the log."""

    terms = (MMD,)
