"""nnU-Net trainers: each says what differs from the stock one."""

from femur_nnunet.trainers.femur_trainer import FemurTrainer
from femur_nnunet.trainers.transunet_da_trainer import TransUNetDATrainer
from femur_nnunet.trainers.transunet_trainer import TransUNetTrainer

__all__ = ["FemurTrainer", "TransUNetDATrainer", "TransUNetTrainer"]
