"""What nnUNet_extTrainer points to: names of trainers, nothing defined here.

nnU-Net forgets modules of this folder after a look-up; classes defined here could not be pickled.
"""

from femur_nnunet.trainers import FemurTrainer, TransUNetDATrainer, TransUNetTrainer

__all__ = ["FemurTrainer", "TransUNetDATrainer", "TransUNetTrainer"]
