from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from femur_nnunet.adaptation.batch_statistics import has_batch_statistics, take_statistics
from femur_nnunet.errors import UsageError


def images(count, *, mean=0.0, spread=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # Every image has a level of its own, so that batches differ.
    levels = torch.randn(count, 1, 1, 1, 1, generator=generator)
    return mean + spread * (levels + torch.randn(count, 2, 4, 4, 4, generator=generator))


def two_layers():
    torch.manual_seed(1)
    return nn.Sequential(nn.BatchNorm3d(2), nn.Conv3d(2, 3, 3, padding=1), nn.Dropout(0.5), nn.BatchNorm3d(3))


def test_mean_and_variance_are_the_plain_means_over_batches():
    layer, patches = nn.BatchNorm3d(2), images(6, mean=40.0, spread=5.0)
    take_statistics(layer, patches, 2)
    by_batch = patches.numpy().reshape(3, 2, 2, -1).transpose(0, 2, 1, 3).reshape(3, 2, -1)
    assert layer.running_mean.numpy() == pytest.approx(by_batch.mean(axis=2).mean(axis=0), rel=1e-5)
    assert layer.running_var.numpy() == pytest.approx(by_batch.var(axis=2, ddof=1).mean(axis=0), rel=1e-5)


def test_the_second_layer_sees_what_the_first_one_normalises_by_the_same_batch():
    network, patches = two_layers(), images(4, mean=-7.0, spread=3.0)
    take_statistics(network, patches, 2)
    means = []
    for batch in patches.numpy().reshape(2, 2, 2, 4, 4, 4):
        level = batch.mean(axis=(0, 2, 3, 4), keepdims=True)
        normalised = (batch - level) / np.sqrt(batch.var(axis=(0, 2, 3, 4), keepdims=True) + network[0].eps)
        means.append(network[1](torch.from_numpy(normalised)).detach().numpy().mean(axis=(0, 2, 3, 4)))
    assert network[3].running_mean.numpy() == pytest.approx(np.mean(means, axis=0), abs=1e-5)


def test_nothing_but_the_statistics_changes():
    network = two_layers()
    network.train()
    network[0].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    take_statistics(network.eval(), images(4, mean=9.0), 2)
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{layer}.{key}" for layer in (0, 3)
                       for key in ("running_mean", "running_var", "num_batches_tracked")}
    assert not any(module.training for module in network.modules())
    assert [network[0].momentum, network[3].momentum] == [0.1, 0.1]


def test_two_calls_give_the_same_since_dropout_is_off_and_old_statistics_are_gone():
    network, patches = two_layers().train(), images(4)
    take_statistics(network, patches, 2)
    first = network[3].running_mean.clone()
    take_statistics(network, images(4, mean=100.0, seed=5), 2)
    assert not torch.equal(network[3].running_mean, first)
    take_statistics(network, patches, 2)
    assert torch.equal(network[3].running_mean, first)
    assert network.training


def test_a_shift_of_scale_and_offset_between_sites_is_taken_out():
    source, network = images(32, seed=3), two_layers()
    take_statistics(network, source, 4)
    with torch.no_grad():
        at_source = network.eval()(source)
        shifted = network(1.5 * source - 20.0)
        take_statistics(network, 1.5 * source - 20.0, 4)
        adapted = network(1.5 * source - 20.0)
    assert (shifted - at_source).abs().max() > 1.0
    assert (adapted - at_source).abs().max() < 1e-3


def test_a_network_without_statistics_and_too_few_patches_are_refused():
    instance = nn.Sequential(nn.InstanceNorm3d(2))
    assert not has_batch_statistics(instance)
    assert has_batch_statistics(two_layers())
    with pytest.raises(UsageError, match=r"architecture\.normalisation=batch"):
        take_statistics(instance, images(4), 2)
    with pytest.raises(UsageError, match="3 patches for a batch of 4"):
        take_statistics(two_layers(), images(3), 4)
