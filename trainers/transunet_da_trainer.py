"""TransUNet with gradient reversal and MMD between sites, whose scans need not be labelled."""

from __future__ import annotations

from femur_nnunet.trainers.adaptation_parts import GRADIENT_REVERSAL, MMD
from femur_nnunet.trainers.adapting_trainer import AdaptingTrainer


class TransUNetDATrainer(AdaptingTrainer):
    """Segmentation loss on labelled patches; gradient reversal and MMD on the tokens of all patches."""

    terms = (GRADIENT_REVERSAL, MMD)
