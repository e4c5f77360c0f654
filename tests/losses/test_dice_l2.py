from __future__ import annotations

import math

import pytest
import torch
from torch import multiprocessing, nn
from two_ranks import L2_PATCHES, L2_TARGETS, free_port, l2_network, run_dice_l2

from femur_nnunet.losses.dice_l2 import DiceL2Loss


def logits_of(foreground: list[float]) -> torch.Tensor:
    """Logits (1, 2, 1, 1, n) whose softmax gives these foreground probabilities."""
    p = torch.tensor(foreground, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), torch.log(p / (1 - p))])[None, :, None, None]


def masks_of(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, 1, -1)


def test_dice_has_squares_in_its_denominator():
    terms = DiceL2Loss("residual", 0.0).terms(logits_of([0.8, 0.4, 0.2, 0.1]), masks_of([1, 1, 0, 0]))
    # 2 (.8 + .4) / ((.64 + .16 + .04 + .01) + 2) = 2.4 / 2.85; without squares it would be 2.4 / 3.5.
    assert terms.dice.item() == pytest.approx(1 - 2.4 / 2.85, rel=1e-12)
    assert terms.total.item() == terms.dice.item()


def test_residual_is_the_mean_squared_difference_of_probability_and_mask():
    terms = DiceL2Loss("residual", 0.5).terms(logits_of([0.8, 0.4, 0.2, 0.1]), masks_of([1, 1, 0, 0]))
    # (.2^2 + .6^2 + .2^2 + .1^2) / 4
    assert terms.l2.item() == pytest.approx(0.45 / 4, rel=1e-12)
    assert terms.total.item() == pytest.approx(1 - 2.4 / 2.85 + 0.5 * 0.45 / 4, rel=1e-12)


def test_weights_is_the_squared_norm_of_the_parameters_and_its_gradient_is_2_w_theta():
    theta = [nn.Parameter(torch.tensor([3.0, -4.0])), nn.Parameter(torch.tensor([[0.5]]))]
    terms = DiceL2Loss("weights", 1e-2, theta).terms(logits_of([0.8, 0.2]), masks_of([1, 0]))
    assert terms.l2.item() == 25.25
    assert terms.total.item() == pytest.approx(terms.dice.item() + 0.2525, rel=1e-6)
    terms.total.backward()
    for parameter in theta:
        assert torch.allclose(parameter.grad, 2 * 1e-2 * parameter.detach(), rtol=1e-6)


@pytest.mark.parametrize("l2", ["weights", "residual"])
def test_gradients_agree_with_finite_differences(l2):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 2, 2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    theta = nn.Parameter(torch.randn(4, dtype=torch.float64, generator=generator))
    target = torch.randint(0, 3, (2, 1, 2, 2, 3), generator=generator)
    loss = DiceL2Loss(l2, 0.3, [theta])
    assert torch.autograd.gradcheck(lambda x, t: loss(x, target) + 0.0 * t.sum(), (logits, theta))


def test_a_class_that_occurs_nowhere_has_no_dice():
    two = logits_of([0.8, 0.4, 0.2, 0.1])
    never = torch.full_like(two[:, :1], -math.inf)
    loss = DiceL2Loss("residual", 0.0)
    expected = loss(two, masks_of([1, 1, 0, 0]))
    assert loss(torch.cat([two, never], dim=1), masks_of([1, 1, 0, 0])).item() == pytest.approx(expected.item())


def test_what_is_found_in_a_patch_without_the_femur_counts_in_the_sum_over_the_batch():
    loss = DiceL2Loss("residual", 0.0)
    target = torch.cat([masks_of([1, 1]), masks_of([0, 0])])
    quiet, noisy = (torch.cat([logits_of([0.9, 0.9]), logits_of([p, p])]).requires_grad_() for p in (0.01, 0.6))
    assert loss(noisy, target) > loss(quiet, target)
    (gradient,) = torch.autograd.grad(loss(noisy, target), noisy)
    # Higher logits of the femur in the second patch make the loss larger.
    assert (gradient[1, 1] > 0).all()


def test_a_batch_without_any_femur_has_dice_0_and_still_a_gradient_that_is_0():
    logits = logits_of([0.5, 0.5]).requires_grad_()
    value = DiceL2Loss("weights", 1e-5).terms(logits, masks_of([0, 0])).dice
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


def test_half_precision_neither_reaches_the_norm_nor_the_sums():
    # 300^2 = 90000 is beyond float16, whose largest value is 65504.
    theta = nn.Parameter(torch.full((10,), 300.0, dtype=torch.float16))
    logits = logits_of([0.8, 0.4, 0.2, 0.1]).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = DiceL2Loss("weights", 1.0, [theta]).terms(logits, masks_of([1, 1, 0, 0]))
        residual = DiceL2Loss("residual", 1.0).terms(logits, masks_of([1, 1, 0, 0])).l2
    assert {terms.total.dtype, terms.dice.dtype, terms.l2.dtype, residual.dtype} == {torch.float32}
    assert terms.l2.item() == 900000
    # The logits' own rounding to 11 bits is left.
    assert terms.dice.item() == pytest.approx(1 - 2.4 / 2.85, rel=1e-3)
    assert residual.item() == pytest.approx(0.45 / 4, rel=1e-3)


def test_two_ranks_take_the_step_of_one_process_with_both_batches(tmp_path):
    """DDP's average must hold the penalty once: not times the ranks, and not divided by them."""
    multiprocessing.spawn(run_dice_l2, args=(free_port(), str(tmp_path)), nprocs=2)
    for l2 in ("weights", "residual"):
        network = l2_network()
        total = DiceL2Loss(l2, 0.5, network.parameters())(network(L2_PATCHES), L2_TARGETS)
        total.backward()
        for rank in (0, 1):
            value, gradients = torch.load(tmp_path / f"{l2}{rank}.pt")
            assert value.item() == pytest.approx(total.item(), rel=1e-10)
            for name, parameter in network.named_parameters():
                assert torch.allclose(gradients[name], parameter.grad, rtol=1e-8, atol=1e-12), name
