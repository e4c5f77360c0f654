from __future__ import annotations

import torch
from torch import nn

from femur_nnunet.trainers.processor_layout import lay_out_for


def small_network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.Conv3d(4, 2, 3, stride=2))


def test_on_a_cpu_the_weights_are_channels_last_and_the_network_computes_the_same() -> None:
    network, image = small_network(), torch.randn(2, 1, 9, 8, 7)
    parameters, before = list(network.parameters()), network(image)
    lay_out_for(network, torch.device("cpu"))
    assert network[2].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(first is second for first, second in zip(parameters, network.parameters(), strict=True))
    torch.testing.assert_close(network(image), before, rtol=1e-5, atol=1e-5)


def test_another_device_keeps_the_order() -> None:
    network = small_network()
    lay_out_for(network, torch.device("cuda"))
    assert network[2].weight.is_contiguous()


def test_a_checkpoint_of_the_other_order_loads_and_the_order_stays() -> None:
    network, saved = small_network(), small_network().state_dict()
    lay_out_for(network, torch.device("cpu"))
    network.load_state_dict(saved)
    assert network[2].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(network[2].weight, saved["2.weight"])
