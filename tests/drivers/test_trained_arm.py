from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from femur_nnunet.drivers.trained_arm import load_checkpoint_safely
from femur_nnunet.errors import FemurError


class RunsACommand:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_checkpoint_that_would_run_a_command_is_refused_and_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"network_weights": {}, "trainer_name": "x", "init_args": RunsACommand()}, tmp_path / "c.pth")
    with pytest.raises(FemurError, match="unsafe or broken content"):
        load_checkpoint_safely(tmp_path / "c.pth")
    assert not (tmp_path / "executed").exists()


def test_numbers_of_numpy_are_taken(tmp_path):
    content = {"network_weights": {"w": torch.ones(2)}, "trainer_name": "x",
               "init_args": {"device": torch.device("cpu")},
               "logging": {"a": [np.float64(1.5), np.float32(2.5)], "b": np.arange(3)}, "_best_ema": np.float64(0.5)}
    torch.save(content, tmp_path / "c.pth")
    assert load_checkpoint_safely(tmp_path / "c.pth")["logging"]["a"] == [1.5, 2.5]


def test_missing_broken_and_foreign_files_are_told_apart(tmp_path):
    (tmp_path / "checkpoint_best.pth").write_bytes(b"no checkpoint")
    with pytest.raises(FemurError, match=r"no such checkpoint \(there are checkpoint_best.pth\)"):
        load_checkpoint_safely(tmp_path / "checkpoint_final.pth")
    with pytest.raises(FemurError, match="no such checkpoint;"):
        load_checkpoint_safely(tmp_path / "fold_3" / "checkpoint_final.pth")
    with pytest.raises(FemurError, match="broken content"):
        load_checkpoint_safely(tmp_path / "checkpoint_best.pth")
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(FemurError, match="a file of another kind"):
        load_checkpoint_safely(tmp_path / "other.pth")
