from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from femur_nnunet.adaptation.site_classifier import SiteClassifier
from femur_nnunet.adaptation.terms import adaptation_terms
from femur_nnunet.networks.transunet import TransUNet3D
from femur_nnunet.plan_settings import AdaptationSettings

SETTINGS = AdaptationSettings(domain_weight=0.1, mmd_weight=0.1, reversal_schedule="constant", ramp_start=0.0,
                              ramp_end=0.1, head_hidden=8)
SITES = torch.tensor([0, 1, 0, 1])


def small_network() -> TransUNet3D:
    torch.manual_seed(0)
    return TransUNet3D(1, 2, n_stages=3, features_per_stage=[4, 8, 8], conv_op=torch.nn.Conv3d,
                       kernel_sizes=[[3, 3, 3]] * 3, strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]],
                       n_conv_per_stage=[1, 1, 1], n_conv_per_stage_decoder=[1, 1],
                       norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"affine": True}, nonlin=torch.nn.LeakyReLU,
                       nonlin_kwargs={"inplace": True},
                       transformer={"layers": 1, "heads": 2, "width": 8, "mlp_ratio": 2.0, "stochastic_depth": 0.0,
                                    "grid": [2, 2, 2]})


def encoder_gradient(settings: AdaptationSettings) -> torch.Tensor:
    """Gradient of the total adaptation loss at the first convolution of the encoder."""
    network = small_network().train()
    network.return_tokens = True
    torch.manual_seed(1)
    head = SiteClassifier(8, 2, 8)
    _, tokens = network(torch.randn(4, 1, 8, 8, 8))
    adaptation_terms(tokens, SITES, head, progress=1.0, settings=settings).total.backward()
    return next(network.encoder.parameters()).grad


@pytest.mark.parametrize("alone", ["domain_weight", "mmd_weight"])
def test_each_term_alone_reaches_the_encoder(alone):
    settings = replace(SETTINGS, **{"domain_weight": 0.0, "mmd_weight": 0.0, alone: 0.1})
    assert encoder_gradient(settings).norm() > 1e-8


def test_without_weights_nothing_reaches_the_encoder():
    assert encoder_gradient(replace(SETTINGS, domain_weight=0.0, mmd_weight=0.0)).norm() == 0


def test_the_total_holds_each_term_exactly_once():
    both, domain, mmd = (encoder_gradient(replace(SETTINGS, domain_weight=d, mmd_weight=m))
                         for d, m in ((0.1, 0.1), (0.1, 0.0), (0.0, 0.1)))
    assert torch.allclose(both, domain + mmd, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_the_total_is_the_weighted_sum_of_the_terms(progress):
    settings = AdaptationSettings(domain_weight=0.3, mmd_weight=0.7, ramp_start=0.2, ramp_end=0.4, head_hidden=8)
    torch.manual_seed(5)
    terms = adaptation_terms(torch.randn(4, 6, 8), SITES, SiteClassifier(8, 2, 8), progress=progress, settings=settings)
    ramp = {0.0: 0.0, 0.3: 0.5, 1.0: 1.0}[progress]
    assert terms.total.item() == pytest.approx(0.3 * terms.domain.item() + ramp * 0.7 * terms.mmd.item(), rel=1e-5)


def test_the_encoders_gradient_grows_linearly_with_lambda_not_with_its_square():
    once, twice = (encoder_gradient(replace(SETTINGS, mmd_weight=0.0, reversal_strength=s)) for s in (1.0, 2.0))
    assert torch.allclose(twice, 2 * once, rtol=1e-4, atol=1e-9)


def test_the_heads_own_gradient_is_not_reversed():
    torch.manual_seed(2)
    tokens, head = torch.randn(4, 5, 8), SiteClassifier(8, 2, 8)
    before = head.loss(tokens, SITES)[0].item()
    adaptation_terms(tokens, SITES, head, progress=1.0, settings=SETTINGS).domain.backward()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter -= 0.05 * parameter.grad
    assert head.loss(tokens, SITES)[0].item() < before


def test_one_patch_a_site_still_aligns_by_its_tokens():
    torch.manual_seed(3)
    tokens = torch.randn(2, 16, 8, requires_grad=True)
    terms = adaptation_terms(tokens, torch.tensor([0, 1]), SiteClassifier(8, 2, 8), progress=1.0, settings=SETTINGS)
    (gradient,) = torch.autograd.grad(terms.mmd, tokens)
    assert gradient.norm() > 0


def test_half_precision_tokens_are_computed_in_float32():
    tokens = torch.randn(4, 6, 8, dtype=torch.float16)
    terms = adaptation_terms(tokens, SITES, SiteClassifier(8, 2, 8), progress=1.0, settings=SETTINGS)
    assert terms.mmd.dtype == terms.domain.dtype == torch.float32
