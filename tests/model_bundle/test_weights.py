"""Shared tensors are stored once, and a state_dict that does not fit is not packed."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load
from tiny_bundle import tiny_network, tiny_plans

from femur_nnunet.model_bundle import BundleError
from femur_nnunet.model_bundle.weights import pack_weights, shared_tensors, unpack_weights


@pytest.fixture(scope="module")
def network():
    return tiny_network(tiny_plans("unet"), "unet", 0)


def test_each_parameter_is_stored_once_and_comes_back_under_all_its_names(network):
    """nnU-Net's U-Net has up to four names for a weight: as layer, in a list, and both again below its decoder."""
    data = pack_weights(network.state_dict(), network)
    stored = load(data)
    assert sum(tensor.numel() for tensor in stored.values()) == sum(p.numel() for p in network.parameters())
    assert len(shared_tensors(network)) == len(network.state_dict()) - len(stored) > 0
    restored = unpack_weights(data, network, shared_tensors(network), subject="x")
    assert restored.keys() == network.state_dict().keys()
    assert all(torch.equal(restored[name], tensor) for name, tensor in network.state_dict().items())


def test_two_values_for_one_shared_tensor_are_refused(network):
    weights = dict(network.state_dict())
    alias = next(iter(shared_tensors(network)))
    weights[alias] = weights[alias] + 1
    with pytest.raises(BundleError, match="expected one shared tensor"):
        pack_weights(weights, network)


def test_values_that_float16_cannot_hold_are_refused(network):
    """The largest number of float16 is 65504."""
    weights = {name: tensor * 0 + 1e5 for name, tensor in network.state_dict().items()}
    assert pack_weights(weights, network)
    with pytest.raises(BundleError, match="that are not finite in float16"):
        pack_weights(weights, network, half=True)


def test_weights_of_another_network_are_refused(network):
    weights = {name: tensor.unsqueeze(0) for name, tensor in network.state_dict().items()}
    with pytest.raises(BundleError, match="of floating point"):
        pack_weights(weights, network)
    with pytest.raises(BundleError, match="tensors that lack"):
        pack_weights({}, network)


def test_a_network_with_batch_normalisation_comes_back_but_for_its_count_of_steps():
    plans = tiny_plans("unet")
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm3d"
    network = tiny_network(plans, "unet", 0)
    network.train()(torch.randn(2, 1, 16, 16, 16))
    state = network.state_dict()
    restored = unpack_weights(pack_weights(state, network), network, shared_tensors(network), subject="x")
    assert restored.keys() == state.keys()
    counts = {name for name in state if name.endswith("num_batches_tracked")}
    assert all(torch.equal(restored[name], state[name]) for name in state.keys() - counts)
    assert {int(restored[name]) for name in counts} == {0}
    network.load_state_dict(restored)
