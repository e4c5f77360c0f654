from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from femur_nnunet.adaptation import mmd
from femur_nnunet.adaptation.mmd import kernel_sum, mmd_between_sites, unbiased_mmd2
from femur_nnunet.adaptation.site_queue import SiteQueue

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
    with pytest.raises(ValueError, match="at least 2 groups of rows a sample, got 1 and 3 live, 0 and 0 rows"):
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


def slow_mmd2_with_queues(live_a, live_b, queue_a, queue_b, bandwidths) -> float:
    """Means of the kernel over pairs that hold a live row, pair by pair in plain Python."""
    everything = np.concatenate([live_a, live_b, queue_a, queue_b])
    distances = [float(((x - y) ** 2).sum()) for i, x in enumerate(everything) for j, y in enumerate(everything)
                 if i != j]
    width = sum(distances) / len(distances)

    def mean(pairs):
        return sum(sum(math.exp(-float(((x - y) ** 2).sum()) / (b * width)) for b in bandwidths)
                   for x, y in pairs) / len(pairs)

    def within(live, queue):
        return mean([(live[i], live[j]) for i in range(len(live)) for j in range(i)] + [(x, y) for x in live
                                                                                        for y in queue])

    across = mean([(x, y) for x in live_a for y in live_b] + [(x, y) for x in live_a for y in queue_b]
                  + [(x, y) for x in queue_a for y in live_b])
    return within(live_a, queue_a) + within(live_b, queue_b) - 2 * across


def test_pairs_of_one_group_are_left_out_of_the_means_within():
    generator = np.random.default_rng(14)
    first, second = generator.normal(size=(5, 2)), generator.normal(0.5, 1.5, size=(4, 2))
    first_groups, second_groups = [7, 7, 3, 3, 9], [0, 0, 0, 1]
    pooled = np.concatenate([first, second])
    width = float(np.mean([((pooled[i] - pooled[j]) ** 2).sum() for i in range(9) for j in range(9) if i != j]))

    def mean(pairs):
        return float(np.mean([sum(math.exp(-float(((x - y) ** 2).sum()) / (b * width)) for b in BANDWIDTHS)
                              for x, y in pairs]))

    def within(rows, groups):
        return mean([(rows[i], rows[j]) for i in range(len(rows)) for j in range(i) if groups[i] != groups[j]])

    expected = (within(first, first_groups) + within(second, second_groups)
                - 2 * mean([(x, y) for x in first for y in second]))
    found = unbiased_mmd2(torch.from_numpy(first), torch.from_numpy(second), BANDWIDTHS,
                          first_groups=torch.tensor(first_groups), second_groups=torch.tensor(second_groups))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_rows_of_one_group_alone_have_no_term_without_a_queue():
    features, sites, groups = torch.randn(6, 3, requires_grad=True), torch.tensor([0, 1] * 3), torch.tensor([0, 1] * 3)
    assert mmd_between_sites(features, sites, BANDWIDTHS, groups=groups).item() == 0.0
    queue = SiteQueue(2, 4)
    queue.push(torch.randn(4, 3), torch.tensor([0, 1] * 2))
    value = mmd_between_sites(features, sites, BANDWIDTHS, queue, groups=groups)
    value.backward()
    assert value.item() != 0.0
    assert (features.grad.norm(dim=1) > 0).all()


def samples(*counts: int, shift: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(count, 3, dtype=torch.float64, generator=generator) + shift * (number % 2)
            for number, count in enumerate(counts)]


@pytest.mark.parametrize("counts", [(3, 4, 5, 6), (1, 1, 4, 2), (2, 3, 0, 4)])
def test_with_queues_the_estimate_is_that_of_all_pairs_that_hold_a_live_row(counts):
    parts = samples(*counts)
    fast = unbiased_mmd2(parts[0], parts[1], BANDWIDTHS, first_queue=parts[2], second_queue=parts[3])
    assert fast.item() == pytest.approx(slow_mmd2_with_queues(*(p.numpy() for p in parts), BANDWIDTHS), rel=1e-9)


