from __future__ import annotations

import torch

from femur_nnunet.networks.memory_measurement import LiveMemory, stored_bytes


def test_the_peak_counts_what_is_alive_at_one_time_and_views_once():
    present = torch.zeros(1000)
    with LiveMemory([present]) as live:
        first = torch.zeros(100)
        view = first.view(10, 10).t()
        present.view(10, 100)
        assert live.now == 400
        second = first + 1
        assert live.now == 800
        del first, view
        assert live.now == 400
        third = second * 2
        assert live.now == live.peak == 800
        del second, third
    assert live.now == 0


def test_stored_bytes_are_what_the_way_back_needs():
    value = torch.ones(50, requires_grad=True)
    with stored_bytes() as found:
        # exp stores its result, sin its input: the same tensor.
        value.exp().sin()
    assert sum(found.values()) == 200
    with stored_bytes(lambda tensor: True) as found:
        value.exp()
    assert found == {}
