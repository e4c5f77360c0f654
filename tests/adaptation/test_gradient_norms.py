from __future__ import annotations

import pytest
import torch
from torch._functorch import config

from femur_nnunet.adaptation.gradient_norms import gradient_norms, keep_buffers_for_further_passes


def two_ways() -> tuple[torch.nn.Parameter, torch.Tensor, torch.Tensor]:
    """An encoder's weight, and what it gives to a skip connection and to the tokens."""
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    return weight, 3.0 * weight, 0.5 * weight


def test_a_terms_norm_is_that_of_its_whole_gradient_whichever_way_it_takes():
    weight, skip, tokens = two_ways()
    # Through the tokens alone the segmentation's would be .5 * (1, 0); it comes through the skip too.
    segmentation = skip[1] * 4.0 / 3.0 + tokens[0] * 6.0
    domain = tokens.sum() * 2.0
    found = gradient_norms({"segmentation": segmentation, "domain": domain}, [weight])
    assert found["gradient_segmentation"] == pytest.approx(5.0)
    assert found["gradient_domain"] == pytest.approx(2**0.5)


def test_the_steps_own_backward_pass_is_left_as_it_was():
    weight, skip, tokens = two_ways()
    terms = {"segmentation": skip.sum(), "domain": tokens.sum()}
    gradient_norms(terms, [weight])
    assert weight.grad is None
    sum(terms.values()).backward()
    assert weight.grad.tolist() == [3.5, 3.5]


def test_the_gradient_scalers_factor_is_taken_out_and_saves_what_half_precision_would_lose():
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    # 1e-9 is zero in float16, times 1024 it is not.
    term = weight.float().sum() * 1e-9
    assert gradient_norms({"mmd": term}, [weight])["gradient_mmd"] == 0.0
    assert gradient_norms({"mmd": term}, [weight], loss_scale=1024.0)["gradient_mmd"] == pytest.approx(1e-9, rel=0.05)


def test_a_term_whose_features_were_detached_is_measured_as_zero():
    # The defect of the released system: MMD on detached features.
    weight, _, tokens = two_ways()
    head = torch.nn.Parameter(torch.ones(2))
    found = gradient_norms({"mmd": tokens.detach().sum(), "domain": (head * tokens.detach()).sum()}, [weight])
    assert found == {"gradient_mmd": 0.0, "gradient_domain": 0.0}


@config.patch(donated_buffer=True)
def test_under_torch_compile_the_norms_are_those_without():
    torch.compiler.reset()
    keep_buffers_for_further_passes()
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.InstanceNorm1d(4, affine=True), torch.nn.GELU(),
                                  torch.nn.Conv1d(4, 2, 3))
    image = torch.randn(2, 1, 16)
    found = []
    for run in (network, torch.compile(network, backend="aot_eager")):
        # An ordinary step comes first: its backward pass is the one that is compiled.
        run(image).sum().backward()
        outputs = run(image)
        terms = {"segmentation": outputs[:, 0].square().sum(), "mmd": outputs[:, 1].sum()}
        found.append(gradient_norms(terms, network[0].parameters()))
        sum(terms.values()).backward()
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert min(found[0].values()) > 0
