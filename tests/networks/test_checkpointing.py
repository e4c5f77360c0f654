from __future__ import annotations

import pytest
import torch
from small_plan import configuration

from femur_nnunet.networks.checkpointing import run_segment
from femur_nnunet.networks.from_plan import build_transunet


def outputs_and_gradients(checkpointing: bool, *, decoded=None):
    network = build_transunet(configuration(checkpointing=checkpointing), 1, 2, deep_supervision=True)
    torch.manual_seed(3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.double().train().return_tokens = True
    network.token_layers = ("bottleneck", "encoder_1") if decoded is not None else ("decoder_0", "bottleneck")
    image = torch.randn(3, 1, 16, 16, 16, dtype=torch.float64)
    levels, tokens = network(image, decoded)
    sum(value.square().sum() for value in (*levels, *tokens.values())).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return [*levels, *tokens.values()], gradients


@pytest.mark.parametrize("decoded", [None, torch.tensor([0, 2])])
def test_outputs_and_gradients_are_those_without_checkpointing_stochastic_depth_included(decoded):
    outputs, gradients = outputs_and_gradients(False, decoded=decoded)
    again, gradients_again = outputs_and_gradients(True, decoded=decoded)
    for first, second in zip(outputs, again, strict=True):
        assert torch.equal(first, second)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, gradients_again[name], rtol=1e-9, atol=1e-12), name


def test_the_inside_of_a_segment_is_computed_anew_on_the_way_back():
    calls = []

    def segment(value):
        calls.append(None)
        return value.exp().sin()

    value = torch.ones(3, requires_grad=True)
    result = run_segment(segment, value, checkpointing=True)
    assert len(calls) == 1
    result.sum().backward()
    assert len(calls) == 2
    assert torch.allclose(value.grad, torch.cos(torch.e * torch.ones(3)) * torch.e)


def test_nothing_is_stored_or_computed_twice_where_no_gradient_is_asked():
    calls = []
    with torch.no_grad():
        run_segment(lambda value: calls.append(None) or value, torch.ones(3), checkpointing=True)
    assert len(calls) == 1


def test_the_stored_bytes_fall():
    def stored_bytes(checkpointing):
        network = build_transunet(configuration(checkpointing=checkpointing), 1, 2, deep_supervision=True).train()
        storages = {}
        with torch.autograd.graph.saved_tensors_hooks(
                lambda t: storages.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t,
                lambda t: t):
            outputs = network(torch.randn(1, 1, 16, 16, 16))
        del outputs
        return sum(storages.values())

    assert stored_bytes(True) < 0.5 * stored_bytes(False)
