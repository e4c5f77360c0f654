from __future__ import annotations

import pytest
import torch

from femur_nnunet.trainers.warmup_poly import WarmupPolyScheduler


def test_the_rate_rises_linearly_and_falls_by_nnunets_polynomial():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = WarmupPolyScheduler(optimizer, 0.1, epochs=10, warmup_epochs=3)
    assert [scheduler.rate(epoch) for epoch in (0, 1, 3, 5)] == pytest.approx(
        [0.025, 0.1 * 0.5 * 0.9**0.9, 0.1 * 0.7**0.9, 0.1 * 0.5**0.9])


def test_each_group_keeps_its_own_factor():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = WarmupPolyScheduler(optimizer, 0.1, epochs=10, warmup_epochs=0)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "rate_factor": 10.0})
    scheduler.step(0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 1.0])
