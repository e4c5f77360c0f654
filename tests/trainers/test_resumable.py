from __future__ import annotations

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

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
