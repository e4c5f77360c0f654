"""What nnUNet_extTrainer points to: names of trainers, nothing defined here.

nnU-Net forgets modules of this folder after a look-up; classes defined here could not be pickled.
"""

from femur_nnunet.trainers import (
    FemurTrainer,
    TransUNetAdaBNTrainer,
    TransUNetDAPlusTrainer,
    TransUNetDATrainer,
    TransUNetGRLTrainer,
    TransUNetMeanTeacherTrainer,
    TransUNetMMDTrainer,
    TransUNetTrainer,
    VNetDiceL2Trainer,
)

__all__ = ["FemurTrainer", "TransUNetAdaBNTrainer", "TransUNetDAPlusTrainer", "TransUNetDATrainer",
           "TransUNetGRLTrainer", "TransUNetMMDTrainer", "TransUNetMeanTeacherTrainer", "TransUNetTrainer",
           "VNetDiceL2Trainer"]
