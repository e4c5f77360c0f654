from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter
from shapes import block

from femur_nnunet.evaluation import gaussian_smoothing
from femur_nnunet.evaluation.gaussian_smoothing import TRUNCATE, GaussianCascade, gaussian_kernel
from femur_nnunet.evaluation.overlap import bounding_box, grow_box

SIGMAS = [np.array([1.0, 1.0, 1.0]), np.array([0.6, 2.0, 3.1])]
MASKS = hnp.arrays(np.bool_, (9, 12, 10), elements=st.booleans())


def by_scipy(mask, sigmas):
    """Whole image, continued at its edges so far that nothing beyond is felt."""
    margin = 40
    field = np.pad(mask, margin, mode="edge").astype(np.float64)
    for sigma in sigmas:
        field = gaussian_filter(field, sigma, truncate=TRUNCATE)
    return field[(slice(margin, -margin),) * 3]


@settings(max_examples=25, deadline=None)
@given(MASKS, st.integers(1, 2), st.integers(0, 3))
def test_a_cascade_from_the_masks_box_equals_filtering_the_whole_image(mask, passes, margin):
    box = bounding_box(mask)
    if box is None:
        return
    target = grow_box(box, [margin] * 3, mask.shape)
    found = GaussianCascade(box, target, mask.shape, SIGMAS[:passes]).apply(mask[box].astype(np.float32))
    np.testing.assert_allclose(found, by_scipy(mask, SIGMAS[:passes])[target], atol=2e-6)


@pytest.mark.parametrize("block_rows", [1, 7, 1000])
def test_the_size_of_blocks_changes_nothing(monkeypatch, block_rows):
    mask = block((30, 40, 35), (3, 10, 0), (30, 22, 8))
    box = bounding_box(mask)
    target = grow_box(box, [4, 4, 4], mask.shape)
    monkeypatch.setattr(gaussian_smoothing, "_BLOCK", block_rows)
    found = GaussianCascade(box, target, mask.shape, SIGMAS).apply(mask[box].astype(np.float32))
    np.testing.assert_allclose(found, by_scipy(mask, SIGMAS)[target], atol=2e-6)


def test_kernels_sum_to_one_and_are_as_wide_as_said():
    kernel = gaussian_kernel(4.0)
    assert kernel.sum() == pytest.approx(1)
    offsets = np.arange(kernel.size) - kernel.size // 2
    # Cut off at 3.5 standard deviations, a Gaussian keeps all but 0.6 % of its variance.
    assert (kernel * offsets**2).sum() == pytest.approx(16.0, rel=0.01)
