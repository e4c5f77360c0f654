"""TransUNet with gradient reversal alone."""

from __future__ import annotations

from femur_nnunet.trainers.adapting_trainer import GRADIENT_REVERSAL, AdaptingTrainer


class TransUNetGRLTrainer(AdaptingTrainer):
    """The arm of the ablation without MMD, which is logged but has no weight."""

    terms = (GRADIENT_REVERSAL,)
