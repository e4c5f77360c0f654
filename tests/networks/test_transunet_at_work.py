"""The network under the things that trainings put around it: torch.compile, autocast, DDP."""

from __future__ import annotations

import shutil

import network_ranks
import pytest
import torch
from small_plan import configuration
from torch import multiprocessing
from two_ranks import free_port

from femur_nnunet.networks.from_plan import build_transunet


def build(**options):
    torch.manual_seed(0)
    return build_transunet(configuration(stochastic_depth=0.0, **options), 1, 2, deep_supervision=True)


def gradients_of(network, compiled, image):
    network.zero_grad(set_to_none=True)
    levels = compiled(image)
    sum(level.square().mean() for level in levels).backward()
    return levels, [parameter.grad for parameter in network.parameters()]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(("backend", "checkpointing"), [
    ("eager", False), ("eager", True), ("aot_eager", False),
    pytest.param("aot_eager", True, marks=pytest.mark.long),
    pytest.param("inductor", False, marks=[pytest.mark.long, pytest.mark.skipif(
        shutil.which("g++") is None, reason="torch's inductor needs a C++ compiler")]),
])
def test_a_compiled_network_is_one_graph_with_the_same_outputs_and_gradients(backend, checkpointing):
    network = build(checkpointing=checkpointing).train()
    image = torch.randn(1, 1, 16, 16, 16)
    levels, gradients = gradients_of(network, network, image)
    # fullgraph makes any break of the graph an error.
    compiled = torch.compile(network, backend=backend, fullgraph=True)
    levels_again, gradients_again = gradients_of(network, compiled, image)
    for first, second in zip((*levels, *gradients), (*levels_again, *gradients_again), strict=True):
        assert torch.allclose(first, second, rtol=1e-3, atol=1e-5)


def test_tokens_and_a_choice_of_decoded_patches_are_one_graph_too():
    network = build().train()
    network.return_tokens = True
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image, decoded = torch.randn(3, 1, 16, 16, 16), torch.tensor([0, 2])
    levels, tokens = compiled(image, decoded)
    expected_levels, expected_tokens = network(image, decoded)
    assert torch.allclose(levels[0], expected_levels[0], atol=1e-5)
    assert torch.allclose(tokens["bottleneck"], expected_tokens["bottleneck"], atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_autocast_to_half_precision_stays_close_and_gradients_are_float32(checkpointing):
    network = build(checkpointing=checkpointing).train()
    image = torch.randn(2, 1, 16, 16, 16)
    expected, _ = gradients_of(network, network, image)
    network.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        levels = network(image)
        loss = sum(level.float().square().mean() for level in levels)
    loss.backward()
    assert levels[0].dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: some per cent after a dozen layers.
    difference = (levels[0].float() - expected[0]).norm() / expected[0].norm()
    assert difference < 0.1
    assert all(parameter.grad.dtype == torch.float32 and torch.isfinite(parameter.grad).all()
               for parameter in network.parameters())


@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.long)])
def test_two_processes_have_the_gradient_of_one(tmp_path, checkpointing):
    multiprocessing.spawn(network_ranks.run_rank, args=(free_port(), str(tmp_path), checkpointing), nprocs=2)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    network = network_ranks.make_network(checkpointing=False)
    # Means over equal halves: the mean of the ranks' losses is the loss of the whole batch.
    network_ranks.loss_on(network, network_ranks.images()).backward()
    for first, second, parameter in zip(*ranks, network.parameters(), strict=True):
        assert torch.equal(first, second)
        assert torch.allclose(first, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16, 16), (24, 16, 32), (8, 8, 8), (40, 40, 40)])
def test_gradients_reach_every_parameter_at_sizes_that_were_not_planned(size):
    network = build().train()
    _, gradients = gradients_of(network, network, torch.randn(1, 1, *size))
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert network.bottleneck.positions.grad.abs().max() > 0


def test_the_smallest_sensible_plan_works():
    plan = configuration(patch=(8, 8, 8))
    plan["architecture"]["arch_kwargs"]["transformer"] |= {"layers": 1, "heads": 1, "width": 4}
    network = build_transunet(plan, 1, 2, deep_supervision=True).train()
    _, gradients = gradients_of(network, network, torch.randn(1, 1, 8, 8, 8))
    assert sum(parameter.numel() for parameter in network.parameters()) < 25_000
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
