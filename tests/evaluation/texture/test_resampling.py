from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from shapes import ball

from femur_nnunet.evaluation.texture.resampling import bounds_of, interpolate, isotropic_box

SPACING_MM_ZYX = (3.0, 0.7, 0.8)


def whole(shape):
    return tuple((0, size - 1) for size in shape)


def test_a_linear_image_stays_what_it_is_at_the_new_places():
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip((6, 20, 20), SPACING_MM_ZYX, strict=True)), indexing="ij")
    image = 2 * z - y + 0.5 * x
    axes = isotropic_box(image.shape, SPACING_MM_ZYX, 1.0, whole(image.shape))
    places = [(axis.lower + axis.weight) * spacing for axis, spacing in zip(axes, SPACING_MM_ZYX, strict=True)]
    expected = 2 * places[0][:, None, None] - places[1][None, :, None] + 0.5 * places[2][None, None, :]
    assert np.allclose(interpolate(image, axes), expected, atol=1e-9)
    # 18, 14 and 16 mm, one voxel each.
    assert expected.shape == (18, 14, 16)


def test_the_new_grid_is_centred_on_the_old_one_and_covers_it():
    axis = isotropic_box((5, 5, 5), (1.0, 1.0, 1.0), 2.0, whole((5, 5, 5)))[0]
    # 5 mm need 3 voxels of 2 mm, the middle one on the middle.
    assert (axis.lower + axis.weight).tolist() == [0, 2, 4]


def test_interpolation_is_that_of_scipy():
    image = np.random.default_rng(1).normal(size=(7, 11, 9))
    axes = isotropic_box(image.shape, SPACING_MM_ZYX, 1.3, whole(image.shape))
    grid = np.meshgrid(*(axis.lower + axis.weight for axis in axes), indexing="ij")
    assert np.allclose(interpolate(image, axes), ndimage.map_coordinates(image, grid, order=1, mode="nearest"))


def test_the_box_of_a_mask_loses_nothing_of_it_and_lies_on_the_scan_s_grid():
    mask = ball(9.0, SPACING_MM_ZYX)
    everywhere = isotropic_box(mask.shape, SPACING_MM_ZYX, 1.0, whole(mask.shape))
    near = isotropic_box(mask.shape, SPACING_MM_ZYX, 1.0, bounds_of(mask))
    all_of_it, part = interpolate(mask, everywhere), interpolate(mask, near)
    assert part.size < all_of_it.size / 8
    assert part.sum() == pytest.approx(all_of_it.sum())
    assert (part >= 0.5).sum() * 1.0 == pytest.approx(4 / 3 * np.pi * 9.0**3, rel=0.03)
    for large, small in zip(everywhere, near, strict=True):
        assert set(np.round(small.lower + small.weight, 9)) <= set(np.round(large.lower + large.weight, 9))
