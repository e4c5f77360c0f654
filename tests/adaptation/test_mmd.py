from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from femur_nnunet.adaptation.mmd import mmd_between_sites, unbiased_mmd2

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def slow_mmd2(first: np.ndarray, second: np.ndarray, bandwidths: tuple[float, ...]) -> float:
    """Equation 3 of Gretton et al. (2012), term by term in plain Python."""
    pooled = np.concatenate([first, second])
    pairs = [(i, j) for i in range(len(pooled)) for j in range(len(pooled)) if i != j]
    width = sum(float(((pooled[i] - pooled[j]) ** 2).sum()) for i, j in pairs) / len(pairs)

    def kernel(x, y):
        return sum(math.exp(-float(((x - y) ** 2).sum()) / (b * width)) for b in bandwidths)

    n, m = len(first), len(second)
    within_first = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_second = sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    across = sum(kernel(x, y) for x in first for y in second) / (n * m)
    return within_first + within_second - 2 * across


def test_the_estimate_equals_the_slow_reference():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(6, 4)), generator.normal(1.0, 2.0, size=(9, 4))
    fast = unbiased_mmd2(torch.from_numpy(first), torch.from_numpy(second), BANDWIDTHS)
    assert fast.item() == pytest.approx(slow_mmd2(first, second, BANDWIDTHS), rel=1e-9)


def test_the_estimate_is_zero_in_expectation_for_equal_distributions():
    torch.manual_seed(1)
    values = torch.stack([unbiased_mmd2(torch.randn(8, 3), torch.randn(8, 3), BANDWIDTHS) for _ in range(400)])
    standard_error = values.std() / math.sqrt(len(values))
    assert abs(values.mean()) < 4 * standard_error
    assert (values < 0).any()


def test_the_estimate_comes_near_the_closed_form_for_gaussians():
    # For N(0, 1) and N(d, 1) and the kernel exp(-(x - y)^2 / w): MMD^2 = 2 s (1 - exp(-d^2 / (w + 4))),
    # s = sqrt(w / (w + 4)).
    torch.manual_seed(2)
    shift = 2.0
    first, second = torch.randn(1500, 1, dtype=torch.float64), shift + torch.randn(1500, 1, dtype=torch.float64)
    pooled = torch.cat([first, second])
    width = (2 * pooled.var(unbiased=True)).item()  # the mean squared distance of distinct pairs
    scale = math.sqrt(width / (width + 4))
    expected = 2 * scale * (1 - math.exp(-shift**2 / (width + 4)))
    assert unbiased_mmd2(first, second, (1.0,)).item() == pytest.approx(expected, rel=0.05)


def test_the_gradient_reaches_both_samples_and_is_right():
    # The width is a constant for the gradient; one pair of samples far apart keeps it fixed in the check.
    torch.manual_seed(3)
    first = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    second = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    unbiased_mmd2(first, second, BANDWIDTHS).backward()
    assert first.grad.abs().sum() > 0
    assert second.grad.abs().sum() > 0
    with torch.no_grad():
        pooled = torch.cat([first, second])
        width = 2 * pooled.var(dim=0, unbiased=True).sum()

    def fixed_width(x):
        distances = torch.cdist(torch.cat([x, second]), torch.cat([x, second])).square()
        kernel = sum(torch.exp(-distances / (b * width)) for b in BANDWIDTHS)
        return ((kernel[:4, :4].sum() - 4 * len(BANDWIDTHS)) / 12 + (kernel[4:, 4:].sum() - 5 * len(BANDWIDTHS)) / 20
                - 2 * kernel[:4, 4:].mean())

    step = torch.zeros_like(first)
    step[1, 0] = 1e-6
    with torch.no_grad():
        difference = (fixed_width(first + step) - fixed_width(first - step)) / 2e-6
    assert first.grad[1, 0].item() == pytest.approx(difference.item(), rel=1e-5)


def test_a_sample_of_one_row_is_refused():
    with pytest.raises(ValueError, match="at least 2 rows a sample, got 1 and 3"):
        unbiased_mmd2(torch.zeros(1, 2), torch.zeros(3, 2), BANDWIDTHS)


def test_two_sites_give_the_estimate_between_them_whatever_the_order_of_rows():
    torch.manual_seed(4)
    features, sites = torch.randn(10, 3, dtype=torch.float64), torch.tensor([0, 1] * 5)
    expected = unbiased_mmd2(features[sites == 0], features[sites == 1], BANDWIDTHS)
    assert mmd_between_sites(features, sites, BANDWIDTHS).item() == pytest.approx(expected.item(), rel=1e-12)


def test_three_sites_are_each_compared_with_the_pooled_rest():
    torch.manual_seed(5)
    features, sites = torch.randn(12, 3, dtype=torch.float64), torch.tensor([0, 1, 2] * 4)
    expected = np.mean([unbiased_mmd2(features[sites == s], features[sites != s], BANDWIDTHS).item() for s in range(3)])
    assert mmd_between_sites(features, sites, BANDWIDTHS).item() == pytest.approx(expected, rel=1e-12)


def test_one_row_a_site_gives_zero_that_can_go_backward():
    features = torch.randn(2, 3, requires_grad=True)
    value = mmd_between_sites(features, torch.tensor([0, 1]), BANDWIDTHS)
    value.backward()
    assert value.item() == 0.0
    assert features.grad.abs().sum() == 0
