from __future__ import annotations

import numpy as np
import pytest
import torch

from femur_nnunet.errors import FemurError
from femur_nnunet.loading.fixed_patches import fixed_patches


class Cases:
    """Images that count up, with a label cube of 2^3 voxels whose voxels are the class locations."""

    def load_case(self, case):
        image = np.arange(8**3, dtype=np.float32).reshape(1, 8, 8, 8) + 1000 * int(case[-1])
        label = np.zeros((1, 8, 8, 8), dtype=np.int16)
        label[0, 3:5, 3:5, 3:5] = 1
        locations = np.argwhere(label) if case != "empty9" else []
        return image, label, None, {"class_locations": {1: locations}}


def test_patches_are_centred_on_femur_voxels_and_say_their_share():
    images, shares = fixed_patches(Cases(), ["case1", "case2"], 4, (4, 4, 4))
    assert images.shape == (4, 1, 4, 4, 4)
    assert images.dtype == torch.float32
    # Each patch of 64 voxels holds the whole cube of 8.
    assert shares.tolist() == [8 / 64] * 4
    # Both cases in turn, two patches each.
    assert sorted((images.amin(dim=(1, 2, 3, 4)) // 1000).tolist()) == [1, 1, 2, 2]


def test_the_same_patches_come_whatever_the_global_random_state():
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002
        found.append(fixed_patches(Cases(), ["case1", "case2"], 3, (4, 4, 4))[0])
    assert torch.equal(*found)


def test_cases_without_a_femur_are_refused():
    with pytest.raises(FemurError, match="no femur in any of the cases"):
        fixed_patches(Cases(), ["empty9"], 2, (4, 4, 4))
