from __future__ import annotations

import json

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from femur_nnunet.drivers.checkpoint_file import load_checkpoint_safely
from femur_nnunet.drivers.study.protocol import plan_content_sha256, plan_sha256
from femur_nnunet.errors import UsageError
from femur_nnunet.splits import SplitSet, read_splits, write_splits
from femur_nnunet.trainers import TransUNetTrainer


def test_the_other_ranks_go_on_with_numbers_that_depend_on_seed_rank_and_epoch(make_trainer, monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda _: None)

    def first_number(seed, rank, epoch):
        trainer = make_trainer(TransUNetTrainer, schedule={"seed": seed})
        trainer.local_rank, trainer.current_epoch = rank, epoch
        # Rank 0's states, which another rank must not take.
        trainer._states_to_restore = {}
        trainer.on_train_start()
        return torch.rand(1).item()

    drawn = [first_number(*stream) for stream in ((1, 1, 3), (2, 1, 3), (1, 2, 3), (1, 1, 4))]
    assert len(set(drawn)) == 4
    assert first_number(1, 1, 3) == drawn[0]


def test_a_checkpoint_says_what_it_learnt_from_and_is_refused_on_other_folds(make_trainer, toy_root):
    folder, path = toy_root / "nnUNet_preprocessed" / "Dataset501_Toy", toy_root / "checkpoint_latest.pth"
    plan, dataset = (json.loads((folder / name).read_text()) for name in ("FemurPlans_cpu.json", "dataset.json"))
    trainer = TransUNetTrainer(plan, "3d_fullres", 0, dataset, torch.device("cpu"))
    trainer.initialize()
    trainer.save_checkpoint(str(path))
    splits, saved = read_splits(folder, nnunet_name=True), load_checkpoint_safely(path, mapped=True)
    made_with = json.loads((folder / f"{trainer.configuration_manager.data_identifier}_made_with.json").read_text())
    assert (saved["femur_nnunet"]["fold_sha256"], saved["femur_nnunet"]["training_files_sha256"]) == (
        splits.fold_sha256[0], made_with["training_files_sha256"])
    # By this femur_study knows a network of the plan of now.
    assert plan_content_sha256(saved["init_args"]["plans"]) == plan_sha256(folder / "FemurPlans_cpu.json")
    make_trainer(TransUNetTrainer).load_checkpoint(str(path))

    write_splits(folder, SplitSet(splits.folds[::-1], splits.index, splits.test), nnunet_name=True)
    with pytest.raises(UsageError, match="a checkpoint of a fold 0 with other cases"):
        make_trainer(TransUNetTrainer).load_checkpoint(str(path))
