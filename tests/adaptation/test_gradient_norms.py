from __future__ import annotations

import pytest
import torch

from femur_nnunet.adaptation.gradient_norms import GradientProbe

LABELLED = torch.tensor([True, False])


def measured(*, scale=1.0, consistency=True, detach_domain=False):
    """A batch of two patches of one token; a term's gradient is the vector that it is multiplied with."""
    features = torch.ones(2, 1, 2, requires_grad=True)
    tokens = {"bottleneck": features * 1.0}
    probe = GradientProbe(tokens)
    own = tokens["bottleneck"]
    segmentation = (own[0] * torch.tensor([3.0, 4.0])).sum()
    on_unlabelled = (own[1] * torch.tensor([0.0, 2.0])).sum()
    domain = ((own.detach() if detach_domain else own) * torch.tensor([1.0, 0.0])).sum()
    probe.measure_terms({"domain": domain}, tokens)
    ((segmentation + on_unlabelled + domain) * scale).backward()
    return probe.norms(LABELLED, loss_scale=scale, consistency=consistency)


def test_each_terms_norm_is_that_of_its_own_gradient_and_costs_no_second_pass():
    found = measured()
    assert found["gradient_segmentation"] == pytest.approx(5.0)
    assert found["gradient_consistency"] == pytest.approx(2.0)
    assert found["gradient_domain"] == pytest.approx(2**0.5)


def test_the_gradient_scalers_factor_is_taken_out():
    assert measured(scale=1024.0) == pytest.approx(measured())


def test_a_term_whose_features_were_detached_is_measured_as_zero():
    # The defect of the released system: MMD on detached features.
    assert measured(detach_domain=True)["gradient_domain"] == 0.0


def test_a_consistency_that_is_not_in_use_is_not_reported():
    assert "gradient_consistency" not in measured(consistency=False)


def test_under_torch_compile_what_the_decoder_sends_back_is_not_said_to_be_zero():
    network = torch.nn.Linear(2, 2)
    compiled = torch.compile(lambda x: (network(x), network(x).sum()), backend="aot_eager")
    tokens, segmentation = compiled(torch.ones(2, 1, 2))
    probe = GradientProbe({"bottleneck": tokens}, compiled=True)
    domain = tokens.sum()
    probe.measure_terms({"domain": domain}, {"bottleneck": tokens})
    (domain + segmentation).backward()
    assert probe.norms(LABELLED, loss_scale=1.0, consistency=True) == {"gradient_domain": pytest.approx(2.0)}


def test_without_the_bottleneck_only_the_adaptation_terms_are_measured():
    tokens = {"encoder_0": torch.ones(2, 1, 2, requires_grad=True) * 1.0}
    probe = GradientProbe(tokens)
    domain = tokens["encoder_0"].sum()
    probe.measure_terms({"domain": domain}, tokens)
    domain.backward()
    assert probe.norms(LABELLED, loss_scale=1.0, consistency=True) == {"gradient_domain": pytest.approx(2.0)}