def test_with_queues_the_estimate_is_zero_in_expectation_for_equal_distributions():
    torch.manual_seed(11)
    values = torch.stack([unbiased_mmd2(*torch.randn(2, 2, 3), BANDWIDTHS, first_queue=torch.randn(6, 3),
                                        second_queue=torch.randn(9, 3)) for _ in range(400)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    assert (values < 0).any()


def test_the_gradient_with_queues_is_that_of_finite_differences_at_a_constant_width():
    live_a, live_b, queue_a, queue_b = samples(2, 3, 4, 5)
    live_a.requires_grad_(True)
    unbiased_mmd2(live_a, live_b, BANDWIDTHS, first_queue=queue_a, second_queue=queue_b).backward()
    everything = torch.cat([live_a.detach(), live_b, queue_a, queue_b])
    width = torch.cdist(everything, everything).square().sum() / (len(everything) * (len(everything) - 1))

    def value(rows):
        def kernel(x, y):
            return sum(torch.exp(-torch.cdist(x, y).square() / (b * width)) for b in BANDWIDTHS)

        across = (kernel(rows, live_b).sum() + kernel(rows, queue_b).sum() + kernel(queue_a, live_b).sum()) / (
            2 * 3 + 2 * 5 + 4 * 3)
        return (kernel(rows[:1], rows[1:]).sum() + kernel(rows, queue_a).sum()) / (1 + 2 * 4) - 2 * across

    for row in range(2):
        for column in range(3):
            step = torch.zeros_like(live_a)
            step[row, column] = 1e-6
            with torch.no_grad():
                difference = (value(live_a + step) - value(live_a - step)) / 2e-6
            assert live_a.grad[row, column].item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-9)


def test_live_rows_always_carry_gradient_and_queued_rows_never_do():
    live_a, live_b, queue_a, queue_b = (rows.requires_grad_(True) for rows in samples(1, 1, 3, 3))
    unbiased_mmd2(live_a, live_b, BANDWIDTHS, first_queue=queue_a, second_queue=queue_b).backward()
    assert live_a.grad.norm() > 0
    assert live_b.grad.norm() > 0
    assert queue_a.grad is None
    assert queue_b.grad is None


def test_a_longer_queue_does_not_shrink_the_gradient_of_the_present_batch():
    def norm(queued):
        live_a, live_b, queue_a, queue_b = samples(2, 2, queued, queued, shift=2.0)
        live_a.requires_grad_(True)
        unbiased_mmd2(live_a, live_b, BANDWIDTHS, first_queue=queue_a, second_queue=queue_b).backward()
        return live_a.grad.norm().item()

    assert norm(200) > 0.5 * norm(20)


def test_one_patch_a_site_aligns_by_the_queue_and_moves_the_sites_together():
    queue = SiteQueue(2, 8)
    torch.manual_seed(12)
    queue.push(torch.cat([torch.randn(8, 3), torch.randn(8, 3) + 3.0]), torch.tensor([0] * 8 + [1] * 8))
    live = torch.tensor([[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]], requires_grad=True)
    mmd_between_sites(live, torch.tensor([0, 1]), BANDWIDTHS, queue).backward()
    down = -live.grad
    assert down[0].sum() > 0
    assert down[1].sum() < 0


def test_a_third_sites_queue_belongs_to_the_pooled_rest():
    live, sites = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2] * 2)
    queue = SiteQueue(3, 4)
    queued = torch.randn(12, 3)
    queue.push(queued, torch.tensor([0, 1, 2] * 4))
    queued = queued.double()
    expected = np.mean([slow_mmd2_with_queues(
        live[site::3].numpy(), live[sites != site].numpy(), queued[site::3].numpy(),
        queued[torch.arange(12) % 3 != site].numpy(), BANDWIDTHS) for site in range(3)])
    assert mmd_between_sites(live, sites, BANDWIDTHS, queue).item() == pytest.approx(expected, rel=1e-9)


def test_blocks_give_the_value_and_gradient_of_the_whole(monkeypatch):
    first, second = samples(13, 7)
    widths = torch.tensor([2.0, 5.0], dtype=torch.float64)
    results = []
    for block in (1 << 20, 14):
        monkeypatch.setattr(mmd, "LARGEST_BLOCK", block)
        rows = first.clone().requires_grad_(True)
        value = kernel_sum(rows, second, widths) + kernel_sum(rows, rows, widths, groups=torch.arange(13) // 3)
        value.backward()
        results.append((value.detach(), rows.grad))
    assert torch.allclose(results[0][0], results[1][0], rtol=1e-12)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-10)


def stored_values(rows: int) -> int:
    """Values kept for the backward pass; a tensor that several blocks share counts once."""
    stored = {}

    def keep(tensor):
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    features = torch.randn(rows, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kernel_sum(features, features, torch.ones(5), groups=torch.arange(rows))
    return sum(stored.values())


def test_what_is_kept_for_the_backward_pass_grows_with_rows_not_with_pairs(monkeypatch):
    monkeypatch.setattr(mmd, "LARGEST_BLOCK", 1 << 10)
    assert stored_values(512) <= 2.1 * stored_values(256) < 2.1 * 10 * 256
    monkeypatch.setattr(mmd, "LARGEST_BLOCK", 1 << 30)
    assert stored_values(256) > 5 * 256 * 256


class LargestTensor(TorchDispatchMode):
    """Remembers the most values that a tensor made under it has."""

    values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = result if isinstance(result, (tuple, list)) else [result]
        self.values = max([self.values, *(value.numel() for value in made if isinstance(value, torch.Tensor))])
        return result


def test_no_tensor_on_the_way_there_and_back_has_more_values_than_a_block(monkeypatch):
    block, rows = 1 << 12, 256
    monkeypatch.setattr(mmd, "LARGEST_BLOCK", block)
    features, sites = torch.randn(2 * rows, 4, requires_grad=True), torch.tensor([0, 1]).repeat_interleave(rows)
    with LargestTensor() as largest:
        mmd_between_sites(features, sites, BANDWIDTHS, groups=torch.arange(2 * rows) // 8).backward()
    # Two sites of 256 rows have 65,536 pairs.
    assert features.numel() <= largest.values <= block
