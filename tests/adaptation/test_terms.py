from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from femur_nnunet.adaptation.gradient_reversal import reversal_strength, reverse_gradient
from femur_nnunet.adaptation.mmd import mmd_between_sites
from femur_nnunet.adaptation.site_classifier import LayerClassifiers
from femur_nnunet.adaptation.site_queue import FeatureQueues
from femur_nnunet.adaptation.terms import adaptation_terms, token_sample
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


def heads(n_sites: int = 2) -> LayerClassifiers:
    return LayerClassifiers({"bottleneck": 8}, n_sites, 8)


HEADS = heads()


def encoder_gradient(settings: AdaptationSettings) -> torch.Tensor:
    """Gradient of the total adaptation loss at the first convolution of the encoder."""
    network = small_network().train()
    network.return_tokens = True
    torch.manual_seed(1)
    head = heads()
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
    terms = adaptation_terms({"bottleneck": torch.randn(4, 6, 8)}, SITES, heads(), progress=progress,
                             settings=settings)
    ramp = {0.0: 0.0, 0.3: 0.5, 1.0: 1.0}[progress]
    assert terms.total.item() == pytest.approx(0.3 * terms.domain.item() + ramp * 0.7 * terms.mmd.item(), rel=1e-5)


def test_the_encoders_gradient_grows_linearly_with_lambda_not_with_its_square():
    once, twice = (encoder_gradient(replace(SETTINGS, mmd_weight=0.0, reversal_strength=s)) for s in (1.0, 2.0))
    assert torch.allclose(twice, 2 * once, rtol=1e-4, atol=1e-9)


def test_the_heads_own_gradient_is_not_reversed():
    torch.manual_seed(2)
    tokens, head = {"bottleneck": torch.randn(4, 5, 8)}, heads()
    before = head.loss(tokens, SITES)[0].item()
    adaptation_terms(tokens, SITES, head, progress=1.0, settings=SETTINGS).domain.backward()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter -= 0.05 * parameter.grad
    assert head.loss(tokens, SITES)[0].item() < before


def test_one_patch_a_site_aligns_by_its_tokens_from_the_second_step_on():
    torch.manual_seed(3)
    queues = FeatureQueues(("bottleneck",), 2, patches=0, tokens=AdaptationSettings().mmd_queue_tokens)
    norms = []
    for _ in range(2):
        tokens = torch.randn(2, 16, 8, requires_grad=True)
        terms = adaptation_terms({"bottleneck": tokens}, torch.tensor([0, 1]), heads(), progress=1.0,
                                 settings=SETTINGS, queues=queues)
        norms.append(torch.autograd.grad(terms.mmd, tokens)[0].norm().item())
    # In the first step the tokens of a site have none of another patch to be compared with.
    assert norms[0] == 0.0
    assert norms[1] > 0.0


@pytest.mark.parametrize(("patches_a_site", "queued"), [(1, 64), (2, 0), (2, 64), (4, 0)])
def test_the_token_term_is_zero_in_the_mean_for_equal_sites_whose_patches_differ(patches_a_site, queued):
    # Tokens of a patch share an offset of its own, of the same spread at both sites.
    generator = torch.Generator().manual_seed(21)
    settings = replace(SETTINGS, mmd_tokens=24)
    queues = FeatureQueues(("bottleneck",), 2, patches=0, tokens=queued)
    sites = torch.arange(2 * patches_a_site) % 2
    values = []
    for step in range(320):
        tokens = (torch.randn(len(sites), 16, 8, generator=generator)
                  + torch.randn(len(sites), 1, 8, generator=generator))
        pooled = mmd_between_sites(tokens.mean(dim=1), sites, settings.mmd_bandwidths)
        terms = adaptation_terms({"bottleneck": tokens}, sites, HEADS, progress=1.0, settings=settings,
                                 queues=queues, sample_seed=step)
        values.append((terms.mmd - pooled).item())
    found = torch.tensor(values[20:])
    # Means over 20 steps, which queued rows make alike, are taken as independent of each other.
    blocks = found.view(15, 20).mean(dim=1)
    assert abs(blocks.mean()) < 4 * blocks.std() / math.sqrt(len(blocks))
    assert (found < 0).any()


def test_half_precision_tokens_are_computed_in_float32():
    tokens = torch.randn(4, 6, 8, dtype=torch.float16)
    terms = adaptation_terms({"bottleneck": tokens}, SITES, heads(), progress=1.0, settings=SETTINGS)
    assert terms.mmd.dtype == terms.domain.dtype == torch.float32


