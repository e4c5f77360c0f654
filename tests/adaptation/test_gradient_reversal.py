from __future__ import annotations

import math

import pytest
import torch

from femur_nnunet.adaptation.gradient_reversal import ramp, reversal_strength, reverse_gradient
from femur_nnunet.plan_settings import AdaptationSettings


def test_forward_is_the_identity():
    features = torch.randn(3, 4)
    assert torch.equal(reverse_gradient(features, 0.7), features)


def test_backward_is_minus_strength_times_the_finite_difference():
    features = torch.randn(5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, dtype=torch.float64)

    def value(x):
        return (torch.sin(x) * weights).sum()

    value(reverse_gradient(features, 0.3)).backward()
    for index in range(5):
        step = torch.zeros(5, dtype=torch.float64)
        step[index] = 1e-6
        with torch.no_grad():
            difference = (value(features + step) - value(features - step)) / 2e-6
        assert features.grad[index].item() == pytest.approx(-0.3 * difference.item(), rel=1e-6)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_ganins_schedule_is_that_of_the_paper(progress):
    settings = AdaptationSettings(reversal_schedule="ganin", reversal_strength=2.0)
    assert reversal_strength(progress, settings) == pytest.approx(2.0 * (2 / (1 + math.exp(-10 * progress)) - 1))


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.0), (0.2, 0.0), (0.35, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_the_delayed_ramp_is_linear_between_its_ends(progress, expected):
    assert ramp(progress, AdaptationSettings(ramp_start=0.2, ramp_end=0.5)) == pytest.approx(expected)
