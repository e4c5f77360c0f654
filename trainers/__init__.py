"""nnU-Net trainers: each says what differs from the stock one."""

from femur_nnunet.trainers.femur_trainer import FemurTrainer
from femur_nnunet.trainers.transunet_adabn_trainer import TransUNetAdaBNTrainer
from femur_nnunet.trainers.transunet_da_plus_trainer import TransUNetDAPlusTrainer
from femur_nnunet.trainers.transunet_da_trainer import TransUNetDATrainer
from femur_nnunet.trainers.transunet_grl_trainer import TransUNetGRLTrainer
from femur_nnunet.trainers.transunet_mean_teacher_trainer import TransUNetMeanTeacherTrainer
from femur_nnunet.trainers.transunet_mmd_trainer import TransUNetMMDTrainer
from femur_nnunet.trainers.transunet_trainer import TransUNetTrainer
from femur_nnunet.trainers.vnet_dice_l2_trainer import VNetDiceL2Trainer

__all__ = ["FemurTrainer", "TransUNetAdaBNTrainer", "TransUNetDAPlusTrainer", "TransUNetDATrainer",
           "TransUNetGRLTrainer", "TransUNetMMDTrainer", "TransUNetMeanTeacherTrainer", "TransUNetTrainer",
           "VNetDiceL2Trainer"]
