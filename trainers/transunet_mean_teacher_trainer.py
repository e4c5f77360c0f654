"""TransUNet with a mean teacher on unlabelled scans, a cheap means that is hard to beat."""

from __future__ import annotations

from femur_nnunet.trainers.adaptation_parts import CONSISTENCY
from femur_nnunet.trainers.adapting_trainer import AdaptingTrainer


class TransUNetMeanTeacherTrainer(AdaptingTrainer):
    """Consistency of the student on a strong with the teacher on a weak view of unlabelled patches."""

    terms = (CONSISTENCY,)
