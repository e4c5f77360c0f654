from __future__ import annotations

import numpy as np

from femur_nnunet.segmentation.mask_cleaning import clean_mask, largest_share


def two_parts_and_a_cavity():
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[1:8, 1:8, 1:8] = True  # 343 voxels
    mask[4, 4, 4] = False
    mask[10, 10, 10] = True
    return mask


def test_each_step_does_its_own_part():
    mask = two_parts_and_a_cavity()
    largest = clean_mask(mask, largest_component=True, fill_holes=False)
    assert largest.sum() == 342
    assert not largest[4, 4, 4]
    filled = clean_mask(mask, largest_component=False, fill_holes=True)
    assert filled.sum() == 344
    assert clean_mask(mask, largest_component=True, fill_holes=True).sum() == 343
    assert clean_mask(mask, largest_component=False, fill_holes=False) is mask


def test_voxels_that_share_a_corner_are_one_part_and_a_hole_to_the_outside_stays():
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[0:3, 0:3, 0:3] = mask[3:6, 3:6, 3:6] = True
    assert clean_mask(mask, largest_component=True, fill_holes=False).sum() == 54
    tube = np.ones((3, 3, 3), dtype=bool)
    tube[1, 1, 1:] = False
    assert not clean_mask(tube, largest_component=False, fill_holes=True)[1, 1, 1]


def test_an_empty_mask_stays_empty():
    empty = np.zeros((4, 4, 4), dtype=bool)
    assert not clean_mask(empty, largest_component=True, fill_holes=True).any()
    assert largest_share(empty) == 1.0
    assert largest_share(two_parts_and_a_cavity()) == 342 / 343