def test_inside_autocast_the_terms_and_their_gradients_are_those_of_float32():
    torch.manual_seed(6)
    tokens = torch.randn(4, 6, 8, requires_grad=True)
    head = heads()
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            terms = adaptation_terms({"bottleneck": tokens}, SITES, head, progress=1.0, settings=SETTINGS)
        found.append((terms.total.detach(), torch.autograd.grad(terms.total, tokens)[0]))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_the_reversal_chain_is_minus_lambda_times_finite_differences():
    settings = replace(SETTINGS, mmd_weight=0.0, reversal_strength=0.7)
    torch.manual_seed(7)
    network, tokens = torch.nn.Linear(5, 8).double(), torch.randn(4, 3, 5, dtype=torch.float64)
    head = heads().double()

    def domain():
        # In float64 throughout: adaptation_terms itself works in float32.
        reversed_tokens = reverse_gradient(network(tokens), reversal_strength(1.0, settings))
        return head.loss({"bottleneck": reversed_tokens}, SITES)[0]

    domain().backward()
    for position in ((0, 0), (7, 4), (3, 2)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                network.weight[position] += step
                values.append(domain().item())
                network.weight[position] -= step
        assert network.weight.grad[position].item() == pytest.approx(-0.7 * (values[0] - values[1]) / 2e-6, rel=1e-5)


def test_the_token_sample_depends_on_its_seed_alone_not_on_a_ranks_random_state():
    tokens = torch.randn(4, 50, 3)
    samples = []
    for state in (1, 2):
        torch.manual_seed(state)
        samples.append(token_sample(tokens, SITES, 10, seed=5)[0])
    assert torch.equal(*samples)
    assert not torch.equal(samples[0], token_sample(tokens, SITES, 10, seed=6)[0])


def test_the_token_sample_is_bounded_and_says_which_patch_each_token_is_of():
    tokens = torch.arange(4)[:, None, None].float().expand(4, 50, 3)
    rows, patches = token_sample(tokens, SITES, 10, seed=0)
    assert rows.shape == (20, 3)
    assert torch.equal(rows[:, 0], patches.float())
    assert torch.bincount(SITES[patches]).tolist() == [10, 10]
    # No token twice: with all of them asked for, each comes once.
    everything, _ = token_sample(torch.arange(8.0).view(4, 2, 1), SITES, 99, seed=0)
    assert sorted(everything.flatten().tolist()) == list(range(8))


def test_the_queues_take_up_a_step_after_it_was_compared_with_the_past():
    queues = FeatureQueues(("bottleneck",), 2, patches=8, tokens=0)
    tokens = torch.randn(4, 6, 8)
    settings = replace(SETTINGS, mmd_tokens=0)
    first, second = (adaptation_terms({"bottleneck": tokens}, SITES, heads(), progress=1.0, settings=settings,
                                      queues=queues).mmd for _ in range(2))
    plain = adaptation_terms({"bottleneck": tokens}, SITES, heads(), progress=1.0, settings=settings).mmd
    assert first == plain
    assert second != plain
    own, _ = queues.pooled["bottleneck"].own_and_rest(0, like=torch.zeros(1, 8))
    assert torch.equal(own, tokens.mean(dim=1)[SITES == 0].repeat(2, 1))


def test_several_layers_are_averaged_and_each_gets_gradient():
    torch.manual_seed(9)
    tokens = {"bottleneck": torch.randn(4, 6, 8, requires_grad=True),
              "encoder_0": torch.randn(4, 3, 4, requires_grad=True)}
    head = LayerClassifiers({"bottleneck": 8, "encoder_0": 4}, 2, 8)
    both = adaptation_terms(tokens, SITES, head, progress=1.0, settings=SETTINGS)
    alone = [adaptation_terms({layer: values}, SITES, head, progress=1.0, settings=SETTINGS)
             for layer, values in tokens.items()]
    assert both.mmd.item() == pytest.approx(sum(terms.mmd.item() for terms in alone) / 2, rel=1e-5)
    assert both.domain.item() == pytest.approx(sum(terms.domain.item() for terms in alone) / 2, rel=1e-5)
    for gradient in torch.autograd.grad(both.total, list(tokens.values())):
        assert gradient.norm() > 0


def test_three_sites_are_told_apart_and_each_is_aligned():
    torch.manual_seed(10)
    tokens, sites = torch.randn(6, 5, 8, requires_grad=True), torch.tensor([0, 1, 2] * 2)
    terms = adaptation_terms({"bottleneck": tokens}, sites, heads(3), progress=1.0, settings=SETTINGS)
    (gradient,) = torch.autograd.grad(terms.mmd, tokens, retain_graph=True)
    assert all(gradient[sites == site].norm() > 0 for site in range(3))
    assert terms.domain.item() == pytest.approx(math.log(3), abs=0.5)


def test_a_term_without_weight_is_logged_but_not_said_to_reach_the_encoder():
    tokens = {"bottleneck": torch.randn(4, 6, 8, requires_grad=True)}
    terms = adaptation_terms(tokens, SITES, heads(), progress=1.0, settings=replace(SETTINGS, mmd_weight=0.0))
    assert list(terms.reaching_encoder()) == ["domain"]
    assert not terms.mmd.requires_grad
    assert terms.record()["mmd"] == terms.mmd.item() != 0.0
